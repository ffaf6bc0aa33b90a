//! What other owners do not have yet: per peer, the sessions that this node has written.
//!
//! ```text
//! lo ≤ what the peer acknowledged last ≤ hi of the batch in flight ≤ our version
//! ```
//!
//! An entry is a key and `lo`, not data: the delta is extracted when the lane can take it, so a
//! slow peer costs one entry per session however often it is written. Beyond its bound the outbox
//! gives up single sessions for whole slots (level L1), which repair then compares.

mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use session::{Body, Inc, SessionKey, Slot, Time, Version};

use crate::counters::Counters;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_DELTAS_MAX, BATCHES_IN_FLIGHT_MAX, BATCHES_REMEMBERED_MAX,
    RETRANSMIT_MS_MAX, RETRANSMIT_MS_MIN, SKEW_RETRY_MS, UNREACHABLE_MS,
};
use crate::message::Batch;
use crate::rules::{Rule, Rules};
use crate::store::Store;

/// Keys without need that a queue may hold however short it is.
const QUEUE_SLACK: usize = 64;

/// A session that a peer lacks something of.
#[derive(Clone, Hash)]
struct Dirty {
    /// What the peer has: its last acknowledged version, else ours before the write (rule B3).
    lo: Version,
    /// True while it waits in the queue; false while all of it is in flight.
    queued: bool,
    /// The last batch that carried it. Only its acknowledgement can make the session clean.
    carried_by: u64,
}

/// What a batch carried of one session: our version then, or `None` for its end.
type Carried = (SessionKey, Option<Version>);

#[derive(Clone, Hash)]
struct InFlight {
    sent: Time,
    carried: Vec<Carried>,
    /// Sent anew meanwhile; a late acknowledgement still counts.
    overdue: bool,
}

/// A comparison that the peer has begun with this node.
#[derive(Clone, Hash)]
struct Comparing {
    round: u64,
    slots: BTreeSet<Slot>,
    began: Time,
}

/// What one peer does not have yet.
#[derive(Clone, Hash)]
pub(crate) struct PeerOutbox {
    dirty: BTreeMap<SessionKey, Dirty>,
    queue: VecDeque<SessionKey>,
    /// Sessions that the peer refused for now, by the time at which they are tried again.
    later: BTreeSet<(Time, SessionKey)>,
    in_flight: BTreeMap<u64, InFlight>,
    next_batch: u64,
    retransmit_ms: u64,
    /// Slots of which the peer may lack anything (level L1).
    slots: BTreeSet<Slot>,
    /// Slots whose comparison by the peer is under way, with its number.
    comparing: Option<Comparing>,
    /// The latest comparison that the peer has begun.
    last_round: u64,
    unreachable_since: Option<Time>,
    asked_to_pull: Option<Time>,
}

/// Outboxes of one shard, one per other member that has been heard of.
#[derive(Clone, Hash)]
pub(crate) struct Outbox {
    peers: BTreeMap<Inc, PeerOutbox>,
    sessions_max: usize,
    rules: Rules,
}

impl Outbox {
    pub(crate) const fn new(sessions_max: usize, rules: Rules) -> Self {
        Self { peers: BTreeMap::new(), sessions_max, rules }
    }

    /// Adds a peer that has nothing: everything it lacks is its slots (amendment 2).
    pub(crate) fn add(&mut self, peer: Inc, slots: impl Iterator<Item = Slot>, now: Time) {
        self.peers.insert(peer, PeerOutbox::new(slots, now));
    }

    /// Forgets a process that is no longer a member.
    pub(crate) fn remove(&mut self, peer: Inc) {
        self.peers.remove(&peer);
    }

    pub(crate) fn peer(&self, peer: Inc) -> Option<&PeerOutbox> {
        self.peers.get(&peer)
    }

    pub(crate) fn peer_mut(&mut self, peer: Inc) -> Option<&mut PeerOutbox> {
        self.peers.get_mut(&peer)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Inc, &PeerOutbox)> {
        self.peers.iter().map(|(inc, peer)| (*inc, peer))
    }

    /// Notes that `peer` lacks what was written onto `before`.
    // Rules L0, L1.
    pub(crate) fn mark(
        &mut self,
        peer: Inc,
        key: SessionKey,
        before: &Version,
        counters: &mut Counters,
    ) {
        let sessions_max = self.sessions_max;
        let Some(outbox) = self.peers.get_mut(&peer) else { return };
        // A slot that waits for a comparison covers its sessions; but a write that somebody waits
        // for need not wait for all of the slot.
        let covered = outbox.slots.contains(&key.slot());
        if covered && (outbox.unreachable_since.is_some() || outbox.dirty.len() >= sessions_max) {
            return;
        }
        outbox.mark(key, before);
        if outbox.dirty.len() > sessions_max {
            outbox.degrade(key.slot(), counters);
        }
    }

    /// `peer` has become an owner of `slot`, of which it may lack anything.
    pub(crate) fn gained(&mut self, peer: Inc, slot: Slot) {
        if let Some(outbox) = self.peers.get_mut(&peer) {
            outbox.slots.insert(slot);
        }
    }

