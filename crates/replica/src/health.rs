//! Whether this node can serve every session: what a balancer asks.

use std::fmt;

/// How a node is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It cannot serve every session yet.
    Starting {
        /// Why not, in a few words.
        reason: String,
    },
    /// It serves every session.
    Ready,
    /// It serves, and is about to stop: send no new requests.
    Draining,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting { reason } => write!(f, "starting: {reason}"),
            Self::Ready => f.write_str("ok"),
            Self::Draining => f.write_str("draining"),
        }
    }
}
