//! Views that change: what a node may say and do before, during and after, and that nothing is lost.

use protocol::limits::REPAIR_INTERVAL_MS;
use protocol::{Ack, Commit, Decision, Message, Node, Opened, Outcome, Report, View};
use session::{Edit, SessionKey};

use crate::support::membership::{SLOTS, copies};
use crate::support::{Net, envelope, is_deltas, is_repair, key, name, set};

fn is_forward(envelope: &protocol::Envelope) -> bool {
    matches!(envelope.message, Message::Forward { .. })
}

pub(super) fn keys() -> impl Iterator<Item = SessionKey> {
    (0..SLOTS).map(key)
}

/// A session in every slot, made by its first owner, and everybody has what it owns.
pub(super) fn fill(net: &mut Net) {
    for key in keys() {
        let first = net.owners(0, key)[0];
        let creation = net.creation(first, key, vec![set("of", &first.to_string())]);
        net.commit(first, creation);
    }
    net.settle();
}

/// How many of the hosts that run hold a session under the key.
pub(super) fn holders(net: &Net, key: SessionKey) -> usize {
    (0..net.hosts.len()).filter(|host| net.runs(*host) && net.holds(*host, key)).count()
}

pub(super) fn speaks_for_all(node: &Node) -> bool {
    keys().all(|key| node.speaks_for(key))
}

fn hand_all(net: &mut Net) {
    for host in 0..net.hosts.len() {
        if net.runs(host) {
            net.hand(host);
        }
    }
}

fn with_level(commit: Commit, level: Ack) -> Commit {
    Commit { level, ..commit }
}

/// Tests rules V7 and N1.
#[test]
fn a_joining_node_gets_everything_and_speaks_for_nothing_before() {
    let mut net = Net::agreed(2, 0, 1);
    fill(&mut net);
    net.hold_views();
    net.lose(is_repair);
    net.join(2);
    hand_all(&mut net);
    net.run_ms(500);
    assert!(keys().all(|key| !net.node(2).speaks_for(key)), "it owns all, and knows nothing");
    assert!(matches!(net.open(2, key(3), None), Opened::Session { .. }), "it asks");
    let (c, at) = (net.inc(2), net.version(0, key(3)));
    let edits = Commit { at, ..net.edits(2, key(3), vec![set("register", "x")]) };
    assert_eq!(net.commit(2, edits).version.get(c), None, "it stamps nothing");
    assert!(net.hosts[2].synced.is_empty());
    net.lose_nothing();
    net.run_until("c has caught up", |net| !net.hosts[2].synced.is_empty());
    assert!(speaks_for_all(net.node(2)));
    assert!(keys().all(|key| net.session(2, key).is_some()));
    net.release_views();
    net.settle();
    assert_eq!(net.register(2, key(3), "register"), "x");
}

/// Tests rule V5: two owners have it, and after the transition neither need be one.
#[test]
fn what_only_leaving_owners_have_is_not_reported() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    let c = net.inc(2);
    net.lose(move |e| e.to == c && (is_deltas(e) || is_repair(e)));
    net.drain_member(0);
    hand_all(&mut net);
    let edits = net.edits(1, key, vec![set("register", "x")]);
    let ticket = net.ask(1, with_level(edits, Ack::One));
    net.run_ms(500);
    assert_eq!(net.register(0, key, "register"), "x", "the one that leaves has it");
    assert!(!net.hosts[1].committed.contains_key(&ticket), "which is not enough");
    net.lose_nothing();
    let Outcome::Done(acked) = net.outcome(1, ticket) else { panic!("it is applied") };
    assert_eq!(acked.report, Report { asked: 1, got: 1 });
    assert_eq!(net.register(2, key, "register"), "x");
}

/// Tests rule V5: if the next layout never gets it, the report is honest.
#[test]
fn what_the_next_layout_lacks_is_reported_as_not_reached() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    let c = net.inc(2);
    net.lose(move |e| e.to == c && (is_deltas(e) || is_repair(e)));
    net.drain_member(0);
    hand_all(&mut net);
    let edits = net.edits(1, key, vec![set("register", "x")]);
    let acked = net.commit(1, with_level(edits, Ack::One));
    assert_eq!(acked.report, Report { asked: 1, got: 0 });
}

/// Tests rule V3: as whole sessions, without waiting for a comparison.
#[test]
fn a_commit_that_waits_reaches_owners_that_come_meanwhile() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    let b = net.inc(1);
    net.lose(move |e| is_repair(e) || (e.to == b && is_deltas(e)));
    let edits = net.edits(0, key, vec![set("register", "x")]);
    let ticket = net.ask(0, with_level(edits, Ack::All));
    net.run_ms(50);
    net.resize(3);
    hand_all(&mut net);
    net.run_ms(50);
    assert_eq!(net.register(2, key, "register"), "x", "the new owner is told");
    assert!(!net.hosts[0].committed.contains_key(&ticket), "the old one has not answered");
    net.lose(is_repair);
    net.run_ms(2_000);
    let Outcome::Done(acked) = net.outcome(0, ticket) else { panic!("it is applied") };
    assert_eq!(acked.report.asked, 2, "by the layout that there is when it is answered");
}

