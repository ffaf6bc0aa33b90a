//! Which nodes own what, worked out from their names alone: what the nodes say is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use anyhow::{Context as _, Result};
use protocol::{Copies, Placement, View};
use session::{Inc, Slot};

use super::crowd::Crowd;
use crate::cluster::name;

/// The number that stands for the process of the first node.
const FIRST: u64 = 1;

/// The owners of all slots among some nodes.
pub(super) struct Owners(Placement);

/// Nodes that own slots together, with the sessions of a crowd that lie there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// In no particular order.
    pub(super) nodes: Vec<usize>,
    /// The numbers of the sessions.
    pub(super) sessions: BTreeSet<usize>,
}

impl Owners {
    /// Of nodes that all stand in one zone, if so many hold each session.
    pub(super) fn among(nodes: &[usize], copies: usize) -> Result<Self> {
        let copies = NonZeroU16::new(u16::try_from(copies)?).context("somebody holds it")?;
        let names = nodes.iter().map(|node| name(*node).as_str().into());
        let mut view = View::fixed(names, Copies::Count(copies));
        for node in nodes {
            view.started(&name(*node).as_str().into(), inc(*node));
        }
        Ok(Self(Placement::new(&view, 0, Slot::COUNT)))
    }

    /// Who owns a slot, the primary first.
    fn of(&self, slot: Slot) -> Vec<usize> {
        self.0.owners(slot).map(|owner| (owner.0 - FIRST) as usize).collect()
    }

    /// How many slots are owned by these nodes and by nobody else.
    pub(super) fn slots_of(&self, nodes: &[usize]) -> usize {
        let slots = (0..Slot::COUNT).filter_map(Slot::new);
        slots.filter(|slot| self.of(*slot).iter().all(|owner| nodes.contains(owner))).count()
    }

    /// The first so many owners of each session of a crowd, those with the most sessions first.
    pub(super) fn shared_by(&self, first: usize, crowd: &Crowd) -> Result<Vec<Shared>> {
        let mut groups: BTreeMap<Vec<usize>, BTreeSet<usize>> = BTreeMap::new();
        for (slot, numbers) in crowd.by_slot()? {
            let mut nodes = self.of(slot);
            nodes.truncate(first);
            nodes.sort_unstable();
            groups.entry(nodes).or_default().extend(numbers);
        }
        let shared = groups.into_iter().map(|(nodes, sessions)| Shared { nodes, sessions });
        let mut shared: Vec<Shared> = shared.collect();
        shared.sort_by_key(|shared| std::cmp::Reverse(shared.sessions.len()));
        Ok(shared)
    }
}

/// Stands for the process of a node, whose real number does not decide what it owns.
const fn inc(node: usize) -> Inc {
    Inc(node as u64 + FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_as_many_owners_as_it_is_to_have() {
        let nodes: Vec<usize> = (0..7).collect();
        let owners = Owners::among(&nodes, 3).unwrap();
        let slots = (0..Slot::COUNT).filter_map(Slot::new);
        assert!(slots.clone().all(|slot| owners.of(slot).len() == 3));
        let three = owners.of(Slot::new(0).unwrap());
        let held = slots.filter(|slot| three.iter().all(|node| owners.of(*slot).contains(node)));
        assert_eq!(owners.slots_of(&three), held.count());
        assert_eq!(owners.slots_of(&nodes), usize::from(Slot::COUNT));
        assert_eq!(owners.slots_of(&three[..2]), 0, "two of three owners are not all of them");
    }
}
