//! For which slots this node has caught up, and may therefore speak as an owner.

use std::collections::{BTreeMap, BTreeSet};

use session::{Inc, Slot, Time};

use crate::limits::SUSPECT_MS;
use crate::placement::Placement;
use crate::rules::{Rule, Rules};
use crate::view::{MemberName, View};

/// Catching up, under a fixed view and under an agreed one.
///
/// Under a fixed view a started node catches up as a whole (amendment 8): after a full comparison
/// with every member that answers; a member silent for two seconds is passed over. One that is heard
/// of but answers no comparison is not: it may be the only one that holds a write which was
/// acknowledged (decision 011). If nobody has anything, all of them are synced at once, because
/// comparing nothing with nothing is a comparison.
///
/// Under an agreed view it catches up layout by layout: an owner by the oldest layout in force has
/// caught up before; an owner by a later one has when it has compared itself with every owner by an
/// earlier one, each of which had adopted the later one when it listed what it holds. If no owner by
/// the oldest layout is left, only the other new owners may have caught up with them: then it has
/// to compare itself with all of those, as they are once they know that there is nobody else.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Sync {
    started: Time,
    pending: BTreeSet<MemberName>,
    /// True once caught up under a fixed view.
    whole: bool,
    /// Per process, the latest epoch that all its answers of one complete comparison were of.
    compared: BTreeMap<Inc, u64>,
    first_slot: u16,
    /// Per slot, whether this node speaks for it: follows from view, placement and the above.
    speaks: Vec<bool>,
    /// Slots of which this node has caught up by the layout of that epoch. It gets every write to
    /// them as long as that layout is in force.
    caught_up: BTreeSet<(u64, Slot)>,
    /// Slots of which no owner by the oldest layout is left, and the epoch by which this node knew.
    deserted: BTreeMap<Slot, u64>,
    /// Epochs of layouts in which this node has reported to be synced.
    reported: BTreeSet<u64>,
    rules: Rules,
}

impl Sync {
    /// A node that has just started and, under a fixed view, has to compare itself with `others`.
    pub(crate) fn new(
        started: Time,
        others: impl Iterator<Item = MemberName>,
        (first_slot, slots): (u16, u16),
        rules: Rules,
    ) -> Self {
        Self {
            started,
            pending: others.collect(),
            whole: false,
            compared: BTreeMap::new(),
            first_slot,
            speaks: vec![false; usize::from(slots)],
            caught_up: BTreeSet::new(),
            deserted: BTreeMap::new(),
            reported: BTreeSet::new(),
            rules,
        }
    }

    /// True if this node owns the slot and has everything of it.
    pub(crate) fn speaks_for(&self, slot: Slot) -> bool {
        let index = slot.number().checked_sub(self.first_slot).map(usize::from);
        index.and_then(|index| self.speaks.get(index)).is_some_and(|speaks| *speaks)
    }

    /// True if there is any slot that this node speaks for.
    pub(crate) fn speaks_for_any(&self) -> bool {
        self.speaks.contains(&true)
    }

    /// True if this node is synced in a layout in force beside the oldest.
    pub(crate) fn has_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Members that it still has to be compared with, under a fixed view.
    pub(crate) fn pending(&self) -> usize {
        if self.whole { 0 } else { self.pending.len() }
    }

    /// A comparison with that process is complete, whose answers were of `epoch` or later.
    pub(crate) fn compared_with(&mut self, member: Option<&MemberName>, inc: Inc, epoch: u64) {
        if let Some(member) = member {
            self.pending.remove(member);
        }
        let latest = self.compared.entry(inc).or_insert(epoch);
        *latest = epoch.max(*latest);
    }

    /// Forgets processes that are gone.
    pub(crate) fn retain(&mut self, present: impl Fn(Inc) -> bool) {
        self.compared.retain(|inc, _| present(*inc));
    }

    /// True if this makes the node synced under a fixed view. `is_silent` tells which members do
    /// not answer.
    // Rule S1.
    pub(crate) fn check_whole(
        &mut self,
        now: Time,
        is_silent: impl Fn(&MemberName) -> bool,
    ) -> bool {
        let waited = now.since(self.started) >= SUSPECT_MS;
        if self.whole || !self.pending.iter().all(|member| waited && is_silent(member)) {
            return false;
        }
        self.whole = true;
        true
    }

