//! Who executes edits, how often, and what is said of the copies they reached.

use protocol::limits::{EDITS_MAX, FORWARD_RETRY_MS, REQUEST_MS_MAX};
use protocol::{Ack, Life, Message, Node, Outcome, Report};
use session::{Content, Edit, EndReason, SKEW_MS_MAX, SessionKey, Time, Version};

use crate::support::{Net, REQUEST_MS, is_deltas, is_repair, key, name, set};

fn is_forward(envelope: &protocol::Envelope) -> bool {
    matches!(envelope.message, Message::Forward { .. })
}

fn is_forwarded(envelope: &protocol::Envelope) -> bool {
    matches!(envelope.message, Message::Forwarded { .. })
}

/// Three nodes, of which `c` has restarted and does not catch up.
fn unsynced_c() -> Net {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.crash(2);
    net.run_ms(10);
    net.start(2);
    net.lose(is_repair);
    net.run_ms(100);
    assert!(!net.node(2).is_synced());
    net.log.clear();
    net
}

fn add() -> Vec<Edit> {
    vec![Edit::Add(name("counter"), 1)]
}

/// A key whose first owner is that host.
fn key_of(net: &Net, host: usize) -> SessionKey {
    let owned = (1..4_000).map(key).find(|key| net.node(host).owners(*key)[0] == net.inc(host));
    owned.expect("every member is primary somewhere")
}

/// Tests rule N2: a node that has not caught up stamps nothing.
#[test]
fn who_is_not_synced_has_its_edits_stamped_by_an_owner_that_is() {
    let mut net = unsynced_c();
    let (c, at) = (net.inc(2), net.version(0, key(1)));
    let commit = protocol::Commit { at, ..net.edits(2, key(1), add()) };
    let acked = net.commit(2, commit);
    assert_eq!(acked.version.get(c), None, "the stamp is another's");
    assert_eq!(net.count(is_forward), 1);
    net.run_until("a and b have it", |net| net.version(0, key(1)) == net.version(1, key(1)));
    assert_eq!(net.counter(0, key(1), "counter"), 1);
}

/// Tests rule N2: an owner that is synced needs nobody.
#[test]
fn a_synced_owner_stamps_for_itself() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    for host in 0..3 {
        let commit = net.edits(host, key(1), add());
        let acked = net.commit(host, commit);
        assert!(acked.version.get(net.inc(host)).is_some());
    }
    assert_eq!(net.count(is_forward), 0);
}

/// Tests rule N2: edits that depend on what others wrote meet at one node, so that of two at once
/// one is refused.
#[test]
fn conditional_edits_are_stamped_by_the_primary() {
    for host in 0..3 {
        let mut net = Net::synced(3);
        let primary = net.host_of(net.node(0).owners(key(1))[0]).expect("it runs");
        net.create_everywhere(host, key(1));
        let edit = Edit::SetIf { name: name("once"), value: "x".into(), expected: None };
        let tickets = [0, 1, 2].map(|host| {
            let commit = net.edits(host, key(1), vec![edit.clone()]);
            net.ask(host, commit)
        });
        let outcomes = [0, 1, 2].map(|host| net.outcome(host, tickets[host]));
        let done = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
        assert_eq!(done, 1, "{outcomes:?}");
        net.run_until_calm();
        assert!(net.version(0, key(1)).get(net.inc(primary)).is_some());
    }
}

/// Tests rule H3: a clock that is off against most of the others stamps nothing.
#[test]
fn a_node_whose_clock_is_wrong_stamps_nothing() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.set_ahead(1, 300);
    net.run_ms(3_000);
    let b = net.inc(1);
    let commit = net.edits(1, key(1), add());
    let acked = net.commit(1, commit);
    assert_eq!(acked.version.get(b), None);
    for host in [0, 2] {
        let commit = net.edits(host, key(1), add());
        let acked = net.commit(host, commit);
        assert!(acked.version.get(net.inc(host)).is_some(), "its clock is right");
    }
    net.set_ahead(1, 0);
    net.run_ms(6_000);
    let commit = net.edits(1, key(1), add());
    assert!(net.commit(1, commit).version.get(b).is_some(), "right again");
}

