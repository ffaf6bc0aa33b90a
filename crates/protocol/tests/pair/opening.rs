//! What a request is given when it opens a session, and when there is said to be none.

use protocol::limits::{FETCH_RETRY_MS, LOAD_WIDEN_MS, TICK_MS};
use protocol::{Message, Node, Opened};
use session::{EndReason, State, Token, Version};

use crate::support::{IDLE_MS, LIFE_MS, Net, REQUEST_MS, is_deltas, is_repair, key, key_in, set};

fn is_fetch(envelope: &protocol::Envelope) -> bool {
    matches!(envelope.message, Message::Fetch { .. })
}

/// `a` has written what neither `b` nor `c` have; the version after it is what a client has seen.
fn written_at_a_alone(hosts: usize) -> (Net, Version) {
    let mut net = Net::synced(hosts);
    net.create_everywhere(0, key(1));
    let a = net.inc(0);
    net.lose(move |e| e.from == a && is_deltas(e));
    let seen = net.write(0, key(1), "seen").version;
    net.run_ms(10);
    net.log.clear();
    (net, seen)
}

/// Tests rule K2: the writer of what is missing is asked at once.
#[test]
fn a_copy_older_than_what_the_client_has_seen_is_not_served() {
    let (mut net, seen) = written_at_a_alone(3);
    let Opened::Session { session, lost } = net.open(1, key(1), Some(seen.clone())) else {
        panic!("a has it");
    };
    assert!(session.version.covers_all(&seen) && lost.is_empty());
    assert_eq!(net.register(1, key(1), "register"), "seen", "it stays, too");
    assert!(net.count(is_fetch) >= 1);
}

/// Tests rules K1 and K2: a newer write does not stand for an older one of another node.
#[test]
fn a_copy_with_a_newer_write_may_still_be_older_than_what_the_client_has_seen() {
    let (mut net, seen) = written_at_a_alone(3);
    net.run_ms(100);
    let commit = net.edits(1, key(1), vec![set("other", "newer")]);
    let newer = net.commit(1, commit).version;
    assert!(newer.newest() > seen.newest() && !newer.covers_all(&seen));
    assert!(matches!(net.open(1, key(1), Some(seen.clone())), Opened::Session { .. }));
    assert!(net.version(1, key(1)).covers_all(&seen));
    assert_eq!(net.register(1, key(1), "register"), "seen");
}

/// Tests rule K2: a client that has seen nothing newer is served without a question.
#[test]
fn a_copy_that_covers_the_token_is_served_at_once() {
    let (mut net, _) = written_at_a_alone(3);
    let seen = net.version(1, key(1));
    let before = net.now;
    for seen in [None, Some(seen)] {
        let opened = net.open(1, key(1), seen);
        assert!(matches!(opened, Opened::Session { .. }));
    }
    assert_eq!((net.count(is_fetch), net.now), (0, before));
}

/// Tests rule K2: when the writer does not answer, every other owner is asked before giving up.
#[test]
fn what_any_owner_has_is_found() {
    let mut net = Net::synced(4);
    net.create_everywhere(0, key(1));
    let (a, d) = (net.inc(0), net.inc(3));
    net.lose(move |e| e.from == a && e.to != d && is_deltas(e));
    let seen = net.write(0, key(1), "seen").version;
    net.run_until("d has it", |net| net.version(3, key(1)) == seen);
    net.crash(0);
    for host in [1, 2] {
        let before = net.now;
        let opened = net.open(host, key(1), Some(seen.clone()));
        assert!(matches!(opened, Opened::Session { .. }), "d has it: {opened:?}");
        assert!(net.now.since(before) < LOAD_WIDEN_MS + 200);
    }
}

/// Tests rule K3: as long as the writer may come back, nothing is served in its place.
#[test]
fn a_write_whose_writer_is_silent_is_not_given_up() {
    let (mut net, seen) = written_at_a_alone(3);
    net.cut(0, 1);
    net.cut(0, 2);
    let opened = net.open(1, key(1), Some(seen));
    assert_eq!(opened, Opened::Unavailable);
    assert_eq!(net.node(1).counters().writes_lost, 0);
}

