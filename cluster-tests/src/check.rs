//! Reads a history and says what must not have happened.
//!
//! Each client is one visitor who makes one request after another, so what it may read is known:
//!
//! - a register: the last value that it wrote, or saw; or one of a write with unknown outcome;
//! - the counter: at least the acknowledged additions, at most those and the unknown ones, and
//!   never less than it has seen;
//! - a session is there until it is logged out, and never afterwards, but on a node that may have been
//!   cut off from where it ended: that one has not heard of it.
//!
//! What fewer copies acknowledged than were asked is seen by whoever reads it where it was written,
//! and may be gone when that node has crashed, or has been cut off and removed: then, and only then,
//! a reader may fall back behind it, but never behind what was acknowledged.
//!
//! After a login or a logout with unknown outcome a client goes on without its session, and nothing
//! is expected of that session any more.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::cluster::name;
use crate::history::{Call, Down, History, KEYS, Op, Outcome};

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An answer older than what the client had seen or written.
    Stale,
    /// A session is gone that nobody ended.
    LostSession,
    /// At the end the counter lacks acknowledged additions.
    LostIncrements,
    /// A value that nobody wrote, or more additions than were asked for.
    Phantom,
    /// A session that has ended was served.
    Resurrection,
    /// At the end nodes disagree.
    Disagreement,
    /// A request failed, and not because its node was down.
    Error,
}

/// Something that must not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What it is.
    pub kind: Kind,
    /// How much of it: additions, or 1.
    pub amount: u64,
    /// Which client.
    pub client: usize,
    /// The call that shows it.
    pub call: Call,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, client, call, expected, .. } = self;
        let Call { op, node, invoked, outcome, .. } = call;
        let at_ms = invoked.as_millis();
        write!(f, "{kind:?}: client {client} at {at_ms} ms on {}: {op:?} gave ", name(*node))?;
        write!(f, "{outcome:?}, expected {expected}")
    }
}

impl Violation {
    /// It, and how its client came to it.
    #[must_use]
    pub fn told(&self, history: &History) -> String {
        let story = history.story(self.client, &self.call);
        let line = |call: &&Call| {
            let (from, until) = (call.invoked.as_millis(), call.answered.as_millis());
            let Call { op, node, outcome, .. } = call;
            format!("\n    {from} to {until} ms on {}: {op:?} gave {outcome:?}", name(*node))
        };
        format!("{self}{}", story.iter().map(line).collect::<String>())
    }
}

/// What was found in a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// All violations, client by client.
    pub violations: Vec<Violation>,
    /// Calls that failed because their node was killed, or the one that it had handed them to.
    pub failed_in_flight: u64,
    /// Answers that a node could not serve a session, while lines between nodes were bad.
    pub refused_in_trouble: u64,
    /// Answers for an ended session from a node that may have been cut off from where it ended.
    pub served_beyond_cut: u64,
    /// Writes that fewer copies acknowledged than were asked.
    pub acknowledged_short: u64,
    /// Answers that lacked such a write though it had been seen, because who had it may be gone.
    pub short_lost: u64,
}

impl Findings {
    /// How much there is of one kind of violation.
    #[must_use]
    pub fn amount(&self, kind: Kind) -> u64 {
        self.violations.iter().filter(|found| found.kind == kind).map(|found| found.amount).sum()
    }
}

/// Checks everything.
#[must_use]
pub fn check(history: &History) -> Findings {
    let mut findings = Findings::default();
    for (client, calls) in history.clients.iter().enumerate() {
        let mut visitor = Visitor { client, session: None, findings: &mut findings };
        for call in calls {
            visitor.follow(call, history);
        }
    }
    findings
}

/// What one client may expect.
struct Visitor<'f> {
    client: usize,
    session: Option<Session>,
    findings: &'f mut Findings,
}

/// What is known of a session through all its logins.
#[derive(Default)]
struct Session {
    counter: Counter,
    registers: [Register; KEYS],
    /// The first reading of the counter at the end.
    last: Option<u64>,
}

#[derive(Default)]
struct Counter {
    acknowledged: u64,
    unknown: u64,
    /// When the first of the unknown was asked for.
    unknown_since: Option<Duration>,
    /// The highest value that the client was told.
    seen: u64,
    /// The last value that came of an acknowledged addition: those that acknowledged it have all
    /// that is in it.
    held: u64,
}

