//! Counts of what happened outside of the shards, for metrics and tests. All only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! meters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Meters {
            $(pub(crate) $name: Meter,)+
        }

        /// What happened in this process outside of the protocol, since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct MeterStatus {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Meters {
            pub(crate) fn snapshot(&self) -> MeterStatus {
                MeterStatus { $($name: self.$name.value(),)+ }
            }
        }
    };
}

meters! {
    /// Frames that a peer sent and that are no frames of this release.
    frames_undecodable,
    /// Peers that broke the protocol and were disconnected.
    violations,
    /// Links refused because the peer is configured or built differently.
    hellos_refused,
    /// Frames of peers that are no members of the view.
    frames_of_strangers,
    /// Letters of membership dropped because too many waited; they are sent again.
    letters_dropped,
    /// Charts of the cluster that were not believed: told by somebody who does not vote, or of
    /// another generation, while the leader was heard. One or two when a leader is elected mean
    /// nothing.
    charts_refused,
    /// Messages dropped because the lane was full; what matters of them is sent again.
    sends_full,
    /// Messages dropped because there was no link.
    sends_unlinked,
    /// Messages too large to be sent.
    sends_too_large,
    /// Cookies that name no session: truncated, of another make, garbage.
    ids_refused,
    /// Tokens that this cluster did not sign for their session.
    tokens_refused,
    /// Requests whose edits were made after their response and were never saved.
    edits_unsaved,
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