/// Tests rule K3: when all owners answered and the writer is gone for good, the loss is named.
#[test]
fn a_write_that_died_with_its_writer_is_reported_as_lost() {
    let (mut net, seen) = written_at_a_alone(3);
    let writer = net.inc(0);
    net.crash(0);
    net.run_ms(100);
    net.start(0);
    net.lose_nothing();
    net.run_until("a is back", |net| net.nodes().all(Node::is_synced));
    let Opened::Session { session, lost } = net.open(1, key(1), Some(seen.clone())) else {
        panic!("the rest of it is served");
    };
    assert_eq!(lost.iter().map(|(inc, _)| inc).collect::<Vec<_>>(), [writer]);
    assert!(!session.version.covers_all(&seen));
    assert_eq!(net.node(1).counters().writes_lost, 1);
}

/// Tests rule N1: not having received it yet is not knowing that there is none.
#[test]
fn a_node_that_has_not_caught_up_says_of_no_session_that_there_is_none() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.crash(1);
    net.run_ms(10);
    net.start(1);
    let b = net.inc(1);
    net.lose(move |e| e.to == b);
    for number in [1, 2] {
        assert_eq!(net.open(1, key(number), None), Opened::Unavailable);
    }
    assert!(!net.node(1).is_synced());
}

/// Tests rule N1: it asks one that has.
#[test]
fn a_node_that_has_not_caught_up_answers_with_what_a_synced_owner_knows() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.crash(1);
    net.run_ms(10);
    net.start(1);
    net.lose(is_repair);
    assert!(matches!(net.open(1, key(1), None), Opened::Session { .. }));
    assert_eq!(net.open(1, key(2), None), Opened::NotFound);
    assert!(!net.node(1).is_synced());
}

/// Tests rule N1: who has a token has seen the session, so all owners are asked for it.
#[test]
fn with_a_token_there_is_no_session_only_if_every_owner_says_so() {
    let mut net = Net::synced(3);
    let a = net.inc(0);
    net.lose(move |e| e.from == a && (is_deltas(e) || is_repair(e)));
    let seen = net.create(0, key(1)).version;
    assert_eq!(net.open(1, key(1), None), Opened::NotFound, "nobody has seen it");
    assert!(matches!(net.open(1, key(1), Some(seen.clone())), Opened::Session { .. }));
    net.crash(0);
    net.run_ms(10);
    assert_eq!(net.open(2, key(2), Some(seen.clone())), Opened::Unavailable, "a might know");
    net.start(0);
    net.lose_nothing();
    net.run_until("a is back", |net| net.nodes().all(Node::is_synced));
    assert_eq!(net.open(2, key(2), Some(seen)), Opened::NotFound);
}

/// Tests rule K3: a session that may have idled out is not looked for.
#[test]
fn past_its_token_a_session_is_not_looked_for() {
    let mut net = Net::synced(3);
    net.log.clear();
    net.crash(2);
    let may_expire = net.now.minus(1);
    let ticket = net.ask_open(1, key(1), Some(Token { version: Version::new(), may_expire }));
    assert_eq!(net.opened(1, ticket), Opened::NotFound);
    assert_eq!(net.count(is_fetch), 0);
}

/// A session that idles out 15 s after its last use, everywhere; what `a` says from now on is lost.
fn idling() -> Net {
    let mut net = Net::synced(2);
    let mut creation = net.creation(0, key(1), Vec::new());
    if let protocol::Life::Create(core) = &mut creation.life {
        core.idle_ms = 10_000;
    }
    net.commit(0, creation);
    net.run_until_calm();
    let a = net.inc(0);
    net.lose(move |e| e.from == a && (is_deltas(e) || is_repair(e)));
    net.log.clear();
    net
}

/// Tests rule E1: a copy that looks idle may only have missed the last use.
#[test]
fn before_a_session_is_called_idle_the_others_are_asked() {
    let mut net = idling();
    net.run_ms(9_000);
    let touch = net.edits(0, key(1), Vec::new());
    net.commit(0, touch);
    net.run_ms(6_500);
    let idle = |net: &Net, host| net.session(host, key(1)).is_some_and(|s| s.is_idle(net.now));
    assert!(idle(&net, 1) && !idle(&net, 0));
    assert!(matches!(net.open(1, key(1), None), Opened::Session { .. }));
    assert!(!idle(&net, 1), "it knows of the last use now");
}