    /// `peer` does not own `slot` any more: it needs nothing of it.
    pub(crate) fn lost(&mut self, peer: Inc, slot: Slot) {
        if let Some(outbox) = self.peers.get_mut(&peer) {
            outbox.forget(slot);
        }
    }

    /// True if no peer is known to lack anything of `slot`.
    pub(crate) fn is_clean_of(&self, slot: Slot) -> bool {
        self.peers.values().all(|outbox| !outbox.may_lack_of(slot))
    }

    /// The next batch for `peer`, if it can take one and anything waits.
    pub(crate) fn next_batch(
        &mut self,
        peer: Inc,
        store: &Store,
        now: Time,
        counters: &mut Counters,
    ) -> Option<Batch> {
        let rules = self.rules;
        let batch = self.peers.get_mut(&peer)?.next_batch(store, now, rules)?;
        counters.batches_sent += 1;
        counters.deltas_sent += batch.deltas.len() as u64;
        Some(batch)
    }

    /// The sessions of that batch, if its acknowledgement by `peer` is awaited.
    pub(crate) fn carried(&self, peer: Inc, batch: u64) -> Vec<SessionKey> {
        let sent = self.peers.get(&peer).and_then(|outbox| outbox.in_flight.get(&batch));
        sent.into_iter().flat_map(|sent| sent.carried.iter().map(|(key, _)| *key)).collect()
    }

    /// Takes an acknowledgement and tells what it confirms. `refused` are the keys that it
    /// excludes.
    pub(crate) fn acknowledge(
        &mut self,
        peer: Inc,
        batch: u64,
        refused: &[SessionKey],
    ) -> Vec<Carried> {
        let rules = self.rules;
        let Some(outbox) = self.peers.get_mut(&peer) else {
            return Vec::new();
        };
        if rules.off(Rule::AckNamesBatch) {
            let earlier: Vec<u64> = outbox.in_flight.range(..batch).map(|(n, _)| *n).collect();
            let mut confirmed = Vec::new();
            for number in earlier {
                confirmed.extend(outbox.acknowledge(number, &[]));
            }
            confirmed.extend(outbox.acknowledge(batch, refused));
            return confirmed;
        }
        outbox.acknowledge(batch, refused)
    }
}

impl PeerOutbox {
    fn new(slots: impl Iterator<Item = Slot>, now: Time) -> Self {
        Self {
            dirty: BTreeMap::new(),
            queue: VecDeque::new(),
            later: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            next_batch: 1,
            retransmit_ms: RETRANSMIT_MS_MIN,
            slots: slots.collect(),
            comparing: None,
            last_round: 0,
            unreachable_since: Some(now),
            asked_to_pull: None,
        }
    }

    // Rule B3.
    fn mark(&mut self, key: SessionKey, before: &Version) {
        let dirty = self.dirty.entry(key).or_insert_with(|| Dirty {
            lo: before.clone(),
            queued: false,
            carried_by: 0,
        });
        if !std::mem::replace(&mut dirty.queued, true) {
            self.enqueue(key);
        }
    }

    /// Keys that became clean meanwhile are left in the queue, and passed over at its head. Before
    /// they are most of it, they go: a peer that takes nothing must not make it grow.
    fn enqueue(&mut self, key: SessionKey) {
        self.queue.push_back(key);
        if self.queue.len() > 2 * self.dirty.len() + QUEUE_SLACK {
            let mut seen = BTreeSet::new();
            let dirty = &self.dirty;
            let waits = |key: &SessionKey| dirty.get(key).is_some_and(|dirty| dirty.queued);
            self.queue.retain(|key| waits(key) && seen.insert(*key));
        }
    }

    /// The peer has `version` of a session that it lacks something of (its answer `Need`).
    pub(crate) fn rebase(&mut self, key: SessionKey, version: Version) {
        if let Some(dirty) = self.dirty.get_mut(&key) {
            dirty.lo = version;
            if !std::mem::replace(&mut dirty.queued, true) {
                self.enqueue(key);
            }
        }
    }

    /// The peer needs nothing of this session any more.
    pub(crate) fn clear(&mut self, key: SessionKey) {
        self.dirty.remove(&key);
    }

    /// Tries a session again later, because the peer finds it too far in the future (rule H4), or
    /// does not know yet that it owns it (rule V2).
    pub(crate) fn postpone(&mut self, key: SessionKey, now: Time) {
        if self.dirty.contains_key(&key) {
            self.later.insert((now.plus(SKEW_RETRY_MS), key));
        }
    }

