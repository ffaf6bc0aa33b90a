//! How often questions may be repeated: a share of the requests, so that an overload does not feed
//! itself.

use session::Time;

use crate::limits::{REQUESTS_PER_RETRY, RETRIES_PER_SECOND, RETRIES_SAVED_MAX, RETRY_MS_MAX};

/// Thousandths of a repetition.
const WHOLE: u64 = 1_000;

/// What repetitions may be spent (rule B6).
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Retries {
    saved: u64,
    earned: Time,
}

impl Retries {
    /// A full purse.
    pub(crate) const fn new(now: Time) -> Self {
        Self { saved: RETRIES_SAVED_MAX * WHOLE, earned: now }
    }

    /// A request has begun.
    pub(crate) fn earn(&mut self) {
        self.save(WHOLE / REQUESTS_PER_RETRY);
    }

    /// Spends one repetition, if there is one.
    pub(crate) fn spend(&mut self, now: Time) -> bool {
        let ms = now.since(self.earned);
        self.earned = self.earned.max(now);
        self.save(ms.saturating_mul(RETRIES_PER_SECOND));
        let allowed = self.saved >= WHOLE;
        if allowed {
            self.saved -= WHOLE;
        }
        allowed
    }

    fn save(&mut self, amount: u64) {
        self.saved = self.saved.saturating_add(amount).min(RETRIES_SAVED_MAX * WHOLE);
    }
}

/// How long to wait for an answer that was asked for `tries` times, in milliseconds.
pub(crate) fn patience_ms(first_ms: u64, tries: u32) -> u64 {
    first_ms.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(RETRY_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests rule B6.
    #[test]
    fn bound_retries_saved_max() {
        let mut retries = Retries::new(Time(0));
        let spend =
            |retries: &mut Retries, at| (0..).take_while(|_| retries.spend(Time(at))).count();
        assert_eq!(spend(&mut retries, 0), 100);
        assert_eq!(spend(&mut retries, 3_600_000), 100, "an idle hour saves no more");
    }

    /// Tests rule B6.
    #[test]
    fn bound_requests_per_retry_and_retries_per_second() {
        let mut retries = Retries::new(Time(0));
        while retries.spend(Time(0)) {}
        let mut spent = 0;
        for _ in 0..1_000 {
            retries.earn();
            spent += u64::from(retries.spend(Time(0)));
        }
        assert_eq!(spent, 1_000 / REQUESTS_PER_RETRY);
        let spend = |ms| u64::from(retries.spend(Time(ms)));
        assert_eq!((1..=2_000).map(spend).sum::<u64>(), 2 * RETRIES_PER_SECOND);
    }

    /// Tests rule B6.
    #[test]
    fn bound_retry_ms_max() {
        let waits: Vec<u64> = (0..8).map(|tries| patience_ms(300, tries)).collect();
        assert_eq!(waits, [300, 300, 600, 1_200, 2_400, 4_800, RETRY_MS_MAX, RETRY_MS_MAX]);
        assert_eq!(patience_ms(300, u32::MAX), RETRY_MS_MAX);
    }
}
