//! One direction of a line between two nodes: what becomes of a datagram. Pure: time is an argument,
//! chance follows from a seed.

use std::time::{Duration, Instant};

/// Longest time that a datagram waits for a slow line, as in the buffer of a router: beyond it the
/// datagram is dropped.
pub const BACKLOG_MAX: Duration = Duration::from_millis(500);

/// Bytes that wait on one direction, whatever for: a window of QUIC fits, and all directions of five
/// nodes together take less than a hundred MiB.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a line is, in one direction. By default it is as good as loopback.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Datagrams that are lost, in percent.
    pub loss: f64,
    /// So many in a row are lost when one is; 0 is as 1. The share that is lost stays the same.
    pub burst: u32,
    /// Every datagram takes so long.
    pub delay: Duration,
    /// And up to so much longer, by chance: later ones overtake.
    pub jitter: Duration,
    /// Bits per second; what waits longer than [`BACKLOG_MAX`] is dropped.
    pub rate: Option<u64>,
    /// Datagrams that arrive twice, in percent.
    pub duplication: f64,
    /// Datagrams that are held back, in percent, so that those behind them overtake.
    pub reordering: f64,
    /// For how long they are held back.
    pub hold: Duration,
}

impl Conditions {
    /// As good as loopback.
    pub const GOOD: Self = Self {
        loss: 0.0,
        burst: 0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        rate: None,
        duplication: 0.0,
        reordering: 0.0,
        hold: Duration::ZERO,
    };
}

impl Default for Conditions {
    fn default() -> Self {
        Self::GOOD
    }
}

/// What became of the datagrams of one direction, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They were sent on, now or later.
    pub passed: u64,
    /// Dropped, because the line was cut.
    pub cut: u64,
    /// Dropped by chance.
    pub lost: u64,
    /// Passed, and had to wait for the length of the line, its jitter or its rate.
    pub delayed: u64,
    /// Passed twice.
    pub duplicated: u64,
    /// Passed, and were held back.
    pub held_back: u64,
    /// Dropped, because too much was waiting.
    pub overflowed: u64,
}

impl Counts {
    /// With others.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            cut: self.cut + other.cut,
            lost: self.lost + other.lost,
            delayed: self.delayed + other.delayed,
            duplicated: self.duplicated + other.duplicated,
            held_back: self.held_back + other.held_back,
            overflowed: self.overflowed + other.overflowed,
        }
    }

    /// What has come since an earlier count.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            passed: self.passed - before.passed,
            cut: self.cut - before.cut,
            lost: self.lost - before.lost,
            delayed: self.delayed - before.delayed,
            duplicated: self.duplicated - before.duplicated,
            held_back: self.held_back - before.held_back,
            overflowed: self.overflowed - before.overflowed,
        }
    }

    /// Whether everything has happened that these conditions are to bring about. A rate may do
    /// without dropping anything.
    #[must_use]
    pub fn show(&self, conditions: &Conditions) -> bool {
        let waits = !(conditions.delay + conditions.jitter).is_zero() || conditions.rate.is_some();
        (conditions.loss == 0.0 || self.lost > 0)
            && (!waits || self.delayed > 0)
            && (conditions.duplication == 0.0 || self.duplicated > 0)
            && (conditions.reordering == 0.0 || self.held_back > 0)
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} datagrams passed", self.passed)?;
        let others = [
            (self.cut, "cut off"),
            (self.lost, "lost"),
            (self.delayed, "delayed"),
            (self.duplicated, "doubled"),
            (self.held_back, "held back"),
            (self.overflowed, "overflowed"),
        ];
        others
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// When a datagram is sent on: never, once, or twice.
pub(super) type Fate = [Option<Instant>; 2];

const DROPPED: Fate = [None, None];

/// One direction of a line.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conditions: Conditions,
    /// Nothing passes, whatever the conditions are.
    pub(super) is_cut: bool,
    pub(super) counts: Counts,
    random: fastrand::Rng,
    /// So many more are lost in a row.
    burst_left: u32,
    /// Until when a slow line is busy with what has been offered.
    busy_until: Option<Instant>,
    /// Of datagrams that are to be sent on later.
    waiting_bytes: usize,
}

