//! How sessions end, and that none comes back.

use protocol::{Ack, Commit, Envelope, Life, Message, Opened, Outcome, Report};
use session::{ABSOLUTE_TIMEOUT_MS_MAX, Body, EndReason, SKEW_MS_MAX, SessionKey};

use crate::support::{LIFE_MS, Net, is_deltas, is_repair, key, set};

/// Creates a session that lives for `ms`, and waits until all have it.
fn create_for(net: &mut Net, key: SessionKey, ms: u64) {
    let mut creation = net.creation(0, key, vec![set("register", "x")]);
    if let Life::Create(core) = &mut creation.life {
        core.hard_deadline = net.now.plus(ms);
    }
    net.commit(0, creation);
    net.run_until_calm();
}

/// Tests rule T1: its tombstone would be a burden for as long.
#[test]
fn a_session_that_would_live_too_long_is_not_created() {
    let mut net = Net::synced(2);
    for (ms, created) in [(ABSOLUTE_TIMEOUT_MS_MAX, true), (ABSOLUTE_TIMEOUT_MS_MAX + 1, false)] {
        let mut creation = net.creation(0, key(1), Vec::new());
        let Life::Create(core) = &mut creation.life else {
            unreachable!("it creates");
        };
        core.hard_deadline = core.created.hlc.time().plus(ms);
        creation.key = key(u16::from(created));
        let ticket = net.ask(0, creation);
        let outcome = net.outcome(0, ticket);
        assert_eq!(matches!(outcome, Outcome::Done(_)), created, "{outcome:?}");
    }
    net.run_until_calm();
    assert!(net.nodes().all(|node| node.store().sessions() == 1));
}

/// Tests rule T2: by the receiver's clock its life is over, so it is not merged at all.
#[test]
fn what_arrives_after_its_deadline_is_dead() {
    let mut net = Net::synced(2);
    net.set_ahead(1, 190);
    let mut creation = net.creation(0, key(1), Vec::new());
    if let Life::Create(core) = &mut creation.life {
        core.hard_deadline = net.now.plus(100);
    }
    net.commit(0, creation);
    net.run_ms(50);
    assert_eq!(net.node(1).counters().dead_on_arrival, 1);
    assert!(net.session(0, key(1)).is_some() && net.session(1, key(1)).is_none());
    assert!(net.node(0).is_drained(), "nor is it sent again");
}

/// Tests rule T3: whoever could still hold it alive finds its tombstone.
#[test]
fn a_tombstone_is_kept_until_no_clock_takes_its_session_for_alive() {
    let mut net = Net::synced(2);
    create_for(&mut net, key(1), 20_000);
    let deadline = net.session(0, key(1)).expect("it lives").core.hard_deadline;
    let end = net.end(0, key(1), Ack::All);
    net.commit(0, end);
    let last = deadline.plus(2 * SKEW_MS_MAX);
    while net.now < last {
        assert!(net.has_ended(0, key(1)) && net.has_ended(1, key(1)), "at {:?}", net.now);
        net.step();
    }
    net.run_ms(200);
    assert!(net.nodes().all(|node| node.store().tombstones() == 0), "and no longer");
}

/// Tests rules C1 and T5: a write crosses the news of an end, and is refused with it; whoever then
/// ends the session as well need not wait for more: the other has the end.
#[test]
fn a_refusal_that_tells_of_the_end_acknowledges_an_end() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let b = net.inc(1);
    let ends = |envelope: &Envelope| match &envelope.message {
        Message::Deltas(batch) => batch.deltas.iter().any(|d| matches!(d.body, Body::End(_))),
        _ => false,
    };
    net.lose(move |envelope| ends(envelope) || (envelope.from == b && is_deltas(envelope)));
    let end = net.end(1, key(1), Ack::Local);
    net.commit(1, end);
    let edits = net.edits(0, key(1), vec![set("register", "late")]);
    let write = net.ask(0, Commit { level: Ack::One, ..edits });
    let end = net.end(0, key(1), Ack::One);
    let end = net.ask(0, end);
    let outcome = net.outcome(0, end);
    let Outcome::Done(acked) = outcome else { panic!("{outcome:?}") };
    assert_eq!(acked.report, Report { asked: 1, got: 1 });
    assert_eq!(net.outcome(0, write), Outcome::Gone);
}

/// Tests rule T4: who has not been told of the ends has not caught up.
#[test]
fn a_node_that_starts_learns_of_what_has_ended() {
    let mut net = Net::synced(2);
    for number in 0..40 {
        net.create_everywhere(0, key(number));
    }
    net.crash(1);
    net.run_ms(3_000);
    for number in 0..40 {
        let end = net.end(0, key(number), Ack::Local);
        net.commit(0, end);
    }
    net.start(1);
    net.run_until("b is synced", |net| net.node(1).is_synced());
    assert_eq!((net.node(1).store().sessions(), net.node(1).store().tombstones()), (0, 40));
}

