//! How deltas go out at once, and what becomes of those that do not arrive.

use protocol::Message;
use protocol::limits::RETRANSMIT_MS_MIN;
use session::{Body, Version};

use crate::support::{Net, is_deltas, is_repair, key, set};

/// Tests rule R2: what a peer has already is not sent to it again.
#[test]
fn a_delta_holds_only_what_the_peer_lacks() {
    let mut net = Net::synced(2);
    let creation = net.creation(0, key(1), vec![set("large", &"x".repeat(9_000))]);
    net.commit(0, creation);
    net.run_until_calm();
    net.log.clear();
    net.write(0, key(1), "1");
    net.run_until_calm();
    let batches: Vec<_> = net.log.iter().filter(|e| is_deltas(e)).collect();
    assert_eq!(batches.len(), 1);
    let Message::Deltas(batch) = &batches[0].message else {
        unreachable!("it is filtered");
    };
    assert!(batch.deltas.len() == 1 && batch.deltas[0].size_bytes() < 300);
    assert_eq!(net.register(1, key(1), "register"), "1");
    assert_eq!(net.register(1, key(1), "large").len(), 9_000);
}

/// A write of `a` reaches only `c`, and `c` writes onto it: what `c` sends `b` has a gap.
fn gap_at_b(exists_at_b: bool) -> Net {
    let mut net = Net::synced(3);
    let (a, b) = (net.inc(0), net.inc(1));
    if exists_at_b {
        net.create_everywhere(0, key(1));
    }
    net.lose(move |e| e.from == a && e.to == b && is_deltas(e));
    if exists_at_b {
        net.write(0, key(1), "of a");
    } else {
        net.create(0, key(1));
    }
    let version = net.version(0, key(1));
    net.run_until("c has it", |net| net.version(2, key(1)) == version);
    let commit = net.edits(2, key(1), vec![set("other", "of c")]);
    net.commit(2, commit);
    net
}

/// Tests rule R3: merging onto a gap would hide it, so the delta is refused and sent anew.
#[test]
fn a_delta_is_not_merged_onto_a_gap() {
    let mut net = gap_at_b(true);
    let before = net.version(1, key(1));
    net.run_until("b has seen the gap", |net| net.node(1).counters().gaps == 1);
    assert_eq!(net.version(1, key(1)), before, "nothing of it was merged");
    net.run_until("b has both", |net| net.version(1, key(1)) == net.version(2, key(1)));
    assert_eq!(net.register(1, key(1), "register"), "of a");
    assert_eq!(net.register(1, key(1), "other"), "of c");
    assert_eq!(net.count(is_repair), 0, "one more round trip was enough");
}

/// Tests rule U: a fragment does not become a session.
#[test]
fn a_fragment_of_an_unknown_session_is_not_taken_for_it() {
    let mut net = gap_at_b(false);
    net.run_until("b has seen the gap", |net| net.node(1).counters().gaps == 1);
    assert!(net.session(1, key(1)).is_none());
    net.run_until("b has all of it", |net| net.session(1, key(1)) == net.session(2, key(1)));
    assert_eq!(net.register(1, key(1), "other"), "of c");
}

/// Tests rule R5: at no moment does a copy hold a part of a commit.
#[test]
fn the_edits_of_one_commit_arrive_together() {
    let mut net = Net::synced(3);
    net.create_everywhere(0, key(1));
    for i in 0..20 {
        let value = i.to_string();
        let commit = net.edits(0, key(1), vec![set("left", &value), set("right", &value)]);
        net.commit(0, commit);
        for _ in 0..3 {
            net.step();
            for host in 0..3 {
                let both = ["left", "right"].map(|name| net.register(host, key(1), name));
                assert_eq!(both[0], both[1], "at host {host}");
            }
        }
    }
    net.run_until_calm();
    assert_eq!(net.register(2, key(1), "left"), "19");
}

/// Tests rule B1: a session is dirty until its batch is acknowledged.
#[test]
fn a_lost_batch_is_sent_again() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let mut first = true;
    net.lose(move |e| is_deltas(e) && std::mem::take(&mut first));
    net.write(0, key(1), "1");
    assert!(!net.node(0).is_drained());
    net.run_ms(RETRANSMIT_MS_MIN + 200);
    assert_eq!(net.register(1, key(1), "register"), "1");
    assert!(net.node(0).is_drained());
    assert_eq!(net.node(0).counters().batches_resent, 1);
}

/// Tests rule B1: an ack speaks of the batch that it names, and of no earlier one.
#[test]
fn an_ack_confirms_no_batch_but_its_own() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.create_everywhere(0, key(2));
    let mut first = true;
    net.lose(move |e| is_deltas(e) && std::mem::take(&mut first));
    net.write(0, key(1), "lost");
    net.write(0, key(2), "arrives");
    net.run_until("the second arrives", |net| net.register(1, key(2), "register") == "arrives");
    net.run_ms(100);
    let lag = net.node(0).lags().next().expect("a peer");
    assert_eq!(lag.sessions, 1, "the first is still dirty");
    net.run_until_calm();
    assert_eq!(net.register(1, key(1), "register"), "lost");
}

/// Tests rule B1: what was written while a batch was on its way is not confirmed by its ack.
#[test]
fn a_write_during_a_batch_stays_dirty() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    net.write(0, key(1), "1");
    net.write(0, key(1), "2");
    let mut seen = 0;
    net.lose(move |e| {
        seen += usize::from(is_deltas(e));
        is_deltas(e) && seen == 1
    });
    net.write(0, key(1), "3");
    net.run_ms(20);
    assert_eq!(net.register(1, key(1), "register"), "2");
    assert!(!net.node(0).is_drained(), "the third is not acknowledged by the acks of the others");
    net.run_until_calm();
    assert_eq!(net.register(1, key(1), "register"), "3");
}

/// Tests rule B2: in a full mesh passing on would multiply every write.
#[test]
fn who_merges_a_delta_does_not_pass_it_on() {
    let mut net = Net::synced(4);
    net.create_everywhere(0, key(1));
    net.log.clear();
    for _ in 0..10 {
        net.write(0, key(1), "x");
        net.run_until_calm();
    }
    let a = net.inc(0);
    assert_eq!(net.count(|e| is_deltas(e) && e.from != a), 0);
    assert_eq!(net.count(is_deltas), 30, "each write once to each of the three others");
}

/// Tests rule B3: `lo` is what the peer acknowledged last, however often was written since.
#[test]
fn deltas_build_on_what_was_acknowledged_last() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let acknowledged = net.version(0, key(1));
    net.lose(|e| matches!(e.message, Message::Ack { .. }));
    for value in ["1", "2", "3"] {
        net.write(0, key(1), value);
        net.run_ms(10);
    }
    let los: Vec<Version> = net
        .log
        .iter()
        .filter_map(|envelope| match &envelope.message {
            Message::Deltas(batch) => match &batch.deltas[0].body {
                Body::Change(change) => Some(change.lo.clone()),
                Body::End(_) => None,
            },
            _ => None,
        })
        .filter(|lo| !lo.is_empty())
        .collect();
    assert_eq!(los, vec![acknowledged; 3]);
    assert_eq!(net.register(1, key(1), "register"), "3", "each delta held all since");
}
