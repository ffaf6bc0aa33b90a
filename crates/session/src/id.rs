//! Who is meant: the secret id in a browser's cookie, the key that nodes know it by, the writer.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The secret that a browser holds: 256 random bits.
///
/// Known to the browser and to the node that serves its request; never stored, logged or shown
/// (I-SECRET). `Debug` prints four hex digits of the *key*, which is enough to follow a session
/// through a log and useless to a thief.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; Self::BYTES]);

impl SessionId {
    /// Length of an id in bytes.
    pub const BYTES: usize = 32;

    /// Length of an id's text in a cookie: six bits per character.
    const COOKIE_CHARACTERS: usize = (Self::BYTES * 8).div_ceil(6);

    /// An id from bytes that the caller drew from a cryptographic source.
    #[must_use]
    pub const fn from_random(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The text that goes into the cookie: 43 characters of base64url.
    #[must_use]
    pub fn to_cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The key that nodes store the session under: the first 16 bytes of SHA-256 of the id.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        let hash = Sha256::digest(self.0);
        let mut key = [0; SessionKey::BYTES];
        key.copy_from_slice(&hash[..SessionKey::BYTES]);
        SessionKey(key)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:?})", self.key())
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != Self::COOKIE_CHARACTERS {
            return Err(ParseIdError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| ParseIdError)?))
    }
}

/// The text is not a session id: 43 characters of base64url were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a session id: 43 characters of base64url were expected")
    }
}

impl std::error::Error for ParseIdError {}

/// What nodes call a session: a hash of its id, from which the id cannot be found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey(pub [u8; Self::BYTES]);

impl SessionKey {
    /// Length of a key in bytes.
    pub const BYTES: usize = 16;

    /// The unit of placement, digests and movement that this key belongs to.
    #[must_use]
    pub const fn slot(self) -> Slot {
        Slot(u16::from_be_bytes([self.0[0], self.0[1]]) >> 4)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

/// One 4096th of the key space: the first 12 bits of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(u16);

impl Slot {
    /// Number of slots; a constant of every cluster.
    pub const COUNT: u16 = 4096;

    /// The slot of that number; `None` from [`Slot::COUNT`] on.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Its number, below [`Slot::COUNT`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Slot {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a slot is below 4096")
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// One start of one node's process: the identity of a writer. Never reused (I-INC).
///
/// While the view is static: start time in milliseconds × 4096 + the member's index, so that a
/// later start of the same member is always the greater (amendment 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Inc(pub u64);

impl Inc {
    /// Members that a static view can number.
    pub const MEMBERS_MAX: u64 = 4096;

    /// The `Inc` of a process that started at `start` as member number `index` of a static view.
    #[must_use]
    pub const fn of_start(start: Time, index: u16) -> Self {
        Self(start.0.saturating_mul(Self::MEMBERS_MAX).saturating_add(index as u64))
    }
}

impl fmt::Debug for Inc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

use crate::Time;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_cookie_and_never_shows_itself() {
        let id = SessionId::from_random([7; 32]);
        let cookie = id.to_cookie();
        assert_eq!(cookie.len(), 43);
        assert_eq!(cookie.parse::<SessionId>(), Ok(id.clone()));
        assert!(!format!("{id:?}").contains(&cookie[..8]));
        for wrong in ["", "x", &cookie[1..], &format!("{cookie}A"), "Ä"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(ParseIdError), "{wrong}");
        }
    }

    #[test]
    fn a_slot_is_the_first_twelve_bits_of_the_key() {
        let mut key = [0; 16];
        key[0] = 0xab;
        key[1] = 0xcd;
        assert_eq!(SessionKey(key).slot().number(), 0xabc);
        assert_eq!(Slot::new(4096), None);
    }
}
