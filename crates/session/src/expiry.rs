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
