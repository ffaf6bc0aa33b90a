//! Which members hold a slot, and in which order. The only code that reads `copies`.

use session::{Inc, Slot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::view::{Copies, View};

/// The owners of the slots of one shard under one view.
///
/// Rendezvous hashing (Thaler, Ravishankar 1998): each slot orders the members by a hash of name
/// and slot, and the first `copies` own it. By name and not by process, so that a restarted member
/// gets its slots back (amendment 21).
#[derive(Clone, Debug)]
pub struct Placement {
    first_slot: u16,
    /// Per slot, indexes of members in order of their rank; only the owners.
    owners: Vec<Vec<u16>>,
    /// The members' processes, by index.
    incs: Vec<Option<Inc>>,
}

impl Placement {
    /// The placement of `slot_count` slots from `first_slot` on.
    // Rule P1.
    #[must_use]
    pub fn new(view: &View, first_slot: u16, slot_count: u16) -> Self {
        let copies = match view.copies {
            Copies::All => view.members.len(),
            Copies::Count(count) => usize::from(count.get()).min(view.members.len()),
        };
        let owners = (first_slot..first_slot + slot_count)
            .map(|slot| {
                let mut order = ranked(view, slot);
                order.truncate(copies);
                order
            })
            .collect();
        let incs = view.members.iter().map(|member| member.inc).collect();
        Self { first_slot, owners, incs }
    }

    /// The processes that own `slot`, the primary's first; members not heard of are left out.
    pub fn owners(&self, slot: Slot) -> impl Iterator<Item = Inc> + '_ {
        self.members_of(slot).filter_map(|member| self.incs[usize::from(member)])
    }

    /// How many members own `slot`, heard of or not.
    #[must_use]
    pub fn owner_count(&self, slot: Slot) -> usize {
        self.owners[usize::from(slot.number() - self.first_slot)].len()
    }

    fn members_of(&self, slot: Slot) -> impl Iterator<Item = u16> + '_ {
        self.owners[usize::from(slot.number() - self.first_slot)].iter().copied()
    }
}

/// Indexes of all members, the most preferred for `slot` first.
fn ranked(view: &View, slot: u16) -> Vec<u16> {
    let mut order: Vec<(u64, u16)> = view
        .members
        .iter()
        .zip(0u16..)
        .map(|(member, index)| {
            (xxh3_64_with_seed(member.name.0.as_bytes(), u64::from(slot)), index)
        })
        .collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::view::Copies;

    fn view(count: u64, copies: Copies) -> View {
        let names = (0..count).map(|i| format!("n{i}").as_str().into());
        let mut view = View::fixed(names, copies);
        for (member, inc) in view.members.iter_mut().zip(1..) {
            member.inc = Some(Inc(inc));
        }
        view
    }

    /// Tests rule P1: the owners with fewer copies are a prefix of those with more.
    #[test]
    fn fewer_copies_are_a_prefix_of_more() {
        let all = Placement::new(&view(5, Copies::All), 0, Slot::COUNT);
        let two = NonZeroU16::new(2).expect("two");
        let few = Placement::new(&view(5, Copies::Count(two)), 0, Slot::COUNT);
        for slot in (0..Slot::COUNT).filter_map(Slot::new) {
            let all: Vec<Inc> = all.owners(slot).collect();
            let few: Vec<Inc> = few.owners(slot).collect();
            assert_eq!(all.len(), 5);
            assert_eq!(few, all[..2]);
        }
    }

    /// Tests rule P1: every member is primary of its share.
    #[test]
    fn primaries_are_spread() {
        let placement = Placement::new(&view(4, Copies::All), 0, Slot::COUNT);
        let mut count = [0u32; 5];
        for slot in (0..Slot::COUNT).filter_map(Slot::new) {
            count[placement.owners(slot).next().expect("an owner").0 as usize] += 1;
        }
        assert!(count[1..].iter().all(|&n| (900..1_150).contains(&n)), "{count:?}");
    }
}
