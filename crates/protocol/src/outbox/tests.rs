//! What a peer lacks: marked, sent, acknowledged, given up for a slot and won back.

use super::*;
use crate::fixtures::{NOW, key, session, store, whole, written};
use crate::limits::OUTBOX_SESSIONS_MAX;

const PEER: Inc = Inc(2);

struct Bench {
    outbox: Outbox,
    store: Store,
    counters: Counters,
}

/// An outbox with one peer that is reachable and lacks nothing.
fn bench(sessions_max: usize) -> Bench {
    let mut outbox = Outbox::new(sessions_max, Rules::default());
    outbox.add(PEER, std::iter::empty(), NOW);
    outbox.peer_mut(PEER).expect("a peer").set_reachable(true, NOW);
    Bench { outbox, store: store(), counters: Counters::default() }
}

impl Bench {
    fn peer(&mut self) -> &mut PeerOutbox {
        self.outbox.peer_mut(PEER).expect("a peer")
    }

    /// Creates sessions of some size, dirty for the peer.
    fn create(&mut self, slot: u16, numbers: std::ops::Range<u32>, bytes: usize) {
        let session = written(session(1, NOW), 1, NOW, bytes);
        for number in numbers {
            let key = key(slot, number);
            self.store.apply(whole(&session, key), NOW);
            self.mark(key, &Version::new());
        }
    }

    fn mark(&mut self, key: SessionKey, before: &Version) {
        self.outbox.mark(PEER, key, before, &mut self.counters);
    }

    fn batch(&mut self, now: Time) -> Option<Batch> {
        self.outbox.next_batch(PEER, &self.store, now, &mut self.counters)
    }

    fn tick(&mut self, now: Time) {
        let counters = &mut self.counters;
        self.outbox.peer_mut(PEER).expect("a peer").handle_tick(now, counters);
    }
}

/// Tests rule B1.
#[test]
fn bound_batch_deltas_max() {
    let mut bench = bench(1_000);
    let many = u32::try_from(BATCH_DELTAS_MAX).expect("few") + 1;
    bench.create(0, 0..many, 10);
    assert_eq!(bench.batch(NOW).map(|batch| batch.deltas.len()), Some(BATCH_DELTAS_MAX));
    assert_eq!(bench.batch(NOW).map(|batch| batch.deltas.len()), Some(1));
    assert_eq!(bench.batch(NOW), None);
}

/// Tests rule B1: what does not fit goes next, except alone.
#[test]
fn bound_batch_bytes_max() {
    let mut bench = bench(1_000);
    bench.create(0, 0..20, 10_000);
    bench.create(0, 20..21, 3 * BATCH_BYTES_MAX);
    let mut counts = Vec::new();
    while let Some(batch) = bench.batch(NOW) {
        let bytes: usize = batch.deltas.iter().map(session::Delta::size_bytes).sum();
        assert!(bytes <= BATCH_BYTES_MAX || batch.deltas.len() == 1, "{bytes} bytes");
        counts.push(batch.deltas.len());
        bench.outbox.acknowledge(PEER, batch.number, &[]);
    }
    assert_eq!(counts, [6, 6, 6, 2, 1]);
    assert!(bench.peer().is_clean());
}

/// Tests rule B1: a peer that acknowledges nothing is sent four batches, not more.
#[test]
fn bound_batches_in_flight_max() {
    let mut bench = bench(1_000);
    for number in 0..10 {
        bench.create(0, number..number + 1, 10);
        assert_eq!(bench.batch(NOW).is_some(), (number as usize) < BATCHES_IN_FLIGHT_MAX);
    }
    assert_eq!(bench.peer().in_flight.len(), BATCHES_IN_FLIGHT_MAX);
    bench.outbox.acknowledge(PEER, 1, &[]);
    assert_eq!(bench.batch(NOW).map(|batch| batch.deltas.len()), Some(6), "all that waited");
}

/// Tests rule B1: a late ack is understood, but not for ever.
#[test]
fn bound_batches_remembered_max() {
    let mut bench = bench(1_000);
    bench.create(0, 0..1, 10);
    let mut now = NOW;
    let mut sent = 0;
    while sent < BATCHES_REMEMBERED_MAX + 3 {
        bench.tick(now);
        sent += usize::from(bench.batch(now).is_some());
        now = now.plus(RETRANSMIT_MS_MAX + 1);
    }
    assert!(bench.peer().in_flight.len() <= BATCHES_REMEMBERED_MAX + 1);
    assert!(bench.outbox.acknowledge(PEER, 1, &[]).is_empty(), "forgotten");
    assert!(!bench.peer().is_clean());
    let last = sent as u64;
    assert_eq!(bench.outbox.acknowledge(PEER, last, &[]).len(), 1);
    assert!(bench.peer().is_clean());
}

