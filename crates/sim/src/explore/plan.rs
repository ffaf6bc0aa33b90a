//! What is explored: a small cluster, what is decided about its members, and how much may happen.

use std::num::NonZeroU16;

use protocol::{Ack, Copies, MemberName, Placement, Rules, View};
use session::Slot;

/// Slots of the shard that is explored: that of the session, and one more.
pub(super) const SLOTS: u16 = 2;

/// A decision about members, told by the number of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// A process starts on a host that had none, and joins.
    Join(usize),
    /// The member of that host is to hand over and go.
    Drain(usize),
    /// The member of that host is taken out, unless a slot would be lost.
    Remove(usize),
    /// So many copies of each session from now on.
    Resize(u16),
}

/// How often each kind of event may occur on the way to a state: what makes the states finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Allowance {
    /// Writes of the one session, at any node.
    pub writes: u8,
    /// Ends of the session.
    pub ends: u8,
    /// Requests to read it, with a token that names all that was acknowledged.
    pub reads: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Messages that are lost.
    pub drops: u8,
    /// Messages that arrive twice.
    pub duplicates: u8,
    /// Times that a little more than a second passes.
    pub seconds: u8,
    /// Times that more than an interval of comparisons passes.
    pub intervals: u8,
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What it is, for the reader of the output.
    pub about: &'static str,
    /// Machines: numbered from 0 by how much they are preferred for the session.
    pub hosts: usize,
    /// Those that run and are members at the beginning.
    pub members: Vec<usize>,
    /// True if the configuration fixes the view.
    pub fixed: bool,
    /// How many members hold the session.
    pub held_by: Copies,
    /// What is decided, in this order, each at any time.
    pub decisions: Vec<Resolve>,
    /// False if the first write creates the session.
    pub created: bool,
    /// For how many copies a write waits.
    pub level: Ack,
    /// What may happen.
    pub allowance: Allowance,
    /// Messages that may be in flight at once; what leads to more is not followed.
    pub air_max: usize,
    /// Events on the way to a state at most, unless somebody asks for another number.
    pub depth: usize,
    /// Which rules hold.
    pub rules: Rules,
}

const ALLOWANCE: Allowance = Allowance {
    writes: 2,
    ends: 1,
    reads: 0,
    crashes: 1,
    drops: 2,
    duplicates: 1,
    seconds: 2,
    intervals: 1,
};

/// Nothing: for plans that allow little and go far.
const NOTHING: Allowance = Allowance {
    writes: 0,
    ends: 0,
    reads: 0,
    crashes: 0,
    drops: 0,
    duplicates: 0,
    seconds: 0,
    intervals: 0,
};

fn count(copies: u16) -> Copies {
    NonZeroU16::new(copies).map_or(Copies::All, Copies::Count)
}

impl Plan {
    /// All plans for that many nodes, 2 or 3.
    #[must_use]
    pub fn all(nodes: usize) -> Vec<Self> {
        let fixed = Self {
            name: "fixed",
            about: "the view is fixed, every node owns the session",
            hosts: nodes,
            members: (0..nodes).collect(),
            fixed: true,
            held_by: Copies::All,
            decisions: Vec::new(),
            created: true,
            level: Ack::One,
            allowance: ALLOWANCE,
            air_max: 6,
            depth: if nodes > 2 { 6 } else { 8 },
            rules: Rules::default(),
        };
        let mut plans = vec![
            Self {
                name: "new",
                about: "the view is fixed, the first write creates the session",
                created: false,
                allowance: Allowance { writes: 3, reads: 1, ends: 0, ..ALLOWANCE },
                ..fixed.clone()
            },
            Self {
                name: "all",
                about: "the view is fixed, writes wait for every other node",
                level: Ack::All,
                ..fixed.clone()
            },
            fixed.clone(),
        ];
        plans.extend(fixed.changing());
        plans
    }

    /// The plans whose members or copies change, which are else like this one.
    fn changing(&self) -> Vec<Self> {
        let nodes = self.hosts;
        let all: Vec<usize> = (0..nodes).collect();
        let wide = u16::try_from(nodes).unwrap_or(u16::MAX);
        let agreed = Self {
            fixed: false,
            allowance: Allowance { reads: 1, duplicates: 0, drops: 1, ..ALLOWANCE },
            depth: if nodes > 2 { 6 } else { 8 },
            ..self.clone()
        };
        let newcomer = all[1..].to_vec();
        let plan = |name, about, members: &[usize], copies, decisions: &[Resolve]| Self {
            name,
            about,
            members: members.to_vec(),
            held_by: copies,
            decisions: decisions.to_vec(),
            ..agreed.clone()
        };
        vec![
            plan("join", "one more joins, all own", &newcomer, Copies::All, &[Resolve::Join(0)]),
            plan(
                "move",
                "one more joins and takes the place of an owner",
                &newcomer,
                count(wide - 1),
                &[Resolve::Join(0)],
            ),
            plan(
                "drain",
                "the first owner is drained, then removed",
                &all,
                count(wide - 1),
                &[Resolve::Drain(0), Resolve::Remove(0)],
            ),
            plan(
                "resize",
                "two copies, then one, then two again",
                &all,
                count(2),
                &[Resolve::Resize(1), Resolve::Resize(2)],
            ),
            plan("remove", "the first owner is removed", &all, count(2), &[Resolve::Remove(0)]),
        ]
    }

