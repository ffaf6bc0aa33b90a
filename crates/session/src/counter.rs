//! A counter: each writer's own sums, added up.

use serde::{Deserialize, Serialize};

use crate::{Hlc, Inc, Stamp, Unordered, Version};

/// What one writer has added and subtracted so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// Reading of the writer's newest addition or subtraction.
    pub hlc: Hlc,
    /// Sum of its additions.
    pub plus: u64,
    /// Sum of its subtractions, as a positive number.
    pub minus: u64,
}

/// A PN-counter (Shapiro et al. 2011): concurrent additions all count.
///
/// Invariant: sorted by writer, each once; a writer's sums only grow with its stamp, so of two
/// tallies of one writer the later includes the earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Inc, Tally)>")]
pub struct Counter(Vec<(Inc, Tally)>);

impl Counter {
    /// The value: all additions less all subtractions, held within `i64`.
    #[must_use]
    pub fn value(&self) -> i64 {
        let sum: i128 = self.0.iter().map(|(_, t)| i128::from(t.plus) - i128::from(t.minus)).sum();
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
    }

    /// What the writer `inc` has added and subtracted.
    #[must_use]
    pub fn tally(&self, inc: Inc) -> Option<Tally> {
        let at = self.0.binary_search_by_key(&inc, |entry| entry.0).ok()?;
        Some(self.0[at].1)
    }

    /// The tally of the stamp's writer after `amount` more; `None` if a sum would overflow.
    #[must_use]
    pub(crate) fn with(&self, stamp: Stamp, amount: i64) -> Option<Self> {
        let at = self.0.binary_search_by_key(&stamp.inc, |entry| entry.0);
        let mut tally = at.map_or(Tally { hlc: stamp.hlc, plus: 0, minus: 0 }, |at| self.0[at].1);
        tally.hlc = stamp.hlc;
        let sum = if amount < 0 { &mut tally.minus } else { &mut tally.plus };
        *sum = sum.checked_add(amount.unsigned_abs())?;
        let mut counter = self.clone();
        match at {
            Ok(at) => counter.0[at].1 = tally,
            Err(at) => counter.0.insert(at, (stamp.inc, tally)),
        }
        Some(counter)
    }

    /// Takes, per writer, the later tally.
    pub(crate) fn join(&mut self, other: &Self) {
        for &(inc, theirs) in &other.0 {
            match self.0.binary_search_by_key(&inc, |entry| entry.0) {
                Ok(at) if self.0[at].1.hlc < theirs.hlc => self.0[at].1 = theirs,
                Ok(_) => {}
                Err(at) => self.0.insert(at, (inc, theirs)),
            }
        }
    }

    /// True if every change of this counter is included in `version`.
    pub(crate) fn is_covered_by(&self, version: &Version) -> bool {
        self.0.iter().all(|&(inc, tally)| version.covers(Stamp { hlc: tally.hlc, inc }))
    }

    pub(crate) const fn size_bytes(&self) -> usize {
        self.0.len() * 32
    }
}

impl TryFrom<Vec<(Inc, Tally)>> for Counter {
    type Error = Unordered;

    fn try_from(entries: Vec<(Inc, Tally)>) -> Result<Self, Unordered> {
        let ordered = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if ordered { Ok(Self(entries)) } else { Err(Unordered) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(hlc: u64, inc: u64) -> Stamp {
        Stamp { hlc: Hlc(hlc), inc: Inc(inc) }
    }

    fn counted(amounts: &[(u64, u64, i64)]) -> Counter {
        amounts.iter().fold(Counter::default(), |counter, &(hlc, inc, amount)| {
            counter.with(stamp(hlc, inc), amount).expect("in range")
        })
    }

    #[test]
    fn additions_and_subtractions_of_all_writers_count() {
        assert_eq!(counted(&[(1, 1, 5), (2, 2, -7), (3, 1, -1), (3, 1, 2)]).value(), -1);
        assert_eq!(counted(&[(1, 1, i64::MIN), (2, 2, i64::MAX)]).value(), -1);
    }

    /// The value is held within its type; the sums behind it stay exact.
    #[test]
    fn a_value_beyond_its_type_is_its_nearest_and_comes_back() {
        let high = counted(&[(1, 1, i64::MAX), (2, 1, 9)]);
        assert_eq!(high.value(), i64::MAX);
        assert_eq!(high.with(stamp(3, 2), -10).expect("in range").value(), i64::MAX - 1);
        assert_eq!(counted(&[(1, 1, i64::MIN), (2, 2, -9)]).value(), i64::MIN);
    }

    #[test]
    fn a_sum_that_would_overflow_is_refused() {
        let full = counted(&[(1, 1, i64::MAX), (2, 1, i64::MAX), (3, 1, 1)]);
        assert_eq!(full.with(stamp(4, 1), 1), None);
        assert!(full.with(stamp(4, 1), -1).is_some(), "the other sum has room");
        assert!(full.with(stamp(4, 2), 1).is_some(), "and the other writer");
    }

    /// Tests rule A2: of one writer's tallies the later includes the earlier.
    #[test]
    fn joining_counts_nothing_twice() {
        let early = counted(&[(1, 1, 5)]);
        let mut late = counted(&[(1, 1, 5), (2, 1, 5), (3, 2, 1)]);
        let before = late.clone();
        late.join(&early);
        assert_eq!(late, before);
        let mut joined = early;
        joined.join(&late);
        assert_eq!(joined.value(), 11);
    }
}
