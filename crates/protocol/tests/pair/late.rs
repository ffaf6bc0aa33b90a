//! What arrives after several changes of view: what it says of a slot may be of an ownership that
//! is over.

use protocol::limits::NEWCOMER_MS;
use protocol::{Ack, Commit, Envelope, Message, Opened, Outcome, Report};
use session::{Hlc, Inc, Stamp, State, Time, Token, Version};

use crate::support::membership::few_shards;
use crate::support::{Net, is_deltas, is_repair, key, key_in, set};

fn is_fetched(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::Fetched { .. })
}

fn hand(net: &mut Net, hosts: &[usize]) {
    hosts.iter().for_each(|host| net.hand(*host));
}

/// The layout that is being taken up comes into force alone; nobody is told yet.
fn finish(net: &mut Net) {
    let hosts = net.hosts.len();
    net.run_until("everybody has caught up", |net| {
        net.hosts.iter().all(|host| !host.synced.is_empty())
    });
    (0..hosts).for_each(|host| net.report(host));
    assert_eq!(net.view().layouts.len(), 1);
}

fn sent(net: &Net, from: Inc, is_one: impl Fn(&Message) -> bool) -> Option<Envelope> {
    net.log.iter().find(|e| e.from == from && is_one(&e.message)).cloned()
}

/// Tests rules V7 and V9: "the same as you" speaks of what the asker had when it asked, and it may
/// have given that up since.
#[test]
fn a_comparison_that_began_before_a_slot_was_given_up_and_gained_does_not_count() {
    let (mut net, key) = owned_by_two();
    let (a, b, c) = (net.inc(0), net.inc(1), net.inc(2));
    net.log.clear();
    net.lose(move |e| e.from == c && is_repair(e));
    let is_root = |message: &Message| matches!(message, Message::Root { .. });
    let begun = |net: &Net, to: Inc| {
        net.log.iter().rfind(|e| e.from == c && e.to == to && is_root(&e.message)).cloned()
    };
    net.run_until("c compares itself with both", |net| {
        begun(net, a).is_some() && begun(net, b).is_some()
    });
    let roots = [(0, begun(&net, a)), (1, begun(&net, b))];
    hand(&mut net, &[0, 1, 2]);
    net.run_ms(100);
    assert!(!net.holds(2, key) && net.holds(0, key), "c does not own it any more");
    net.resize(3);
    hand(&mut net, &[0, 1, 2]);
    for (host, root) in roots {
        net.handle(host, c, root.expect("it began"));
    }
    net.run_ms(20);
    let same = |e: &Envelope| e.to == c && matches!(e.message, Message::Same { .. });
    assert_eq!(net.count(same), 2);
    assert!(!net.node(2).speaks_for(key), "c has nothing of it");
    assert!(net.hosts[2].synced.is_empty());
    net.lose_nothing();
    net.release_views();
    net.settle();
    assert!(net.holds(2, key), "and now it has all of it");
}

