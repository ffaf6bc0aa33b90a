//! One record as bytes: a checksum over its name and its encoding, then the encoding. redb checks
//! its pages when it opens a file; this finds what goes wrong above it, and records that have
//! changed places.

use protocol::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::{SmolStr, format_smolstr};
use xxhash_rust::xxh3::Xxh3;

use super::Damage;

const CHECKSUM_BYTES: usize = 8;

pub(crate) fn seal(name: &str, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; CHECKSUM_BYTES];
    codec::encode(value, &mut bytes);
    let (checksum, body) = bytes.split_at_mut(CHECKSUM_BYTES);
    checksum.copy_from_slice(&checksum_of(name, body));
    bytes
}

pub(crate) fn unseal<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Damage> {
    let damage = || Damage::Record(name.into());
    let (checksum, body) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(damage)?;
    if *checksum != checksum_of(name, body) {
        return Err(damage());
    }
    codec::decode(body).map_err(|_| damage())
}

/// The name of the entry of that index.
pub(crate) fn entry_tag(index: u64) -> SmolStr {
    format_smolstr!("entry {index}")
}

fn checksum_of(name: &str, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Xxh3::new();
    hash.update(name.as_bytes());
    hash.update(&[0]);
    hash.update(body);
    hash.digest().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_was_written_under_its_name_or_nothing() {
        let sealed = seal("vote", &(7_u64, "x"));
        assert_eq!(unseal("vote", &sealed), Ok((7_u64, "x".to_owned())));
        let damage = |name: &str, bytes: &[u8]| {
            assert_eq!(unseal::<(u64, String)>(name, bytes), Err(Damage::Record(name.into())));
        };
        damage("purged", &sealed);
        for length in 0..sealed.len() {
            damage("vote", &sealed[..length]);
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            damage("vote", &flipped);
        }
    }
}
