//! How a cluster comes into being once, and never twice: a pure machine.
//!
//! ```text
//!  outside ── lowest-named of `expect` nodes outside ──► claims: backs itself
//!     │                                                     │ `expect` back it: founds with them
//!     └── hears a claim ──► backs the claimant ──┐          ▼
//!                                                └──────► inside ◄── hears of a group: joins
//! ```
//!
//! Nodes introduce themselves to each other again and again: who they are, and how they stand. A
//! node backs one claimant, and writes that down before it says so. Two claimants cannot both be
//! backed by more than half, so two clusters cannot come into being, whatever is lost, late, or
//! heard twice. Counting answers, as the design had it, is not enough for that: see decision 015.
//!
//! A claimant that hears of a claim by a lower name gives up its own for good, and whoever backs it
//! follows it. Nothing else moves a backing: not a restart, and not that the claimant is silent.
//!
//! Who founds says at once who votes first: itself and those that back it, three of them where so
//! many do. Each of them begins by that, so that none is needed whose disk may be lost: decision 020.

use std::collections::BTreeMap;

use protocol::MemberName;
use serde::{Deserialize, Serialize};

use crate::raft_types::{Group, RaftId};
use crate::voters::voters_among;

/// The generation of a cluster that is founded, not recovered.
const FIRST_GENERATION: u64 = 1;

/// A node that may found a cluster: its name, and which directory it would do so with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claimant {
    /// Its name.
    pub name: MemberName,
    /// Its directory. A node whose disk was wiped is another claimant.
    pub raft_id: RaftId,
}

/// How a node stands. Written down before anybody is told of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// In no cluster yet.
    Outside {
        /// Whom it lets found one; itself, if it claims.
        backs: Option<Claimant>,
    },
    /// In the cluster of that group. Whoever founded it alone is its first voter.
    Inside(Group),
    /// In the cluster of that group, which begins with these voters, the founder among them. Told
    /// from one to the next until there is a chart, so that all of them know it, whoever is lost.
    Founded {
        /// Which group.
        group: Group,
        /// Who votes first.
        voters: BTreeMap<RaftId, MemberName>,
    },
}

impl Standing {
    /// The group that such a node is in.
    #[must_use]
    pub const fn group(&self) -> Option<Group> {
        match self {
            Self::Outside { .. } => None,
            Self::Inside(group) | Self::Founded { group, .. } => Some(*group),
        }
    }
}

/// What nodes tell each other at the start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Introduction {
    /// Who speaks.
    pub from: Claimant,
    /// How it stands, as it has written down.
    pub standing: Standing,
}

/// Why a node cannot take part in founding a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Two halves could each found a cluster. Set `expect` to more than half of the nodes that
    /// start together, at best to all of them.
    #[error("expect = {expect} is not more than half of the {nodes} nodes that start together")]
    ExpectTooSmall {
        /// As configured.
        expect: usize,
        /// How many nodes the seeds and this one are.
        nodes: usize,
    },
}

/// What a node is to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To write this standing down, and then to call [`Bootstrap::written`].
    Write(Standing),
    /// To go into the group that this node is in: to write this standing down, then to call
    /// [`Bootstrap::written`], and then to ask to be let in.
    Join {
        /// Who is inside.
        via: MemberName,
        /// How this node stands then.
        standing: Standing,
    },
    /// To introduce itself again after a while: it waits for others.
    Wait(Waiting),
    /// Nothing more: it is inside. If it is one of the first voters, it initialises the group, also
    /// after a restart in between.
    Done {
        /// Which group it is in.
        group: Group,
    },
}

/// What a node waits for. To be shown to whoever wonders why nothing happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For more nodes to be heard of.
    Nodes {
        /// How many there are, with this one.
        heard: usize,
        /// How many there have to be.
        expect: usize,
    },
    /// For that node to claim, because its name is lower.
    Lower(MemberName),
    /// For that claimant to found the cluster. If its disk is lost, nobody knows whether it has:
    /// then the data directories of all nodes that never were in a cluster are to be moved away.
    Founder(Claimant),
    /// For more nodes that back this one.
    Backing {
        /// How many there are, with this one.
        backed: usize,
        /// How many there have to be.
        expect: usize,
    },
    /// Nodes of two clusters answer under one name. The seeds are wrong.
    TwoClusters,
}

/// The directory of this node is of a generation that the cluster has left behind: an operator has
/// made membership anew without it.
///
/// The node must not run as the voter that it was. It does not give up that directory by itself
/// either, on the word of another (decision 018).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node's Raft directory is of generation {}, but the cluster was made anew and goes on as \
     generation {}, so {via} says; move the directory away and start again: the node then joins as \
     a new voter",
    ours.generation, theirs.generation
)]
pub struct Outdated {
    /// The group of this node's directory.
    pub ours: Group,
    /// The group that goes on.
    pub theirs: Group,
    /// Who is in it.
    pub via: MemberName,
}

/// One node on its way into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bootstrap {
    me: Claimant,
    expect: usize,
    voters_max: usize,
    /// As written down.
    standing: Standing,
    /// The latest introduction of each other node. Forgotten by a restart.
    heard: BTreeMap<MemberName, Introduction>,
}

impl Bootstrap {
    /// A node that has just started, and stands as it has written down. `nodes` counts the seeds
    /// and this node; a node without seeds is alone, `nodes` and `expect` are 1. At most `voters_max`
    /// vote first.
    ///
    /// # Errors
    /// `expect` would let two clusters come into being.
    pub fn new(
        me: Claimant,
        standing: Standing,
        nodes: usize,
        expect: usize,
        voters_max: usize,
    ) -> Result<Self, BootstrapError> {
        if expect.saturating_mul(2) <= nodes {
            return Err(BootstrapError::ExpectTooSmall { expect, nodes });
        }
        Ok(Self { me, expect, voters_max, standing, heard: BTreeMap::new() })
    }

