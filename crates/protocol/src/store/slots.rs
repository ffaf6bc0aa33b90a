//! Whole slots: their summaries, their lists, and giving them up.

use std::collections::BTreeSet;
use std::ops::Bound;

use session::{Hlc, Inc, SessionKey, Slot, State};

use super::{GivenUp, Store, began_by};
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

    /// Gives up everything of slots that `me` does not own any more by the view of `epoch`, and
    /// returns how much that was. None of it is stamped here before this node has caught up with
    /// the slot again (V3), and then it has what it stamped, unless that was lost meanwhile.
    // Rule V9.
    pub(crate) fn drop_slots(&mut self, slots: &BTreeSet<Slot>, me: Inc, epoch: u64) -> usize {
        let mut dropped = 0;
        for slot in slots {
            let Some(index) = self.index(*slot) else { continue };
            let entries = &self.slots[index].entries;
            let written = entries.values().filter_map(|entry| match &entry.state {
                State::Alive(session) => session.version.get(me).map(|_| session.core.created.hlc),
                State::Ended(_) => None,
            });
            if let Some(created) = written.max() {
                let before = self.slots[index].given_up.unwrap_or(GivenUp { epoch, created });
                let created = created.max(before.created);
                self.slots[index].given_up = Some(GivenUp { created, ..before });
            }
            let keys: Vec<SessionKey> = self.slots[index].entries.keys().copied().collect();
            dropped += keys.len();
            for key in keys {
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
    /// forgot of it does not matter any more. But what it wrote and gave up before the epoch
    /// `lost_at` may not exist: those sessions it never stamps again, or its next stamp would
    /// claim what is lost.
    // Rules E4, V7, V9.
    pub(crate) fn readmit_slot(&mut self, slot: Slot, lost_at: Option<u64>) {
        let Some(index) = self.index(slot) else { return };
        let slot = &mut self.slots[index];
        slot.forgotten = Hlc(0);
        let given_up = slot.given_up.take();
        if let Some(given_up) = given_up.filter(|given_up| lost_at > Some(given_up.epoch)) {
            slot.bereft = slot.bereft.max(given_up.created);
        }
        let bereft = slot.bereft;
        slot.entries.values_mut().for_each(|entry| entry.retired = began_by(&entry.state, bereft));
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

#[cfg(test)]
mod tests {
    use session::{Body, Delta, EndReason};

    use super::*;
    use crate::fixtures::{NOW, key, session, store, whole};
    use crate::store::Swept;

    fn filled() -> Store {
        let mut store = store();
        for slot in 0..3 {
            for number in 0..4 {
                store.apply(whole(&session(1, NOW), key(slot, number)), NOW);
            }
            let body = Body::End(session(1, NOW).end(EndReason::Logout));
            store.apply(Delta { key: key(slot, 9), body }, NOW);
        }
        store
    }

    fn slots(numbers: &[u16]) -> BTreeSet<Slot> {
        numbers.iter().filter_map(|number| Slot::new(*number)).collect()
    }

    /// Tests rule V9: of a slot that is given up nothing is left, and of the others everything.
    #[test]
    fn slots_are_given_up_with_all_that_follows_from_them() {
        let mut store = filled();
        let (bytes, one) = (store.bytes(), store.digest(key(1, 0).slot()));
        store.keep_journal();
        assert_eq!(store.drop_slots(&slots(&[0, 2, 77]), Inc(9), 1), 10);
        assert_eq!(store.drain_journal().len(), 10, "whoever keeps an index is told");
        assert_eq!((store.sessions(), store.tombstones()), (4, 1));
        assert_eq!((store.bytes(), store.root()), (bytes / 3, one));
        assert_eq!(store.root(), store.recomputed_root());
        assert!(store.is_empty(key(0, 0).slot()) && store.count(key(1, 0).slot()) == 5);
        assert_eq!(store.drop_slots(&slots(&[0, 2]), Inc(9), 1), 0);
        let swept = store.sweep(NOW.plus(4_000_000), 100);
        assert_eq!((swept.expired.len(), swept.tombstones), (4, 1));
        assert_eq!(store.sweep(NOW.plus(4_000_000), 100), Swept::default());
    }

    /// Tests rules E4 and V7: what was forgotten for idleness and comes back is not stamped, until all
    /// that exists of the slot has been got from its earlier owners.
    #[test]
    fn a_slot_that_was_caught_up_with_is_stamped_again() {
        let mut store = filled();
        let later = NOW.plus(700_000);
        assert_eq!(store.sweep(later, 100).expired.len(), 12);
        let (early, new) = (session(1, NOW), session(1, later));
        store.apply(whole(&early, key(0, 0)), NOW);
        store.apply(whole(&new, key(0, 1)), later);
        assert!(store.is_retired(key(0, 0)));
        assert!(!store.is_retired(key(0, 1)), "it began afterwards");
        store.readmit_slot(key(0, 0).slot(), None);
        assert!(!store.is_retired(key(0, 0)));
        store.apply(whole(&early, key(0, 2)), NOW);
        assert!(!store.is_retired(key(0, 2)), "nor does it count for what comes later");
    }

    /// Tests rule V9: what was written, given up and then lost is never stamped again by who wrote
    /// it; neither what others alone wrote later, nor anything if the slot was not lost since.
    #[test]
    fn what_was_given_up_and_lost_is_left_to_others() {
        let (slot, later) = (key(0, 0).slot(), NOW.plus(10_000));
        for (lost_at, is_bereft) in [(None, false), (Some(5), false), (Some(6), true)] {
            let mut store = store();
            store.apply(whole(&session(1, NOW), key(0, 0)), NOW);
            assert_eq!(store.drop_slots(&slots(&[0]), Inc(1), 5), 1);
            store.apply(whole(&session(1, NOW), key(0, 0)), NOW);
            store.readmit_slot(slot, lost_at);
            assert_eq!(store.is_retired(key(0, 0)), is_bereft, "{lost_at:?}");
            store.readmit(key(0, 0));
            assert_eq!(store.is_retired(key(0, 0)), is_bereft, "nobody can give it back");
            store.apply(whole(&session(2, later), key(0, 1)), later);
            assert!(!store.is_retired(key(0, 1)), "it began afterwards");
            assert_eq!(store.drop_slots(&slots(&[0]), Inc(3), 7), 2);
            store.apply(whole(&session(1, NOW), key(0, 0)), NOW);
            store.readmit_slot(slot, Some(8));
            assert_eq!(store.is_retired(key(0, 0)), is_bereft, "what others wrote is no matter");
        }
    }

    /// Tests rule P3: the digest of some slots is the sum of theirs.
    #[test]
    fn the_root_of_some_slots_is_that_of_a_store_of_nothing_else() {
        let mut store = filled();
        let some = store.root_of(slots(&[0, 2, 5]).into_iter());
        assert_eq!(store.root_of(slots(&[0, 1, 2]).into_iter()), store.root());
        assert_eq!(store.root_of(std::iter::empty()), Digest::default());
        store.drop_slots(&slots(&[1]), Inc(9), 1);
        assert_eq!(store.root(), some);
    }
}