    /// Works out anew which slots `me` speaks for, and returns those that are new.
    pub(crate) fn refresh(&mut self, view: &View, placement: &Placement, me: Inc) -> Vec<Slot> {
        self.note_catching_up(view, placement, me);
        let mut gained = Vec::new();
        let member = view.contains(me);
        for slot in placement.slots() {
            let speaks = member
                && if view.is_fixed() {
                    self.whole && placement.is_owner(slot, me)
                } else {
                    placement.is_settled(slot, me)
                        || view.layouts[1..].iter().any(|l| self.has_caught_up(slot, l.epoch))
                };
            let index = usize::from(slot.number() - self.first_slot);
            if speaks && !self.speaks[index] {
                gained.push(slot);
            }
            self.speaks[index] = speaks;
        }
        gained
    }

    /// Notes what has been caught up with by each layout but the oldest.
    // Rules V6, V7.
    fn note_catching_up(&mut self, view: &View, placement: &Placement, me: Inc) {
        if view.is_fixed() {
            return;
        }
        self.caught_up.retain(|(epoch, _)| view.layouts.iter().any(|l| l.epoch == *epoch));
        for slot in placement.slots() {
            if placement.settled_owners(slot).next().is_some() {
                self.deserted.remove(&slot);
            } else {
                self.deserted.entry(slot).or_insert(view.epoch);
            }
            for age in 1..view.layouts.len() {
                let caught_up = (view.layouts[age].epoch, slot);
                if !placement.is_owner_by(age, slot, me) || self.caught_up.contains(&caught_up) {
                    continue;
                }
                let (mut sources, epoch) = self.needed(view, placement, me, slot, age);
                let compared = |inc: Inc| self.has_compared(inc, epoch);
                let done = match self.rules.off(Rule::SyncFromAll) {
                    false => sources.all(compared),
                    true => {
                        sources.next().is_none_or(|first| compared(first) || sources.any(compared))
                    }
                };
                if done {
                    self.caught_up.insert(caught_up);
                }
            }
        }
    }

