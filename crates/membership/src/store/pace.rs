//! How long writes take: a disk that has become slow shows in nothing else.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The writes of one store, of which there is one at a time. A lock of its own: it is looked at
/// while a write is under way.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Writes>);

#[derive(Debug, Default)]
struct Writes {
    /// Since when one is under way.
    since: Option<Instant>,
    /// How long the last one took, and when it ended.
    last: Option<(Duration, Instant)>,
}

impl Pace {
    /// Does the write, and notes how long it took, whatever came of it.
    pub(super) fn timed<T>(&self, write: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        self.0.lock().since = Some(begin);
        let done = write();
        let end = Instant::now();
        *self.0.lock() = Writes { since: None, last: Some((end.duration_since(begin), end)) };
        done
    }

    /// How long the last write took, or the present one has if that is longer; what ended longer ago
    /// than `kept` says nothing about the disk of now.
    pub(super) fn latest(&self, kept: Duration) -> Duration {
        let Writes { since, last } = *self.0.lock();
        let last = last.filter(|(_, end)| end.elapsed() <= kept).map(|(took, _)| took);
        let present = since.map(|since| since.elapsed());
        last.max(present).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_write_counts_while_it_lasts_and_for_a_while() {
        let (pace, hour) = (Pace::default(), Duration::from_secs(3_600));
        assert_eq!(pace.latest(hour), Duration::ZERO);
        let slow = Duration::from_millis(2);
        pace.timed(|| {
            let begin = Instant::now();
            while begin.elapsed() < slow {
                std::hint::spin_loop();
            }
            assert!(pace.latest(Duration::ZERO) >= slow, "it is under way");
        });
        assert!(pace.latest(hour) >= slow);
        let end = Instant::now();
        while end.elapsed().is_zero() {
            std::hint::spin_loop();
        }
        assert_eq!(pace.latest(Duration::ZERO), Duration::ZERO);
    }
}
