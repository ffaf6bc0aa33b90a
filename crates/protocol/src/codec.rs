//! Bytes of values: bincode with a byte limit, and nothing left over. The only place that names it.
//! Public for `membership`, whose log and messages are values as well.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not one value, or too many of them. Whoever sent them speaks another version, or
/// they were damaged on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the bytes are not the value that they should be")
    }
}

impl std::error::Error for Undecodable {}

/// Bytes that one decoding may read, where numbers and lengths count at their full width however
/// few bytes they took: so small items are counted by more than what they cost the sender. What a
/// container of them takes in memory is at most thirteen times that (`tests/wire_memory.rs`).
const READ_BYTES_MAX: usize = crate::limits::FRAME_BYTES_MAX;

/// Appends the encoding of `value`.
pub fn encode(value: &impl Serialize, bytes: &mut Vec<u8>) {
    let config = bincode::config::standard();
    // Writing to memory fails only for types that refuse to be written, of which there are none;
    // a test encodes every message.
    if bincode::serde::encode_into_std_write(value, bytes, config).is_err() {
        bytes.clear();
    }
}

/// The value that all of `bytes` encodes.
///
/// # Errors
/// [`Undecodable`] if they encode no such value, or more than one, or are longer than
/// [`crate::limits::FRAME_BYTES_MAX`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    if bytes.len() > crate::limits::FRAME_BYTES_MAX {
        return Err(Undecodable);
    }
    let config = bincode::config::standard().with_limit::<READ_BYTES_MAX>();
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|_| Undecodable)?;
    if read == bytes.len() { Ok(value) } else { Err(Undecodable) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAME_BYTES_MAX;

    /// Tests rule W1: all of the bytes are one value, or there is none.
    #[test]
    fn nothing_is_left_over() {
        let mut bytes = Vec::new();
        encode(&(7_u64, vec![1_u8, 2]), &mut bytes);
        assert_eq!(decode::<(u64, Vec<u8>)>(&bytes), Ok((7, vec![1, 2])));
        bytes.push(0);
        assert_eq!(decode::<(u64, Vec<u8>)>(&bytes), Err(Undecodable));
        assert_eq!(decode::<u64>(&[]), Err(Undecodable));
    }

    /// Tests rule W1: also a length that only just exceeds the bound.
    #[test]
    fn bound_frame_bytes_max() {
        let text = |count: usize| {
            let mut bytes = Vec::new();
            encode(&"x".repeat(count), &mut bytes);
            decode::<String>(&bytes).is_ok()
        };
        assert!(text(FRAME_BYTES_MAX - 16));
        assert!(!text(FRAME_BYTES_MAX));
    }
}