/// Tests rules V3 and V9: an owner that acknowledged, gave the slot up and is an owner again, has
/// nothing; also for whoever skipped the view between.
#[test]
fn an_ack_does_not_outlast_the_ownership_that_it_was_given_in() {
    let mut net = Net::agreed(3, 3, 0);
    let key = net.key_owned_by(&[0, 1, 2]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    let (a, b, c) = (net.inc(0), net.inc(1), net.inc(2));
    net.lose(move |e| e.from == a && e.to == c && is_deltas(e));
    let edits = net.edits(0, key, vec![set("register", "x")]);
    let ticket = net.ask(0, Commit { level: Ack::All, ..edits });
    net.run_ms(50);
    net.resize(1);
    hand(&mut net, &[0, 1, 2]);
    finish(&mut net);
    hand(&mut net, &[1, 2]);
    net.run_ms(100);
    assert!(!net.holds(1, key), "b has acknowledged it, and gave it up");
    assert!(!net.hosts[0].committed.contains_key(&ticket));
    net.resize(2);
    net.lose(move |e| e.to == b && (is_deltas(e) || is_repair(e)));
    hand(&mut net, &[0, 1, 2]);
    net.run_ms(100);
    assert!(!net.holds(1, key) && net.node(1).owns(key));
    assert!(!net.hosts[0].committed.contains_key(&ticket), "nobody else has it");
    net.lose_nothing();
    net.run_until("it is answered", |net| net.hosts[0].committed.contains_key(&ticket));
    let Outcome::Done(acked) = net.outcome(0, ticket) else { panic!("it is applied") };
    assert_eq!(acked.report, Report { asked: 1, got: 1 });
    assert_eq!(net.register(1, key, "register"), "x");
    net.release_views();
    net.settle();
}

/// Tests rules V3 and V9: the same of an acknowledgement that was under way all the time.
#[test]
fn a_late_ack_of_an_ownership_that_is_over_does_not_count() {
    let mut net = Net::agreed(3, 3, 0);
    let key = net.key_owned_by(&[0, 1, 2]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.log.clear();
    let (a, c) = (net.inc(0), net.inc(2));
    net.lose(move |e| {
        (e.from == a && is_deltas(e) && e.to != c)
            || (e.from == c && matches!(e.message, Message::Ack { .. }))
    });
    let edits = net.edits(0, key, vec![set("register", "x")]);
    let ticket = net.ask(0, Commit { level: Ack::All, ..edits });
    net.run_ms(50);
    let late = sent(&net, c, |message| matches!(message, Message::Ack { .. })).expect("c has it");
    net.resize(2);
    hand(&mut net, &[0, 1, 2]);
    finish(&mut net);
    hand(&mut net, &[0, 1, 2]);
    net.run_ms(100);
    assert!(!net.holds(2, key), "c gave it up");
    net.resize(3);
    net.lose(move |e| e.to == c && (is_deltas(e) || is_repair(e)));
    hand(&mut net, &[0, 1, 2]);
    net.handle(0, c, late);
    net.run_until("b has it", |net| {
        net.log
            .iter()
            .any(|e| e.from != c && !is_deltas(e) && matches!(e.message, Message::Ack { .. }))
    });
    net.run_ms(100);
    assert!(!net.holds(2, key) && net.node(2).owns(key));
    if let Some(Outcome::Done(acked)) = net.hosts[0].committed.get(&ticket) {
        assert!(acked.report.got < 2, "c has nothing of it: {:?}", acked.report);
    }
    net.lose_nothing();
    net.outcome(0, ticket);
    net.run_until("c has it", |net| net.register(2, key, "register") == "x");
    net.release_views();
    net.settle();
}

/// Tests rules N1 and V2: whoever goes by a layout that is over may be an owner again, and does not
/// know what came between.
#[test]
fn the_denial_of_an_owner_that_is_one_anew_does_not_count_as_of_before() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 2]);
    net.hold_views();
    net.resize(1);
    hand(&mut net, &[0, 1, 2]);
    finish(&mut net);
    net.resize(2);
    hand(&mut net, &[0, 1]);
    let (a, c) = (net.inc(0), net.inc(2));
    net.lose(move |e| e.to == c && (is_deltas(e) || is_repair(e)) || e.from == a && is_fetched(e));
    net.create(0, key);
    assert!(net.node(2).speaks_for(key) && !net.holds(2, key), "c knows of nothing");
    let ticket = net.ask_open(1, key, None);
    net.run_ms(200);
    assert!(!net.hosts[1].opened.contains_key(&ticket), "a has it");
    net.lose_nothing();
    assert!(matches!(net.opened(1, ticket), Opened::Session { .. }));
    net.release_views();
    net.settle();
}

/// Tests rules N1 and K3: a token may name a writer that is no owner by the view of whoever is
/// asked; then that one has to be heard as well, or somebody's view is behind.
#[test]
fn a_session_is_not_denied_without_the_writer_that_the_token_names() {
    let (mut net, key) = Net::owned_later();
    let (a, c) = (net.inc(0), net.inc(2));
    net.lose(move |e| e.to == a && is_deltas(e) || e.from == c && is_fetched(e));
    let seen = net.create(2, key).version;
    assert!(seen.get(c).is_some() && net.owners(1, key) == [0], "b asks a, which has nothing");
    let token = Token { version: seen.clone(), may_expire: net.now.plus(60_000) };
    let ticket = net.ask_open(1, key, Some(token));
    net.run_ms(200);
    assert!(!net.hosts[1].opened.contains_key(&ticket), "c has it");
    net.lose(move |e| e.to == a && is_deltas(e));
    assert!(matches!(net.opened(1, ticket), Opened::Session { .. }));
    net.cut(1, 2);
    net.run_ms(3_000);
    assert_eq!(net.open(1, key, Some(seen)), Opened::Unavailable, "c is silent");
    net.mend(1, 2);
    net.lose_nothing();
    net.release_views();
    net.settle();
}