/// Tests rule V2: by the later view there may be owners that have nothing of it.
#[test]
fn an_ack_of_a_later_epoch_counts_when_that_is_adopted() {
    let mut net = Net::agreed(3, 0, 0);
    net.create(0, key(1));
    net.settle();
    net.hold_views();
    net.drain_member(2);
    net.hand(1);
    let c = net.inc(2);
    net.lose(move |e| e.to == c && is_deltas(e));
    let edits = net.edits(0, key(1), vec![set("register", "x")]);
    let ticket = net.ask(0, with_level(edits, Ack::One));
    net.run_ms(200);
    assert_eq!(net.register(1, key(1), "register"), "x");
    assert!(!net.hosts[0].committed.contains_key(&ticket), "b may know owners that a does not");
    assert!(net.node(0).counters().fenced > 0);
    let epoch = net.view().epoch;
    assert_eq!(net.hosts[0].behind, [epoch], "a is told once to ask for the view");
    net.hand(0);
    let Outcome::Done(acked) = net.hosts[0].committed[&ticket].clone() else {
        panic!("it is applied")
    };
    assert_eq!(acked.report, Report { asked: 1, got: 1 });
}

/// Tests rule V6: what a source writes before it knows the new owner, it does not send it.
#[test]
fn a_source_that_has_not_adopted_the_layout_does_not_count() {
    let mut net = Net::agreed(3, 1, 1);
    fill(&mut net);
    net.hold_views();
    net.resize(2);
    net.join(3);
    hand_all(&mut net);
    net.run_until("the first transition is over", |net| {
        (0..3).all(|host| !net.hosts[host].synced.is_empty())
    });
    (0..3).for_each(|host| net.report(host));
    assert_eq!(net.view().layouts.last().map(|layout| layout.members.len()), Some(4));
    [1, 2, 3].into_iter().for_each(|host| net.hand(host));
    net.run_ms(5_000);
    assert!(net.hosts[3].synced.is_empty(), "a knows d as a member, and not as an owner");
    net.hand(0);
    net.run_until("d has caught up", |net| !net.hosts[3].synced.is_empty());
    let owned = |net: &Net, key| net.node(3).owns(key);
    assert!(keys().all(|key| !owned(&net, key) || net.session(3, key).is_some()));
    net.release_views();
    net.settle();
}

/// Tests rule V7: with every earlier owner, as long as it is there.
#[test]
fn catching_up_waits_for_a_source_and_goes_on_when_it_is_removed() {
    let mut net = Net::agreed(3, 2, 1);
    fill(&mut net);
    net.cut(0, 3);
    net.join(3);
    net.run_ms(REPAIR_INTERVAL_MS);
    assert_eq!(net.view().layouts.len(), 2, "a may have what b and c have not");
    let a = net.inc(0);
    net.crash(0);
    net.remove(a);
    assert_eq!(net.view().layouts.len(), 3);
    net.settle();
    assert!(net.view().losses.is_empty());
    assert!(keys().all(|key| holders(&net, key) == 2));
}

/// Tests rule V7: where all earlier owners are gone, one of the new ones may have caught up.
#[test]
fn new_owners_ask_each_other_when_no_earlier_one_is_left() {
    let mut net = Net::agreed(4, 2, 0);
    fill(&mut net);
    net.hold_views();
    net.resize(1);
    net.drain_member(0);
    net.drain_member(1);
    net.resize(2);
    hand_all(&mut net);
    net.run_until("the first transition is over", |net| {
        (0..4).all(|host| !net.hosts[host].synced.is_empty())
    });
    (0..4).for_each(|host| net.report(host));
    let (a, b, d) = (net.inc(0), net.inc(1), net.inc(3));
    net.lose(move |e| e.from == d && matches!(e.message, Message::Root { .. }));
    hand_all(&mut net);
    net.run_until("c has caught up", |net| !net.hosts[2].synced.is_empty());
    net.report(2);
    for inc in [a, b] {
        let host = net.host_of(inc).expect("it runs");
        net.crash(host);
        net.decide(Decision::Remove { inc, accept_loss: false }).expect("c has everything");
    }
    net.hand(2);
    net.hand(3);
    net.run_ms(1_000);
    let denies = |key: &SessionKey| net.node(3).speaks_for(*key) && !net.holds(3, *key);
    assert_eq!(keys().find(denies), None, "d must not speak for what only c has");
    assert!(net.hosts[3].synced.is_empty());
    net.lose_nothing();
    net.release_views();
    net.settle();
    assert!(keys().all(|key| holders(&net, key) == 2), "c had it, and now d has it");
}

