//! When a session is idle too long: computed by every copy from replicated data, without messages.

use crate::limits::SKEW_MS_MAX;
use crate::{Core, Time};

/// How often the last access of a session is replicated, in milliseconds (`g` in the rules).
///
/// A twentieth of the idle timeout, between 5 s and 60 s: a busy session costs one touch per `g`,
/// and idle expiry is late by at most `g` (protocol 1.4).
#[must_use]
pub fn touch_granularity_ms(idle_ms: u64) -> u64 {
    (idle_ms / 20).clamp(5_000, 60_000)
}

/// The end of the idle time of a session last used at `last_access`: served before it, not after.
#[must_use]
pub(crate) fn idle_deadline(core: &Core, last_access: Time) -> Time {
    last_access.plus(core.idle_ms).plus(touch_granularity_ms(core.idle_ms))
}

/// When a copy may be forgotten without a tombstone: every clock of the cluster, however far off
/// within the bound, then finds it idle by its own data (amendment 10).
#[must_use]
pub fn purge_after(core: &Core, last_access: Time) -> Time {
    idle_deadline(core, last_access).plus(2 * SKEW_MS_MAX).min(core.hard_deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hlc, Inc, Session, Stamp};

    const MINUTE_MS: u64 = 60_000;

    fn session(idle_ms: u64, lifetime_ms: u64) -> Session {
        let start = Time(1_000_000);
        let created = Stamp { hlc: Hlc::at(start), inc: Inc(1) };
        let hard_deadline = start.plus(lifetime_ms);
        Session::new(Core { created, hard_deadline, idle_ms, user: None })
    }

    #[test]
    fn touches_come_every_twentieth_of_the_idle_time_within_bounds() {
        for (idle_ms, expected) in [
            (0, 5_000),
            (100_000, 5_000),
            (100_020, 5_001),
            (20 * MINUTE_MS, MINUTE_MS),
            (u64::MAX, MINUTE_MS),
        ] {
            assert_eq!(touch_granularity_ms(idle_ms), expected, "{idle_ms}");
        }
    }

    #[test]
    fn a_touch_is_wanted_only_beyond_the_granularity() {
        let session = session(30 * MINUTE_MS, 24 * 60 * MINUTE_MS);
        assert!(!session.wants_touch(session.last_access.plus(MINUTE_MS)));
        assert!(session.wants_touch(session.last_access.plus(MINUTE_MS + 1)));
        assert!(!session.wants_touch(Time(0)), "a clock that lags");
    }

    /// A session is refused as idle well before any copy of it is forgotten.
    #[test]
    fn a_session_is_idle_from_its_deadline_on_and_forgotten_two_skews_later() {
        let session = session(30 * MINUTE_MS, 24 * 60 * MINUTE_MS);
        let idle = session.last_access.plus(31 * MINUTE_MS);
        assert!(!session.is_idle(idle.minus(1)));
        assert!(session.is_idle(idle));
        assert_eq!(session.purge_after(), idle.plus(2 * SKEW_MS_MAX));
    }

    /// Tests rules T1 and T2: the deadline itself is the last moment.
    #[test]
    fn a_session_is_dead_after_its_deadline_and_never_kept_beyond_it() {
        let session = session(30 * MINUTE_MS, 10 * MINUTE_MS);
        let deadline = session.core.hard_deadline;
        assert!(!session.is_dead(deadline));
        assert!(session.is_dead(deadline.plus(1)));
        assert_eq!(session.purge_after(), deadline);
    }

    #[test]
    fn no_idle_time_is_too_long_to_reckon_with() {
        let session = session(u64::MAX, MINUTE_MS);
        assert!(!session.is_idle(session.core.hard_deadline));
        assert_eq!(session.purge_after(), session.core.hard_deadline);
    }
}
