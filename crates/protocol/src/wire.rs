//! Messages as bytes: a version, a kind, and the encoding. Golden bytes in `tests/wire_golden.rs`.

use serde::{Deserialize, Serialize};
use session::Inc;

use crate::codec;
use crate::limits::FRAME_BYTES_MAX;
use crate::liveness::Heartbeat;
use crate::message::Envelope;
use crate::view::Copies;

/// Version of everything below. A change of any golden byte demands a new one.
pub const WIRE_VERSION: u8 = 2;

const ENVELOPE: u8 = 1;
const HEARTBEAT: u8 = 2;
const HELLO: u8 = 3;
const LETTER: u8 = 4;

/// How two processes introduce themselves when they connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The process that speaks. Where members are agreed at run time it has no number yet, and
    /// this is the one that it has drawn ([`Member::start`](crate::Member::start)).
    pub inc: Inc,
    /// Number of shards, a constant of the cluster.
    pub shards: u16,
    /// How many members hold each session, as this process is configured; all, where the view says
    /// it.
    pub copies: Copies,
    /// Hash of the cluster's name and of the members' names, as far as the configuration fixes
    /// them: both sides must mean the same.
    pub view_hash: u64,
}

/// What can stand in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message between two shards.
    Envelope(Envelope),
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// A letter of membership, in that crate's own encoding.
    Letter(Vec<u8>),
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Longer than [`FRAME_BYTES_MAX`].
    TooLong,
    /// Of another version of the wire; upgrade the older side.
    Version(u8),
    /// A kind of frame that this release does not know.
    Kind(u8),
    /// Not what its kind says, or more than that.
    Undecodable,
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => write!(f, "a frame is longer than {FRAME_BYTES_MAX} bytes"),
            Self::Version(version) => {
                write!(f, "a frame of wire version {version}, this node speaks {WIRE_VERSION}")
            }
            Self::Kind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::Undecodable => f.write_str("a frame cannot be decoded"),
        }
    }
}

impl std::error::Error for WireError {}

impl Frame {
    /// The bytes of this frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Envelope(envelope) => encode(ENVELOPE, envelope),
            Self::Heartbeat(heartbeat) => encode(HEARTBEAT, heartbeat),
            Self::Letter(bytes) => encode(LETTER, bytes),
        }
    }

    /// The frame that `bytes` are.
    ///
    /// # Errors
    /// [`WireError`] says what is wrong with them; nothing large was allocated.
    // Rule W1.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match kind(bytes)? {
            (ENVELOPE, body) => Ok(Self::Envelope(decode(body)?)),
            (HEARTBEAT, body) => Ok(Self::Heartbeat(decode(body)?)),
            (LETTER, body) => Ok(Self::Letter(decode(body)?)),
            (kind, _) => Err(WireError::Kind(kind)),
        }
    }
}

impl Hello {
    /// The bytes of this introduction.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(HELLO, self)
    }

    /// The introduction that `bytes` are.
    ///
    /// # Errors
    /// As for [`Frame::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match kind(bytes)? {
            (HELLO, body) => decode(body),
            (kind, _) => Err(WireError::Kind(kind)),
        }
    }
}

fn encode(kind: u8, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&[WIRE_VERSION, kind]);
    codec::encode(value, &mut bytes);
    bytes
}

fn kind(bytes: &[u8]) -> Result<(u8, &[u8]), WireError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    match bytes {
        [WIRE_VERSION, kind, body @ ..] => Ok((*kind, body)),
        [version, _, ..] => Err(WireError::Version(*version)),
        [_] | [] => Err(WireError::Undecodable),
    }
}

fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    codec::decode(body).map_err(|_| WireError::Undecodable)
}
