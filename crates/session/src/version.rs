//! Which writes a copy holds: per writer, everything up to a stamp, without gaps.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Hlc, Inc, Stamp};

/// A version vector: for each writer the newest of its stamps that is included, and with it every
/// earlier one of that writer (I-COV).
///
/// Sorted by writer, each writer at most once. A vector and not a single highest stamp, because
/// "newest stamp ≥ t" does not mean "all writes up to t" once two nodes write (Terry et al.,
/// PDIS '94).
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Inc, Hlc)>")]
pub struct Version(Vec<(Inc, Hlc)>);

impl Version {
    /// The version that includes nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// True if nothing is included.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of writers.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The newest stamp of `inc` that is included.
    #[must_use]
    pub fn get(&self, inc: Inc) -> Option<Hlc> {
        let at = self.0.binary_search_by_key(&inc, |entry| entry.0).ok()?;
        Some(self.0[at].1)
    }

    /// Writers and their newest stamps, in order of the writers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Inc, Hlc)> + '_ {
        self.0.iter().copied()
    }

    /// True if `stamp` is included.
    #[must_use]
    pub fn covers(&self, stamp: Stamp) -> bool {
        self.get(stamp.inc).is_some_and(|hlc| hlc >= stamp.hlc)
    }

    /// True if everything in `other` is included: `self ≥ other`, entry by entry.
    #[must_use]
    pub fn covers_all(&self, other: &Self) -> bool {
        let mut mine = self.0.iter();
        other.0.iter().all(|theirs| {
            mine.find(|entry| entry.0 >= theirs.0)
                .is_some_and(|entry| entry.0 == theirs.0 && entry.1 >= theirs.1)
        })
    }

    /// Includes `stamp` and everything before it of that writer.
    pub fn insert(&mut self, stamp: Stamp) {
        match self.0.binary_search_by_key(&stamp.inc, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(stamp.hlc),
            Err(at) => self.0.insert(at, (stamp.inc, stamp.hlc)),
        }
    }

    /// The least version that covers both.
    pub fn join(&mut self, other: &Self) {
        if self.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (inc, hlc) in other.iter() {
            self.insert(Stamp { hlc, inc });
        }
    }

    /// The entries of `other` that are not included here.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> Self {
        let missing = |&(inc, hlc): &(Inc, Hlc)| !self.covers(Stamp { hlc, inc });
        Self(other.0.iter().copied().filter(missing).collect())
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Inc) -> bool) {
        self.0.retain(|entry| keep(entry.0));
    }

    /// Keeps the `count` entries with the newest stamps (amendment 19).
    pub fn keep_newest(&mut self, count: usize) {
        if self.0.len() <= count {
            return;
        }
        self.0.sort_unstable_by_key(|&(inc, hlc)| (std::cmp::Reverse(hlc), inc));
        self.0.truncate(count);
        self.0.sort_unstable();
    }

    /// Bytes that it takes.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.0.len() * 16
    }

    /// The newest reading in it; the epoch if nothing is included.
    #[must_use]
    pub fn newest(&self) -> Hlc {
        self.0.iter().map(|entry| entry.1).max().unwrap_or_default()
    }
}

impl From<Stamp> for Version {
    fn from(stamp: Stamp) -> Self {
        Self(vec![(stamp.inc, stamp.hlc)])
    }
}

impl FromIterator<(Inc, Hlc)> for Version {
    fn from_iter<I: IntoIterator<Item = (Inc, Hlc)>>(entries: I) -> Self {
        let mut version = Self::new();
        for (inc, hlc) in entries {
            version.insert(Stamp { hlc, inc });
        }
        version
    }
}

impl TryFrom<Vec<(Inc, Hlc)>> for Version {
    type Error = Unordered;

    fn try_from(entries: Vec<(Inc, Hlc)>) -> Result<Self, Unordered> {
        let ordered = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if ordered { Ok(Self(entries)) } else { Err(Unordered) }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().copied()).finish()
    }
}

/// What was received in place of an ordered sequence has an entry twice or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unordered;

impl fmt::Display for Unordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries are not in strictly increasing order")
    }
}

impl std::error::Error for Unordered {}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(entries: &[(u64, u64)]) -> Version {
        entries.iter().map(|&(inc, hlc)| (Inc(inc), Hlc(hlc))).collect()
    }

    #[test]
    fn covering_is_entry_by_entry() {
        let both = version(&[(1, 5), (2, 7)]);
        assert!(both.covers_all(&version(&[(1, 5)])));
        assert!(both.covers_all(&version(&[(2, 7)])));
        assert!(both.covers_all(&Version::new()));
        assert!(!both.covers_all(&version(&[(1, 6)])), "a newer stamp of 2 does not help 1");
        assert!(!both.covers_all(&version(&[(3, 1)])));
        assert!(!version(&[(2, 9)]).covers_all(&both));
        assert_eq!(version(&[(2, 9)]).missing_from(&both), version(&[(1, 5)]));
    }

    #[test]
    fn the_newest_entries_are_kept() {
        let mut many = version(&[(1, 50), (2, 10), (3, 40)]);
        many.keep_newest(2);
        assert_eq!(many, version(&[(1, 50), (3, 40)]));
    }

    #[test]
    fn received_entries_must_be_ordered() {
        assert_eq!(Version::try_from(vec![(Inc(2), Hlc(1)), (Inc(1), Hlc(1))]), Err(Unordered));
        assert_eq!(Version::try_from(vec![(Inc(1), Hlc(1)), (Inc(1), Hlc(2))]), Err(Unordered));
    }
}
