//! What came of a load, as a table.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::check::{Findings, Kind};
use crate::history::{Call, History, Op, Outcome};

/// Violations that are written out; the rest is a number.
const VIOLATIONS_SHOWN: usize = 20;

/// The figures of one load.
pub struct Report<'h> {
    /// What happened.
    pub history: &'h History,
    /// What was found in it.
    pub findings: &'h Findings,
    /// Requests of the mix, without those that look at sessions afterwards.
    pub requests: u64,
    /// How long they took.
    pub elapsed: Duration,
}

/// How long the requests of the mix took that were made in a time, the shortest first.
pub(crate) fn latencies(history: &History, time: &Range<Duration>) -> Vec<Duration> {
    latencies_of(history, |call| time.contains(&call.invoked))
}

/// The same of those requests that are meant.
pub(crate) fn latencies_of(history: &History, is_meant: impl Fn(&Call) -> bool) -> Vec<Duration> {
    let is_of_mix = |call: &&Call| !matches!(call.op, Op::Ghost | Op::FinalCount);
    let calls = history.calls().filter(is_of_mix).filter(|call| is_meant(call));
    let mut times: Vec<Duration> = calls.map(|call| call.answered - call.invoked).collect();
    times.sort_unstable();
    times
}

/// The time in milliseconds that so many per cent did not exceed.
pub(crate) fn at(times: &[Duration], percent: usize) -> f64 {
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { history, findings, requests, elapsed } = self;
        let is_ghost = |call: &&Call| call.op == Op::Ghost;
        let is_ok = |call: &&Call| matches!(call.outcome, Outcome::Done { .. });
        let times = latencies(history, &(Duration::ZERO..Duration::MAX));
        let rows = [
            ("requests", *requests),
            (
                "ok",
                history.calls().filter(is_ok).filter(|call| call.op != Op::FinalCount).count()
                    as u64,
            ),
            ("tried elsewhere", history.tried_elsewhere),
            ("failed in flight on a killed node", findings.failed_in_flight),
            ("acknowledged by fewer than asked", findings.acknowledged_short),
            ("ended sessions looked for", history.calls().filter(is_ghost).count() as u64),
            ("errors", findings.amount(Kind::Error)),
            ("stale reads", findings.amount(Kind::Stale)),
            ("values nobody wrote", findings.amount(Kind::Phantom)),
            ("lost sessions", findings.amount(Kind::LostSession)),
            ("lost increments", findings.amount(Kind::LostIncrements)),
            ("resurrected sessions", findings.amount(Kind::Resurrection)),
            ("nodes that disagree", findings.amount(Kind::Disagreement)),
        ];
        for (name, count) in rows {
            writeln!(f, "{name:<36}{count:>10}")?;
        }
        let rate = *requests as f64 / elapsed.as_secs_f64();
        writeln!(f, "{:<36}{:>10.1}", "seconds", elapsed.as_secs_f64())?;
        writeln!(f, "{:<36}{rate:>10.0}", "requests/s")?;
        writeln!(f, "{:<36}{:>10.2}", "p50 in ms", at(&times, 50))?;
        writeln!(f, "{:<36}{:>10.2}", "p99 in ms", at(&times, 99))?;
        for violation in findings.violations.iter().take(VIOLATIONS_SHOWN) {
            writeln!(f, "violation: {violation}")?;
        }
        let rest = findings.violations.len().saturating_sub(VIOLATIONS_SHOWN);
        if rest > 0 {
            writeln!(f, "and {rest} more violations")?;
        }
        Ok(())
    }
}
