//! Level L1: whole slots in the place of single sessions, until the peer has compared them.

use std::collections::BTreeSet;

use session::{SessionKey, Slot, Time};

use super::{Comparing, PeerOutbox};
use crate::counters::Counters;
use crate::limits::ROUND_STALL_MS;

impl PeerOutbox {
    /// Gives up the single sessions of a slot: repair will find them.
    // Rule L1.
    pub(super) fn degrade(&mut self, slot: Slot, counters: &mut Counters) {
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

    pub(super) fn forget(&mut self, slot: Slot) {
        for key in self.dirty_in(slot) {
            self.dirty.remove(&key);
        }
        self.slots.remove(&slot);
        if let Some(comparing) = &mut self.comparing {
            comparing.slots.remove(&slot);
        }
    }

    pub(super) fn may_lack_of(&self, slot: Slot) -> bool {
        self.waits_for_comparison(slot) || !self.dirty_in(slot).is_empty()
    }

    pub(super) fn degrade_all(&mut self, counters: &mut Counters) {
        let slots: BTreeSet<Slot> = self.dirty.keys().map(|key| key.slot()).collect();
        counters.slots_degraded += slots.len() as u64;
        self.slots.extend(slots);
        self.dirty.clear();
        self.queue.clear();
        self.later.clear();
    }

    /// The peer starts comparison `round`: what it will list is what we hold from now on, so the
    /// slots are clean unless it fails, and writes from now on are single sessions (amendment 12).
    pub(crate) fn begin_comparison(&mut self, round: u64, now: Time) {
        // A late copy of an old beginning, followed by a late copy of its end, would make slots
        // clean that were never compared.
        if round <= self.last_round {
            return;
        }
        self.last_round = round;
        self.fail_comparison();
        let slots = std::mem::take(&mut self.slots);
        self.comparing = Some(Comparing { round, slots, began: now });
    }

    /// The peer starts comparison `round`, which is not to make anything clean. Nor is a repetition
    /// of its beginning: what the peer goes by may be the answer to the first, and its slots would
    /// be those noted until the second.
    pub(crate) fn pass_over_comparison(&mut self, round: u64) {
        self.last_round = self.last_round.max(round);
    }

    /// The peer has everything that was listed; returns how many slots that makes clean.
    pub(crate) fn end_comparison(&mut self, round: u64) -> usize {
        let ended = self.comparing.take_if(|comparing| comparing.round == round);
        ended.map_or(0, |comparing| comparing.slots.len())
    }

    pub(super) fn fail_comparison(&mut self) {
        if let Some(comparing) = self.comparing.take() {
            self.slots.extend(comparing.slots);
        }
    }

    /// True if the peer should be asked to compare itself with us: it lacks whole slots, was not
    /// asked within the last second, and is not comparing. A comparison that takes long may have
    /// failed on its side; if it has not, the question costs one more, later.
    pub(crate) fn wants_pull(&mut self, now: Time) -> bool {
        let due = self.asked_to_pull.is_none_or(|asked| now.since(asked) >= 1_000);
        let waits = match &self.comparing {
            None => !self.slots.is_empty(),
            Some(comparing) => now.since(comparing.began) > ROUND_STALL_MS,
        };
        let wants = due && waits && self.unreachable_since.is_none();
        if wants {
            self.asked_to_pull = Some(now);
        }
        wants
    }

    /// True if the slot is to be compared, or is being compared.
    pub(super) fn waits_for_comparison(&self, slot: Slot) -> bool {
        let comparing = self.comparing.as_ref();
        self.slots.contains(&slot) || comparing.is_some_and(|c| c.slots.contains(&slot))
    }
}