/// Tests rules N1, N2 and N3, and promise P11.
#[test]
fn who_does_not_own_a_session_asks_for_each_request_and_keeps_nothing() {
    let mut net = Net::agreed(3, 1, 0);
    let key = net.key_owned_by(&[0]);
    net.create(0, key);
    net.settle();
    net.log.clear();
    for _ in 0..2 {
        let Opened::Session { session, .. } = net.open(1, key, None) else { panic!("it lives") };
        assert_eq!(session.version, net.version(0, key));
    }
    assert_eq!(net.count(|e| matches!(e.message, Message::Fetch { .. })), 2);
    let (a, b, at) = (net.inc(0), net.inc(1), net.version(0, key));
    let edits = Commit { at, ..net.edits(1, key, vec![set("register", "x")]) };
    let acked = net.commit(1, edits);
    assert!(acked.version.get(a).is_some() && acked.version.get(b).is_none());
    assert_eq!(net.count(is_forward), 1);
    net.run_ms(100);
    assert!(!net.holds(1, key) && !net.holds(2, key));
    assert_eq!(net.node(1).store().bytes() + net.node(2).store().bytes(), 0);
}

/// Tests rules N1 and V5: "there is none" is said by those who know.
#[test]
fn nobody_denies_a_session_that_it_cannot_know_of() {
    let mut net = Net::agreed(3, 1, 0);
    let key = net.key_owned_by(&[0]);
    assert_eq!(net.open(1, key, None), Opened::NotFound, "the owner says so");
    net.crash(0);
    net.run_ms(3_000);
    assert_eq!(net.open(1, key, None), Opened::Unavailable, "the owner is silent");

    let mut net = Net::agreed(2, 0, 1);
    net.create(0, self::key(1));
    net.settle();
    net.hold_views();
    net.lose(is_repair);
    net.join(2);
    hand_all(&mut net);
    net.run_ms(100);
    net.cut(2, 0);
    net.cut(2, 1);
    net.run_ms(3_000);
    for number in [1, 2] {
        assert_eq!(
            net.open(2, self::key(number), None),
            Opened::Unavailable,
            "it has not caught up"
        );
    }
}

/// Tests rule V2: whoever still goes by a layout that is over does not know what came since.
#[test]
fn the_denial_of_an_owner_by_a_layout_that_is_over_does_not_count() {
    let mut net = Net::agreed(3, 1, 0);
    let key = net.key_owned_by(&[0]);
    net.resize(2);
    net.settle();
    net.resize(1);
    net.settle();
    net.lose(|e| matches!(e.message, Message::Fetched { .. }));
    let ticket = net.ask_open(1, key, None);
    net.run_ms(10);
    let (a, b) = (net.inc(0), net.inc(1));
    let asked = net.log.iter().rev().find_map(|e| match e.message {
        Message::Fetch { request, .. } => Some(request),
        _ => None,
    });
    let request = asked.expect("it asks");
    let View { generation, layouts, .. } = net.view().clone();
    let message = Message::Fetched { request, synced: true, delta: None };
    let mut said = envelope((generation, layouts[0].epoch - 1), a, b, message);
    net.handle(1, a, said.clone());
    assert!(!net.hosts[1].opened.contains_key(&ticket), "it may be one of long ago");
    said.epoch = layouts[0].epoch;
    net.handle(1, a, said);
    assert_eq!(net.hosts[1].opened[&ticket], Opened::NotFound);
}