/// Tests rule E1: if no owner knows of a later use, the session ends, for all of them.
#[test]
fn a_session_that_all_call_idle_ends_as_expired() {
    let mut net = idling();
    net.lose_nothing();
    net.run_ms(15_100);
    assert_eq!(net.open(1, key(1), None), Opened::NotFound);
    net.run_until_calm();
    for host in 0..2 {
        let state = net.node(host).store().get(key(1));
        assert!(
            matches!(state, Some(State::Ended(end)) if end.reason == EndReason::Expired),
            "{state:?} at {host}"
        );
    }
}

/// Tests rule E1: a session in use is touched once per interval, not with each request.
#[test]
fn requests_that_change_nothing_cost_a_touch_now_and_then() {
    let mut net = idling();
    net.lose_nothing();
    for _ in 0..240 {
        let edits = net.edits(0, key(1), Vec::new());
        net.commit(0, edits);
        net.run_ms(50);
    }
    assert!((1..=3).contains(&net.count(is_deltas)), "{} touches in 12 s", net.count(is_deltas));
}

/// Tests rule E2: when every clock must find it idle, each copy goes without a word.
#[test]
fn a_copy_idle_long_enough_is_forgotten_silently() {
    let mut net = idling();
    net.run_ms(15_900);
    assert!(net.nodes().all(|node| node.store().sessions() == 1));
    net.run_ms(200);
    assert!(net.nodes().all(|node| node.store().sessions() == 0));
    assert!(net.nodes().all(|node| node.store().tombstones() == 0));
    assert!(net.nodes().all(|node| node.counters().expired == 1));
    assert_eq!(net.count(is_deltas), 0);
}

/// Tests rule E4: what it stamped before it forgot the session may be missing from the copy that
/// comes back, so its next stamp would claim too much.
#[test]
fn a_session_that_was_forgotten_and_came_back_is_stamped_by_another() {
    let mut net = idling();
    let (a, b) = (net.inc(0), net.inc(1));
    net.lose(move |e| is_deltas(e) || is_repair(e));
    net.run_ms(9_000);
    let touch = net.edits(1, key(1), Vec::new());
    net.commit(1, touch);
    net.run_ms(7_500);
    assert!(net.session(0, key(1)).is_none() && net.session(1, key(1)).is_some());
    let seen = net.version(1, key(1));
    assert!(matches!(net.open(0, key(1), Some(seen.clone())), Opened::Session { .. }));
    let commit = net.edits(0, key(1), vec![set("register", "x")]);
    let version = net.commit(0, commit).version;
    assert_eq!(version.get(a), seen.get(a), "a stamps nothing onto it");
    assert!(version.get(b) > seen.get(b));
    net.create(0, key(2));
    let commit = net.edits(0, key(2), vec![set("register", "x")]);
    assert!(net.commit(0, commit).version.get(a).is_some(), "onto others it does");
}

/// Tests rule E3: the last use is compared as well, or else a copy would idle out too early.
#[test]
fn a_use_that_one_owner_missed_is_repaired() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let (a, b) = (net.inc(0), net.inc(1));
    net.lose(move |e| e.from == a && (e.to == b || is_repair(e)));
    net.run_ms(40_000);
    let touch = net.edits(0, key(1), Vec::new());
    net.commit(0, touch);
    let used = |net: &Net, host| net.session(host, key(1)).map(|session| session.last_access);
    net.run_until("c knows", |net| used(net, 2) == used(net, 0));
    net.crash(0);
    assert_ne!(used(&net, 1), used(&net, 2));
    net.run_until("b and c are equal", |net| used(net, 1) == used(net, 2));
}

/// Tests rule T2: no request is given a session past its hard deadline.
#[test]
fn a_session_past_its_deadline_is_not_served() {
    let mut net = Net::synced(2);
    let mut creation = net.creation(0, key(1), vec![set("register", "x")]);
    if let protocol::Life::Create(core) = &mut creation.life {
        core.hard_deadline = net.now.plus(REQUEST_MS);
    }
    net.commit(0, creation);
    net.run_until_calm();
    let deadline = net.session(0, key(1)).expect("it lives").core.hard_deadline;
    net.run_until("the deadline", |net| net.now > deadline);
    assert_eq!(net.open(0, key(1), None), Opened::NotFound);
    assert_eq!(net.open(1, key(1), None), Opened::NotFound);
}