    // Rules B1, B2: only local commits mark; what is extracted is everything above `lo`.
    fn next_batch(&mut self, store: &Store, now: Time, rules: Rules) -> Option<Batch> {
        let waiting = self.in_flight.values().filter(|batch| !batch.overdue).count();
        if self.unreachable_since.is_some() || waiting >= BATCHES_IN_FLIGHT_MAX {
            return None;
        }
        let mut deltas = Vec::new();
        let mut carried = Vec::new();
        let mut bytes = 0;
        while deltas.len() < BATCH_DELTAS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(key) = self.queue.pop_front() else {
                break;
            };
            let Some(dirty) = self.dirty.get_mut(&key).filter(|dirty| dirty.queued) else {
                continue;
            };
            dirty.queued = false;
            dirty.carried_by = self.next_batch;
            let Some(delta) = store.extract(key, &dirty.lo) else {
                self.dirty.remove(&key);
                continue;
            };
            let size = delta.size_bytes();
            if bytes > 0 && bytes + size > BATCH_BYTES_MAX {
                dirty.queued = true;
                self.queue.push_front(key);
                break;
            }
            bytes += size;
            carried.push((
                key,
                match &delta.body {
                    Body::Change(change) => Some(change.hi.clone()),
                    Body::End(_) => None,
                },
            ));
            deltas.push(delta);
            if rules.off(Rule::DirtyUntilAck) {
                self.dirty.remove(&key);
            }
        }
        if deltas.is_empty() {
            return None;
        }
        let number = self.next_batch;
        self.next_batch += 1;
        self.in_flight.insert(number, InFlight { sent: now, carried, overdue: false });
        Some(Batch { number, deltas })
    }

    /// Rule B1: an acknowledgement speaks of one batch and of what was in it. A session written
    /// since stays dirty, from there on.
    fn acknowledge(&mut self, number: u64, refused: &[SessionKey]) -> Vec<Carried> {
        let Some(mut batch) = self.in_flight.remove(&number) else {
            return Vec::new();
        };
        self.retransmit_ms = RETRANSMIT_MS_MIN;
        batch.carried.retain(|(key, _)| !refused.contains(key));
        for (key, hi) in &batch.carried {
            let Some(dirty) = self.dirty.get_mut(key) else {
                continue;
            };
            if dirty.queued || dirty.carried_by > number {
                if let Some(hi) = hi {
                    dirty.lo.join(hi);
                }
            } else {
                self.dirty.remove(key);
            }
        }
        batch.carried
    }

    /// Queues again what waited long enough: overdue batches, refused sessions.
    pub(crate) fn handle_tick(&mut self, now: Time, counters: &mut Counters) {
        if let Some(since) = self.unreachable_since {
            if now.since(since) > UNREACHABLE_MS {
                self.degrade_all(counters);
            }
            return;
        }
        let overdue_at = now.minus(self.retransmit_ms);
        let mut again = Vec::new();
        for batch in self.in_flight.values_mut() {
            if !batch.overdue && batch.sent < overdue_at {
                batch.overdue = true;
                counters.batches_resent += 1;
                again.extend(batch.carried.iter().map(|(key, _)| *key));
            }
        }
        if !again.is_empty() {
            self.retransmit_ms = (self.retransmit_ms * 2).min(RETRANSMIT_MS_MAX);
        }
        while self.in_flight.len() > BATCHES_REMEMBERED_MAX {
            self.in_flight.pop_first();
        }
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            again.extend(self.later.pop_first().map(|(_, key)| key));
        }
        for key in again {
            self.requeue(key);
        }
    }

    fn requeue(&mut self, key: SessionKey) {
        if let Some(dirty) = self.dirty.get_mut(&key).filter(|dirty| !dirty.queued) {
            dirty.queued = true;
            self.enqueue(key);
        }
    }

    /// The peer is reachable or not. Whatever was in flight is dirty again (rule B1).
    pub(crate) fn set_reachable(&mut self, reachable: bool, now: Time) {
        if reachable {
            self.unreachable_since = None;
            self.retransmit_ms = RETRANSMIT_MS_MIN;
        } else {
            self.unreachable_since = self.unreachable_since.or(Some(now));
            self.fail_comparison();
        }
        self.in_flight.clear();
        self.later.clear();
        self.asked_to_pull = None;
        let keys: Vec<SessionKey> = self.dirty.keys().copied().collect();
        for key in keys {
            self.requeue(key);
        }
    }

    /// True if the peer can be expected to acknowledge this session by itself: it is reachable, and
    /// the session is on its way to it, not only waiting for a comparison (amendment 14).
    pub(crate) fn can_acknowledge(&self, key: SessionKey) -> bool {
        self.unreachable_since.is_none() && self.dirty.contains_key(&key)
    }

    /// True if the peer may lack something of this session, as far as this node knows.
    pub(crate) fn may_lack(&self, key: SessionKey) -> bool {
        self.dirty.contains_key(&key) || self.waits_for_comparison(key.slot())
    }

    /// Sessions that the peer lacks something of.
    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// Slots of which the peer may lack anything, compared right now or not.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len() + self.comparing.as_ref().map_or(0, |comparing| comparing.slots.len())
    }

    /// True if the peer lacks nothing that this node knows of.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.slot_count() == 0
    }
}

#[cfg(test)]
mod tests;