/// Tests rule F1: it is sent again, and recognised.
#[test]
fn a_forwarded_edit_is_executed_once_however_often_it_is_sent() {
    let mut net = unsynced_c();
    net.lose(|e| is_repair(e) || is_forwarded(e));
    let at = net.version(0, key(1));
    let commit = protocol::Commit { at, ..net.edits(2, key(1), add()) };
    let ticket = net.ask(2, commit);
    net.run_ms(4 * FORWARD_RETRY_MS);
    assert!(net.count(is_forward) >= 4);
    net.lose(is_repair);
    let outcome = net.outcome(2, ticket);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    net.run_until("both have it", |net| net.version(0, key(1)) == net.version(1, key(1)));
    assert_eq!(net.counter(0, key(1), "counter"), 1);
}

/// Tests rule F1: the same answer, also when the commit waits for acknowledgements meanwhile.
#[test]
fn a_retry_waits_with_the_first() {
    let mut net = unsynced_c();
    let at = net.version(0, key(1));
    let commit = protocol::Commit { at, level: Ack::One, ..net.edits(2, key(1), add()) };
    net.lose(|e| is_repair(e) || matches!(e.message, Message::Ack { .. }));
    let ticket = net.ask(2, commit);
    let outcome = net.outcome(2, ticket);
    let Outcome::Done(acked) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(acked.report, Report { asked: 1, got: 0 });
    assert!(net.count(is_forward) >= 2, "it was sent again while it waited");
    assert_eq!(net.count(is_forwarded), 1);
}

/// Tests rule F1: whether it was executed nobody can tell, and no other is asked.
#[test]
fn a_forwarded_edit_without_an_answer_is_unknown() {
    let mut net = unsynced_c();
    net.lose(|e| is_repair(e) || is_forwarded(e));
    let at = net.version(0, key(1));
    let commit = protocol::Commit { at, ..net.edits(2, key(1), add()) };
    let (ticket, before) = (net.ask(2, commit), net.now);
    assert_eq!(net.outcome(2, ticket), Outcome::Unknown);
    assert!(net.now.since(before) <= REQUEST_MS + 100);
    let targets: std::collections::BTreeSet<_> =
        net.log.iter().filter(|e| is_forward(e)).map(|e| e.to).collect();
    assert_eq!(targets.len(), 1, "it went to one process");
}

/// Tests rule F1: a process that has ended took its answer with it.
#[test]
fn an_edit_is_not_sent_to_the_successor_of_a_process_that_has_it() {
    let mut net = unsynced_c();
    net.lose(|e| is_repair(e) || is_forwarded(e));
    let primary = net.host_of(net.node(2).owners(key(1))[0]).filter(|host| *host != 2).unwrap_or(0);
    let at = net.version(0, key(1));
    let commit = protocol::Commit { at, ..net.edits(2, key(1), add()) };
    let ticket = net.ask(2, commit);
    net.run_ms(50);
    let target = net.log.iter().find(|e| is_forward(e)).expect("it was sent").to;
    let host = net.host_of(target).unwrap_or(primary);
    net.crash(host);
    net.run_ms(10);
    net.start(host);
    assert_eq!(net.outcome(2, ticket), Outcome::Unknown);
}

/// Tests rule F1: who says that it did nothing leaves it to another.
#[test]
fn an_edit_refused_by_one_owner_goes_to_the_next() {
    let mut net = Net::synced(3);
    let key = key_of(&net, 1);
    net.create_everywhere(0, key);
    for host in [1, 2] {
        net.crash(host);
        net.run_ms(10);
        net.start(host);
    }
    net.lose(is_repair);
    net.run_ms(100);
    net.log.clear();
    let at = net.version(0, key);
    let commit = protocol::Commit { at, ..net.edits(2, key, add()) };
    net.commit(2, commit);
    assert_eq!(net.counter(0, key, "counter"), 1);
    let targets: Vec<_> = net.log.iter().filter(|e| is_forward(e)).map(|e| e.to).collect();
    assert_eq!(targets, [net.inc(1), net.inc(0)]);
}

