//! Which members hold a slot, in which order, and when enough of them have a write. The only code
//! that reads `copies`.

use session::{Inc, Slot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::view::{Copies, Layout, Member, View};

impl Layout {
    /// How many members were to hold each session when it began.
    pub(crate) const fn wanted(&self) -> Copies {
        self.copies
    }

    /// How many members own each slot.
    #[must_use]
    pub fn owners_per_slot(&self) -> usize {
        match self.copies {
            Copies::All => self.members.len(),
            Copies::Count(count) => usize::from(count.get()).min(self.members.len()),
        }
    }

    /// True if this layout divides the slots among these members, into that many copies.
    pub(crate) fn is_for(&self, copies: Copies, members: &[Member]) -> bool {
        let place = |member: &Member| (member.inc, member.zone.clone());
        self.copies == copies && self.members.iter().map(place).eq(members.iter().map(place))
    }
}

/// An owner of a slot by one layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owner {
    /// Its process; `None`: not heard of under a fixed view.
    inc: Option<Inc>,
    /// False once it has been removed, or has not been heard of: its copy does not count.
    present: bool,
}

/// What is known of one slot.
#[derive(Clone, Debug, Default, Hash)]
struct SlotOwners {
    /// Who owns it by each layout, absent ones included, in order.
    layouts: Vec<Vec<Owner>>,
    /// Everybody present who owns it by some layout, those of the oldest layout first.
    writers: Vec<Inc>,
    /// How many of the writers own it by the oldest layout.
    settled: usize,
}

/// The owners of the slots of one shard under one view.
///
/// Rendezvous hashing (Thaler, Ravishankar 1998): each slot orders the members by a hash of name
/// and slot, and the first `copies` own it. By name and not by process, so that a restarted member
/// gets its slots back (amendment 21). With zones the order alternates between them.
#[derive(Clone, Debug, Hash)]
pub struct Placement {
    first_slot: u16,
    /// The epochs of the layouts in force, the oldest first.
    epochs: Vec<u64>,
    slots: Vec<SlotOwners>,
}

impl Placement {
    /// The placement of `slot_count` slots from `first_slot` on.
    // Rules P1, V4, V5.
    #[must_use]
    pub fn new(view: &View, first_slot: u16, slot_count: u16) -> Self {
        let rankings: Vec<Ranking> = view.layouts.iter().map(Ranking::new).collect();
        let present: Vec<Inc> = view.members.iter().filter_map(|member| member.inc).collect();
        let slots = (first_slot..first_slot + slot_count)
            .map(|slot| {
                let owners = |ranking: &Ranking<'_>| ranking.owners(slot, &present);
                SlotOwners::new(rankings.iter().map(owners).collect())
            })
            .collect();
        let epochs = view.layouts.iter().map(|layout| layout.epoch).collect();
        Self { first_slot, epochs, slots }
    }