    /// What to tell the others.
    #[must_use]
    pub fn introduction(&self) -> Introduction {
        Introduction { from: self.me.clone(), standing: self.standing.clone() }
    }

    /// Takes an introduction, a question or an answer alike; [`Self::step`] says what follows.
    pub fn handle_introduction(&mut self, heard: Introduction) {
        if heard.from.name == self.me.name {
            return;
        }
        let known = self.heard.get(&heard.from.name);
        // Who is inside stays inside; what says otherwise was under way for long.
        let is_late =
            known.is_some_and(|known| known.from == heard.from && known.standing.group().is_some());
        if !is_late {
            self.heard.insert(heard.from.name.clone(), heard);
        }
    }

    /// The standing of [`Step::Write`] or [`Step::Join`] is on the disk.
    pub fn written(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// What this node is to do, as things stand.
    #[must_use]
    pub fn step(&self) -> Step {
        let backs = match &self.standing {
            Standing::Inside(group) | Standing::Founded { group, .. } => {
                return Step::Done { group: *group };
            }
            Standing::Outside { backs } => backs,
        };
        if let Some(step) = self.join() {
            return step;
        }
        match backs {
            Some(claimant) if *claimant == self.me => self.pursue_claim(),
            Some(claimant) => self.follow(claimant),
            None => self.choose(),
        }
    }

    /// Whether a later generation of the cluster goes on without the group that this node's
    /// directory belongs to. To be asked before the voter of that directory is started.
    #[must_use]
    pub fn outdated(&self) -> Option<Outdated> {
        let ours = self.standing.group()?;
        let (via, theirs) = self.inside().max_by_key(|(_, group)| group.generation)?;
        let is_later = theirs.generation > ours.generation;
        is_later.then(|| Outdated { ours, theirs, via: via.clone() })
    }

    /// The others that are inside, and of which group.
    fn inside(&self) -> impl Iterator<Item = (&MemberName, Group)> {
        let all = self.heard.values();
        all.filter_map(|heard| Some((&heard.from.name, heard.standing.group()?)))
    }

    fn join(&self) -> Option<Step> {
        // What is left of an earlier generation is not joined, and is no second cluster.
        let latest = self.inside().map(|(_, group)| group.generation).max()?;
        let mut inside = self.inside().filter(|(_, group)| group.generation == latest);
        let (first, group) = inside.next()?;
        if inside.any(|(_, other)| other != group) {
            return Some(Step::Wait(Waiting::TwoClusters));
        }
        // Who votes first is not known to all that are inside: it is forgotten when it is of no use.
        let tells = |heard: &&Introduction| match &heard.standing {
            Standing::Founded { group: theirs, .. } => *theirs == group,
            Standing::Inside(_) | Standing::Outside { .. } => false,
        };
        let (via, standing) = match self.heard.values().find(tells) {
            Some(heard) => (&heard.from.name, heard.standing.clone()),
            None => (first, Standing::Inside(group)),
        };
        Some(Step::Join { via: via.clone(), standing })
    }

    fn pursue_claim(&self) -> Step {
        let lower = self.claims().find(|claimant| claimant.name < self.me.name);
        if let Some(lower) = lower {
            return Step::Write(Standing::Outside { backs: Some(lower.clone()) });
        }
        let backers = self.heard.values().filter(|heard| backing(heard) == Some(&self.me));
        let backers: Vec<&Claimant> =
            std::iter::once(&self.me).chain(backers.map(|heard| &heard.from)).collect();
        let backed = backers.len();
        if backed < self.expect {
            return Step::Wait(Waiting::Backing { backed, expect: self.expect });
        }
        let group = Group { generation: FIRST_GENERATION, founder: self.me.raft_id };
        let count = voters_among(backed, self.voters_max);
        if count == 1 {
            return Step::Write(Standing::Inside(group));
        }
        let voters = backers.iter().take(count).map(|first| (first.raft_id, first.name.clone()));
        Step::Write(Standing::Founded { group, voters: voters.collect() })
    }

    /// Whom I back has to say so itself, if it backs another now.
    fn follow(&self, claimant: &Claimant) -> Step {
        let itself = self.heard.get(&claimant.name).filter(|heard| heard.from == *claimant);
        let next = itself.and_then(backing).filter(|next| next.name < claimant.name);
        match next {
            Some(next) => Step::Write(Standing::Outside { backs: Some(next.clone()) }),
            None => Step::Wait(Waiting::Founder(claimant.clone())),
        }
    }

    fn choose(&self) -> Step {
        if let Some(lowest) = self.claims().min() {
            return Step::Write(Standing::Outside { backs: Some(lowest.clone()) });
        }
        let heard = 1 + self.heard.len();
        if heard < self.expect {
            return Step::Wait(Waiting::Nodes { heard, expect: self.expect });
        }
        match self.heard.keys().next().filter(|lowest| **lowest < self.me.name) {
            Some(lowest) => Step::Wait(Waiting::Lower(lowest.clone())),
            None => Step::Write(Standing::Outside { backs: Some(self.me.clone()) }),
        }
    }

    fn claims(&self) -> impl Iterator<Item = &Claimant> {
        let all = self.heard.values();
        all.filter(|heard| backing(heard) == Some(&heard.from)).map(|heard| &heard.from)
    }
}

fn backing(heard: &Introduction) -> Option<&Claimant> {
    match &heard.standing {
        Standing::Outside { backs } => backs.as_ref(),
        Standing::Inside(_) | Standing::Founded { .. } => None,
    }
}

#[cfg(test)]
mod tests;
