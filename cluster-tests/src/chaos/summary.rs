//! The figures of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Kind, Run};
use crate::check::{Findings, Kind as Wrong, check};
use crate::history::{Call, Op, Outcome};

/// Requests that ended within one second of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Those that got what they asked for.
    pub ok: u64,
    /// Those that did not.
    pub failed: u64,
}

/// The figures of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Requests of visitors, without those that look at sessions that have ended.
    pub requests: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Writes that were acknowledged by all copies that were asked.
    pub writes: u64,
    /// Writes that fewer acknowledged, and said so.
    pub short: u64,
    /// Answers that lacked such a write after its node was gone.
    pub short_lost: u64,
    /// Requests on a node when it was killed or hung.
    pub in_flight: u64,
    /// Requests to a node that said it cannot serve a session (503), while lines were so bad that
    /// it may.
    pub refused: u64,
    /// Requests that failed otherwise.
    pub errors: u64,
    /// Acknowledged writes and sessions that are gone.
    pub lost: u64,
    /// Answers older than what the visitor had seen.
    pub stale: u64,
    /// Values that nobody wrote.
    pub phantoms: u64,
    /// Ended sessions that were served.
    pub resurrected: u64,
    /// Ended sessions that were served by a node that may have been cut off from where they ended.
    pub beyond_cut: u64,
    /// How often it was looked whether one was.
    pub ghosts: u64,
    /// Nodes that disagreed at the end.
    pub disagreements: u64,
    /// The longest time in which no visitor at all got what it asked for.
    pub silence: Duration,
    /// The longest time in which one visitor did not.
    pub patience: Duration,
    /// Latency that half of the requests did not exceed.
    pub p50: Duration,
    /// And 99 of 100.
    pub p99: Duration,
    /// How often each fault was brought about, and for how long in all.
    pub faults: BTreeMap<Kind, (u64, Duration)>,
    /// What went on in each second.
    pub seconds: Vec<Second>,
    /// What was wrong, in words; with it the run has failed.
    pub problems: Vec<String>,
}

impl Summary {
    /// Of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let findings = check(&run.history);
        let mut summary = Self { problems: run.problems.clone(), ..Self::default() };
        summary.count_calls(run);
        summary.count_findings(&findings);
        summary.measure(run);
        for fault in &run.faults {
            let (count, length) = summary.faults.entry(fault.kind).or_default();
            *count += 1;
            *length += fault.until.saturating_sub(fault.from);
        }
        let told = findings.violations.iter().map(|found| found.told(&run.history));
        summary.problems.extend(told);
        summary
    }

    /// Nothing is wrong.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    fn count_calls(&mut self, run: &Run) {
        for call in run.history.calls() {
            let is_done = matches!(call.outcome, Outcome::Done { .. });
            match call.op {
                Op::Get { .. } | Op::Count => self.reads += u64::from(is_done),
                Op::Login { .. } | Op::Set { .. } | Op::Incr | Op::Logout => {
                    self.writes += u64::from(call.outcome.is_certain());
                }
                Op::Ghost => self.ghosts += 1,
                Op::FinalCount => {}
            }
        }
    }

    fn count_findings(&mut self, findings: &Findings) {
        self.short = findings.acknowledged_short;
        self.short_lost = findings.short_lost;
        self.beyond_cut = findings.served_beyond_cut;
        self.in_flight = findings.failed_in_flight;
        self.refused = findings.refused_in_trouble;
        self.errors = findings.amount(Wrong::Error);
        self.lost = findings.amount(Wrong::LostSession) + findings.amount(Wrong::LostIncrements);
        self.stale = findings.amount(Wrong::Stale);
        self.phantoms = findings.amount(Wrong::Phantom);
        self.resurrected = findings.amount(Wrong::Resurrection);
        self.disagreements = findings.amount(Wrong::Disagreement);
    }

    fn measure(&mut self, run: &Run) {
        let mut times: Vec<Duration> = Vec::new();
        let mut answers: Vec<Duration> = Vec::new();
        let length = usize::try_from(run.elapsed.as_secs() + 1).unwrap_or_default();
        self.seconds = vec![Second::default(); length];
        for calls in &run.history.clients {
            let mut last = Duration::ZERO;
            for call in calls.iter().filter(|call| is_mix(call)) {
                self.requests += 1;
                times.push(call.answered.saturating_sub(call.invoked));
                let second = usize::try_from(call.answered.as_secs()).unwrap_or_default();
                let second = self.seconds.get_mut(second);
                if !is_served(call) {
                    second.into_iter().for_each(|second| second.failed += 1);
                    continue;
                }
                second.into_iter().for_each(|second| second.ok += 1);
                self.patience = self.patience.max(call.answered.saturating_sub(last));
                last = call.answered;
                answers.push(call.answered);
            }
            self.patience = self.patience.max(run.elapsed.saturating_sub(last));
        }
        answers.push(run.elapsed);
        answers.sort_unstable();
        let mut last = Duration::ZERO;
        for at in answers {
            self.silence = self.silence.max(at.saturating_sub(last));
            last = at;
        }
        times.sort_unstable();
        let part = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or_default()
        };
        (self.p50, self.p99) = (part(50), part(99));
    }
}

