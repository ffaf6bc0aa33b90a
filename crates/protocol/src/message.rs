//! Every message between two shards of the same number.
//!
//! ```text
//! stamper ── Deltas ──► owner          at once, after a commit
//! stamper ◄── Ack ───── owner
//!
//! node ──── Fetch ────► owner          a copy is missing or too old for a token
//! node ◄── Fetched ──── owner
//! node ─── Forward ───► owner          edits of a node that may not stamp
//! node ◄─ Forwarded ─── owner
//!
//! owner ──── Root ────► owner          repair: the left side catches up with the right
//! owner ◄ Same|Digests─ owner
//! owner ─── Compare ──► owner          once per slot that differs
//! owner ◄─── List ───── owner
//! owner ──── Need ────► owner          for the sessions that differ
//! owner ◄── Supplied ── owner
//! owner ── Compared ──► owner          all that was listed has arrived
//! owner ◄─── Pull ───── owner          «compare with me, I could not keep up»
//! ```

use serde::{Deserialize, Serialize};
use session::{
    Body, Core, Delta, Edit, EndReason, Inc, SessionKey, Slot, Time, Tombstone, Version,
};

use crate::digest::Digest;
use crate::event::{Ack, Outcome};

/// Which queue of the connection a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// What a request waits for.
    Live,
    /// Repair: whatever its volume, it delays nothing live.
    Bulk,
}

/// A message with its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// Generation of the sender's view.
    pub generation: u64,
    /// Epoch of the sender's view.
    pub epoch: u64,
    /// The sending process.
    pub from: Inc,
    /// The process it is meant for: a restarted peer ignores what its predecessor was sent.
    pub to: Inc,
    /// The shard of both sides.
    pub shard: u16,
    /// How much room the sender has in this shard.
    pub room: Room,
    /// What is said.
    pub message: Message,
}

/// How much room a process has for sessions in one shard, by its memory limit (rule M1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Room {
    /// As much as it needs.
    #[default]
    Ample,
    /// Little: sessions that nobody is signed in to are ended, where it holds them.
    Scarce,
    /// No more: no session begins that it would have to hold.
    Full,
}

/// What is said. New variants go to the end, with a new wire version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// From the stamper to each other owner, as soon as the lane takes it; answered by `Ack`.
    Deltas(Batch),
    /// All deltas of the batch of that number are merged, except the refused ones.
    Ack {
        /// The batch it answers.
        batch: u64,
        /// What was not merged, and why.
        refused: Vec<(SessionKey, Refusal)>,
    },
    /// Asks for a copy; answered by `Fetched`.
    Fetch {
        /// Echoed in the answer.
        request: u64,
        /// Which session.
        key: SessionKey,
    },
    /// The whole copy of an owner.
    Fetched {
        /// The request it answers.
        request: u64,
        /// True if the sender is synced, so that its ignorance means something.
        synced: bool,
        /// The copy; `None` if it has none.
        delta: Option<Delta>,
    },
    /// Edits to be stamped by the receiver; answered by `Forwarded`, once however often it is sent.
    Forward {
        /// Number of the edit, unique for its sender.
        request: u64,
        /// Until when the sender waits.
        deadline: Time,
        /// The edits.
        commit: Commit,
    },
    /// What became of forwarded edits; `None`: not executed, the receiver may not stamp.
    Forwarded {
        /// The edit it answers.
        request: u64,
        /// What became of it.
        outcome: Option<Outcome>,
    },
    /// Starts a comparison; answered by `Same` or `Digests`.
    Root {
        /// Number of the comparison, unique for its sender.
        round: u64,
        /// Digest over all slots of the shard that both sides own.
        root: Digest,
    },
    /// Nothing differs.
    Same {
        /// The comparison it answers.
        round: u64,
    },
    /// Something differs.
    Digests {
        /// The comparison it answers.
        round: u64,
        /// Digest of each slot of the shard that the receiver owns and of which anything is held,
        /// in order.
        slots: Vec<(Slot, Digest)>,
    },
    /// Asks for the list of a slot from a key on; answered by `List`.
    Compare {
        /// The comparison it belongs to.
        round: u64,
        /// Which slot.
        slot: Slot,
        /// Only keys after this one.
        after: Option<SessionKey>,
    },
    /// The keys of a slot, with a hash of what is held under each.
    List {
        /// The comparison it belongs to.
        round: u64,
        /// Which slot.
        slot: Slot,
        /// Echo of the request.
        after: Option<SessionKey>,
        /// Keys in order; see [`Digest::short`] for the hash.
        entries: Vec<(SessionKey, u64)>,
        /// True if there are more keys after the last.
        more: bool,
    },
    /// Asks for sessions; answered by `Supplied`.
    Need {
        /// Number of the request, unique for its sender.
        request: u64,
        /// Which sessions, and what the asking side has of each.
        wants: Vec<(SessionKey, Version)>,
    },
    /// Sessions that were asked for.
    Supplied {
        /// The request it answers.
        request: u64,
        /// What there is.
        supply: Supply,
    },
    /// Everything that the comparison listed has arrived.
    Compared {
        /// The comparison that is complete.
        round: u64,
    },
    /// The sender holds changes that it could not keep in its outbox: compare with it soon.
    Pull,
}

