//! What other owners do not have yet: per peer, the sessions that this node has written.
//!
//! ```text
//! lo ≤ what the peer acknowledged last ≤ hi of the batch in flight ≤ our version
//! ```
//!
//! An entry is a key and `lo`, not data: the delta is extracted when the lane can take it, so a
//! slow peer costs one entry per session however often it is written. Beyond its bound the outbox
//! gives up single sessions for whole slots (level L1), which repair then compares.

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

struct InFlight {
    sent: Time,
    carried: Vec<Carried>,
    /// Sent anew meanwhile; a late acknowledgement still counts.
    overdue: bool,
}

/// What one peer does not have yet.
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
    comparing: Option<(u64, BTreeSet<Slot>)>,
    unreachable_since: Option<Time>,
    asked_to_pull: Option<Time>,
}

/// Outboxes of one shard, one per other member that has been heard of.
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
    pub(crate) fn mark(
        &mut self,
        peer: Inc,
        key: SessionKey,
        before: &Version,
        counters: &mut Counters,
    ) {
        let sessions_max = self.sessions_max;
        if let Some(outbox) = self.peers.get_mut(&peer) {
            outbox.mark(key, before);
            if outbox.dirty.len() > sessions_max {
                outbox.degrade(key.slot(), counters);
            }
        }
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
            unreachable_since: Some(now),
            asked_to_pull: None,
        }
    }

    // Rule B3.
    fn mark(&mut self, key: SessionKey, before: &Version) {
        if self.slots.contains(&key.slot()) {
            return;
        }
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

    /// Tries a session again later, because the peer finds it too far in the future (rule H4).
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

    /// Gives up the single sessions of a slot: repair will find them.
    fn degrade(&mut self, slot: Slot, counters: &mut Counters) {
        let keys: Vec<SessionKey> = self.dirty_in(slot);
        for key in keys {
            self.dirty.remove(&key);
        }
        if self.slots.insert(slot) {
            counters.slots_degraded += 1;
        }
    }

    fn dirty_in(&self, slot: Slot) -> Vec<SessionKey> {
        let mut first = [0; SessionKey::BYTES];
        first[..2].copy_from_slice(&(slot.number() << 4).to_be_bytes());
        let keys = self.dirty.range(SessionKey(first)..).map(|(key, _)| *key);
        keys.take_while(|key| key.slot() == slot).collect()
    }

    fn degrade_all(&mut self, counters: &mut Counters) {
        let slots: BTreeSet<Slot> = self.dirty.keys().map(|key| key.slot()).collect();
        counters.slots_degraded += slots.len() as u64;
        self.slots.extend(slots);
        self.dirty.clear();
        self.queue.clear();
        self.later.clear();
    }

    /// The peer starts comparison `round`: what it will list is what we hold from now on, so the
    /// slots are clean unless it fails, and writes from now on are single sessions (amendment 12).
    pub(crate) fn begin_comparison(&mut self, round: u64) {
        if self.comparing.as_ref().is_some_and(|(number, _)| *number == round) {
            return;
        }
        self.fail_comparison();
        self.comparing = Some((round, std::mem::take(&mut self.slots)));
    }

    /// The peer has everything that was listed; returns how many slots that makes clean.
    pub(crate) fn end_comparison(&mut self, round: u64) -> usize {
        match self.comparing.take_if(|(number, _)| *number == round) {
            Some((_, slots)) => slots.len(),
            None => 0,
        }
    }

    fn fail_comparison(&mut self) {
        if let Some((_, slots)) = self.comparing.take() {
            self.slots.extend(slots);
        }
    }

    /// True if the peer should be asked to compare itself with us: it lacks whole slots, and was
    /// not asked within the last second.
    pub(crate) fn wants_pull(&mut self, now: Time) -> bool {
        let due = self.asked_to_pull.is_none_or(|asked| now.since(asked) >= 1_000);
        let wants = due
            && self.unreachable_since.is_none()
            && self.comparing.is_none()
            && !self.slots.is_empty();
        if wants {
            self.asked_to_pull = Some(now);
        }
        wants
    }

    /// True if the peer can acknowledge a write to `slot` by itself: it is reachable and not
    /// waiting for a comparison of that slot (amendment 14).
    pub(crate) fn can_acknowledge(&self, slot: Slot) -> bool {
        self.unreachable_since.is_none() && !self.slots.contains(&slot)
    }

    /// True if the peer may lack something of this session, as far as this node knows.
    pub(crate) fn may_lack(&self, key: SessionKey) -> bool {
        let comparing = self.comparing.as_ref();
        self.dirty.contains_key(&key)
            || self.slots.contains(&key.slot())
            || comparing.is_some_and(|(_, slots)| slots.contains(&key.slot()))
    }

    /// Sessions that the peer lacks something of.
    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// Slots of which the peer may lack anything, compared right now or not.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len() + self.comparing.as_ref().map_or(0, |(_, slots)| slots.len())
    }

    /// True if the peer lacks nothing that this node knows of.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.slot_count() == 0
    }
}