/// Tests rule B1: the longer a peer is silent, the rarer it is sent the same.
#[test]
fn bound_retransmit_ms() {
    let mut bench = bench(1_000);
    bench.create(0, 0..1, 10);
    let (mut sent, mut waits) = (NOW, Vec::new());
    for ms in 0..60_000 {
        bench.tick(NOW.plus(ms));
        if bench.batch(NOW.plus(ms)).is_some() {
            waits.push(NOW.plus(ms).since(sent));
            sent = NOW.plus(ms);
        }
    }
    let (min, max) = (RETRANSMIT_MS_MIN + 1, RETRANSMIT_MS_MAX + 1);
    assert_eq!(waits[..6], [0, min, 2 * min - 1, 4 * min - 3, max, max]);
    assert_eq!(bench.counters.batches_resent, waits.len() as u64 - 1);
}

/// Tests rule H4: what the peer cannot believe yet is kept back for as long as clocks differ.
#[test]
fn bound_skew_retry_ms() {
    let mut bench = bench(1_000);
    bench.create(0, 0..1, 10);
    let batch = bench.batch(NOW).expect("a batch");
    bench.outbox.acknowledge(PEER, batch.number, &[key(0, 0)]);
    bench.peer().postpone(key(0, 0), NOW);
    bench.tick(NOW.plus(SKEW_RETRY_MS - 1));
    assert_eq!(bench.batch(NOW), None);
    bench.tick(NOW.plus(SKEW_RETRY_MS));
    assert!(bench.batch(NOW).is_some());
}

/// Tests rule L0.
#[test]
fn bound_outbox_sessions_max() {
    let mut bench = bench(OUTBOX_SESSIONS_MAX);
    let many = u32::try_from(OUTBOX_SESSIONS_MAX).expect("it fits") + 500;
    for number in 0..many {
        let slot = u16::try_from(number % 1_000).expect("a slot");
        bench.mark(key(slot, number), &Version::new());
    }
    assert!(bench.peer().dirty_count() <= OUTBOX_SESSIONS_MAX);
    assert!((1..=500).contains(&bench.peer().slot_count()));
    assert_eq!(bench.counters.slots_degraded as usize, bench.peer().slot_count());
}

/// Tests rule L1.
#[test]
fn bound_unreachable_ms() {
    let mut bench = bench(1_000);
    bench.create(3, 0..5, 10);
    bench.peer().set_reachable(false, NOW);
    bench.tick(NOW.plus(UNREACHABLE_MS));
    assert_eq!((bench.peer().dirty_count(), bench.peer().slot_count()), (5, 0));
    bench.tick(NOW.plus(UNREACHABLE_MS + 1));
    assert_eq!((bench.peer().dirty_count(), bench.peer().slot_count()), (0, 1));
    assert!(!bench.peer().can_acknowledge(key(3, 0)));
}

/// Tests rule L1: while a comparison runs, writes are single sessions; if it fails, the slots
/// are dirty again.
#[test]
fn a_slot_is_clean_when_its_comparison_is_complete() {
    let mut bench = bench(1_000);
    bench.peer().slots.extend([key(3, 0).slot(), key(4, 0).slot()]);
    bench.create(3, 0..1, 10);
    assert_eq!(bench.peer().dirty_count(), 1, "also singly: somebody may wait for it");
    bench.peer().begin_comparison(1, Time(0));
    bench.create(3, 1..2, 10);
    assert_eq!((bench.peer().dirty_count(), bench.peer().slot_count()), (2, 2));
    assert_eq!(bench.peer().end_comparison(7), 0, "another one");
    bench.peer().begin_comparison(2, Time(0));
    assert_eq!(bench.peer().slot_count(), 2, "the first has failed");
    assert_eq!(bench.peer().end_comparison(2), 2);
    assert_eq!(bench.peer().slot_count(), 0);
    assert!(!bench.peer().is_clean(), "the write during it is still to be sent");
}