/// Tests rule B5: what nobody waits for is neither executed nor answered.
#[test]
fn edits_past_their_deadline_are_dropped() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.log.clear();
    let before = net.version(0, key(1));
    for late_ms in [0, 1, 1_000_000] {
        let commit = net.edits(0, key(1), add());
        let deadline = net.now.minus(late_ms);
        net.inject(1, 0, Message::Forward { request: late_ms, deadline, commit });
    }
    assert_eq!(net.version(0, key(1)), before);
    assert_eq!(net.count(is_forwarded), 0);
    assert_eq!(net.node(0).waiting().2, 0, "nor remembered");
}

/// Tests rule A5: the core is its maker's, whose clock may even be ahead of the executor's.
#[test]
fn a_session_created_through_another_node_keeps_the_core_of_its_maker() {
    let mut net = unsynced_c();
    net.set_ahead(2, 190);
    let (c, number) = (net.inc(2), 9);
    let creation = net.creation(2, key(number), vec![set("register", "x")]);
    let acked = net.commit(2, creation);
    assert!(acked.version.get(c).is_some(), "the creation counts as a write of c");
    assert_eq!(acked.version.len(), 2, "the edits as one of the executor");
    net.run_until("a and b have it", |net| {
        net.version(0, key(number)) == acked.version && net.version(1, key(number)) == acked.version
    });
    let session = net.session(0, key(number)).expect("it lives");
    assert_eq!(session.core.created.inc, c);
    assert!(session.version.newest() > session.core.created.hlc);
}

/// Tests rule K2: edits are stamped onto a copy that has all that their author saw.
#[test]
fn edits_wait_for_what_their_author_saw() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let a = net.inc(0);
    net.lose(move |e| e.from == a && is_deltas(e));
    let tags = |edit: fn(session::Name, session::Value) -> Edit| edit(name("tags"), "x".into());
    let insert = net.edits(0, key(1), vec![tags(Edit::Insert)]);
    let at = net.commit(0, insert).version;
    let withdraw = protocol::Commit { at, ..net.edits(1, key(1), vec![tags(Edit::Withdraw)]) };
    net.commit(1, withdraw);
    net.lose_nothing();
    net.run_until_calm();
    let session = net.session(0, key(1)).expect("it lives");
    let Content::Set(tags) = session.content(&name("tags")) else {
        panic!("a set");
    };
    assert_eq!(tags.iter().len(), 0, "what the author saw was removed");
}

/// Tests rule A3: what the author had not seen stays, though the executor has it.
#[test]
fn edits_remove_only_what_their_author_saw() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let at = net.version(0, key(1));
    let insert = net.edits(1, key(1), vec![Edit::Insert(name("tags"), "x".into())]);
    net.commit(1, insert);
    net.run_until_calm();
    let edits = vec![Edit::Withdraw(name("tags"), "x".into())];
    let withdraw = protocol::Commit { at, ..net.edits(0, key(1), edits) };
    net.commit(0, withdraw);
    net.run_until_calm();
    let session = net.session(1, key(1)).expect("it lives");
    assert!(matches!(session.content(&name("tags")), Content::Set(tags) if tags.iter().len() == 1));
}