/// Tests rules A5 and N1: of a session without edits the token names who executed the creation, who
/// alone may have it.
#[test]
fn a_session_is_not_denied_without_the_executor_of_its_creation() {
    let mut net = Net::agreed(4, 2, 0);
    let key = net.key_owned_by(&[0, 2]);
    net.resize(1);
    net.settle();
    net.hold_views();
    net.drain_member(0);
    hand(&mut net, &[0, 2, 3]);
    net.run_until("c has caught up", |net| net.node(2).speaks_for(key));
    net.cut(0, 3);
    net.run_ms(3_000);
    let (a, c, d) = (net.inc(0), net.inc(2), net.inc(3));
    net.lose(move |e| {
        e.to == a && (is_deltas(e) || is_repair(e)) || e.from == c && e.to != d && is_fetched(e)
    });
    let seen = net.create(3, key).version;
    assert!(net.holds(2, key) && !net.holds(0, key) && net.owners(1, key) == [0]);
    assert!(seen.get(d).is_some() && seen.get(c).is_some(), "who made it, who has it: {seen:?}");
    let token = Token { version: seen, may_expire: net.now.plus(60_000) };
    let ticket = net.ask_open(1, key, Some(token));
    net.run_ms(200);
    assert!(!net.hosts[1].opened.contains_key(&ticket), "c has it");
    net.lose_nothing();
    assert!(matches!(net.opened(1, ticket), Opened::Session { .. }));
    net.mend(0, 3);
    net.release_views();
    net.settle();
}

/// Tests rules N1 and K3: a writer that the token names and the view does not may have joined since.
#[test]
fn a_session_is_not_denied_for_a_writer_that_joined_later() {
    let mut net = Net::agreed(2, 1, 1);
    net.hold_views();
    net.join(2);
    net.hand(0);
    let key = net.key_owned_by(&[0, 2]);
    net.run_until("c has caught up", |net| net.node(2).speaks_for(key));
    let a = net.inc(0);
    net.lose(move |e| e.to == a && (is_deltas(e) || is_repair(e)));
    let seen = net.create(2, key).version;
    assert!(net.owners(1, key) == [0] && net.node(0).speaks_for(key) && !net.holds(0, key));
    let token = Token { version: seen, may_expire: net.now.plus(60_000) };
    let ticket = net.ask_open(1, key, Some(token));
    net.run_ms(200);
    assert!(!net.hosts[1].opened.contains_key(&ticket), "b has not heard of c");
    net.hand(1);
    assert!(matches!(net.opened(1, ticket), Opened::Session { .. }));
    net.lose_nothing();
    net.release_views();
    net.settle();
}

/// Tests rules N1 and K3: a cluster that was founded anew has never heard of the writers of the one
/// before, whose tokens must not be waited for as long as browsers keep them.
#[test]
fn a_writer_that_nobody_has_heard_of_for_long_is_none_that_joined_later() {
    let mut net = Net::agreed(2, 0, 0);
    let unknown = |at: Time| Version::from(Stamp { hlc: Hlc::at(at), inc: Inc(999) });
    let just_now = unknown(net.now.minus(NEWCOMER_MS - 10_000));
    assert_eq!(net.open(1, key(1), Some(just_now)), Opened::Unavailable);
    let long_ago = unknown(net.now.minus(NEWCOMER_MS));
    assert_eq!(net.open(1, key(1), Some(long_ago.clone())), Opened::NotFound);
    net.create(0, key(1));
    net.settle();
    let Opened::Session { lost, .. } = net.open(1, key(1), Some(long_ago.clone())) else {
        panic!("it lives")
    };
    assert_eq!(lost, long_ago);
    net.hold_views();
    net.resize(1);
    net.hand(0);
    net.run_ms(600);
    assert_eq!(net.open(1, key(2), Some(long_ago)), Opened::Unavailable, "b's view is too old");
}

/// Tests rule L1: a comparison that a peer began by an earlier epoch makes nothing clean, though it
/// begins once more by a later one: it may go by what it was answered first.
#[test]
fn a_comparison_does_not_count_from_its_repeated_beginning() {
    let mut net = Net::agreed_with(2, 0, 0, |options| {
        few_shards(options);
        options.outbox_sessions_max = 2;
    });
    let (a, b) = (net.inc(0), net.inc(1));
    net.hold_views();
    net.resize(2);
    net.hand(0);
    net.lose(move |e| e.from == a && !matches!(e.message, Message::Pull));
    net.log.clear();
    net.inject(0, 1, Message::Pull);
    let begun = |e: &Envelope| e.from == b && matches!(e.message, Message::Root { .. });
    net.run_until("b begins", |net| net.count(begun) == 1);
    net.run_ms(20);
    let same = |message: &Message| matches!(message, Message::Same { .. });
    let answer = sent(&net, a, same).expect("they are equal");
    (0..4).for_each(|number| drop(net.create(0, key_in(7, number))));
    let lag = net.node(0).lags().next().expect("b");
    assert!(lag.slots == 1 && !net.holds(1, key(7)), "a has noted the slot: {lag:?}");
    net.hand(1);
    net.run_until("b begins again", |net| net.count(begun) == 2);
    net.run_ms(20);
    net.handle(1, a, answer);
    net.run_ms(20);
    assert_eq!(net.count(|e| e.from == b && matches!(e.message, Message::Compared { .. })), 1);
    assert!(!net.holds(1, key(7)) && net.node(0).may_lack(b, key(7)), "b lacks it, and a knows");
    net.lose_nothing();
    net.release_views();
    net.settle();
    assert!(net.holds(1, key(7)));
}

