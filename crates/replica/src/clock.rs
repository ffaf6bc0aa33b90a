//! The clock of a process: monotonic, and drawn towards wall time without ever going back.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use session::Time;

use crate::limits::{SLEW_HORIZON_S, SLEW_PPM_MAX, STEP_US};
use crate::uptime::Moment;

/// A rate is chosen anew with every tick, and is good for so long, in microseconds: what passes after
/// that, the process hung or its machine slept, passes as the machine counts it.
const SLEWED_US_MAX: u64 = 1_000_000;

/// Both clocks of the machine at one moment, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Since the process started, the time included in which the machine slept, where the system
    /// counts it.
    monotonic: u64,
    /// Since the Unix epoch.
    wall: u64,
}

/// What the other members say of this clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// There are none.
    Absent,
    /// None has said anything lately.
    Silent,
    /// More than half of them are ahead by that much or more, in milliseconds.
    Ahead(i64),
}

/// What became of a look at the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adjusted {
    /// The clock is drawn towards it.
    Drawn,
    /// The clock was behind, and was set forward.
    Set,
    /// It is far off, and not followed.
    Refused,
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
        let slewed = i64::try_from(elapsed.min(SLEWED_US_MAX)).unwrap_or(i64::MAX);
        let slewed = slewed.saturating_mul(self.rate_ppm);
        self.time.saturating_add(elapsed).saturating_add_signed(slewed / 1_000_000)
    }

    /// Draws the time towards the wall clock, or sets it forward, as after a suspend. Where the wall
    /// clock is far off it is believed as far as the others confirm it: a machine whose clock is set
    /// to a wrong time is not to end everybody's sessions.
    fn adjust(&mut self, reading: Reading, others: Others) -> Adjusted {
        let time = self.at(reading.monotonic);
        let behind = i64::try_from(reading.wall).unwrap_or(i64::MAX)
            - i64::try_from(time).unwrap_or(i64::MAX);
        let confirmed = match others {
            Others::Absent => behind,
            Others::Silent => 0,
            Others::Ahead(ms) => behind.min(ms.saturating_mul(1_000)),
        };
        if behind > STEP_US && confirmed > STEP_US {
            let time = time.saturating_add_signed(confirmed);
            *self = Self { monotonic: reading.monotonic, time, rate_ppm: 0 };
            return Adjusted::Set;
        }
        let slew = (behind / SLEW_HORIZON_S).clamp(-SLEW_PPM_MAX, SLEW_PPM_MAX);
        let is_far = behind.abs() > STEP_US;
        let leads_away = match others {
            Others::Absent => false,
            Others::Silent => is_far,
            // Half of what would count against this clock (rule H3).
            Others::Ahead(ms) if behind > 0 => is_far && ms.saturating_mul(1_000) <= -STEP_US / 2,
            Others::Ahead(ms) => is_far && ms.saturating_mul(1_000) >= STEP_US / 2,
        };
        let rate_ppm = if leads_away { 0 } else { slew };
        *self = Self { monotonic: reading.monotonic, time, rate_ppm };
        if leads_away { Adjusted::Refused } else { Adjusted::Drawn }
    }
}