#[derive(Default)]
struct Register {
    current: Option<u64>,
    /// The last value that was acknowledged.
    held: Option<u64>,
    /// What has been seen since, though not enough copies may have it.
    at_risk: BTreeSet<u64>,
    /// When the first write with unknown outcome was asked for.
    unknown_since: Option<Duration>,
    /// Written with unknown outcome and not seen since.
    unknown: BTreeSet<u64>,
    /// What was there before.
    overwritten: BTreeSet<u64>,
}

impl Visitor<'_> {
    fn follow(&mut self, call: &Call, history: &History) {
        if let Outcome::Done { ack: Some((got, asked)), .. } = &call.outcome
            && got < asked
        {
            self.findings.acknowledged_short += 1;
        }
        match &call.outcome {
            Outcome::Done { value, .. } => self.done(call, *value, history),
            Outcome::NoSession => self.no_session(call),
            // A node that hung gives up what it held when it goes on.
            Outcome::Refused { status: 503, .. } if history.was_down(call) => {
                self.findings.failed_in_flight += 1;
                self.unknown(call);
            }
            Outcome::Refused { status: 503, .. } if history.was_in_trouble(call) => {
                self.findings.refused_in_trouble += 1;
                self.unknown(call);
            }
            Outcome::Refused { .. } => {
                self.report(Kind::Error, 1, call, "an answer");
                self.unknown(call);
            }
            Outcome::Handed { .. } => {
                if history.was_somebody_lost(call) {
                    self.findings.failed_in_flight += 1;
                } else if history.was_somebody_in_trouble(call) {
                    self.findings.refused_in_trouble += 1;
                } else {
                    self.report(Kind::Error, 1, call, "an answer: no node had just gone down");
                }
                self.unknown(call);
            }
            Outcome::Unknown { .. } => {
                if history.was_down(call) {
                    self.findings.failed_in_flight += 1;
                } else {
                    let expected = expected_downs(&history.downs, call);
                    self.report(Kind::Error, 1, call, expected);
                }
                self.unknown(call);
            }
        }
    }

    fn report(&mut self, kind: Kind, amount: u64, call: &Call, expected: impl Into<String>) {
        let (client, call, expected) = (self.client, call.clone(), expected.into());
        self.findings.violations.push(Violation { kind, amount, client, call, expected });
    }

    fn no_session(&mut self, call: &Call) {
        // A login makes a session where there is none.
        let is_expected = match call.op {
            Op::Ghost => true,
            Op::Login { .. } => false,
            Op::Get { .. }
            | Op::Set { .. }
            | Op::Incr
            | Op::Count
            | Op::FinalCount
            | Op::Logout => self.session.is_none(),
        };
        if call.op != Op::Ghost {
            self.session = None;
        }
        if !is_expected {
            self.report(Kind::LostSession, 1, call, "a session");
        }
    }

    /// A write that may or may not have taken effect.
    fn unknown(&mut self, call: &Call) {
        match (call.op, &mut self.session) {
            (Op::Login { .. } | Op::Logout, session) => *session = None,
            (Op::Incr, Some(session)) => {
                session.counter.unknown += 1;
                session.counter.unknown_since.get_or_insert(call.invoked);
            }
            (Op::Set { key, value }, Some(session)) => {
                let register = &mut session.registers[key];
                register.unknown.insert(value);
                register.unknown_since.get_or_insert(call.invoked);
            }
            (Op::Get { .. } | Op::Count | Op::FinalCount | Op::Ghost, _)
            | (Op::Incr | Op::Set { .. }, None) => {}
        }
    }

    fn done(&mut self, call: &Call, value: Option<u64>, history: &History) {
        let is_certain = call.outcome.is_certain();
        match call.op {
            // Promised only of nodes that have heard of the end.
            Op::Ghost if history.was_in_trouble(call) => self.findings.served_beyond_cut += 1,
            Op::Ghost => self.report(Kind::Resurrection, 1, call, "no session"),
            Op::Login { value } if is_certain => {
                self.session.get_or_insert_default().registers[0].write(value);
            }
            Op::Login { .. } | Op::Logout => self.session = None,
            Op::Get { .. } | Op::Set { .. } | Op::Incr | Op::Count | Op::FinalCount => {
                let Some(mut session) = self.session.take() else {
                    return self.report(Kind::Resurrection, 1, call, "no session");
                };
                self.read(&mut session, call, value, history);
                self.session = Some(session);
                if !is_certain {
                    self.unknown(call);
                }
            }
        }
    }

    /// Holds an answer against what is known of the session.
    fn read(&mut self, session: &mut Session, call: &Call, value: Option<u64>, history: &History) {
        let number = value.unwrap_or_default();
        let counter = &mut session.counter;
        match call.op {
            Op::Get { key } => {
                let register = &mut session.registers[key];
                if register.falls_back(value, call, history) {
                    self.findings.short_lost += 1;
                } else if let Err((kind, expected)) = register.read(value) {
                    self.report(kind, 1, call, expected);
                }
            }
            Op::Set { key, value } => {
                if call.outcome.is_certain() {
                    session.registers[key].write(value);
                }
            }
            Op::Incr => {
                self.findings.short_lost += counter.fall_back(number, 1, call, history);
                let (least, most) = (counter.least() + 1, counter.most() + 1);
                self.compare(call, Kind::Stale, number, least, most);
                if call.outcome.is_certain() {
                    counter.acknowledged += 1;
                    counter.seen = counter.seen.max(number.min(most));
                    counter.held = counter.seen;
                }
            }
            Op::Count => {
                self.findings.short_lost += counter.fall_back(number, 0, call, history);
                self.compare(call, Kind::Stale, number, counter.least(), counter.most());
                counter.seen = counter.seen.max(number.min(counter.most()));
            }
            Op::FinalCount => {
                self.findings.short_lost += counter.fall_back(number, 0, call, history);
                self.compare(call, Kind::LostIncrements, number, counter.least(), counter.most());
                let first = *session.last.get_or_insert(number);
                if first != number {
                    self.report(Kind::Disagreement, 1, call, format!("{first} as before"));
                }
            }
            Op::Login { .. } | Op::Logout | Op::Ghost => {}
        }
    }

    fn compare(&mut self, call: &Call, below: Kind, number: u64, least: u64, most: u64) {
        let expected = format!("{least} to {most}");
        if number < least {
            self.report(below, least - number, call, expected);
        } else if number > most {
            self.report(Kind::Phantom, number - most, call, expected);
        }
    }
}

