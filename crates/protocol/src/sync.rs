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
#[derive(Debug)]
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
                let all = !self.rules.off(Rule::SyncFromAll);
                let (sources, epoch) = self.needed(view, placement, me, slot, age);
                let compared = |inc: &Inc| self.compared.get(inc).is_some_and(|at| *at >= epoch);
                let done = match all || sources.is_empty() {
                    true => sources.iter().all(compared),
                    false => sources.iter().any(compared),
                };
                if done && placement.is_owner_by(age, slot, me) {
                    self.caught_up.insert((view.layouts[age].epoch, slot));
                }
            }
        }
    }

    /// With whom an owner by the layout of that age has to compare itself, and as of which epoch.
    fn needed(
        &self,
        view: &View,
        placement: &Placement,
        me: Inc,
        slot: Slot,
        age: usize,
    ) -> (BTreeSet<Inc>, u64) {
        let others = |owners: &mut dyn Iterator<Item = Inc>| {
            owners.filter(|owner| *owner != me).collect::<BTreeSet<Inc>>()
        };
        let seal = if self.rules.off(Rule::Seal) { 0 } else { view.layouts[age].epoch };
        match self.deserted.get(&slot) {
            Some(since) => (others(&mut placement.owners(slot)), seal.max(*since)),
            None => {
                let mut earlier = (0..age).flat_map(|age| placement.owners_by(age, slot));
                (others(&mut earlier), seal)
            }
        }
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
                let compared = |inc: &Inc| self.compared.get(inc).is_some_and(|at| *at >= epoch);
                sources.extend(needed.into_iter().filter(|inc| !compared(inc)));
            }
        }
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
