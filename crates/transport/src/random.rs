//! Random numbers from the system.

use std::time::Duration;

/// A random number that is not 0, which stands for "none".
pub(crate) fn nonzero() -> Result<u64, getrandom::Error> {
    getrandom::u64().map(|number| number.max(1))
}

/// A random part of a duration, between half and all of it. Without random numbers, all of it.
pub(crate) fn jitter(duration: Duration) -> Duration {
    let part = getrandom::u32().unwrap_or(u32::MAX);
    duration.mul_f64(0.5 + 0.5 * f64::from(part) / f64::from(u32::MAX))
}

/// Pauses between attempts: doubling, jittered, bounded.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min.min(max) }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.max.min(pause * 2);
        jitter(pause)
    }

    /// After a success: short pauses again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(5));
        let mut backoff = Backoff::new(min, max);
        let mut bound = min;
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
            bound = max.min(bound * 2);
        }
        backoff.reset();
        assert!(backoff.pause() <= min);
    }
}