/// Tests rule C1: a silent owner delays a commit by the timeout, and is not counted.
#[test]
fn a_commit_waits_no_longer_than_its_timeout_and_reports_what_it_got() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let b = net.inc(1);
    net.lose(move |e| e.from == b && matches!(e.message, Message::Ack { .. }));
    let before = net.now;
    for (level, report) in [
        (Ack::Local, Report { asked: 0, got: 0 }),
        (Ack::One, Report { asked: 1, got: 1 }),
        (Ack::Quorum, Report { asked: 1, got: 1 }),
        (Ack::All, Report { asked: 2, got: 1 }),
    ] {
        let edits = net.edits(0, key(1), add());
        let acked = net.commit(0, protocol::Commit { level, ..edits });
        assert_eq!(acked.report, report, "{level:?}");
        let waited = net.now.since(before);
        assert!(waited < if level == Ack::All { 1_200 } else { 100 }, "{level:?}: {waited} ms");
    }
}

/// Tests rule C1: an owner that is suspected is not waited for at all.
#[test]
fn a_commit_does_not_wait_for_who_cannot_answer() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.cut(0, 1);
    net.run_ms(3_000);
    let before = net.now;
    let edits = net.edits(0, key(1), add());
    let acked = net.commit(0, protocol::Commit { level: Ack::All, ..edits });
    assert_eq!(acked.report, Report { asked: 2, got: 1 });
    assert!(net.now.since(before) <= 100);
}

/// Tests rule C1: a level counts owners, not messages (I-ACK).
#[test]
fn an_owner_that_acknowledges_twice_counts_once() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let (b, c) = (net.inc(1), net.inc(2));
    net.lose(move |e| e.to == c && is_deltas(e));
    let edits = net.edits(0, key(1), add());
    let ticket = net.ask(0, protocol::Commit { level: Ack::All, ..edits });
    net.run_ms(20);
    let acks: Vec<Message> = net
        .log
        .iter()
        .filter(|e| e.from == b && matches!(e.message, Message::Ack { .. }))
        .map(|e| e.message.clone())
        .collect();
    assert!(!acks.is_empty());
    for ack in acks {
        net.inject(1, 0, ack);
    }
    let Outcome::Done(acked) = net.outcome(0, ticket) else {
        panic!("it is applied");
    };
    assert_eq!(acked.report, Report { asked: 2, got: 1 });
}

/// Tests rule C1: nor does it count twice when two of its acks cover the write (I-ACK).
#[test]
fn an_owner_whose_acks_of_two_batches_cover_a_write_counts_once() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let c = net.inc(2);
    net.lose(move |e| e.to == c && is_deltas(e));
    let first = net.edits(0, key(1), add());
    let ticket = net.ask(0, protocol::Commit { level: Ack::All, ..first });
    net.write(0, key(1), "covers the first");
    net.run_ms(50);
    assert!(!net.hosts[0].committed.contains_key(&ticket), "it waits for c");
    let Outcome::Done(acked) = net.outcome(0, ticket) else {
        panic!("it is applied");
    };
    assert_eq!(acked.report, Report { asked: 2, got: 1 });
}

/// Tests rule D4: a request in flight at logout brings nothing back.
#[test]
fn a_write_to_an_ended_session_is_gone() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let late = net.edits(1, key(1), add());
    let creation = net.creation(1, key(1), add());
    let end = net.end(0, key(1), Ack::All);
    assert_eq!(net.commit(0, end).report, Report { asked: 1, got: 1 });
    for host in 0..2 {
        for commit in [&late, &creation] {
            let ticket = net.ask(host, commit.clone());
            assert_eq!(net.outcome(host, ticket), Outcome::Gone);
        }
    }
    assert!(net.has_ended(0, key(1)) && net.has_ended(1, key(1)));
}

/// Tests rule D4: also one that was applied and waits for its copies.
#[test]
fn a_waiting_write_is_gone_when_its_session_ends() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.lose(|e| matches!(e.message, Message::Ack { .. }));
    let edits = net.edits(0, key(1), add());
    let ticket = net.ask(0, protocol::Commit { level: Ack::All, ..edits });
    let end = net.end(1, key(1), Ack::Local);
    net.commit(1, end);
    assert_eq!(net.outcome(0, ticket), Outcome::Gone);
}

