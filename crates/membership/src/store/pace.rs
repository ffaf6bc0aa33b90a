//! How long writes take: a disk that has become slow shows in nothing else.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The writes of one store, of which there is one at a time. A lock of its own: it is looked at
/// while a write is under way.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Writes>);

#[derive(Debug, Default)]
struct Writes {
    since: Option<Instant>,
    last: Duration,
}

impl Pace {
    /// Does the write, and notes how long it took, whatever came of it.
    pub(super) fn timed<T>(&self, write: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        self.0.lock().since = Some(begin);
        let done = write();
        *self.0.lock() = Writes { since: None, last: begin.elapsed() };
        done
    }

    /// How long the last write took, or the present one has if that is longer.
    pub(super) fn latest(&self) -> Duration {
        let Writes { since, last } = *self.0.lock();
        since.map_or(last, |since| since.elapsed().max(last))
    }
}
