//! Messages as bytes: a version, a kind, and the encoding. Golden bytes in `tests/wire_golden.rs`.

use serde::{Deserialize, Serialize};
use session::Inc;

use crate::codec;
use crate::limits::FRAME_BYTES_MAX;
use crate::liveness::Heartbeat;
use crate::message::Envelope;
use crate::view::Copies;

/// Latest version of everything below that this release speaks. A change of any golden byte demands
/// a new one.
pub const WIRE_VERSION: u8 = if cfg!(feature = "next") { 4 } else { 3 };

/// Oldest version that this release speaks, so that it can run beside the release before: until all
/// members speak a later one and that is agreed upon ([`Decision::SetProtocol`]), it is the older
/// one that is spoken.
///
/// [`Decision::SetProtocol`]: crate::Decision::SetProtocol
pub const WIRE_VERSION_MIN: u8 = 3;

/// From this version on an introduction tells which versions its sender speaks; it has the same form
/// in all later ones.
const HELLO_VERSION: u8 = 3;

const ENVELOPE: u8 = 1;
const HEARTBEAT: u8 = 2;
const HELLO: u8 = 3;
const LETTER: u8 = 4;
#[cfg(feature = "next")]
const TRIAL: u8 = 5;

/// The version that brings what only the trial of a next release has.
#[cfg(feature = "next")]
pub const NEXT_VERSION: u8 = WIRE_VERSION;

/// How two processes introduce themselves when they connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Latest version of the wire that it speaks: the first byte.
    #[serde(skip)]
    pub version: u8,
    /// Oldest version of the wire that it speaks.
    pub version_min: u8,
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
    /// What only a next release says, for tests of upgrades.
    #[cfg(feature = "next")]
    Trial(u64),
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Longer than [`FRAME_BYTES_MAX`].
    TooLong,
    /// Of a version of the wire that this release does not speak; upgrade the older side.
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
                write!(f, "a frame of wire version {version}, this node speaks {}", versions())
            }
            Self::Kind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::Undecodable => f.write_str("a frame cannot be decoded"),
        }
    }
}

impl std::error::Error for WireError {}

/// The versions of the wire that this release speaks, in words.
#[must_use]
pub fn versions() -> String {
    range(WIRE_VERSION_MIN, WIRE_VERSION)
}

/// A range of versions, in words.
#[must_use]
pub fn range(min: u8, max: u8) -> String {
    if min == max { max.to_string() } else { format!("{min} to {max}") }
}

impl Frame {
    /// The bytes of this frame in a version of the wire that both sides speak, from
    /// [`WIRE_VERSION_MIN`] to [`WIRE_VERSION`].
    #[must_use]
    pub fn encode(&self, version: u8) -> Vec<u8> {
        match self {
            Self::Envelope(envelope) => encode(version, ENVELOPE, envelope),
            #[cfg(feature = "next")]
            Self::Heartbeat(heartbeat) if version >= NEXT_VERSION => {
                encode(version, HEARTBEAT, &(heartbeat, version))
            }
            Self::Heartbeat(heartbeat) => encode(version, HEARTBEAT, heartbeat),
            Self::Letter(bytes) => encode(version, LETTER, bytes),
            #[cfg(feature = "next")]
            Self::Trial(number) => encode(version, TRIAL, number),
        }
    }

    /// The frame that `bytes` are, in any version that this release speaks.
    ///
    /// # Errors
    /// [`WireError`] says what is wrong with them; nothing large was allocated.
    // Rule W1.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (version, kind, body) = split(bytes)?;
        if !(WIRE_VERSION_MIN..=WIRE_VERSION).contains(&version) {
            return Err(WireError::Version(version));
        }
        match kind {
            ENVELOPE => Ok(Self::Envelope(decode(body)?)),
            #[cfg(feature = "next")]
            HEARTBEAT if version >= NEXT_VERSION => match decode::<(Heartbeat, u8)>(body)? {
                (heartbeat, told) if told == version => Ok(Self::Heartbeat(heartbeat)),
                _ => Err(WireError::Undecodable),
            },
            HEARTBEAT => Ok(Self::Heartbeat(decode(body)?)),
            LETTER => Ok(Self::Letter(decode(body)?)),
            #[cfg(feature = "next")]
            TRIAL if version >= NEXT_VERSION => Ok(Self::Trial(decode(body)?)),
            kind => Err(WireError::Kind(kind)),
        }
    }
}

impl Hello {
    /// The bytes of this introduction.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.version, HELLO, self)
    }

    /// The introduction that `bytes` are, whichever versions of the wire its sender speaks.
    ///
    /// # Errors
    /// As for [`Frame::decode`].
    // Rule W2.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (version, kind, body) = split(bytes)?;
        if version < HELLO_VERSION {
            return Err(WireError::Version(version));
        }
        match kind {
            HELLO => Ok(Self { version, ..decode(body)? }),
            kind => Err(WireError::Kind(kind)),
        }
    }

    /// The latest version of the wire that both this release and the sender speak, if there is one.
    // Rule W2.
    #[must_use]
    pub fn common_version(&self) -> Option<u8> {
        let common = self.version.min(WIRE_VERSION);
        (common >= self.version_min.max(WIRE_VERSION_MIN)).then_some(common)
    }
}

fn encode(version: u8, kind: u8, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&[version, kind]);
    codec::encode(value, &mut bytes);
    bytes
}

fn split(bytes: &[u8]) -> Result<(u8, u8, &[u8]), WireError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    match bytes {
        [version, kind, body @ ..] => Ok((*version, *kind, body)),
        [_] | [] => Err(WireError::Undecodable),
    }
}

fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    codec::decode(body).map_err(|_| WireError::Undecodable)
}
