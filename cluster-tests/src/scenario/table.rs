//! What came of scenarios, as a table.

use std::fmt;
use std::time::Duration;

use super::{Scenario, Spread};
use crate::check::{Findings, Kind, check};
use crate::cluster::name;
use crate::history::{History, Op};

/// Violations that are written out; the rest is a number.
const PROBLEMS_SHOWN: usize = 20;

/// What came of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub scenario: String,
    /// How copies were spread.
    pub spread: &'static str,
    /// Why it was not run, if it was not.
    pub skipped: Option<String>,
    /// Sessions that began.
    pub sessions: u64,
    /// Writes that were acknowledged by all copies that were asked.
    pub writes: u64,
    /// Sessions and additions that were acknowledged and are gone.
    pub lost: u64,
    /// Answers that were older than what the visitor had seen, or of a session that had ended, or
    /// that nobody wrote.
    pub stale: u64,
    /// Requests that failed although no node was down that had them.
    pub failed: u64,
    /// Requests that were on a node when it was killed or hung.
    pub in_flight: u64,
    /// Requests to a node that said it could not serve them (503), while the lines of the scenario
    /// were so bad that it may.
    pub refused: u64,
    /// The longest time from a fault to full copies on the members that are left, or from a change
    /// to its end.
    pub full: Duration,
    /// What was seen beside that, in words.
    pub notes: Vec<String>,
    /// What was wrong, in words.
    pub problems: Vec<String>,
}

impl Row {
    pub(super) fn new(scenario: Scenario, spread: Spread) -> Self {
        Self::named(scenario.name(), spread)
    }

    /// Of something that is no [`Scenario`].
    pub(crate) fn named(scenario: String, spread: Spread) -> Self {
        Self {
            scenario,
            spread: spread.name(),
            skipped: None,
            sessions: 0,
            writes: 0,
            lost: 0,
            stale: 0,
            failed: 0,
            in_flight: 0,
            refused: 0,
            full: Duration::ZERO,
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Adds what visitors met.
    pub(crate) fn add(&mut self, history: &History) {
        let findings = check(history);
        let done = history.calls().filter(|call| call.outcome.is_certain());
        for call in done {
            match call.op {
                Op::Login { .. } => {
                    self.sessions += 1;
                    self.writes += 1;
                }
                Op::Set { .. } | Op::Incr | Op::Logout => self.writes += 1,
                Op::Get { .. } | Op::Count | Op::FinalCount | Op::Ghost => {}
            }
        }
        let amount = |kinds: &[Kind]| kinds.iter().map(|kind| findings.amount(*kind)).sum::<u64>();
        self.lost += amount(&[Kind::LostSession, Kind::LostIncrements]);
        self.stale += amount(&[Kind::Stale, Kind::Phantom, Kind::Resurrection, Kind::Disagreement]);
        self.failed += amount(&[Kind::Error]);
        self.in_flight += findings.failed_in_flight;
        self.refused += findings.refused_in_trouble;
        self.describe(&findings, history);
    }

    fn describe(&mut self, findings: &Findings, history: &History) {
        let shown = findings.violations.iter().take(PROBLEMS_SHOWN);
        self.problems.extend(shown.map(|found| found.told(history)));
        let rest = findings.violations.len().saturating_sub(PROBLEMS_SHOWN);
        if rest > 0 {
            self.problems.push(format!("and {rest} more violations"));
        }
        if !self.problems.is_empty() {
            let downs = history.downs.iter().map(|down| {
                let (from, until) = (down.from.as_millis(), down.until.as_millis());
                if down.until == Duration::MAX {
                    return format!("{} was down from {from} ms", name(down.node));
                }
                format!("{} was down from {from} to {until} ms", name(down.node))
            });
            self.problems.extend(downs);
            let troubles = history.troubles.iter().map(|trouble| {
                let nodes: Vec<String> = trouble.nodes.iter().copied().map(name).collect();
                let (from, until) = (trouble.from.as_millis(), trouble.until.as_millis());
                format!("{} had bad lines from {from} to {until} ms", nodes.join(", "))
            });
            self.problems.extend(troubles);
        }
    }

    /// Of a scenario that could not be run to its end.
    #[must_use]
    pub fn failed(scenario: Scenario, spread: Spread, error: &anyhow::Error) -> Self {
        Self::broken(scenario.name(), spread, error)
    }

    /// The same for what is no [`Scenario`].
    #[must_use]
    pub fn broken(scenario: String, spread: Spread, error: &anyhow::Error) -> Self {
        Self { problems: vec![format!("{error:#}")], ..Self::named(scenario, spread) }
    }

    /// Adds what came of the same scenario with another cluster.
    pub(super) fn join(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.writes += other.writes;
        self.lost += other.lost;
        self.stale += other.stale;
        self.failed += other.failed;
        self.in_flight += other.in_flight;
        self.refused += other.refused;
        self.full = self.full.max(other.full);
        self.notes.extend(other.notes);
        self.problems.extend(other.problems);
    }

    /// Says what was seen.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Says that something is wrong.
    pub(crate) fn object(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// What stands at the end of its line.
    fn verdict(&self) -> String {
        match &self.skipped {
            _ if !self.is_well() => "  WRONG".to_owned(),
            Some(why) => format!("  skipped: {why}"),
            None => String::new(),
        }
    }

    /// Nothing may be lost, stale or failed, and what else the scenario promises holds.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.lost == 0 && self.stale == 0 && self.failed == 0 && self.problems.is_empty()
    }
}

/// Rows under their head, and what was seen beside them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The rows, in the order in which they came about.
    pub rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:<16}{:>9}{:>9}{:>6}{:>7}{:>8}{:>11}{:>9}{:>9}",
            "scenario",
            "spread",
            "sessions",
            "writes",
            "lost",
            "stale",
            "failed",
            "in flight",
            "refused",
            "s full"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<16}{:<16}{:>9}{:>9}{:>6}{:>7}{:>8}{:>11}{:>9}{:>9.1}{}",
                row.scenario,
                row.spread,
                row.sessions,
                row.writes,
                row.lost,
                row.stale,
                row.failed,
                row.in_flight,
                row.refused,
                row.full.as_secs_f64(),
                row.verdict(),
            )?;
        }
        for row in &self.rows {
            row.notes.iter().try_for_each(|note| writeln!(f, "{}: {note}", row.scenario))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whether_it_is_wrong_or_was_skipped() {
        let row = || Row::named("limits".to_owned(), Spread::AllToAll);
        assert_eq!(row().verdict(), "");
        let skipped = Row { skipped: Some("no groups".to_owned()), ..row() };
        assert_eq!((skipped.verdict().as_str(), skipped.is_well()), ("  skipped: no groups", true));
        assert_eq!(Row { lost: 1, ..skipped }.verdict(), "  WRONG");
    }
}