impl Message {
    /// True if the receiver answers it as long as it is there.
    // Rule D1.
    #[must_use]
    pub const fn wants_answer(&self) -> bool {
        match self {
            Self::Deltas(_)
            | Self::Fetch { .. }
            | Self::Forward { .. }
            | Self::Root { .. }
            | Self::Compare { .. }
            | Self::Need { .. } => true,
            Self::Ack { .. }
            | Self::Fetched { .. }
            | Self::Forwarded { .. }
            | Self::Same { .. }
            | Self::Digests { .. }
            | Self::List { .. }
            | Self::Supplied { .. }
            | Self::Compared { .. }
            | Self::Pull => false,
        }
    }
}

/// Deltas of the sessions that were dirty when the lane could take more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// Number of the batch, unique for its sender; echoed in the ack.
    pub number: u64,
    /// Each session at most once.
    pub deltas: Vec<Delta>,
}

/// Why a delta was not merged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// It builds on what the receiver lacks; this is what it has (rule R3).
    Need(Version),
    /// The session ended (rule T5).
    Tomb(Tombstone),
    /// It comes from the future: try again later (rule H4).
    Skew,
    /// Its life is over (rule T2).
    Dead,
    /// The receiver does not own it by the view that it has (rule V2).
    NotOwner,
}

impl Refusal {
    /// The end of the session, if that is the reason.
    pub(crate) fn tomb(&self, key: SessionKey) -> Option<Delta> {
        match self {
            Self::Tomb(tombstone) => Some(Delta { key, body: Body::End(*tombstone) }),
            Self::Need(_) | Self::Skew | Self::Dead | Self::NotOwner => None,
        }
    }
}

/// Answer to a request for sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Supply {
    /// What was asked for, as far as it is held.
    pub deltas: Vec<Delta>,
    /// Asked for and not held any more.
    pub absent: Vec<SessionKey>,
    /// Held, but not now: ask again.
    pub deferred: Vec<SessionKey>,
}

/// What a request does to one session, as one delta with one stamp (rule A4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Commit {
    /// Which session.
    pub key: SessionKey,
    /// Whether it begins or ends with this.
    pub life: Life,
    /// What the request had seen when it opened the session (amendment 5).
    pub at: Version,
    /// The changes, in order.
    pub edits: Vec<Edit>,
    /// How many copies to wait for.
    pub level: Ack,
}

/// What a commit does to the life of its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Life {
    /// It goes on.
    Keep,
    /// It begins; the core was made by the node that drew the id.
    Create(Core),
    /// It ends.
    End(EndReason),
}