/// The clock that all shards of a process read.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Moment,
    slewed: RwLock<Slewed>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let start = Moment::now();
        Self { start, slewed: RwLock::new(Slewed::new(Self::reading(start))) }
    }

    /// What time it is; never earlier than it was.
    pub(crate) fn now(&self) -> Time {
        let slewed = self.slewed.read();
        Time(slewed.at(Self::micros(self.start.elapsed())) / 1_000)
    }

    /// By how much the wall clock of this machine is ahead of this one, in milliseconds.
    pub(crate) fn wall_ahead_ms(&self) -> i64 {
        let reading = Self::reading(self.start);
        let time = self.slewed.read().at(reading.monotonic);
        let signed = |us: u64| i64::try_from(us / 1_000).unwrap_or(i64::MAX);
        signed(reading.wall).saturating_sub(signed(time))
    }

    /// Draws the clock towards wall time; to be called with every tick.
    pub(crate) fn adjust(&self, others: Others) -> Adjusted {
        let mut slewed = self.slewed.write();
        slewed.adjust(Self::reading(self.start), others)
    }

    fn reading(start: Moment) -> Reading {
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
            slewed.adjust(Reading { monotonic, wall }, Others::Absent);
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

    /// Tests rule H2: a rate is that of the next moment, and not of the hours that a machine sleeps.
    #[test]
    fn bound_slewed_us() {
        let mut slewed = started();
        slewed.adjust(Reading { monotonic: 0, wall: START + 150_000 }, Others::Absent);
        assert!(slewed.at(SLEWED_US_MAX) > START + SLEWED_US_MAX);
        let hour = 3_600 * SECOND;
        let ahead = slewed.at(hour) - (START + hour);
        assert_eq!(ahead, slewed.at(SLEWED_US_MAX) - (START + SLEWED_US_MAX));
    }

    /// Tests rule H2: a wall clock that is set back does not take the time along.
    #[test]
    fn time_never_goes_back() {
        let mut slewed = started();
        let mut last = slewed.at(0);
        for (monotonic, wall) in [(1, START + 1), (2, 0), (3, START - SECOND), (4, START + 4)] {
            slewed.adjust(Reading { monotonic: monotonic * SECOND, wall }, Others::Absent);
            let time = slewed.at(monotonic * SECOND);
            assert!(time >= last, "after {monotonic} s");
            last = time;
        }
    }

    /// Tests rule H2: the monotonic clock may stand still while the machine sleeps, or is held by
    /// its host.
    #[test]
    fn after_a_suspend_the_wall_clock_is_followed_at_once() {
        let mut slewed = started();
        let wall = START + 3_600 * SECOND;
        let reading = Reading { monotonic: SECOND, wall };
        assert_eq!(slewed.adjust(reading, Others::Absent), Adjusted::Set);
        assert_eq!(slewed.at(SECOND), wall);
        let mut slewed = started();
        assert_eq!(slewed.adjust(reading, Others::Ahead(3_600_000)), Adjusted::Set);
        assert_eq!(slewed.at(SECOND), START + SECOND + 3_599 * SECOND, "no more than both say");
    }

    /// Tests rule H2: an hour that the others know nothing of is not followed, neither at once nor
    /// little by little; nor are they believed without a wall clock that says the same.
    #[test]
    fn a_wall_clock_that_is_set_wrong_is_not_followed() {
        let hour = 3_600 * SECOND;
        for wall in [START + hour, START - hour] {
            let mut slewed = started();
            // As far as it is from true time, the others are from it.
            let ahead = |slewed: &Slewed, at: u64| {
                let off =
                    i64::try_from(START + at).unwrap() - i64::try_from(slewed.at(at)).unwrap();
                Others::Ahead(off / 1_000)
            };
            for tick in 1..=72_000 {
                let monotonic = tick * 50_000;
                let others = ahead(&slewed, monotonic);
                let reading = Reading { monotonic, wall: wall + monotonic };
                assert_ne!(slewed.adjust(reading, others), Adjusted::Set);
            }
            let error = slewed.at(hour).abs_diff(START + hour);
            assert!(error <= STEP_US.unsigned_abs() / 2 + 1_000, "{error} us off after an hour");
        }
        let mut slewed = started();
        for others in [Others::Silent, Others::Ahead(0), Others::Ahead(150), Others::Ahead(-9)] {
            let ahead = Reading { monotonic: SECOND, wall: START + hour };
            assert_ne!(slewed.adjust(ahead, others), Adjusted::Set, "{others:?}");
        }
        let right = Reading { monotonic: SECOND, wall: START + SECOND };
        assert_eq!(slewed.adjust(right, Others::Ahead(3_600_000)), Adjusted::Drawn);
        assert_eq!(slewed.at(SECOND), START + SECOND);
    }
}