impl Counter {
    fn least(&self) -> u64 {
        self.acknowledged.max(self.seen)
    }

    fn most(&self) -> u64 {
        self.acknowledged + self.unknown
    }

    /// Forgets what was seen beyond the acknowledged, if an answer lacks some of it that may be
    /// lost; 1 if so. `own` is the addition of the call itself.
    fn fall_back(&mut self, number: u64, own: u64, call: &Call, history: &History) -> u64 {
        let certain = self.acknowledged.max(self.held);
        let lacks = (certain + own..self.least() + own).contains(&number);
        if !lacks || !self.unknown_since.is_some_and(|since| history.may_have_lost(since, call)) {
            return 0;
        }
        self.seen = number - own;
        1
    }
}

impl Register {
    /// A write that was acknowledged.
    fn write(&mut self, value: u64) {
        self.see(value);
        self.held = Some(value);
        self.at_risk.clear();
    }

    fn see(&mut self, value: u64) {
        self.overwritten.extend(self.current.replace(value));
        self.overwritten.remove(&value);
    }

    /// Goes back to an earlier value, if those after it may be lost; true if so.
    fn falls_back(&mut self, value: Option<u64>, call: &Call, history: &History) -> bool {
        let was_there =
            value == self.held || value.is_some_and(|value| self.at_risk.contains(&value));
        let may_be = self.unknown_since.is_some_and(|since| history.may_have_lost(since, call));
        let falls = value != self.current && was_there && may_be;
        if falls {
            self.current = value;
        }
        falls
    }

    fn read(&mut self, value: Option<u64>) -> Result<(), (Kind, String)> {
        if value == self.current {
            return Ok(());
        }
        let expected = format!("{:?} or one of {:?}", self.current, self.unknown);
        match value {
            Some(value) if self.unknown.remove(&value) => {
                self.see(value);
                self.at_risk.insert(value);
                Ok(())
            }
            Some(value) if !self.overwritten.contains(&value) => Err((Kind::Phantom, expected)),
            Some(_) | None => Err((Kind::Stale, expected)),
        }
    }
}

fn expected_downs(downs: &[Down], call: &Call) -> String {
    let down = downs.iter().filter(|down| down.node == call.node);
    let times: Vec<String> = down
        .map(|down| format!("{} to {} ms", down.from.as_millis(), down.until.as_millis()))
        .collect();
    if times.is_empty() {
        return format!("an answer: {} was never down", name(call.node));
    }
    format!("an answer: {} was down only from {}", name(call.node), times.join(", "))
}

#[cfg(test)]
mod tests;