/// Tests rule T5: a delta of a session that has ended is answered with its end.
#[test]
fn who_writes_to_a_session_that_ended_elsewhere_is_told() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.lose(|e| is_deltas(e) || is_repair(e));
    let end = net.end(0, key(1), Ack::Local);
    net.commit(0, end);
    net.write(1, key(1), "late");
    net.run_ms(100);
    assert!(net.session(1, key(1)).is_some(), "it has not heard");
    let a = net.inc(0);
    net.lose(move |e| e.from == a && is_deltas(e) || is_repair(e));
    net.run_until("b is told", |net| net.has_ended(1, key(1)));
    assert!(net.node(0).counters().tombs_pushed >= 1);
    assert!(net.has_ended(0, key(1)));
}

/// Tests rule T5: also when a comparison shows it.
#[test]
fn who_lists_a_session_that_ended_elsewhere_is_told() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let (a, c) = (net.inc(0), net.inc(2));
    net.lose(move |e| e.from == a && (e.to == c || is_repair(e)));
    let end = net.end(0, key(1), Ack::One);
    net.commit(0, end);
    net.crash(0);
    assert!(net.has_ended(1, key(1)) && !net.has_ended(2, key(1)));
    net.lose(move |e| e.from == c && matches!(e.message, Message::Root { .. }));
    net.run_until("c is told", |net| net.has_ended(2, key(1)));
    assert!(net.node(1).counters().tombs_pushed >= 1, "c could not ask by itself");
}

/// The commit by which a login, whose request opened the session at `host`, ends it.
fn rotation(net: &Net, host: usize, key: SessionKey) -> Commit {
    Commit { life: Life::End(EndReason::Rotated), ..net.end(host, key, Ack::All) }
}

/// Tests rule D2: its author has made a session of a copy, which would outlive the logout.
#[test]
fn who_rotates_a_session_that_has_ended_is_told() {
    for reason in [EndReason::Logout, EndReason::Forced, EndReason::Rotated] {
        let mut net = Net::synced(3);
        net.create_everywhere(0, key(1));
        let late = rotation(&net, 1, key(1));
        let first = Commit { life: Life::End(reason), ..net.end(0, key(1), Ack::All) };
        assert_eq!(net.commit(0, first).report, Report { asked: 2, got: 2 });
        for host in 0..3 {
            let ticket = net.ask(host, late.clone());
            assert_eq!(net.outcome(host, ticket), Outcome::Gone, "after {reason:?}");
            for again in [EndReason::Logout, EndReason::Forced] {
                let end = Commit { life: Life::End(again), ..late.clone() };
                assert_eq!(net.commit(host, end).report, Report { asked: 2, got: 2 });
            }
        }
    }
}

/// Tests rule D2: also by a node that asks another to do it, because it has not caught up.
#[test]
fn who_has_another_node_rotate_a_session_that_has_ended_is_told() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let late = rotation(&net, 0, key(1));
    net.crash(2);
    let end = net.end(0, key(1), Ack::One);
    net.commit(0, end);
    net.start(2);
    net.lose(is_repair);
    net.run_ms(100);
    assert!(!net.node(2).is_synced());
    let ticket = net.ask(2, late);
    assert_eq!(net.outcome(2, ticket), Outcome::Gone);
}

/// Tests rules D2, D4: who knows of the end need not ask whether it may stamp, nor whom.
#[test]
fn a_node_that_knows_of_an_end_says_so_by_itself() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let (login, edits) = (rotation(&net, 0, key(1)), net.edits(0, key(1), Vec::new()));
    let end = net.end(0, key(1), Ack::Local);
    net.commit(0, end);
    net.crash(2);
    net.start(2);
    let b = net.inc(1);
    net.lose(move |e| is_repair(e) && (e.from == b || e.to == b));
    net.run_until("c is told", |net| net.has_ended(2, key(1)));
    assert!(!net.node(2).is_synced());
    net.log.clear();
    for late in [login, edits] {
        let ticket = net.ask(2, late);
        assert_eq!(net.outcome(2, ticket), Outcome::Gone);
    }
    assert_eq!(net.count(|e| matches!(e.message, Message::Forward { .. })), 0);
    let again = net.end(2, key(1), Ack::All);
    assert!(matches!(net.commit(2, again).report, Report { asked: 2, got: 1.. }));
}