    /// The processes that own `slot` by any layout in force, in order, those of the oldest layout
    /// first: whoever stamps tells all of them (the write set W of rule V5). Members not heard of
    /// are left out.
    pub fn owners(&self, slot: Slot) -> impl Iterator<Item = Inc> + '_ {
        self.at(slot).writers.iter().copied()
    }

    /// The owners by the oldest layout: they had everything before the present transition began.
    pub fn settled_owners(&self, slot: Slot) -> impl Iterator<Item = Inc> + '_ {
        let at = self.at(slot);
        at.writers[..at.settled].iter().copied()
    }

    /// The present owners by the layout of that age, the oldest being 0.
    pub fn owners_by(&self, age: usize, slot: Slot) -> impl Iterator<Item = Inc> + '_ {
        let owners = self.at(slot).layouts.get(age).into_iter().flatten();
        owners.filter(|owner| owner.present).filter_map(|owner| owner.inc)
    }

    /// The present owners by the newest layout.
    pub(crate) fn newest_owners(&self, slot: Slot) -> impl Iterator<Item = Inc> + '_ {
        self.owners_by(self.layouts(slot).saturating_sub(1), slot)
    }

    /// True if `inc` owns `slot` by the newest layout.
    pub(crate) fn is_newest_owner(&self, slot: Slot, inc: Inc) -> bool {
        self.newest_owners(slot).any(|owner| owner == inc)
    }

    /// True if `inc` owns `slot` by any layout in force.
    #[must_use]
    pub fn is_owner(&self, slot: Slot, inc: Inc) -> bool {
        self.at(slot).writers.contains(&inc)
    }

    /// True if `inc` owns `slot` by the oldest layout.
    #[must_use]
    pub fn is_settled(&self, slot: Slot, inc: Inc) -> bool {
        self.settled_owners(slot).any(|owner| owner == inc)
    }

    /// True if every owner of `slot` has been heard of, and there is one.
    #[must_use]
    pub fn is_known(&self, slot: Slot) -> bool {
        let at = self.at(slot);
        let heard = |owner: &Owner| owner.inc.is_some();
        !at.writers.is_empty() && at.layouts.iter().flatten().all(heard)
    }

    /// How many layouts are in force.
    pub(crate) fn layouts(&self, slot: Slot) -> usize {
        self.at(slot).layouts.len()
    }

    /// How many own `slot` by the layout of that age, absent ones included.
    pub(crate) fn seats(&self, age: usize, slot: Slot) -> usize {
        self.at(slot).layouts.get(age).map_or(0, Vec::len)
    }

    /// True if `inc` owns `slot` by the layout of that age.
    pub(crate) fn is_owner_by(&self, age: usize, slot: Slot, inc: Inc) -> bool {
        self.owners_by(age, slot).any(|owner| owner == inc)
    }

    /// The epoch since which `inc` is known to have owned `slot` all the time: that of the oldest
    /// layout in force by which it does. It may have done so before.
    pub(crate) fn owned_since(&self, slot: Slot, inc: Inc) -> Option<u64> {
        let ages = self.epochs.iter().enumerate();
        ages.filter(|(age, _)| self.is_owner_by(*age, slot, inc)).map(|(_, epoch)| *epoch).next()
    }

    /// True if `inc`, an owner by `before`, has owned `slot` ever since: by a layout that was in
    /// force then. Whoever skips views may have missed that it gave the slot up and got it back.
    // Rule V9.
    pub(crate) fn has_kept(&self, before: &Self, slot: Slot, inc: Inc) -> bool {
        let then = |age: usize, epoch: u64| {
            before.epochs.get(age) == Some(&epoch) && before.is_owner_by(age, slot, inc)
        };
        let mut now = self.epochs.iter().enumerate();
        now.any(|(age, epoch)| {
            self.is_owner_by(age, slot, inc)
                && (0..before.epochs.len()).any(|age| then(age, *epoch))
        })
    }

    fn at(&self, slot: Slot) -> &SlotOwners {
        &self.slots[usize::from(slot.number() - self.first_slot)]
    }

    /// The slots of this shard.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let count = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        (self.first_slot..self.first_slot + count).filter_map(Slot::new)
    }
}

impl SlotOwners {
    fn new(layouts: Vec<Vec<Owner>>) -> Self {
        let mut writers = Vec::new();
        let mut settled = 0;
        for (age, owners) in layouts.iter().enumerate() {
            for inc in owners.iter().filter(|owner| owner.present).filter_map(|owner| owner.inc) {
                if !writers.contains(&inc) {
                    writers.push(inc);
                }
            }
            if age == 0 {
                settled = writers.len();
            }
        }
        Self { layouts, writers, settled }
    }
}

/// One layout, prepared for asking about many slots.
struct Ranking<'a> {
    members: &'a [Member],
    /// Per member the number of its zone, if there is more than one zone.
    zones: Vec<usize>,
    copies: usize,
}

impl<'a> Ranking<'a> {
    fn new(layout: &'a Layout) -> Self {
        let members = layout.members.as_slice();
        let copies = layout.owners_per_slot();
        let mut names: Vec<_> = members.iter().map(|member| &member.zone).collect();
        names.sort_unstable();
        names.dedup();
        let zone_of = |member: &Member| names.binary_search(&&member.zone).unwrap_or(0);
        let zones =
            if names.len() > 1 { members.iter().map(zone_of).collect() } else { Vec::new() };
        Self { members, zones, copies }
    }

    fn owners(&self, slot: u16, present: &[Inc]) -> Vec<Owner> {
        let mut order = self.ranked(slot);
        if !self.zones.is_empty() {
            order = self.interleaved(&order);
        }
        order.truncate(self.copies);
        let owner = |index: usize| {
            let inc = self.members[index].inc;
            Owner { inc, present: inc.is_some_and(|inc| present.contains(&inc)) }
        };
        order.into_iter().map(owner).collect()
    }