/// Tests rule L1: what a comparison passes over when it begins, its repeated beginning does not
/// make clean: the answer that counts may be of before.
#[test]
fn a_comparison_that_was_passed_over_does_not_begin_later() {
    let mut bench = bench(1_000);
    bench.peer().pass_over_comparison(4);
    bench.peer().slots.insert(key(3, 0).slot());
    bench.peer().begin_comparison(4, NOW);
    bench.peer().pass_over_comparison(3);
    bench.peer().begin_comparison(4, NOW);
    assert_eq!((bench.peer().end_comparison(4), bench.peer().slot_count()), (0, 1));
    bench.peer().begin_comparison(5, NOW);
    assert_eq!((bench.peer().end_comparison(5), bench.peer().slot_count()), (1, 0));
}

/// Tests rule L1: with the connection the comparison is gone.
#[test]
fn a_comparison_that_a_cut_ends_leaves_its_slots_dirty() {
    let mut bench = bench(1_000);
    bench.peer().slots.insert(key(3, 0).slot());
    bench.peer().begin_comparison(1, Time(0));
    bench.peer().set_reachable(false, NOW);
    bench.peer().set_reachable(true, NOW);
    assert_eq!(bench.peer().end_comparison(1), 0);
    assert_eq!(bench.peer().slot_count(), 1);
    assert!(bench.peer().wants_pull(NOW));
    assert!(!bench.peer().wants_pull(NOW.plus(999)), "asked a moment ago");
    assert!(bench.peer().wants_pull(NOW.plus(1_000)));
}

/// Tests rule B3: of a session written during its batch, the rest is sent after the ack.
#[test]
fn an_ack_moves_lo_to_what_was_in_the_batch() {
    let mut bench = bench(1_000);
    bench.create(0, 0..1, 10);
    let batch = bench.batch(NOW).expect("a batch");
    let before = bench.store.version(key(0, 0));
    let session = bench.store.session(key(0, 0)).expect("it lives").clone();
    bench.store.apply(whole(&written(session, 3, NOW, 9), key(0, 0)), NOW);
    bench.mark(key(0, 0), &before);
    bench.outbox.acknowledge(PEER, batch.number, &[]);
    let Body::Change(change) = bench.batch(NOW).expect("the rest").deltas.remove(0).body else {
        panic!("it lives");
    };
    assert_eq!((change.lo, change.core, change.attributes.len()), (before, None, 1));
}

/// Tests rule B1: an older batch's late ack does not confirm what a newer one carries.
#[test]
fn a_late_ack_leaves_a_session_dirty_that_was_sent_anew() {
    let mut bench = bench(1_000);
    bench.create(0, 0..1, 10);
    let first = bench.batch(NOW).expect("a batch");
    let later = NOW.plus(RETRANSMIT_MS_MIN + 1);
    bench.tick(later);
    let second = bench.batch(later).expect("the same again");
    assert_eq!(bench.outbox.acknowledge(PEER, first.number, &[]).len(), 1, "it counts");
    assert!(!bench.peer().is_clean());
    bench.outbox.acknowledge(PEER, second.number, &[]);
    assert!(bench.peer().is_clean());
}

/// Tests rule L0: the queue is no longer than what waits, whatever the peer answers.
#[test]
fn the_queue_does_not_grow_with_refusals() {
    let mut bench = bench(1_000);
    for number in 0..4 {
        bench.create(0, number..number + 1, 10);
        bench.batch(NOW);
    }
    for _ in 0..10_000 {
        bench.mark(key(0, 0), &Version::new());
        bench.peer().clear(key(0, 0));
    }
    assert!(bench.peer().queue.len() < 100, "{} wait", bench.peer().queue.len());
    bench.mark(key(0, 0), &Version::new());
    bench.outbox.acknowledge(PEER, 4, &[]);
    assert_eq!(bench.batch(NOW).map(|batch| batch.deltas.len()), Some(1));
}

/// Tests rule B1: after a cut everything is sent anew, once.
#[test]
fn a_reconnection_makes_everything_in_flight_dirty_again() {
    let mut bench = bench(1_000);
    bench.create(0, 0..3, 10);
    let batch = bench.batch(NOW).expect("a batch");
    bench.peer().set_reachable(false, NOW);
    assert_eq!(bench.batch(NOW), None);
    bench.peer().set_reachable(true, NOW);
    assert!(bench.outbox.acknowledge(PEER, batch.number, &[]).is_empty());
    let again = bench.batch(NOW).expect("again");
    assert_eq!(again.deltas, batch.deltas);
    assert!(again.number > batch.number);
    assert_eq!(bench.batch(NOW), None);
}