/// Tests rules V9 and D4: who still has the end of a session that it does not own any more serves no
/// living copy of it, also for a request that began before it heard of the end.
#[test]
fn an_end_that_arrives_while_a_request_asks_others_holds() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.drain_member(0);
    hand(&mut net, &[0, 1, 2]);
    net.run_until("the others have caught up", |net| {
        [1, 2].iter().all(|host| !net.hosts[*host].synced.is_empty())
    });
    let (a, b, c) = (net.inc(0), net.inc(1), net.inc(2));
    net.lose(move |e| e.from == a && (is_deltas(e) || is_repair(e)));
    net.write(0, key, "late");
    net.report(1);
    net.report(2);
    hand(&mut net, &[0, 1, 2]);
    let is_apart = move |e: &Envelope| {
        let untold = e.from == b && e.to == c && (is_deltas(e) || is_repair(e));
        untold || (e.from == b && e.to == a && is_fetched(e))
    };
    net.lose(move |e| is_apart(e) || e.from == a || (e.to == a && is_fetched(e)));
    let ticket = net.ask_open(0, key, None);
    net.commit(1, net.end(1, key, Ack::Local));
    net.lose(move |e| is_apart(e) || (e.to == a && is_fetched(e)));
    net.run_until("a hears of the end", |net| {
        matches!(net.node(0).store().get(key), Some(State::Ended(_)))
    });
    assert!(!net.node(0).owns(key) && !net.hosts[0].opened.contains_key(&ticket));
    net.lose(is_apart);
    assert!(matches!(net.opened(0, ticket), Opened::Ended(_)), "c does not know of it");
    assert!(matches!(net.node(2).store().get(key), Some(State::Alive(_))));
}

/// Tests rule N4: others may have given up the older layouts already, and then nobody tells this node
/// what has ended: it has a newer owner's word for what it serves.
#[test]
fn an_owner_by_a_layout_that_may_be_over_serves_nothing_that_has_ended() {
    let (mut net, key) = late_owner();
    let end = net.end(0, key, Ack::All);
    assert_eq!(net.commit(0, end).report, Report { asked: 1, got: 1 });
    assert!(net.holds(2, key) && !net.has_ended(2, key), "c does not know of it");
    assert!(matches!(net.open(2, key, None), Opened::Ended(_)));
    net.release_views();
    net.settle();
}

/// Tests rule N4: nor are edits made to it.
#[test]
fn an_owner_by_a_layout_that_may_be_over_edits_nothing_that_has_ended() {
    let (mut net, key) = late_owner();
    let edits = net.edits(2, key, vec![set("register", "too late")]);
    let end = net.end(0, key, Ack::All);
    net.commit(0, end);
    let ticket = net.ask(2, Commit { level: Ack::Local, ..edits });
    assert_eq!(net.outcome(2, ticket), Outcome::Gone);
}

/// Tests rule N4: without a newer owner in sight it serves what it has.
#[test]
fn an_owner_by_an_older_layout_serves_while_no_newer_one_answers() {
    let (mut net, key) = late_owner();
    net.cut(2, 0);
    net.cut(2, 1);
    assert!(matches!(net.open(2, key, None), Opened::Session { .. }));
}

/// Of three nodes that all own a session two are to own it, and the transition is over; none of them
/// has heard that yet.
fn owned_by_two() -> (Net, session::SessionKey) {
    let mut net = Net::agreed(3, 3, 0);
    let key = net.key_owned_by(&[0, 1, 2]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.resize(2);
    hand(&mut net, &[0, 1, 2]);
    finish(&mut net);
    (net, key)
}

/// The two have heard it, and the third, which owns the session no more, has not.
fn late_owner() -> (Net, session::SessionKey) {
    let (mut net, key) = owned_by_two();
    hand(&mut net, &[0, 1]);
    assert!(net.node(2).speaks_for(key), "by the layout that is over");
    assert_eq!(net.owners(0, key), [0, 1]);
    (net, key)
}
