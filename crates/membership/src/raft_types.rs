//! What Raft is told about us: the types that fill openraft's blanks, and the identities of voters.

use std::fmt;

use protocol::{Decision, MemberName, Refused, Roster, Zone};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Name of one Raft directory, drawn at random when the directory is made and never used again: a
/// node whose disk was wiped is another voter.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RaftId(pub u64);

impl fmt::Debug for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<u64> for RaftId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// Which node a raft id stands for, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the node, by which it is reached.
    pub name: MemberName,
    /// What may fail together with it. Empty for those that vote first: who has founded with them
    /// does not know it, and who is to vote goes by the zones of members.
    pub zone: Zone,
}

// openraft asks for a default, and uses it in its own tests only.
impl Default for Place {
    fn default() -> Self {
        Self { name: MemberName(SmolStr::new_static("")), zone: Zone::default() }
    }
}

/// Which Raft group a directory belongs to. Messages of another group are refused, so that neither
/// a second cluster of the same name nor the remains of an earlier generation can talk to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group {
    /// The generation under which it was founded.
    pub generation: u64,
    /// Who founded it.
    pub founder: RaftId,
}

/// What became of an entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its index, which is the identity of what a decision brings about.
    pub index: u64,
    /// Why the decision changed nothing; `None` for entries of Raft itself.
    pub refused: Option<Refused>,
}

openraft::declare_raft_types!(
    /// The types of this use of openraft.
    pub TypeConfig:
        D = Decision,
        R = Outcome,
        NodeId = RaftId,
        Node = Place,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Roster,
);

pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<RaftId>;
pub(crate) type Vote = openraft::Vote<RaftId>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<RaftId, Place>;
pub(crate) type Membership = openraft::StoredMembership<RaftId, Place>;
pub(crate) type RaftStorageError = openraft::StorageError<RaftId>;