/// Tests rule V5: what a peer comes to own it may lack all of; of what it owns no more, nothing.
#[test]
fn a_peer_that_gains_or_loses_a_slot() {
    let mut bench = bench(1_000);
    let (three, four) = (key(3, 0).slot(), key(4, 0).slot());
    assert!(bench.outbox.is_clean_of(three));
    bench.outbox.gained(PEER, three);
    assert!(!bench.outbox.is_clean_of(three) && bench.outbox.is_clean_of(four));
    assert!(bench.peer().may_lack(key(3, 7)) && bench.peer().wants_pull(NOW));
    bench.create(3, 0..2, 10);
    bench.create(4, 0..1, 10);
    assert!(!bench.outbox.is_clean_of(four), "a session is enough");
    bench.outbox.lost(PEER, three);
    assert!(bench.outbox.is_clean_of(three), "neither its sessions nor the slot");
    assert_eq!((bench.peer().dirty_count(), bench.peer().slot_count()), (1, 0));
    assert_eq!(bench.batch(NOW).map(|batch| batch.deltas.len()), Some(1), "of the other slot");
    bench.outbox.gained(Inc(9), three);
    bench.outbox.lost(Inc(9), three);
}

/// Tests rule V9: while a comparison is under way its slots are not clean, and if it fails they
/// are noted again, but for those that the peer has lost.
#[test]
fn a_slot_that_is_being_compared_is_not_clean() {
    let mut bench = bench(1_000);
    let (three, four) = (key(3, 0).slot(), key(4, 0).slot());
    bench.outbox.gained(PEER, three);
    bench.outbox.gained(PEER, four);
    bench.peer().begin_comparison(1, NOW);
    assert!(!bench.outbox.is_clean_of(three));
    bench.outbox.lost(PEER, three);
    assert!(bench.outbox.is_clean_of(three) && !bench.outbox.is_clean_of(four));
    bench.peer().begin_comparison(2, NOW);
    assert_eq!(bench.peer().slot_count(), 1);
    bench.outbox.gained(PEER, three);
    assert_eq!(bench.peer().end_comparison(2), 1);
    assert!(bench.outbox.is_clean_of(four));
    assert!(!bench.outbox.is_clean_of(three), "it was gained after the comparison began");
}

/// Tests rules C1 and L1: a write in a slot that waits for a comparison is sent by itself, so
/// that it can be acknowledged; unless the peer cannot be reached or there are too many.
#[test]
fn a_write_in_a_slot_that_waits_for_a_comparison_is_sent_by_itself() {
    let mut bench = bench(3);
    bench.outbox.gained(PEER, key(3, 0).slot());
    bench.create(3, 0..3, 10);
    assert!(bench.peer().can_acknowledge(key(3, 2)));
    assert!(!bench.peer().can_acknowledge(key(3, 9)), "of another one of the slot it has nothing");
    bench.create(3, 3..4, 10);
    assert_eq!(bench.peer().dirty_count(), 3, "the slot says it already");
    assert!(!bench.peer().can_acknowledge(key(3, 3)));
    let batch = bench.batch(NOW).expect("a batch");
    bench.outbox.acknowledge(PEER, batch.number, &[]);
    assert_eq!((bench.peer().dirty_count(), bench.peer().slot_count()), (0, 1));
    bench.peer().set_reachable(false, NOW);
    bench.create(3, 4..5, 10);
    assert_eq!(bench.peer().dirty_count(), 0, "nobody waits for who is silent");
}

/// Tests rule V2: a session of which the peer does not know that it owns it is tried again.
#[test]
fn what_a_peer_does_not_own_yet_stays_dirty() {
    let mut bench = bench(1_000);
    bench.create(0, 0..1, 10);
    let batch = bench.batch(NOW).expect("a batch");
    bench.outbox.acknowledge(PEER, batch.number, &[key(0, 0)]);
    bench.peer().postpone(key(0, 0), NOW);
    assert!(!bench.outbox.is_clean_of(key(0, 0).slot()));
    bench.tick(NOW.plus(SKEW_RETRY_MS));
    assert!(bench.batch(NOW).is_some());
}
