//! Summaries of what is held, so that two owners can compare megabytes with a few bytes.

use serde::{Deserialize, Serialize};
use session::{SessionKey, State, Time, Version};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::rules::{Rule, Rules};

/// A multiset hash: the exclusive-or of the hashes of its members, so that one change costs one
/// step however much is held (protocol 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Adds what is not in it, or removes what is.
    #[must_use]
    pub fn toggle(self, other: Self) -> Self {
        Self((u128::from_le_bytes(self.0) ^ u128::from_le_bytes(other.0)).to_le_bytes())
    }

    /// The half of a single session's hash that goes into lists. Its lowest bit says whether the
    /// session has ended.
    #[must_use]
    pub fn short(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "half of the hash is enough in a list")]
        let low = u128::from_le_bytes(self.0) as u64;
        low
    }

    /// True if the list entry `short` stands for an ended session.
    #[must_use]
    pub const fn is_ended(short: u64) -> bool {
        short & 1 == 1
    }

    fn with_ended(self, ended: bool) -> Self {
        let hash = u128::from_le_bytes(self.0) & !1;
        Self((hash | u128::from(ended)).to_le_bytes())
    }
}

/// The hash of one session: of key, version and last access while it lives, of key and tombstone
/// when it has ended. Equal versions mean equal values (rule R4), so the attributes need no hash.
// Rule E3.
pub(crate) fn of_state(seed: u64, rules: Rules, key: SessionKey, state: &State) -> Digest {
    let mut bytes = Vec::with_capacity(96);
    bytes.extend_from_slice(&key.0);
    match state {
        State::Alive(session) => {
            version_bytes(&mut bytes, &session.version);
            if !rules.off(Rule::DigestLastAccess) {
                time_bytes(&mut bytes, session.last_access);
            }
            Digest(xxh3_128_with_seed(&bytes, seed).to_le_bytes()).with_ended(false)
        }
        State::Ended(_) if rules.off(Rule::TombstonesInDigests) => Digest::default(),
        // Rule T4.
        State::Ended(tombstone) => {
            time_bytes(&mut bytes, tombstone.deadline);
            bytes.push(tombstone.reason as u8);
            Digest(xxh3_128_with_seed(&bytes, seed).to_le_bytes()).with_ended(true)
        }
    }
}

fn version_bytes(bytes: &mut Vec<u8>, version: &Version) {
    for (inc, hlc) in version.iter() {
        bytes.extend_from_slice(&inc.0.to_le_bytes());
        bytes.extend_from_slice(&hlc.0.to_le_bytes());
    }
}

fn time_bytes(bytes: &mut Vec<u8>, time: Time) {
    bytes.extend_from_slice(&time.0.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use session::{EndReason, Tombstone};

    use super::*;
    use crate::fixtures::{NOW, key, session, written};

    fn of(key: SessionKey, state: &State) -> Digest {
        of_state(7, Rules::default(), key, state)
    }

    /// Tests rules E3 and R4: what differs in anything but the attributes has another hash.
    #[test]
    fn key_version_and_last_access_make_the_hash_of_a_session() {
        let plain = session(1, NOW);
        let hash =
            |session: &session::Session| of(key(0, 0), &State::Alive(session.clone().into()));
        let mut used = plain.clone();
        used.last_access = NOW.plus(1);
        let (one, other) = (written(plain.clone(), 1, NOW, 5), written(plain.clone(), 2, NOW, 5));
        let all = [&plain, &used, &one, &other].map(hash);
        for (index, hash) in all.iter().enumerate() {
            assert!(!all[..index].contains(hash), "{index}");
        }
        assert_ne!(hash(&plain), of(key(0, 1), &State::Alive(plain.clone().into())));
        assert_eq!(hash(&plain), hash(&session(1, NOW)));
        let seed = of_state(8, Rules::default(), key(0, 0), &State::Alive(plain.into()));
        assert_ne!(seed, all[0]);
    }

    /// Tests rule T4: ends are compared like the living, and can be told from them in a list.
    #[test]
    fn an_end_has_a_hash_of_its_own() {
        let end = |deadline, reason| State::Ended(Tombstone { deadline, reason });
        let logout = of(key(0, 0), &end(NOW, EndReason::Logout));
        assert_ne!(logout, of(key(0, 0), &end(NOW, EndReason::Forced)));
        assert_ne!(logout, of(key(0, 0), &end(NOW.plus(1), EndReason::Logout)));
        assert!(Digest::is_ended(logout.short()));
        for number in 0..100 {
            let alive = of(key(0, number), &State::Alive(session(1, NOW).into()));
            assert!(!Digest::is_ended(alive.short()));
        }
    }

    #[test]
    fn adding_twice_is_removing() {
        let (a, b) = (of(key(0, 0), &State::Alive(session(1, NOW).into())), Digest::default());
        assert_eq!(b.toggle(a).toggle(a), b);
        assert_eq!(a.toggle(b), a);
    }
}
