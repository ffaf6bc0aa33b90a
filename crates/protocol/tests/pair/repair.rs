//! Comparing, asking, receiving: after cuts, overflows and starts.

use protocol::limits::{REPAIR_INTERVAL_MS, SUSPECT_MS, UNREACHABLE_MS};
use protocol::{Lag, Message, Node};

use crate::support::{Net, bytes, is_deltas, is_repair, key, key_in, name, set};

fn lag(net: &Net, host: usize, peer: usize) -> Lag {
    let peer = net.inc(peer);
    net.node(host).lags().find(|lag| lag.peer == peer).expect("a peer")
}

/// Tests rule L0: a slow peer costs one entry per session, however often that is written.
#[test]
fn the_outbox_counts_sessions_and_not_writes() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.cut(0, 1);
    net.run_ms(3_000);
    for number in 0..50 {
        net.write(0, key(1), &number.to_string());
    }
    assert_eq!((lag(&net, 0, 1).sessions, lag(&net, 0, 1).slots), (1, 0));
    net.mend(0, 1);
    net.run_until_calm();
    assert_eq!(net.register(1, key(1), "register"), "49");
}

/// Tests rule L1: beyond its bound the outbox remembers slots, and a comparison cleans them.
#[test]
fn an_outbox_that_overflows_becomes_slots_and_then_clean() {
    let mut net = Net::synced_with(2, |options| options.outbox_sessions_max = 4);
    net.cut(0, 1);
    net.run_ms(3_000);
    for number in 0..20 {
        net.create(0, key_in(number / 2, number));
    }
    let behind = lag(&net, 0, 1);
    assert!(behind.sessions <= 4 && (1..=10).contains(&behind.slots), "{behind:?}");
    assert_eq!(net.node(0).counters().slots_degraded as usize, behind.slots);
    net.mend(0, 1);
    net.run_until_calm();
    assert_eq!(net.node(1).store().sessions(), 20);
    assert_eq!((lag(&net, 0, 1).sessions, lag(&net, 0, 1).slots), (0, 0));
    assert!(net.node(0).counters().slots_recovered as usize >= behind.slots);
}

/// Tests rule L1: a peer away for long costs no more than its slots.
#[test]
fn a_peer_unreachable_for_long_costs_no_session() {
    let mut net = Net::synced(2);
    net.cut(0, 1);
    net.run_ms(3_000);
    for number in 0..20 {
        net.create(0, key(number));
    }
    net.run_ms(UNREACHABLE_MS - 1_000);
    assert_eq!(lag(&net, 0, 1).sessions, 20 * usize::from(lag(&net, 0, 1).slots == 0));
    net.run_ms(2_000);
    assert_eq!((lag(&net, 0, 1).sessions, lag(&net, 0, 1).slots), (0, 20));
    net.mend(0, 1);
    net.run_until_calm();
    assert_eq!(net.node(1).store().sessions(), 20);
}

/// Tests rule L1: a peer that is reachable and behind by slots is asked to compare at once.
#[test]
fn an_overflow_towards_a_slow_peer_is_repaired_without_waiting_for_the_interval() {
    let mut net = Net::synced_with(2, |options| options.outbox_sessions_max = 2);
    net.lose(|e| matches!(e.message, Message::Ack { .. }));
    for number in 0..20 {
        net.create(0, key(number));
    }
    net.lose_nothing();
    let before = net.now;
    net.run_until_calm();
    assert!(net.now.since(before) < REPAIR_INTERVAL_MS / 2);
    assert!(net.count(|e| matches!(e.message, Message::Pull)) >= 1);
}

/// Tests rule L1: writes to a slot that waits for a comparison are not acknowledged by themselves,
/// so nobody waits for that.
#[test]
fn a_commit_does_not_wait_for_a_peer_that_must_compare_first() {
    let mut net = Net::synced_with(2, |options| options.outbox_sessions_max = 2);
    net.lose(|e| matches!(e.message, Message::Ack { .. } | Message::Pull | Message::Root { .. }));
    for number in 0..20 {
        net.create(0, key_in(7, number));
    }
    assert!(lag(&net, 0, 1).slots >= 1);
    let before = net.now;
    let commit = net.edits(0, key_in(7, 1), vec![set("register", "x")]);
    let acked = net.commit(0, protocol::Commit { level: protocol::Ack::One, ..commit });
    assert_eq!((acked.report.asked, acked.report.got), (1, 0));
    assert!(net.now.since(before) <= 100);
}

