//! What an application learns: the answers to its requests, and what a peer did wrong.

use serde::{Deserialize, Serialize};
use session::{EditError, Inc, Session, Slot, Tombstone, Version};

use crate::violation::Violation;

/// Names a request of the application until it is answered; chosen by the caller, unique per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How many copies a commit waits for, beside the one that stamps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ack {
    /// None: the last moments before a crash may be lost.
    Local,
    /// One other owner.
    One,
    /// A majority of the owners, the stamping one included.
    Quorum,
    /// Every owner.
    All,
}

impl Ack {
    /// The number of *other* owners to wait for, of `owners` in all, where `mine` tells whether the
    /// stamping node is one of them.
    #[must_use]
    pub fn asked(self, owners: usize, mine: bool) -> usize {
        let others = owners.saturating_sub(usize::from(mine));
        match self {
            Self::Local => 0,
            Self::One => others.min(1),
            Self::Quorum => (owners / 2 + usize::from(!mine)).min(others),
            Self::All => others,
        }
    }
}

/// How far a commit has been acknowledged: an honest count of owners other than the stamping one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Report {
    /// Owners that the level asks for.
    pub asked: u16,
    /// Owners that have it.
    pub got: u16,
}

impl Report {
    /// True if the level that was asked for holds.
    #[must_use]
    pub const fn is_reached(self) -> bool {
        self.got >= self.asked
    }
}

/// A commit took effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acked {
    /// The session's version after it; empty if it ended the session.
    pub version: Version,
    /// How far it is acknowledged.
    pub report: Report,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect.
    Done(Acked),
    /// The session has ended; nothing took effect that anybody will see (rule D4).
    Gone,
    /// An edit was refused; nothing took effect.
    Refused(EditError),
    /// There is no room for another session here; nothing took effect.
    Full,
    /// No owner that could execute it answered; nothing took effect.
    Unavailable,
    /// It was sent to an owner that did not answer: it may or may not have taken effect.
    Unknown,
}

/// What became of a request to open a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Opened {
    /// Here it is.
    Session {
        /// A copy that covers the token.
        session: Box<Session>,
        /// Entries of the token that no owner has any more: acknowledged by too few before they
        /// crashed (rule K3). Empty but for such a loss.
        lost: Version,
    },
    /// It ended.
    Ended(Tombstone),
    /// There is none, and this node may say so (rule K3, I-NF).
    NotFound,
    /// An owner that may know more did not answer; try again.
    Unavailable,
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The answer to `open`.
    Opened(Ticket, Opened),
    /// The answer to `commit`.
    Committed(Ticket, Outcome),
    /// This node has caught up, in the layout of that epoch: it serves as owner from now on. Under
    /// a fixed view it has compared itself with every member that answers; under an agreed one with
    /// every earlier owner, and the log of membership is to be told (rule V7).
    Synced(u64),
    /// A peer goes by a later view, of that generation and epoch: ask for it (rule V1).
    Behind(u64, u64),
    /// Nobody was left who could speak for these slots: what they held is lost (rule V8).
    LossAccepted(Vec<Slot>),
    /// This process is not a member any more: it is to join anew, as another (rule V11).
    Removed,
    /// A peer broke the protocol; its connection is to be ended.
    Violation(Inc, Violation),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_ask_for_what_they_say() {
        let levels = [Ack::Local, Ack::One, Ack::Quorum, Ack::All];
        let asked = |owners| levels.map(|level| level.asked(owners, true));
        assert_eq!(asked(1), [0, 0, 0, 0]);
        assert_eq!(asked(2), [0, 1, 1, 1]);
        assert_eq!(asked(3), [0, 1, 1, 2]);
        assert_eq!(asked(5), [0, 1, 2, 4]);
        let from_outside = |owners| levels.map(|level| level.asked(owners, false));
        assert_eq!(from_outside(0), [0, 0, 0, 0]);
        assert_eq!(from_outside(1), [0, 1, 1, 1]);
        assert_eq!(from_outside(3), [0, 1, 2, 3]);
    }
}
