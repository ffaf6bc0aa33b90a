//! Whole slots: their summaries, their lists, and giving them up.

use std::collections::BTreeSet;
use std::ops::Bound;

use session::{Hlc, SessionKey, Slot, State};

use super::Store;
use crate::digest::Digest;
use crate::rules::Rule;

impl Store {
    /// True if nothing is held in `slot`.
    #[must_use]
    pub fn is_empty(&self, slot: Slot) -> bool {
        self.index(slot).is_none_or(|index| self.slots[index].entries.is_empty())
    }

    /// Sessions and tombstones in `slot`.
    #[must_use]
    pub fn count(&self, slot: Slot) -> usize {
        self.index(slot).map_or(0, |index| self.slots[index].entries.len())
    }

    /// Gives up everything of slots that this node does not own any more, and returns how much that
    /// was. What it stamped there counts as forgotten (rule E4).
    // Rule V9.
    pub(crate) fn drop_slots(&mut self, slots: &BTreeSet<Slot>) -> usize {
        let mut dropped = 0;
        for slot in slots {
            let Some(index) = self.index(*slot) else { continue };
            let keys: Vec<SessionKey> = self.slots[index].entries.keys().copied().collect();
            dropped += keys.len();
            for key in keys {
                let created = self.session(key).map(|session| session.core.created.hlc);
                let forgotten = &mut self.slots[index].forgotten;
                *forgotten = created.unwrap_or_default().max(*forgotten);
                self.take(index, key);
                self.journal.iter_mut().for_each(|journal| journal.push(key));
            }
        }
        if dropped > 0 {
            self.due.retain(|(_, key)| !slots.contains(&key.slot()));
        }
        dropped
    }

    /// This node has, from every earlier owner, all that still exists of a slot: whatever it
    /// forgot of it does not matter any more (rules E4, V7).
    pub(crate) fn readmit_slot(&mut self, slot: Slot) {
        let Some(index) = self.index(slot) else { return };
        let slot = &mut self.slots[index];
        slot.forgotten = Hlc(0);
        slot.entries.values_mut().for_each(|entry| entry.retired = false);
    }

    /// Digest of everything held.
    #[must_use]
    pub const fn root(&self) -> Digest {
        self.root
    }

    /// Digest of everything held in these slots.
    #[must_use]
    pub fn root_of(&self, slots: impl Iterator<Item = Slot>) -> Digest {
        slots.map(|slot| self.digest(slot)).fold(Digest::default(), Digest::toggle)
    }

    /// Digest of one slot; of nothing if it is another shard's.
    #[must_use]
    pub fn digest(&self, slot: Slot) -> Digest {
        self.index(slot).map(|index| self.slots[index].digest).unwrap_or_default()
    }

    /// Up to `max` keys of `slot` after `after`, each with the short hash of what is held; and
    /// whether there are more.
    #[must_use]
    pub fn list(
        &self,
        slot: Slot,
        after: Option<SessionKey>,
        max: usize,
    ) -> (Vec<(SessionKey, u64)>, bool) {
        let Some(index) = self.index(slot) else {
            return (Vec::new(), false);
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let hidden = self.rules.off(Rule::TombstonesInDigests);
        let mut entries = self.slots[index]
            .entries
            .range((from, Bound::Unbounded))
            .filter(|(_, entry)| !hidden || matches!(entry.state, State::Alive(_)))
            .map(|(key, entry)| (*key, entry.hash.short()));
        let page: Vec<_> = entries.by_ref().take(max).collect();
        let more = entries.next().is_some();
        (page, more)
    }
}
