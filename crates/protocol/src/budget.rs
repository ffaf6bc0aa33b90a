//! How much repair may send: a token bucket (rule B4).

use session::Time;

/// Bytes that may be spent, refilled at a rate, saved up for at most one second.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Budget {
    per_second: u64,
    /// Negative after an answer that was larger than what was left.
    available: i64,
    filled: Time,
}

impl Budget {
    /// A full bucket of `per_second` bytes.
    pub(crate) fn new(per_second: u64, now: Time) -> Self {
        Self { per_second, available: i64::try_from(per_second).unwrap_or(i64::MAX), filled: now }
    }

    /// True if anything may be sent now. The last answer may overdraw it by one frame, which the
    /// next ones pay for.
    pub(crate) fn allows(&mut self, now: Time) -> bool {
        let earned = now.since(self.filled).saturating_mul(self.per_second) / 1_000;
        if earned > 0 {
            let full = i64::try_from(self.per_second).unwrap_or(i64::MAX);
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.available = self.available.saturating_add(earned).min(full);
            self.filled = now;
        }
        self.available > 0
    }

    /// Spends `bytes`.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.available = self.available.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests rule B4.
    #[test]
    fn no_more_than_the_rate_is_spent_over_time() {
        let mut budget = Budget::new(1_000, Time(0));
        let mut spent = 0;
        for ms in 0..10_000 {
            if budget.allows(Time(ms)) {
                budget.spend(100);
                spent += 100;
            }
        }
        assert!((10_000..=11_100).contains(&spent), "{spent} bytes in 10 s at 1,000 a second");
    }

    /// Tests rule B4: what is left unused is saved up for one second, not longer.
    #[test]
    fn bound_repair_bytes_per_second() {
        let rate = crate::limits::REPAIR_BYTES_PER_SECOND;
        let mut budget = Budget::new(rate, Time(0));
        let idle = Time(3_600_000);
        let mut spent = 0;
        while budget.allows(idle) {
            budget.spend(65_536);
            spent += 65_536;
        }
        assert!((rate..=rate + 65_536).contains(&spent), "{spent} bytes after an idle hour");
        assert!(!budget.allows(idle) && budget.allows(idle.plus(10)));
        budget.spend(u64::MAX);
        assert!(!budget.allows(idle.plus(1_000)), "an overdraft is paid for");
    }
}