    /// With whom an owner by the layout of that age has to compare itself, some of them told more
    /// than once, and as of which epoch.
    fn needed<'a>(
        &self,
        view: &View,
        placement: &'a Placement,
        me: Inc,
        slot: Slot,
        age: usize,
    ) -> (impl Iterator<Item = Inc> + 'a, u64) {
        let seal = if self.rules.off(Rule::Seal) { 0 } else { view.layouts[age].epoch };
        let (ages, epoch) = match self.deserted.get(&slot) {
            Some(since) => (0..view.layouts.len(), seal.max(*since)),
            None => (0..age, seal),
        };
        let owners = ages.flat_map(move |age| placement.owners_by(age, slot));
        (owners.filter(move |owner| *owner != me), epoch)
    }

    /// True if a complete comparison with that process was of this epoch or later.
    fn has_compared(&self, inc: Inc, epoch: u64) -> bool {
        self.compared.get(&inc).is_some_and(|at| *at >= epoch)
    }

    fn has_caught_up(&self, slot: Slot, epoch: u64) -> bool {
        self.caught_up.contains(&(epoch, slot))
    }

    /// The epochs of layouts in which this node has become synced, and did not know it.
    // Rule V7.
    pub(crate) fn newly_synced(&mut self, view: &View, placement: &Placement, me: Inc) -> Vec<u64> {
        if view.is_fixed() {
            return Vec::new();
        }
        let mut news = Vec::new();
        for (age, layout) in view.layouts.iter().enumerate().skip(1) {
            let in_it = layout.members.iter().any(|member| member.inc == Some(me));
            if !in_it || self.reported.contains(&layout.epoch) {
                continue;
            }
            let mut owned = placement.slots().filter(|slot| placement.is_owner_by(age, *slot, me));
            if owned.all(|slot| {
                Self::inherits(placement, slot, age) || self.has_caught_up(slot, layout.epoch)
            }) {
                news.push(layout.epoch);
            }
        }
        self.reported.retain(|epoch| view.layouts.iter().any(|layout| layout.epoch == *epoch));
        self.reported.extend(news.iter().copied());
        news
    }

    /// True if the owners of the slot are the same by all layouts up to that age, so that nothing
    /// has to move.
    fn inherits(placement: &Placement, slot: Slot, age: usize) -> bool {
        (0..age)
            .all(|earlier| placement.owners_by(earlier, slot).eq(placement.owners_by(age, slot)))
    }

    /// The processes that this node still has to compare itself with for a layout in force.
    pub(crate) fn sources(&self, view: &View, placement: &Placement, me: Inc) -> BTreeSet<Inc> {
        let mut sources = BTreeSet::new();
        if view.is_fixed() {
            return sources;
        }
        let deserted = self.deserted.values().copied().max().unwrap_or(0);
        let latest = view.layouts.last().map_or(0, |layout| layout.epoch.max(deserted));
        let others = view.members.iter().filter_map(|m| m.inc).filter(|inc| *inc != me);
        let most = others.filter(|inc| !self.has_compared(*inc, latest)).count();
        for (age, layout) in view.layouts.iter().enumerate().skip(1) {
            if self.reported.contains(&layout.epoch) {
                continue;
            }
            let missing = |slot: &Slot| {
                placement.is_owner_by(age, *slot, me)
                    && !Self::inherits(placement, *slot, age)
                    && !self.has_caught_up(*slot, layout.epoch)
            };
            for slot in placement.slots().filter(missing) {
                let (needed, epoch) = self.needed(view, placement, me, slot, age);
                sources.extend(needed.filter(|inc| !self.has_compared(*inc, epoch)));
                if sources.len() == most {
                    // Where everybody owns everything, the first slot names all of them.
                    return sources;
                }
            }
        }
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::agreed;

    fn starting(others: &[&str]) -> Sync {
        let others = others.iter().map(|name| (*name).into());
        Sync::new(Time(0), others, (0, 16), Rules::default())
    }

    /// Tests rule S1.
    #[test]
    fn a_node_is_synced_after_everybody_who_answers() {
        let mut sync = starting(&["b", "c"]);
        sync.compared_with(Some(&"b".into()), Inc(2), 1);
        assert!(!sync.check_whole(Time(5_000), |_| false), "c answers and is not compared yet");
        assert!(!sync.check_whole(Time(1_999), |_| true), "c may still come up");
        assert!(sync.check_whole(Time(2_000), |_| true));
        assert!(!sync.check_whole(Time(2_001), |_| true), "it becomes synced once");
        assert!(starting(&[]).check_whole(Time(0), |_| false), "alone");
    }

    /// A process that joined with number `me`, and a view in which the layouts are of these.
    fn joined(me: u64, epoch: u64, layouts: &[&[u64]]) -> (Sync, View, Placement, Inc) {
        let view = agreed(epoch, layouts);
        let placement = Placement::new(&view, 0, 16);
        let mut sync = Sync::new(Time(0), std::iter::empty(), (0, 16), Rules::default());
        sync.refresh(&view, &placement, Inc(me));
        (sync, view, placement, Inc(me))
    }

    fn slot() -> Slot {
        Slot::new(3).expect("a slot")
    }

    /// Tests rule V7: who owns a slot by the oldest layout speaks for it, who comes new does not.
    #[test]
    fn owners_by_the_oldest_layout_speak_at_once() {
        for (me, speaks) in [(1, true), (2, true), (3, false), (9, false)] {
            let (sync, ..) = joined(me, 7, &[&[1, 2], &[2, 3]]);
            assert_eq!(sync.speaks_for(slot()), speaks, "{me}");
            assert_eq!(sync.speaks_for_any(), speaks, "{me}");
        }
    }

    /// Tests rules V6 and V7: after complete comparisons with which sources, as of which epochs, the
    /// new owner 3 of a layout of epoch 7 has caught up.
    #[test]
    fn a_new_owner_has_caught_up_after_all_sources_as_of_its_layout() {
        for (compared, gone, speaks) in [
            (vec![], vec![], false),
            (vec![(1, 7)], vec![], false),
            (vec![(1, 7), (2, 6)], vec![], false),
            (vec![(1, 7), (2, 7)], vec![], true),
            (vec![(1, 9), (2, 8)], vec![], true),
            (vec![(1, 7), (4, 7)], vec![], false),
            (vec![(2, 9), (2, 6), (1, 7)], vec![], true),
            // One source is removed: the other has everything.
            (vec![(2, 7)], vec![1], true),
            (vec![(1, 7)], vec![1], false),
            // Both are: then 4, which may have caught up before, as of when that is known.
            (vec![], vec![1, 2], false),
            (vec![(4, 7)], vec![1, 2], false),
            (vec![(4, 8)], vec![1, 2], true),
            // Nobody else is left.
            (vec![], vec![1, 2, 4], true),
        ] {
            let (mut sync, view, _, me) = joined(3, 7, &[&[1, 2], &[3, 4]]);
            let mut view = View { epoch: 8, ..view };
            view.members.retain(|member| !gone.contains(&member.start));
            let placement = Placement::new(&view, 0, 16);
            sync.refresh(&view, &placement, me);
            for (inc, epoch) in &compared {
                sync.compared_with(None, Inc(*inc), *epoch);
            }
            let gained = sync.refresh(&view, &placement, me);
            assert_eq!(sync.speaks_for(slot()), speaks, "{compared:?} without {gone:?}");
            assert!(speaks == (gained.len() == 16) || gone.len() == 3, "{gained:?}");
            let news = sync.newly_synced(&view, &placement, me);
            assert_eq!(news, if speaks { vec![7] } else { vec![] });
            assert!(sync.newly_synced(&view, &placement, me).is_empty(), "it is told once");
            assert_eq!(sync.sources(&view, &placement, me).is_empty(), speaks);
        }
    }

    /// Tests rule V7: whoever has caught up stays so while its layout is in force, whoever goes.
    #[test]
    fn who_has_caught_up_stays_so() {
        let (mut sync, mut view, placement, me) = joined(3, 7, &[&[1], &[3, 4]]);
        sync.compared_with(None, Inc(1), 7);
        assert_eq!(sync.refresh(&view, &placement, me).len(), 16);
        view.members.retain(|member| member.inc != Some(Inc(1)));
        view.epoch = 8;
        let placement = Placement::new(&view, 0, 16);
        sync.retain(|inc| view.contains(inc));
        assert!(sync.refresh(&view, &placement, me).is_empty());
        assert!(sync.speaks_for(slot()), "4 is the one that has to ask");
    }

    /// Tests rule V7: with three layouts in force, owners by the one in the middle are sources too.
    #[test]
    fn every_earlier_layout_counts() {
        let (mut sync, view, placement, me) = joined(3, 7, &[&[1], &[2], &[3]]);
        assert_eq!(sync.sources(&view, &placement, me), BTreeSet::from([Inc(1), Inc(2)]));
        sync.compared_with(None, Inc(1), 7);
        sync.refresh(&view, &placement, me);
        assert!(!sync.speaks_for(slot()));
        sync.compared_with(None, Inc(2), 7);
        sync.refresh(&view, &placement, me);
        assert!(sync.speaks_for(slot()));
    }

    /// Tests rule V7: where the owners stay the same nothing has to move.
    #[test]
    fn a_layout_with_the_same_owners_is_inherited() {
        let (mut sync, view, placement, me) = joined(1, 7, &[&[1, 2], &[1, 2]]);
        assert!(sync.speaks_for(slot()));
        assert!(sync.sources(&view, &placement, me).is_empty());
        assert_eq!(sync.newly_synced(&view, &placement, me), [7]);
        assert!(sync.has_reported());
        let over = agreed(8, &[&[1, 2]]);
        let placement = Placement::new(&over, 0, 16);
        assert!(sync.newly_synced(&over, &placement, me).is_empty());
        assert!(!sync.has_reported(), "the layout it reported is not a later one any more");
    }

    /// Tests rule V11: who is no member speaks for nothing.
    #[test]
    fn who_is_not_in_the_view_speaks_for_nothing() {
        let (mut sync, mut view, placement, me) = joined(1, 7, &[&[1, 2]]);
        assert!(sync.speaks_for(slot()));
        view.members.retain(|member| member.inc != Some(me));
        sync.refresh(&view, &placement, me);
        assert!(!sync.speaks_for_any());
    }
}