/// Tests rules D2, F1: a login that repeats itself because no answer came is not told that its
/// session has ended, which it has done itself.
#[test]
fn a_rotation_that_is_asked_for_twice_is_done() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let rotation = rotation(&net, 0, key(1));
    net.crash(2);
    net.run_ms(10);
    net.start(2);
    let mut answers = 0;
    net.lose(move |e| {
        let is_answer = matches!(e.message, Message::Forwarded { .. });
        answers += u32::from(is_answer);
        is_repair(e) || is_answer && answers == 1
    });
    net.run_ms(100);
    assert!(!net.node(2).is_synced());
    net.log.clear();
    let acked = net.commit(2, rotation);
    assert_eq!(net.count(|e| matches!(e.message, Message::Forward { .. })), 2);
    assert!(acked.report.got >= 1);
}

/// Tests rule D2: a logout that crosses a login wins, here or elsewhere, unless the login was over.
#[test]
fn a_login_that_waits_is_gone_when_a_logout_arrives() {
    for host in [0, 1] {
        let mut net = Net::synced(3);
        net.create_everywhere(0, key(1));
        let c = net.inc(2);
        net.lose(move |e| e.from == c && matches!(e.message, Message::Ack { .. }));
        let (login, logout) = (rotation(&net, 0, key(1)), net.end(host, key(1), Ack::One));
        let login = net.ask(0, login);
        let logout = net.ask(host, logout);
        assert_eq!(net.outcome(0, login), Outcome::Gone);
        assert!(matches!(net.outcome(host, logout), Outcome::Done(_)));
        assert!(net.has_ended(0, key(1)));
    }
}

/// Tests rule H4: no clock is dragged along, nothing is lost, and others are not held up.
#[test]
fn what_comes_from_the_future_waits_until_it_is_believed() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.set_ahead(0, 1_500);
    let early = net.write(0, key(1), "early").version.newest().time();
    net.run_ms(800);
    assert!(net.node(1).counters().skew_refused >= 1);
    assert_eq!(net.register(1, key(1), "register"), "");
    net.write(1, key(1), "now");
    assert!(net.version(1, key(1)).newest().time() <= net.now, "no clock followed a's");
    net.create(2, key(2));
    net.run_until("another session arrives", |net| {
        (0..3).all(|host| net.session(host, key(2)).is_some())
    });
    assert!(net.now.plus(SKEW_MS_MAX) < early, "while the first still waits");
    net.run_until_calm();
    assert_eq!(net.register(1, key(1), "register"), "early", "it is the later of the two");
}

/// Tests rule D4: a logout that all have acknowledged stands, whoever was cut off and writes on.
#[test]
fn a_session_that_ended_does_not_come_back_after_a_partition() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.cut(2, 0);
    net.cut(2, 1);
    net.run_ms(3_000);
    let end = net.end(0, key(1), Ack::One);
    net.commit(0, end);
    for number in 0..5 {
        net.write(2, key(1), &number.to_string());
        net.run_ms(1_000);
    }
    net.run_ms(LIFE_MS / 60);
    net.mend(2, 0);
    net.mend(2, 1);
    net.run_until_calm();
    assert!((0..3).all(|host| net.has_ended(host, key(1))));
    assert!(matches!(net.open(2, key(1), None), Opened::Ended(_)));
}

/// Tests rule M1: near the limit, sessions that nobody is signed in to make room, on all nodes.
#[test]
fn bound_evict() {
    let mut net = Net::synced_with(2, |options| options.bytes_max = 40_000);
    let user = session::User::new("ann").expect("a short name");
    for number in 0..40 {
        let mut creation = net.creation(0, key(number), vec![set("register", &"x".repeat(500))]);
        if let Life::Create(core) = &mut creation.life {
            core.user = Some(user.clone()).filter(|_| number % 2 == 0);
        }
        net.commit(0, creation);
        net.run_ms(100);
    }
    assert!(net.node(0).counters().evicted + net.node(1).counters().evicted == 0, "there is room");
    let mut number = 40;
    while net.nodes().all(|node| node.counters().evicted == 0) {
        let creation = net.creation(0, key(number), vec![set("register", &"x".repeat(500))]);
        net.commit(0, creation);
        net.run_ms(100);
        number += 1;
        assert!(number < 90, "it makes no room");
    }
    net.run_until_calm();
    assert!((0..40).step_by(2).all(|n| net.session(1, key(n)).is_some()), "ann stays signed in");
    assert!((0..number).any(|n| net.has_ended(0, key(n)) && net.has_ended(1, key(n))));
    assert!(net.node(0).store().bytes() < 40_000);
    net.create(1, key(number));
}
