//! What the endpoint tells its user, and why links end.

use std::fmt;

use bytes::Bytes;
use quinn::{ConnectionError, VarInt};

use crate::lane::Lane;
use crate::name::NodeName;

/// What happened. For one peer always in the order `Up`, any number of `Frame`, `Down`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The link to a peer stands: both connections are authenticated.
    Up {
        /// The peer, as its certificate names it.
        peer: NodeName,
        /// The hello that it was started with; another one after every restart, if the
        /// embedding program puts something unique into it.
        hello: Bytes,
    },
    /// The link to a peer has ended; all frames that arrived on it have been reported.
    Down {
        /// The peer.
        peer: NodeName,
        /// Why.
        reason: DownReason,
    },
    /// A frame has arrived. Frames of one lane arrive in the order in which they were sent.
    Frame {
        /// The peer that sent it.
        peer: NodeName,
        /// The lane that it was sent on.
        lane: Lane,
        /// What was sent.
        frame: Bytes,
    },
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// Nothing was heard of the peer for the idle timeout.
    Silent,
    /// The peer does not know the connection any more: it was restarted.
    Restarted,
    /// A newer link took the place of this one: the peer was restarted, or had lost this link.
    Superseded,
    /// The peer was stopped in good order.
    PeerStopped,
    /// The peer closed the link; its words.
    PeerClosed(String),
    /// The peer broke the rules of the lanes.
    Violation(FrameViolation),
    /// [`Endpoint::disconnect`](crate::Endpoint::disconnect) was called; its words.
    Disconnected(String),
    /// The peer is no longer in the list of peers.
    Removed,
    /// The link reached its greatest age and is replaced.
    Aged,
    /// This endpoint was stopped.
    Stopped,
}

/// What a peer did on a lane that a correct one does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameViolation {
    /// It announced a frame longer than the limit (both in bytes).
    TooLong {
        /// The announced length.
        announced: usize,
        /// The limit.
        limit: usize,
    },
    /// It ended a lane in the middle of a frame.
    Truncated,
    /// It opened a stream that is no lane, or reset one.
    Stream,
}

impl fmt::Display for FrameViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { announced, limit } => {
                write!(f, "a frame of {announced} bytes was announced, the limit is {limit}")
            }
            Self::Truncated => f.write_str("a lane ended in the middle of a frame"),
            Self::Stream => f.write_str("a stream that is no lane"),
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no sign of life"),
            Self::Restarted => f.write_str("it was restarted"),
            Self::Superseded => f.write_str("a newer link took its place"),
            Self::PeerStopped => f.write_str("it was stopped"),
            Self::PeerClosed(words) => write!(f, "it closed the link: {words}"),
            Self::Violation(violation) => write!(f, "it broke the rules: {violation}"),
            Self::Disconnected(words) => write!(f, "disconnected: {words}"),
            Self::Removed => f.write_str("it is no longer a peer"),
            Self::Aged => f.write_str("the link reached its greatest age"),
            Self::Stopped => f.write_str("this node was stopped"),
        }
    }
}

/// Why a connection is closed, as the code on the wire. Codes are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// Also the code of a connection that is dropped: an attempt that is no longer needed.
    Abandoned,
    Stopped,
    Superseded,
    Refused,
    Violation,
    Disconnected,
    Removed,
    Aged,
    Busy,
}

impl Close {
    const ALL: [Self; 9] = [
        Self::Abandoned,
        Self::Stopped,
        Self::Superseded,
        Self::Refused,
        Self::Violation,
        Self::Disconnected,
        Self::Removed,
        Self::Aged,
        Self::Busy,
    ];

    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    pub(crate) fn of(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|close| close.code() == code)
    }
}

impl DownReason {
    /// How the peer is told.
    pub(crate) fn close(&self) -> Close {
        match self {
            Self::Silent | Self::Restarted | Self::PeerStopped | Self::PeerClosed(_) => {
                Close::Abandoned
            }
            Self::Superseded => Close::Superseded,
            Self::Violation(_) => Close::Violation,
            Self::Disconnected(_) => Close::Disconnected,
            Self::Removed => Close::Removed,
            Self::Aged => Close::Aged,
            Self::Stopped => Close::Stopped,
        }
    }

    /// What the end of a connection means that this side did not close.
    pub(crate) fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::ApplicationClosed(close) => match Close::of(close.error_code) {
                Some(Close::Stopped) => Self::PeerStopped,
                Some(Close::Superseded) => Self::Superseded,
                Some(Close::Aged) => Self::Aged,
                Some(
                    Close::Abandoned
                    | Close::Refused
                    | Close::Violation
                    | Close::Disconnected
                    | Close::Removed
                    | Close::Busy,
                )
                | None => Self::PeerClosed(words(&close.reason)),
            },
            ConnectionError::LocallyClosed => Self::Stopped,
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::CidsExhausted => Self::PeerClosed(error.to_string()),
        }
    }
}

/// Text for a peer, no longer than it may be.
pub(crate) fn reason_bytes(words: &str) -> &[u8] {
    let bytes = words.as_bytes();
    &bytes[..bytes.len().min(crate::limits::REASON_BYTES_MAX)]
}

/// Text of a peer, made fit for a log line: short, printable, valid.
pub(crate) fn words(reason: &[u8]) -> String {
    let reason = &reason[..reason.len().min(crate::limits::REASON_BYTES_MAX)];
    String::from_utf8_lossy(reason)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