const fn is_mix(call: &Call) -> bool {
    !matches!(call.op, Op::Ghost | Op::FinalCount)
}

/// Whether a visitor got an answer that says something of its session.
const fn is_served(call: &Call) -> bool {
    matches!(call.outcome, Outcome::Done { .. } | Outcome::NoSession)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{Plan, Struck};
    use crate::history::History;
    use crate::proxy::Counts;
    use crate::scenario::Spread;

    const S: Duration = Duration::from_secs(1);

    fn call(op: Op, at: u32, outcome: Outcome) -> Call {
        Call { op, node: 0, invoked: S * at, answered: S * at + S / 2, outcome }
    }

    fn run() -> Run {
        let done = |ack| Outcome::Done { value: None, ack };
        let refused = Outcome::Refused { status: 503, why: String::new() };
        let one = vec![
            call(Op::Login { value: 1 }, 0, done(Some((1, 1)))),
            call(Op::Get { key: 1 }, 1, done(None)),
            call(Op::Get { key: 1 }, 4, refused),
            call(Op::Get { key: 1 }, 7, done(None)),
        ];
        let other = vec![call(Op::Login { value: 2 }, 3, done(Some((0, 1))))];
        let fault = |kind, from: u32, until: u32| Struck {
            kind,
            nodes: vec![1],
            from: S * from,
            until: S * until,
            datagrams: Counts::default(),
        };
        Run {
            plan: Plan {
                spread: Spread::AllToAll,
                length: S * 8,
                seed: 1,
                visitors: 2,
                rest: Duration::ZERO,
            },
            history: History { clients: vec![one, other], ..History::default() },
            faults: vec![fault(Kind::Kill, 1, 2), fault(Kind::Kill, 3, 6)],
            elapsed: S * 8,
            calm: S,
            problems: Vec::new(),
        }
    }

    #[test]
    fn calls_and_faults_are_counted_and_put_into_their_second() {
        let summary = Summary::of(&run());
        assert_eq!((summary.requests, summary.reads, summary.writes, summary.short), (5, 2, 1, 1));
        assert_eq!(summary.errors, 1);
        assert!(!summary.is_well(), "a refusal without trouble is wrong");
        assert_eq!(summary.faults[&Kind::Kill], (2, S * 4));
        let ok: Vec<u64> = summary.seconds.iter().map(|second| second.ok).collect();
        let failed: Vec<u64> = summary.seconds.iter().map(|second| second.failed).collect();
        assert_eq!(ok, [1, 1, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(failed, [0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn unavailability_is_the_longest_time_without_an_answer_of_any_and_of_one() {
        let summary = Summary::of(&run());
        assert_eq!(summary.silence, S * 4, "from 3.5 to 7.5");
        assert_eq!(summary.patience, S * 6, "one from 1.5 to 7.5");
    }
}