impl Link {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            conditions: Conditions::GOOD,
            is_cut: false,
            counts: Counts::default(),
            random: fastrand::Rng::with_seed(seed),
            burst_left: 0,
            busy_until: None,
            waiting_bytes: 0,
        }
    }

    /// A datagram of so many bytes arrives. Each time that it is to be sent on [`Self::leave`] has
    /// to follow.
    pub(super) fn offer(&mut self, now: Instant, bytes: usize) -> Fate {
        if self.is_cut {
            self.counts.cut += 1;
            return DROPPED;
        }
        if self.is_lost() {
            self.counts.lost += 1;
            return DROPPED;
        }
        let is_twice = self.draw(self.conditions.duplication);
        let copies = if is_twice { 2 } else { 1 };
        let Some(through) = self.through(now, bytes) else {
            self.counts.overflowed += 1;
            return DROPPED;
        };
        if self.waiting_bytes + copies * bytes > WAITING_BYTES_MAX {
            self.counts.overflowed += 1;
            return DROPPED;
        }
        let jitter = self.conditions.jitter.mul_f64(self.random.f64());
        let mut due = through + self.conditions.delay + jitter;
        self.counts.passed += 1;
        self.counts.delayed += u64::from(due > now);
        self.counts.duplicated += u64::from(is_twice);
        if self.draw(self.conditions.reordering) {
            self.counts.held_back += 1;
            due += self.conditions.hold;
        }
        self.waiting_bytes += copies * bytes;
        [Some(due), is_twice.then_some(due)]
    }

    /// A datagram, or its double, has been sent on.
    pub(super) const fn leave(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
    }

    fn is_lost(&mut self) -> bool {
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return true;
        }
        // Of n datagrams a row of b begins at p(n - nb), so that in all a share l is lost.
        let Conditions { loss, burst, .. } = self.conditions;
        let row = f64::from(burst.max(1));
        let begins = 100.0 * loss / (loss + row * (100.0 - loss));
        let is_lost = self.draw(begins);
        self.burst_left = if is_lost { burst.saturating_sub(1) } else { 0 };
        is_lost
    }

    fn draw(&mut self, percent: f64) -> bool {
        percent > 0.0 && self.random.f64() * 100.0 < percent
    }

    /// When the line has taken a datagram; `None` if too much waits for it.
    fn through(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.conditions.rate else {
            self.busy_until = None;
            return Some(now);
        };
        let free = self.busy_until.map_or(now, |until| until.max(now));
        if free - now > BACKLOG_MAX {
            return None;
        }
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        self.busy_until = Some(free + takes);
        self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 10_000;
    const BYTES: usize = 1_200;
    const MS: Duration = Duration::from_millis(1);

    /// Offers datagrams a millisecond apart and sends each on when it is due; returns when each
    /// arrived after it was offered, in the order in which they were offered.
    fn pass(conditions: Conditions, count: usize) -> (Vec<Option<Duration>>, Counts) {
        let mut link = Link { conditions, ..Link::new(7) };
        let start = Instant::now();
        let mut waiting: Vec<Instant> = Vec::new();
        let mut took = Vec::new();
        for number in 0..count {
            let now = start + MS * u32::try_from(number).unwrap();
            waiting.retain(|due| {
                let leaves = *due <= now;
                if leaves {
                    link.leave(BYTES);
                }
                !leaves
            });
            let fate = link.offer(now, BYTES);
            waiting.extend(fate.into_iter().flatten());
            took.push(fate[0].map(|due| due - now));
        }
        (took, link.counts)
    }

    fn is_about(count: u64, percent: f64) -> bool {
        (count as f64 - MANY as f64 * percent / 100.0).abs() < MANY as f64 * 0.02
    }

    #[test]
    fn a_good_line_passes_everything_at_once() {
        let (took, counts) = pass(Conditions::GOOD, MANY);
        assert!(took.iter().all(|took| *took == Some(Duration::ZERO)));
        assert_eq!(counts, Counts { passed: MANY as u64, ..Counts::default() });
    }

    #[test]
    fn nothing_passes_a_cut() {
        let mut link = Link { is_cut: true, ..Link::new(7) };
        assert_eq!(link.offer(Instant::now(), BYTES), DROPPED);
        assert_eq!(link.counts, Counts { cut: 1, ..Counts::default() });
    }

    #[test]
    fn the_share_that_is_said_is_lost_alone_or_in_rows() {
        for loss in [1.0, 5.0, 20.0, 40.0] {
            for burst in [0, 1, 5] {
                let (_, counts) = pass(Conditions { loss, burst, ..Conditions::GOOD }, MANY);
                assert!(is_about(counts.lost, loss), "{loss} {burst}: {counts}");
                assert_eq!(counts.passed + counts.lost, MANY as u64);
            }
        }
    }

    #[test]
    fn losses_in_rows_are_as_long_as_said() {
        let (took, _) = pass(Conditions { loss: 5.0, burst: 4, ..Conditions::GOOD }, MANY);
        let lost: Vec<bool> = took.iter().map(Option::is_none).collect();
        let mut rows: Vec<usize> =
            lost.chunk_by(|a, b| a == b).filter(|row| row[0]).map(<[bool]>::len).collect();
        rows.pop();
        assert!(rows.iter().all(|row| row.is_multiple_of(4)), "{rows:?}");
    }

    #[test]
    fn a_long_line_delays_and_jitter_lets_later_ones_overtake() {
        let (delay, jitter) = (200 * MS, 50 * MS);
        let (took, counts) = pass(Conditions { delay, ..Conditions::GOOD }, 100);
        assert!(took.iter().all(|took| *took == Some(delay)));
        assert_eq!(counts.delayed, 100);
        let (took, _) = pass(Conditions { delay, jitter, ..Conditions::GOOD }, 1_000);
        let took: Vec<Duration> = took.into_iter().map(Option::unwrap).collect();
        assert!(took.iter().all(|took| (delay..=delay + jitter).contains(took)));
        assert!(took.windows(2).any(|two| two[0] > two[1] + MS), "nobody overtakes");
    }

    #[test]
    fn a_slow_line_passes_its_rate_and_its_backlog_is_bounded() {
        // 1,200 bytes a millisecond are 9.6 Mbit/s, of which 1 passes.
        let (took, counts) = pass(Conditions { rate: Some(1_000_000), ..Conditions::GOOD }, MANY);
        let bits = counts.passed as f64 * BYTES as f64 * 8.0;
        let seconds = MANY as f64 / 1e3 + BACKLOG_MAX.as_secs_f64();
        assert!((0.9..1.01).contains(&(bits / seconds / 1e6)), "{counts}");
        assert!(counts.overflowed > 0);
        let longest = took.into_iter().flatten().max().unwrap();
        assert!(longest > BACKLOG_MAX / 2 && longest <= BACKLOG_MAX + 10 * MS, "{longest:?}");
    }

    #[test]
    fn some_are_doubled_and_some_held_back() {
        let (hold, reordering, duplication) = (10 * MS, 30.0, 20.0);
        let conditions = Conditions { hold, reordering, duplication, ..Conditions::GOOD };
        let (took, counts) = pass(conditions, MANY);
        assert!(is_about(counts.held_back, 30.0) && is_about(counts.duplicated, 20.0), "{counts}");
        assert!(took.iter().all(|took| [Some(Duration::ZERO), Some(hold)].contains(took)));
    }

    #[test]
    fn what_waits_is_bounded() {
        let conditions = Conditions { delay: 1_000_000 * MS, ..Conditions::GOOD };
        let (_, counts) = pass(conditions, MANY);
        assert_eq!(counts.passed, (WAITING_BYTES_MAX / BYTES) as u64);
        assert_eq!(counts.passed + counts.overflowed, MANY as u64);
    }

    #[test]
    fn a_seed_is_a_course_of_events() {
        let conditions = Conditions { loss: 20.0, jitter: 9 * MS, ..Conditions::GOOD };
        assert_eq!(pass(conditions, 100), pass(conditions, 100));
    }

    #[test]
    fn a_fault_that_has_not_struck_is_noticed() {
        let all = Conditions {
            loss: 1.0,
            delay: MS,
            duplication: 1.0,
            reordering: 1.0,
            hold: MS,
            ..Conditions::GOOD
        };
        let struck =
            Counts { lost: 1, delayed: 1, duplicated: 1, held_back: 1, ..Counts::default() };
        assert!(struck.show(&all) && !Counts::default().show(&all));
        for missing in [
            Counts { lost: 0, ..struck },
            Counts { delayed: 0, ..struck },
            Counts { duplicated: 0, ..struck },
            Counts { held_back: 0, ..struck },
        ] {
            assert!(!missing.show(&all), "{missing}");
        }
        assert!(Counts::default().show(&Conditions::GOOD));
    }
}