/// Tests rule P3: however busy its slot is, what is missing is asked for at once.
#[test]
fn a_slot_that_is_written_all_the_time_is_repaired_as_well() {
    let mut net = Net::synced(3);
    for number in 0..5 {
        net.create_everywhere(0, key_in(7, number));
    }
    let (a, b) = (net.inc(0), net.inc(1));
    net.lose(move |e| e.from == a && (e.to == b || is_repair(e)));
    net.write(0, key_in(7, 0), "missing at b");
    net.run_until("c has it", |net| net.version(2, key_in(7, 0)) == net.version(0, key_in(7, 0)));
    net.crash(0);
    let started = net.now;
    while net.register(1, key_in(7, 0), "register") != "missing at b" {
        for number in 0..5 {
            let edits = vec![set("busy", &net.now.0.to_string())];
            let commit = net.edits(1, key_in(7, number), edits);
            net.commit(1, commit);
        }
        net.run_ms(50);
        assert!(net.now.since(started) < 2 * REPAIR_INTERVAL_MS, "it starves");
    }
}

/// Tests rule P3: a comparison that differs in nothing costs two small messages.
#[test]
fn an_idle_cluster_repairs_nothing() {
    let mut net = Net::synced(3);
    for number in 0..30 {
        net.create_everywhere(0, key(number));
    }
    net.run_ms(REPAIR_INTERVAL_MS);
    net.log.clear();
    net.run_ms(10 * REPAIR_INTERVAL_MS);
    let rounds = net.count(|e| matches!(e.message, Message::Root { .. }));
    assert!((48..=90).contains(&rounds), "{rounds} rounds of six pairs in ten intervals");
    let same = net.count(|e| matches!(e.message, Message::Same { .. }));
    let compared = net.count(|e| matches!(e.message, Message::Compared { .. }));
    assert!(same.abs_diff(rounds) <= 2 && compared.abs_diff(rounds) <= 2);
    assert_eq!(net.log.len(), rounds + same + compared);
}

/// Tests rule B4: repair takes its time, and deltas do not wait for it.
#[test]
fn repair_keeps_to_its_rate_and_delays_no_delta() {
    let mut net = Net::synced_with(2, |options| options.repair_bytes_per_second = 20_000);
    for number in 0..20 {
        let creation = net.creation(0, key(number), vec![large(number)]);
        net.commit(0, creation);
    }
    net.run_until_calm();
    net.crash(1);
    net.run_ms(3_000);
    net.start(1);
    let started = net.now;
    net.run_ms(100);
    let creation = net.creation(0, key(99), vec![set("register", "x")]);
    let acked = net.commit(0, protocol::Commit { level: protocol::Ack::One, ..creation });
    let waited = net.now.since(started);
    assert!(waited < 400, "a commit waited {waited} ms");
    assert_eq!(acked.report.asked, 1);
    net.run_until_calm();
    let took = net.now.since(started);
    assert!((7_000..20_000).contains(&took), "200 kB at 20 kB/s, one second saved: {took} ms");
    assert_eq!(net.node(1).store().sessions(), 21);
}

fn large(number: u16) -> session::Edit {
    session::Edit::Set(name(&format!("large{number}")), bytes(10_000))
}

/// Tests rule S1: until it has compared itself with everybody who answers, it does not serve.
#[test]
fn a_started_node_is_synced_after_everybody_who_answers() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    net.crash(2);
    net.run_ms(10);
    net.start(2);
    let b = net.inc(1);
    net.lose(move |e| e.from == b && is_repair(e));
    net.run_ms(5_000);
    assert_eq!((net.node(2).is_synced(), net.node(2).sync_pending()), (false, 1));
    net.lose_nothing();
    net.run_until("c is synced", |net| net.node(2).is_synced());
}

/// Tests rules S1 and P3: a list that is lost several times does not hold up a node that starts,
/// for it is asked for again while sessions of others arrive.
#[test]
fn what_is_lost_is_asked_for_again_while_other_things_arrive() {
    let mut net = Net::synced_with(2, |options| options.repair_bytes_per_second = 400_000);
    for number in 0..200 {
        let creation = net.creation(0, key(number), vec![large(number)]);
        net.commit(0, creation);
    }
    net.run_until_calm();
    net.crash(1);
    net.run_ms(3_000);
    net.start(1);
    let started = net.now;
    let (a, mut losses) = (net.inc(0), 3);
    net.lose(move |e| match e.message {
        Message::List { slot, .. } if e.from == a && slot == key(100).slot() && losses > 0 => {
            losses -= 1;
            true
        }
        _ => false,
    });
    net.run_until("b is synced", |net| net.node(1).is_synced());
    let took = net.now.since(started);
    assert!((3_500..4_500).contains(&took), "2 MB at 400 kB/s, one second saved: {took} ms");
}

