//! The clock of a process: monotonic, and drawn towards wall time without ever going back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use session::Time;

use crate::limits::{SLEW_HORIZON_S, SLEW_PPM_MAX, STEP_US};

/// Both clocks of the machine at one moment, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Since the process started.
    monotonic: u64,
    /// Since the Unix epoch.
    wall: u64,
}

/// Time that runs at the speed of the monotonic clock, give or take half a percent.
// Rule H2.
#[derive(Clone, Copy, Debug)]
struct Slewed {
    /// The moment of the last adjustment on the monotonic clock, in microseconds.
    monotonic: u64,
    /// What time it was then, in microseconds since the Unix epoch.
    time: u64,
    /// How much faster than the monotonic clock it runs since, in parts per million.
    rate_ppm: i64,
}

impl Slewed {
    const fn new(reading: Reading) -> Self {
        Self { monotonic: reading.monotonic, time: reading.wall, rate_ppm: 0 }
    }

    fn at(&self, monotonic: u64) -> u64 {
        let elapsed = monotonic.saturating_sub(self.monotonic);
        let slewed = i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_mul(self.rate_ppm);
        self.time.saturating_add(elapsed).saturating_add_signed(slewed / 1_000_000)
    }

    /// Draws the time towards the wall clock. Far behind, as after a suspend, it follows at once;
    /// ahead, it waits by running slower.
    fn adjust(&mut self, reading: Reading) {
        let time = self.at(reading.monotonic);
        let behind = i64::try_from(reading.wall).unwrap_or(i64::MAX)
            - i64::try_from(time).unwrap_or(i64::MAX);
        *self = if behind > STEP_US {
            Self::new(reading)
        } else {
            let rate_ppm = (behind / SLEW_HORIZON_S).clamp(-SLEW_PPM_MAX, SLEW_PPM_MAX);
            Self { monotonic: reading.monotonic, time, rate_ppm }
        };
    }
}

/// The clock that all shards of a process read.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    slewed: RwLock<Slewed>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        Self { start, slewed: RwLock::new(Slewed::new(Self::reading(start))) }
    }

    /// What time it is; never earlier than it was.
    pub(crate) fn now(&self) -> Time {
        let slewed = self.slewed.read();
        Time(slewed.at(Self::micros(self.start.elapsed())) / 1_000)
    }

    /// Draws the clock towards wall time; to be called with every tick.
    pub(crate) fn adjust(&self) {
        let mut slewed = self.slewed.write();
        slewed.adjust(Self::reading(self.start));
    }

    fn reading(start: Instant) -> Reading {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Reading { monotonic: Self::micros(start.elapsed()), wall: Self::micros(wall) }
    }

    fn micros(duration: std::time::Duration) -> u64 {
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const START: u64 = 1_800_000_000 * SECOND;

    fn started() -> Slewed {
        Slewed::new(Reading { monotonic: 0, wall: START })
    }

    /// One adjustment every 50 ms for `seconds`, with the wall clock off by `offset_us`; returns
    /// the greatest and least step of the time between two adjustments.
    fn run(slewed: &mut Slewed, from: u64, seconds: u64, offset_us: i64) -> (u64, u64) {
        let (mut least, mut greatest) = (u64::MAX, 0);
        let mut last = slewed.at(from);
        for tick in 1..=seconds * 20 {
            let monotonic = from + tick * 50_000;
            let wall = (START + monotonic).saturating_add_signed(offset_us);
            slewed.adjust(Reading { monotonic, wall });
            let time = slewed.at(monotonic);
            (least, greatest) = (least.min(time - last), greatest.max(time - last));
            last = time;
        }
        (least, greatest)
    }

    /// Tests rule H2.
    #[test]
    fn a_small_error_is_worked_off_at_half_a_percent_at_most() {
        for offset in [150_000, -150_000, -3_600 * SECOND as i64] {
            let mut slewed = started();
            let (least, greatest) = run(&mut slewed, 0, 60, offset);
            assert!((49_750..=50_000).contains(&least.min(50_000)), "{offset}: {least}");
            assert!(greatest <= 50_250, "{offset}: {greatest}");
        }
        let mut slewed = started();
        run(&mut slewed, 0, 120, 150_000);
        let error = slewed.at(120 * SECOND).abs_diff(START + 120 * SECOND + 150_000);
        assert!(error < 1_000, "{error} us");
    }

    /// Tests rule H2: a wall clock that is set back does not take the time along.
    #[test]
    fn time_never_goes_back() {
        let mut slewed = started();
        let mut last = slewed.at(0);
        for (monotonic, wall) in [(1, START + 1), (2, 0), (3, START - SECOND), (4, START + 4)] {
            slewed.adjust(Reading { monotonic: monotonic * SECOND, wall });
            let time = slewed.at(monotonic * SECOND);
            assert!(time >= last, "after {monotonic} s");
            last = time;
        }
    }

    /// Tests rule H2: the monotonic clock stands still while the machine sleeps.
    #[test]
    fn after_a_suspend_the_wall_clock_is_followed_at_once() {
        let mut slewed = started();
        let wall = START + 3_600 * SECOND;
        slewed.adjust(Reading { monotonic: SECOND, wall });
        assert_eq!(slewed.at(SECOND), wall);
    }
}
