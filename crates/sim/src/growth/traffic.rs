//! The frames that were sent, by what they are for.

use std::ops::Sub;

use protocol::Lane;
use protocol::wire::{Frame, WIRE_VERSION};

use super::Rate;

/// The length before each frame on a lane, in bytes.
const HEADER_BYTES: usize = 4;

/// Frames of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    messages: u64,
    bytes: u64,
}

/// All that was sent, by all nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// What requests wait for.
    pub(crate) live: Flow,
    /// Comparisons, and what they bring.
    pub(crate) repair: Flow,
    pub(crate) heartbeats: Flow,
}

impl Flow {
    /// So much for each of `count`.
    pub(crate) fn per(self, count: f64) -> Rate {
        Rate { messages: self.messages as f64 / count, bytes: self.bytes as f64 / count }
    }
}

impl Traffic {
    /// Counts a frame as the runtime sends it.
    pub(crate) fn count(&mut self, lane: Option<Lane>, frame: &Frame) {
        let flow = match lane {
            Some(Lane::Live) => &mut self.live,
            Some(Lane::Bulk) => &mut self.repair,
            None => &mut self.heartbeats,
        };
        flow.messages += 1;
        flow.bytes += (HEADER_BYTES + frame.encode(WIRE_VERSION).len()) as u64;
    }
}

impl Sub for Flow {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }
}
