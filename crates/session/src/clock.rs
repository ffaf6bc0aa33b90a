//! The hybrid logical clock: the only maker of stamps.

use crate::limits::SKEW_MS_MAX;
use crate::{Hlc, Inc, Stamp, Time, Version};

/// A hybrid logical clock of one writer (Kulkarni, Demirbas et al. 2014; rules H1 and H4).
///
/// Invariant: `last` only grows, and every stamp given out is greater than every reading observed
/// before it.
#[derive(Clone, Debug, Hash)]
pub struct Clock {
    inc: Inc,
    last: Hlc,
}

impl Clock {
    /// The clock of the writer `inc`, which has stamped nothing yet.
    #[must_use]
    pub const fn new(inc: Inc) -> Self {
        Self { inc, last: Hlc(0) }
    }

    /// The writer whose stamps this clock makes.
    #[must_use]
    pub const fn inc(&self) -> Inc {
        self.inc
    }

    /// The next stamp, at least `now` and after everything observed.
    // Rule H1.
    pub fn stamp(&mut self, now: Time) -> Stamp {
        self.last = self.last.next().max(Hlc::at(now));
        Stamp { hlc: self.last, inc: self.inc }
    }

    /// Takes note of stamps that arrived, so that later ones of ours come after them.
    ///
    /// The caller has checked [`Clock::is_skewed`]: a reading from the far future must not drag
    /// this clock along.
    // Rule H1, amendment 5: a valid token and `at` are receive events too.
    pub fn observe(&mut self, version: &Version) {
        self.last = self.last.max(version.newest());
    }

    /// True if `reading` is further in the future than clocks of this cluster may differ.
    // Rule H4.
    #[must_use]
    pub fn is_skewed(reading: Time, now: Time) -> bool {
        reading > now.plus(SKEW_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests rule H1.
    #[test]
    fn stamps_of_one_writer_strictly_increase_and_follow_what_was_observed() {
        let mut clock = Clock::new(Inc(1));
        let first = clock.stamp(Time(10));
        let second = clock.stamp(Time(10));
        let back = clock.stamp(Time(3));
        assert!(first < second && second < back);
        let seen = Version::from(Stamp { hlc: Hlc::at(Time(99)), inc: Inc(2) });
        clock.observe(&seen);
        assert!(clock.stamp(Time(11)).hlc > Hlc::at(Time(99)));
    }

    /// Tests rule H1: a full counter runs over into the next millisecond.
    #[test]
    fn a_full_counter_goes_on_in_the_next_millisecond() {
        assert_eq!(Hlc((7 << 16) | 0xffff).next(), Hlc::at(Time(8)));
    }

    /// Tests rule H4.
    #[test]
    fn half_a_second_ahead_is_tolerated_and_more_is_not() {
        assert!(!Clock::is_skewed(Time(1_500), Time(1_000)));
        assert!(Clock::is_skewed(Time(1_501), Time(1_000)));
    }
}
