//! When and by whom: hybrid logical time and the writer, totally ordered.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Inc, Time};

/// A reading of a hybrid logical clock: 48 bits of milliseconds, 16 bits of counter.
///
/// Both parts live in one integer, so that the successor of a reading whose counter is full is the
/// next millisecond with counter 0 (amendment 6) without a special case.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The earliest reading of the millisecond `time`; of the last one there is, if `time` does not
    /// fit into 48 bits, which is in the year 10889.
    #[must_use]
    pub const fn at(time: Time) -> Self {
        let last = u64::MAX >> 16;
        Self(if time.0 < last { time.0 } else { last } << 16)
    }

    /// The millisecond of this reading.
    #[must_use]
    pub const fn time(self) -> Time {
        Time(self.0 >> 16)
    }

    /// The reading right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// The mark of one commit: unique, and ordered as last-writer-wins orders (rule H1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When; the more significant part.
    pub hlc: Hlc,
    /// By whom; decides between equal readings of different writers.
    pub inc: Inc,
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.hlc, self.inc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests rule H1.
    #[test]
    fn stamps_are_ordered_by_time_then_counter_then_writer() {
        let stamp = |ms, counter: u64, inc| Stamp {
            hlc: Hlc(Hlc::at(Time(ms)).0 + counter),
            inc: Inc(inc),
        };
        let ascending = [stamp(1, 0, 9), stamp(1, 1, 1), stamp(1, 1, 2), stamp(2, 0, 1)];
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_time_beyond_48_bits_is_the_last_and_not_an_early_one() {
        let last = Time(u64::MAX >> 16);
        assert_eq!(Hlc::at(last).time(), last);
        assert_eq!(Hlc::at(last.plus(1)), Hlc::at(last));
        assert_eq!(Hlc(u64::MAX).next(), Hlc(u64::MAX));
    }
}