/// Tests rule D2: the old id is refused by every owner when the new cookie leaves.
#[test]
fn a_session_rotated_away_is_refused_everywhere() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let rotated = net.edits(0, key(1), Vec::new());
    let rotated =
        protocol::Commit { life: Life::End(EndReason::Rotated), level: Ack::All, ..rotated };
    assert_eq!(net.commit(0, rotated).report, Report { asked: 2, got: 2 });
    for host in 0..3 {
        assert!(net.has_ended(host, key(1)), "at {host}, without waiting for anything");
    }
}

/// Tests rule D2: an end that did not reach everybody says so.
#[test]
fn an_end_counts_its_copies_honestly() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.cut(0, 2);
    let end = net.end(0, key(1), Ack::All);
    assert_eq!(net.commit(0, end).report, Report { asked: 2, got: 1 });
}

/// Tests rule N2: nobody who may stamp answers, so nothing took effect.
#[test]
fn without_an_owner_that_may_stamp_a_commit_is_unavailable() {
    let mut net = unsynced_c();
    net.crash(0);
    net.crash(1);
    net.run_ms(3_000);
    assert!(net.nodes().all(Node::is_synced), "alone it serves what it has");
    let mut net = unsynced_c();
    let c = net.inc(2);
    net.lose(move |e| e.to == c);
    net.cut(2, 0);
    net.cut(2, 1);
    net.run_ms(1_000);
    let commit = net.edits(2, key(1), add());
    let ticket = net.ask(2, protocol::Commit { at: Version::new(), ..commit });
    let outcome = net.outcome(2, ticket);
    assert!(
        matches!(outcome, Outcome::Unknown | Outcome::Unavailable | Outcome::Gone),
        "{outcome:?}"
    );
}

/// Tests rule F1: as many edits as a commit may have go to another node in one message.
#[test]
fn bound_edits_max() {
    let mut net = unsynced_c();
    let at = net.version(0, key(1));
    let edits = vec![Edit::Add(name("counter"), 1); EDITS_MAX];
    let commit = protocol::Commit { at, ..net.edits(2, key(1), edits) };
    net.commit(2, commit);
    net.run_until("a and b have it", |net| net.version(0, key(1)) == net.version(1, key(1)));
    assert_eq!(net.counter(0, key(1), "counter"), i64::try_from(EDITS_MAX).expect("few"));
}

/// Tests rule F1: whatever deadline a peer names, its edits are forgotten after a minute.
#[test]
fn bound_request_ms_max() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    for request in 0..10 {
        let commit = net.edits(0, key(1), add());
        net.inject(1, 0, Message::Forward { request, deadline: Time(u64::MAX), commit });
    }
    net.run_ms(REQUEST_MS_MAX);
    assert_eq!(net.node(0).waiting().2, 10);
    net.run_ms(2 * SKEW_MS_MAX + 100);
    assert_eq!(net.node(0).waiting().2, 0);
    assert_eq!(net.counter(0, key(1), "counter"), 10);
}

/// Tests rule A5: a node that is full creates nothing, and goes on with what there is.
#[test]
fn bound_bytes_max() {
    let mut net = Net::synced_with(2, |options| options.bytes_max = 3_000);
    let mut created = 0;
    let full = loop {
        let creation = net.creation(0, key(created), vec![set("register", &"x".repeat(500))]);
        let ticket = net.ask(0, creation);
        match net.outcome(0, ticket) {
            Outcome::Done(_) => created += 1,
            other => break other,
        }
    };
    assert_eq!(full, Outcome::Full);
    assert!((4..=6).contains(&created));
    assert!(net.node(0).store().bytes() < 3_000 + 1_000);
    net.run_until_calm();
    net.write(0, key(0), "still here");
    let end = net.end(1, key(1), Ack::All);
    assert_eq!(net.commit(1, end).report, Report { asked: 1, got: 1 });
    let end = net.end(1, key(2), Ack::All);
    net.commit(1, end);
    net.create(0, key(99));
}