/// Tests rule S1: a member that answers but takes part in no comparison is not passed over, for it
/// may hold what was acknowledged and nobody else has.
#[test]
fn a_started_node_waits_for_a_member_that_answers_no_comparison_and_serves_meanwhile() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    let (a, b, c) = (net.inc(0), net.inc(1), net.inc(2));
    net.lose(move |e| e.from == c && e.to == a);
    let commit = net.edits(2, key(1), vec![set("register", "acknowledged by b")]);
    let acked = net.commit(2, protocol::Commit { level: protocol::Ack::One, ..commit });
    assert_eq!(acked.report.got, 1);
    net.lose(move |e| e.from == b && is_repair(e));
    net.crash(2);
    net.run_ms(10);
    net.start(2);
    for _ in 0..6 {
        net.run_ms(10_000);
        assert_eq!((net.node(2).is_synced(), net.node(2).sync_pending()), (false, 1));
        let opened = net.open(2, key(1), Some(acked.version.clone()));
        assert!(matches!(opened, protocol::Opened::Session { .. }), "{opened:?}");
        net.write(2, key(1), "written through a or b");
    }
    assert!(net.session(0, key(1)).is_some_and(|session| session.version != acked.version));
    net.lose_nothing();
    net.run_until("c is synced", |net| net.node(2).is_synced());
    assert!(net.version(2, key(1)).covers_all(&acked.version));
}

/// Tests rule S1: whoever stops a member that answers no comparison lets the others go on.
#[test]
fn a_member_that_answers_no_comparison_is_passed_over_when_it_is_stopped() {
    let mut net = Net::synced(3);
    let b = net.inc(1);
    net.lose(move |e| e.from == b && is_repair(e));
    net.crash(2);
    net.run_ms(10);
    net.start(2);
    net.run_ms(20_000);
    assert!(!net.node(2).is_synced());
    net.crash(1);
    let stopped = net.now;
    net.run_until("c is synced", |net| net.node(2).is_synced());
    assert!(net.now.since(stopped) <= SUSPECT_MS + 100);
}

/// Tests rule S1: who is silent is passed over, after as long as suspicion takes.
#[test]
fn a_started_node_does_not_wait_for_who_is_silent() {
    let mut net = Net::down(3, |_| {});
    net.start(0);
    let started = net.now;
    net.run_until("a serves alone", |net| net.node(0).is_synced());
    assert_eq!(net.now.since(started), SUSPECT_MS);
    net.create(0, key(1));
    net.start(1);
    net.run_until("b serves", |net| net.node(1).is_synced());
    assert!(net.session(1, key(1)).is_some());
}

/// Tests rule S1: nothing compared with nothing is a comparison.
#[test]
fn nodes_that_start_together_serve_at_once() {
    let mut net = Net::started(3);
    net.run_until("all serve", |net| net.nodes().all(Node::is_synced));
    assert!(net.now.since(crate::support::START) < 500);
}

/// Tests rule D1: a peer is suspected when nothing has been heard of it for two seconds.
#[test]
fn a_silent_peer_is_suspected_and_taken_back() {
    let mut net = Net::synced(2);
    net.cut(0, 1);
    net.run_ms(SUSPECT_MS - 600);
    assert!(lag(&net, 0, 1).reachable);
    net.run_ms(1_200);
    assert!(!lag(&net, 0, 1).reachable && !lag(&net, 1, 0).reachable);
    net.mend(0, 1);
    net.run_ms(600);
    assert!(lag(&net, 0, 1).reachable && lag(&net, 1, 0).reachable);
}

/// Tests rule B1: after a reconnection whatever was in flight is sent again, without a wait.
#[test]
fn what_was_in_flight_when_the_link_broke_is_sent_when_it_is_back() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.cut(0, 1);
    net.write(0, key(1), "x");
    net.run_ms(5_000);
    net.lose(is_repair);
    net.mend(0, 1);
    net.run_ms(600);
    assert_eq!(net.register(1, key(1), "register"), "x");
    assert!(net.count(is_deltas) >= 2);
}

/// Tests rules L1 and B3: both sides of a cut write, and meet in one value by themselves.
#[test]
fn after_a_partition_all_copies_become_equal() {
    let mut net = Net::synced_with(4, |options| options.outbox_sessions_max = 8);
    for number in 0..30 {
        net.create_everywhere(0, key(number));
    }
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        net.cut(a, b);
    }
    net.run_ms(3_000);
    for number in 0..30 {
        for host in 0..4 {
            let edits = vec![session::Edit::Add(name("sum"), 1), set(&format!("of{host}"), "x")];
            let commit = net.edits(host, key(number), edits);
            net.commit(host, commit);
        }
    }
    net.run_ms(UNREACHABLE_MS + 1_000);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        net.mend(a, b);
    }
    let healed = net.now;
    net.run_until_calm();
    assert!(net.now.since(healed) < 25_000, "{} ms", net.now.since(healed));
    for number in 0..30 {
        assert_eq!(net.counter(3, key(number), "sum"), 4);
    }
}