/// Tests rule V9, and N2: it stamps nothing, and keeps what others may lack.
#[test]
fn who_owns_a_slot_no_more_gives_it_up_when_all_that_it_stamped_has_arrived() {
    let mut net = Net::agreed(3, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.drain_member(0);
    hand_all(&mut net);
    net.run_until("the others have caught up", |net| {
        [1, 2].iter().all(|host| !net.hosts[*host].synced.is_empty())
    });
    net.run_ms(1_000);
    assert!(net.holds(0, key), "its layout is still in force");
    let a = net.inc(0);
    net.lose(move |e| e.from == a && (is_deltas(e) || is_repair(e)));
    assert!(net.write(0, key, "late").version.get(a).is_some(), "and it stamps");
    net.report(1);
    net.report(2);
    assert_eq!(net.view().layouts.len(), 1);
    hand_all(&mut net);
    let edits = net.edits(0, key, vec![set("other", "x")]);
    let before = net.version(0, key).get(a);
    let ticket = net.ask(0, Commit { at: net.version(1, key), ..edits });
    let Outcome::Done(acked) = net.outcome(0, ticket) else { panic!("another executes it") };
    assert!(acked.version.get(a) != before, "it is no stamp of a's: {:?}", acked.version);
    net.run_ms(2_000);
    assert!(net.holds(0, key), "the others lack its last write");
    net.lose_nothing();
    net.run_until("a gives it up", |net| !net.holds(0, key));
    for host in [1, 2] {
        assert_eq!(net.register(host, key, "register"), "late");
        assert!(net.version(host, key).get(a) == before);
    }
    assert!(net.node(0).counters().handed_over > 0);
}

/// Tests rules V9, V12 and V8: a node that drains leaves nothing behind.
#[test]
fn a_node_that_drains_hands_over_and_goes() {
    let mut net = Net::agreed(3, 2, 0);
    fill(&mut net);
    assert!(!net.node(0).handover().is_complete());
    net.drain_member(0);
    net.run_until("all is handed over", |net| net.node(0).handover().is_complete());
    let a = net.inc(0);
    net.decide(Decision::Remove { inc: a, accept_loss: false }).expect("nobody needs it");
    assert!(net.hosts[0].removed);
    net.crash(0);
    net.settle();
    assert!(net.view().losses.is_empty());
    for key in keys() {
        assert!(matches!(net.open(1, key, None), Opened::Session { .. }));
        assert_eq!(holders(&net, key), 2);
    }
}

/// Tests rules V4, V7 and V9: the number of copies is changed under way, in both directions.
#[test]
fn changing_the_number_of_copies_loses_nothing() {
    let mut net = Net::agreed(4, 0, 0);
    fill(&mut net);
    let bytes = net.node(3).store().bytes();
    for (number, expected) in [(2, 2), (1, 1), (3, 3), (0, 4)] {
        net.resize(number);
        let busy = key(number + 1);
        for turn in 0..20 {
            let host = usize::from(turn % 4_u16);
            let edits = vec![Edit::Add(name("sum"), 1)];
            let commit = net.edits(host, busy, edits);
            net.commit(host, commit);
            net.run_ms(20);
        }
        net.settle();
        assert_eq!(net.view().layouts[0].copies, copies(number));
        assert!(keys().all(|key| holders(&net, key) == expected), "{expected} copies");
        let owner = net.owners(0, busy)[0];
        assert_eq!(net.counter(owner, busy, "sum"), 20);
        let of = net.node(3).store().bytes();
        assert!(of < bytes * (expected + 1) / 4, "{of} of {bytes} bytes with {expected} copies");
    }
}

/// Tests rule N2: during a transition too, edits that depend on what others wrote meet at one node.
#[test]
fn conditional_edits_meet_at_one_owner_during_a_transition() {
    let mut net = Net::agreed(4, 2, 0);
    let key = net.key_owned_by(&[0, 1]);
    net.create(0, key);
    net.settle();
    net.hold_views();
    net.drain_member(0);
    hand_all(&mut net);
    let at = net.version(0, key);
    let edit = Edit::SetIf { name: name("once"), value: "x".into(), expected: None };
    let tickets = [0, 1, 2, 3].map(|host| {
        let commit = net.edits(host, key, vec![edit.clone()]);
        net.ask(host, Commit { at: at.clone(), ..commit })
    });
    let outcomes = [0, 1, 2, 3].map(|host| net.outcome(host, tickets[host]));
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
    assert_eq!(done, 1, "{outcomes:?}");
}

/// Tests rule N1: nobody is left who could know.
#[test]
fn a_session_that_nobody_owns_is_unavailable() {
    let mut net = Net::agreed(2, 0, 0);
    net.hold_views();
    let (a, b) = (net.inc(0), net.inc(1));
    let mut view = net.view().clone();
    view.epoch += 1;
    view.members.retain(|member| member.inc == Some(b));
    view.layouts[0].members.retain(|member| member.inc == Some(a));
    net.hand_view(1, view);
    assert_eq!(net.open(1, key(1), None), Opened::Unavailable);
    let edits = net.edits(1, key(1), vec![set("register", "x")]);
    let ticket = net.ask(1, edits);
    assert_eq!(net.outcome(1, ticket), Outcome::Unavailable);
}

/// Tests rule V1: late, repeated and skipped views end in the same.
#[test]
fn views_may_arrive_in_any_order() {
    let mut net = Net::agreed(3, 2, 1);
    fill(&mut net);
    net.hold_views();
    net.join(3);
    net.resize(3);
    net.drain_member(0);
    let views = net.membership().views.clone();
    let newest = views.len() - 1;
    for host in 0..4 {
        for index in [newest - 1, newest - 2, 0, newest, newest - 1, newest] {
            net.hand_view(host, views[index].clone());
        }
        assert_eq!(net.node(host).view(), net.view());
    }
    net.release_views();
    net.settle();
    assert!(keys().all(|key| holders(&net, key) == 3));
    net.run_until("a has handed over", |net| net.node(0).handover().is_complete());
}
