//! How long this machine has run, and slept. The monotonic clock of the standard library stands
//! still on Linux while the machine sleeps, so that a process would take no notice; where there is
//! a clock that goes on, it is read instead.

use std::time::Duration;

/// A moment, to be compared with others of the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Inner);

#[cfg(target_os = "linux")]
type Inner = Duration;
#[cfg(not(target_os = "linux"))]
type Inner = std::time::Instant;

impl Moment {
    /// This one.
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> Self {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(since_boot.try_into().unwrap_or_default())
    }

    /// This one.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long ago an earlier one was; nothing if it was later.
    #[cfg(target_os = "linux")]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long ago an earlier one was; nothing if it was later.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// How long ago it was.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes() {
        let before = Moment::now();
        while before.elapsed().is_zero() {
            std::hint::spin_loop();
        }
        assert!(Moment::now() > before);
        assert_eq!(before.since(Moment::now()), Duration::ZERO);
    }
}