/// Tests rule K2: at first those are asked that probably know; after a moment everybody.
#[test]
fn bound_load_widen_ms() {
    let (mut net, seen) = written_at_a_alone(4);
    let b = net.inc(1);
    net.lose(move |e| e.to == b);
    let token = Some(Token { version: seen, may_expire: net.now.plus(60_000) });
    net.ask_open(1, key(1), token);
    let asked = |net: &Net| net.count(|e| is_fetch(e) && e.from == b);
    let likely = asked(&net);
    assert!((1..=2).contains(&likely), "the primary and the writer");
    net.run_ms(LOAD_WIDEN_MS + TICK_MS);
    assert_eq!(asked(&net), 3, "everybody once");
    net.run_ms(FETCH_RETRY_MS);
    assert!((4..=6).contains(&asked(&net)), "and again, for fetches are harmless");
    let repeated = net.node(1).counters().fetches_repeated;
    assert_eq!(repeated, asked(&net) as u64 - 3, "and each repetition is counted");
}

/// Tests rule C1: a request is answered by its deadline, even if nobody says anything.
#[test]
fn an_open_is_answered_by_its_deadline() {
    let (mut net, seen) = written_at_a_alone(3);
    let b = net.inc(1);
    net.lose(move |e| e.to == b);
    let before = net.now;
    assert_eq!(net.open(1, key(1), Some(seen)), Opened::Unavailable);
    assert!(net.now.since(before) <= REQUEST_MS + TICK_MS);
}

/// Tests rule E4: if everybody may have forgotten it, all of them together hold all there is.
#[test]
fn a_session_that_everybody_may_have_forgotten_is_stamped_after_asking_all() {
    let mut net = Net::synced(2);
    // What is created and forgotten at a host while it is alone makes all older sessions of its
    // slot doubtful.
    let forget = |net: &mut Net, host: usize, number: u16| {
        let mut creation = net.creation(host, key_in(1, number), Vec::new());
        if let protocol::Life::Create(core) = &mut creation.life {
            core.idle_ms = 1_000;
        }
        net.commit(host, creation);
        net.run_until("it is forgotten", |net| net.session(host, key_in(1, number)).is_none());
    };
    net.cut(0, 1);
    net.create(1, key(1));
    forget(&mut net, 0, 2);
    net.mend(0, 1);
    net.run_until("a has it", |net| net.session(0, key(1)).is_some());
    net.crash(1);
    net.cut(0, 1);
    net.start(1);
    net.run_until("b goes on alone", |net| net.node(1).is_synced());
    forget(&mut net, 1, 3);
    net.mend(0, 1);
    net.run_until("b has it", |net| net.session(1, key(1)).is_some());
    net.run_until("a hears b", |net| net.node(0).lags().all(|lag| lag.reachable));
    let commit = net.edits(0, key(1), vec![set("register", "x")]);
    let version = net.commit(0, commit).version;
    assert!(version.get(net.inc(1)).is_some(), "a asked b, which asked all: {version:?}");
}

/// Tests rule H3: a process whose clock is an hour ahead would end every session that it is asked
/// for.
#[test]
fn by_a_wrong_clock_no_session_is_over() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let seen = net.write(0, key(1), "still there").version;
    net.run_until_calm();
    net.crash(2);
    net.set_ahead(2, IDLE_MS + 60_000);
    net.start(2);
    net.run_ms(20_000);
    let opened = net.open(2, key(1), Some(seen.clone()));
    assert_eq!(opened, Opened::Unavailable);
    for host in [0, 1] {
        assert_eq!(net.register(host, key(1), "register"), "still there", "at {host}");
    }
    net.set_ahead(2, 0);
    net.run_ms(20_000);
    assert!(matches!(net.open(2, key(1), Some(seen)), Opened::Session { .. }));
}

/// Tests rule H3: nor is anything forgotten by a wrong clock, until it is right.
#[test]
fn by_a_wrong_clock_no_session_is_forgotten() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let late = net.now.plus(LIFE_MS + 60_000);
    let node = net.node_mut(1);
    for (fault, left) in [(true, 1), (false, 0)] {
        node.handle_clock_fault(fault);
        node.handle_tick(late);
        assert_eq!(node.store().sessions(), left);
    }
}
