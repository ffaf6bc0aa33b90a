//! Which members hold a slot, in which order, and when enough of them have a write. The only code
//! that reads `copies`.

use session::{Inc, Slot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::view::{Copies, Layout, Member, View};

impl Layout {
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
        Self { first_slot, slots }
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
        let copies = match layout.copies {
            Copies::All => members.len(),
            Copies::Count(count) => usize::from(count.get()).min(members.len()),
        };
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