    /// Indexes of all members, the most preferred for `slot` first.
    fn ranked(&self, slot: u16) -> Vec<usize> {
        let hash = |member: &Member| xxh3_64_with_seed(member.name.0.as_bytes(), u64::from(slot));
        let mut order: Vec<(u64, usize)> = self.members.iter().map(hash).zip(0..).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// The same members, in turns: first the best of each zone, then the second of each, and so on;
    /// so every prefix is spread over as many zones as it can be.
    fn interleaved(&self, order: &[usize]) -> Vec<usize> {
        let mut taken = vec![0_usize; self.zones.len()];
        let mut turns: Vec<(usize, usize)> = order
            .iter()
            .map(|&member| {
                let taken = &mut taken[self.zones[member]];
                *taken += 1;
                (*taken, member)
            })
            .collect();
        turns.sort_by_key(|(turn, _)| *turn);
        turns.into_iter().map(|(_, member)| member).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU16;

    use super::*;
    use crate::fixtures::{agreed, member};
    use crate::view::Zone;

    const SLOTS: u16 = 1_024;

    fn slots() -> impl Iterator<Item = Slot> {
        (0..SLOTS).filter_map(Slot::new)
    }

    fn count(copies: u16) -> Copies {
        NonZeroU16::new(copies).map_or(Copies::All, Copies::Count)
    }

    /// One layout of these processes, in turn in the zones of that number.
    fn view(incs: impl IntoIterator<Item = u64>, zones: u64, copies: u16) -> View {
        let incs: Vec<u64> = incs.into_iter().collect();
        let mut view = agreed(1, &[&incs]);
        for member in view.members.iter_mut().chain(&mut view.layouts[0].members) {
            member.zone = Zone::from(format!("z{}", member.start % zones).as_str());
        }
        view.layouts[0].copies = count(copies);
        view
    }

    fn owners(view: &View) -> Vec<Vec<u64>> {
        let placement = Placement::new(view, 0, SLOTS);
        slots().map(|slot| placement.owners(slot).map(|inc| inc.0).collect()).collect()
    }

    /// Tests rule P1.
    #[test]
    fn owners_for_fewer_copies_are_a_prefix_of_those_for_more() {
        for zones in [1, 2, 3] {
            let all = owners(&view(1..=7, zones, 0));
            for copies in 1..=7 {
                for (fewer, all) in owners(&view(1..=7, zones, copies)).iter().zip(&all) {
                    assert_eq!(fewer[..], all[..usize::from(copies)], "{copies} of {zones} zones");
                }
            }
            assert_eq!(owners(&view(1..=7, zones, 9)), all, "more copies than members are all");
        }
    }

    /// Tests rule P1: of any number of copies no two share a zone that need not.
    #[test]
    fn copies_are_spread_over_the_zones() {
        for zones in 1..=5 {
            for copies in 1..=7_u16 {
                for owners in owners(&view(1..=7, zones, copies)) {
                    let held: BTreeSet<u64> = owners.iter().map(|inc| inc % zones).collect();
                    assert_eq!(held.len(), usize::from(copies).min(zones as usize), "{owners:?}");
                }
            }
        }
    }

    /// Tests rule P1: whoever is removed, the acting primary is one that held the slot before.
    #[test]
    fn the_next_primary_holds_the_slot_already() {
        for (zones, copies) in [(1, 2), (1, 3), (2, 2), (3, 2), (3, 3), (1, 0)] {
            let full = view(1..=6, zones, copies);
            let before = owners(&full);
            for gone in 1..=6 {
                let mut without = full.clone();
                without.members.retain(|member| member.inc != Some(Inc(gone)));
                let mut next = view((1..=6).filter(|inc| *inc != gone), zones, copies);
                without.layouts.append(&mut next.layouts);
                let placement = Placement::new(&without, 0, SLOTS);
                for (slot, before) in slots().zip(&before) {
                    let acting = placement.owners(slot).next().expect("somebody").0;
                    let expected = before.iter().find(|inc| **inc != gone);
                    assert_eq!(Some(&acting), expected, "{gone} of {before:?}");
                    assert!(placement.is_settled(slot, Inc(acting)));
                }
            }
        }
    }

    /// Tests rule P1: nothing moves between members that stay.
    #[test]
    fn a_join_changes_only_the_slots_that_the_joiner_gains() {
        for copies in [1, 2, 3] {
            let (before, after) =
                (owners(&view(1..=5, 1, copies)), owners(&view(1..=6, 1, copies)));
            for (before, after) in before.iter().zip(&after) {
                let others: Vec<u64> = after.iter().copied().filter(|inc| *inc != 6).collect();
                assert!(before.starts_with(&others), "{before:?} {after:?}");
                assert_eq!(before != after, after.contains(&6), "{before:?} {after:?}");
            }
        }
    }

    /// Tests rule P1: a joiner takes its share of the slots, and hardly more.
    #[test]
    fn as_much_moves_as_has_to() {
        for copies in [1, 2, 3_u16] {
            let mut moved = 0;
            for cluster in 0..100 {
                let joiner = 10 * cluster + 10;
                let owners = owners(&view(10 * cluster + 1..=joiner, 1, copies));
                moved += owners.iter().filter(|owners| owners.contains(&joiner)).count();
            }
            let share = moved as f64 / (100.0 * f64::from(SLOTS));
            let ideal = f64::from(copies) / 10.0;
            assert!((share / ideal - 1.0).abs() < 0.02, "{copies} copies: {share} of {ideal}");
        }
    }

    /// Tests rule P1.
    #[test]
    fn primaries_are_spread() {
        for zones in [1, 2, 4] {
            let owners = owners(&view(1..=8, zones, 2));
            for inc in 1..=8 {
                let primary = owners.iter().filter(|owners| owners[0] == inc).count();
                assert!((90..=170).contains(&primary), "{inc} is first in {primary} of 1024");
            }
        }
    }

    /// Tests rule P1: the process is another, its slots are the same.
    #[test]
    fn a_restarted_member_gets_its_slots_back() {
        let mut view = view(1..=5, 1, 2);
        let before = owners(&view);
        let name = member(3).name;
        for member in view.members.iter_mut().chain(&mut view.layouts[0].members) {
            if member.name == name {
                member.inc = Some(Inc(77));
            }
        }
        let again = |owners: &Vec<u64>| -> Vec<u64> {
            owners.iter().map(|inc| if *inc == 77 { 3 } else { *inc }).collect()
        };
        assert!(owners(&view).iter().map(again).eq(before));
    }

    /// Tests rule V5: whoever owns a slot by some layout is told, the settled first.
    #[test]
    fn the_owners_are_those_of_all_layouts() {
        let mut view = agreed(7, &[&[1, 2], &[2, 3, 4]]);
        let slot = Slot::new(0).expect("a slot");
        let placement = Placement::new(&view, 0, 1);
        let settled: BTreeSet<u64> = placement.settled_owners(slot).map(|inc| inc.0).collect();
        assert_eq!(settled, BTreeSet::from([1, 2]));
        let all: Vec<Inc> = placement.owners(slot).collect();
        assert!(all[..2].iter().all(|inc| placement.is_settled(slot, *inc)), "{all:?}");
        assert_eq!(all.len(), 4, "each once");
        assert!(all[2..].iter().all(|inc| placement.is_owner_by(1, slot, *inc)));
        assert!(!placement.is_owner_by(1, slot, Inc(1)) && placement.is_owner_by(1, slot, Inc(2)));

        view.members.retain(|member| member.inc != Some(Inc(1)));
        let placement = Placement::new(&view, 0, 1);
        assert_eq!(placement.settled_owners(slot).map(|inc| inc.0).collect::<Vec<_>>(), [2]);
        assert_eq!((placement.seats(0, slot), placement.owners_by(0, slot).count()), (2, 1));
        assert!(!placement.is_owner(slot, Inc(1)), "removed");
    }

    /// Tests rule K3: where a member has not been heard of, or nobody is left, not all is known.
    #[test]
    fn owners_are_known_when_each_has_been_heard_of() {
        let slot = Slot::new(0).expect("a slot");
        let mut view = View::fixed(["a".into(), "b".into()], Copies::All);
        view.started(&"a".into(), Inc(1));
        assert!(!Placement::new(&view, 0, 1).is_known(slot));
        view.started(&"b".into(), Inc(2));
        assert!(Placement::new(&view, 0, 1).is_known(slot));
        let mut deserted = agreed(7, &[&[1]]);
        deserted.members.clear();
        assert!(!Placement::new(&deserted, 0, 1).is_known(slot));
        assert_eq!(Placement::new(&deserted, 0, 1).owners(slot).count(), 0);
    }
}