    /// The same with little that may happen beside what is decided, which is followed much further:
    /// through a whole transition.
    #[must_use]
    pub fn far(nodes: usize) -> Vec<Self> {
        let far = |name, plan: Self| Self {
            name,
            allowance: Allowance { writes: 1, crashes: 1, ..NOTHING },
            depth: if nodes > 2 { 8 } else { 11 },
            ..plan
        };
        let of = |name| Self::all(nodes).into_iter().find(|plan| plan.name == name);
        let pairs = [
            ("join-far", "join"),
            ("move-far", "move"),
            ("drain-far", "drain"),
            ("resize-far", "resize"),
            ("remove-far", "remove"),
        ];
        pairs.into_iter().filter_map(|(name, base)| Some(far(name, of(base)?))).collect()
    }

    /// What finds that a rule is missing: each with little that may happen, so that it goes far.
    #[must_use]
    pub fn hunts() -> Vec<Self> {
        let writes = |writes| Allowance { writes, ..NOTHING };
        let hunt = |nodes, base, allowance, depth| {
            let plan = Self::all(nodes).into_iter().find(|plan| plan.name == base)?;
            Some(Self { allowance, depth, ..plan })
        };
        let plans = [
            hunt(2, "fixed", Allowance { ends: 1, crashes: 1, duplicates: 1, ..writes(2) }, 5),
            hunt(3, "fixed", writes(2), 4),
            hunt(2, "drain", writes(1), 12),
            hunt(2, "move", writes(1), 13),
            hunt(2, "resize", Allowance { reads: 1, ..writes(1) }, 7),
            hunt(3, "join", writes(1), 5),
            hunt(3, "drain", writes(2), 3),
            hunt(3, "move", writes(1), 6),
            hunt(3, "all", Allowance { seconds: 1, ..writes(1) }, 6),
            hunt(3, "fixed", Allowance { reads: 1, ..writes(2) }, 5),
            hunt(2, "fixed", Allowance { reads: 1, crashes: 1, seconds: 1, ..writes(1) }, 7),
            hunt(3, "fixed", writes(3), 6),
        ];
        plans.into_iter().flatten().collect()
    }

    /// The plan of that name.
    #[must_use]
    pub fn named(name: &str, nodes: usize) -> Option<Self> {
        let plans = Self::all(nodes).into_iter().chain(Self::far(nodes));
        plans.into_iter().find(|plan| plan.name == name)
    }
}

/// Names for hosts: in their order by name, and by how much the session's slot prefers them.
pub(super) fn names(hosts: usize) -> Vec<MemberName> {
    let letters: Vec<MemberName> =
        ('a'..='z').map(|letter| letter.to_string().as_str().into()).collect();
    let mut view = View::fixed(letters.clone(), Copies::All);
    for (name, number) in letters.iter().zip(1..) {
        view.started(name, session::Inc(number));
    }
    let placement = Placement::new(&view, 0, 1);
    let Some(slot) = Slot::new(0) else { return Vec::new() };
    let mut names: Vec<MemberName> = Vec::new();
    for owner in placement.owners(slot) {
        let Some(name) = view.name_of(owner) else { continue };
        let room = usize::from(b'z' - name.0.as_bytes()[0]) + names.len() >= hosts;
        if names.last().is_none_or(|last| last < name) && room {
            names.push(name.clone());
        }
    }
    names.truncate(hosts);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_is_the_first_owner() {
        for hosts in 1..=3 {
            let names = names(hosts);
            assert_eq!(names.len(), hosts);
            let mut view = View::fixed(names.clone(), Copies::All);
            for (name, number) in names.iter().zip(1..) {
                assert!(view.started(name, session::Inc(number)));
            }
            let placement = Placement::new(&view, 0, SLOTS);
            let owners: Vec<u64> =
                placement.owners(Slot::new(0).expect("a slot")).map(|inc| inc.0).collect();
            assert!(owners.into_iter().eq(1..=hosts as u64));
        }
    }
}
