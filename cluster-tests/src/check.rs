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
mod tests {
    use super::*;
    use crate::history::Trouble;

    const FULL: Option<(u32, u32)> = Some((1, 1));

    /// Calls one after another, a millisecond each, on node 0.
    fn history(calls: Vec<(Op, Outcome)>) -> History {
        let at = Duration::from_millis;
        let calls = (0..).zip(calls).map(|(index, (op, outcome))| Call {
            op,
            node: 0,
            invoked: at(index),
            answered: at(index + 1),
            outcome,
        });
        History { clients: vec![calls.collect()], ..History::default() }
    }

    fn found(calls: Vec<(Op, Outcome)>) -> Vec<(Kind, u64)> {
        let findings = check(&history(calls));
        findings.violations.iter().map(|found| (found.kind, found.amount)).collect()
    }

    fn wrote() -> Outcome {
        Outcome::Done { value: None, ack: FULL }
    }

    fn added(value: u64) -> Outcome {
        Outcome::Done { value: Some(value), ack: FULL }
    }

    fn told(value: impl Into<Option<u64>>) -> Outcome {
        Outcome::Done { value: value.into(), ack: None }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown { why: "closed".to_owned() }
    }

    const LOGIN: Op = Op::Login { value: 1 };
    const GET: Op = Op::Get { key: 0 };

    fn set(value: u64) -> Op {
        Op::Set { key: 0, value }
    }

    #[test]
    fn an_ordinary_visit_is_in_order() {
        let calls = vec![
            (LOGIN, wrote()),
            (GET, told(1)),
            (Op::Get { key: 1 }, told(None)),
            (set(2), wrote()),
            (GET, told(2)),
            (Op::Incr, added(1)),
            (Op::Login { value: 3 }, wrote()),
            (Op::Ghost, Outcome::NoSession),
            (GET, told(3)),
            (Op::Incr, added(2)),
            (Op::Count, told(2)),
            (Op::FinalCount, told(2)),
            (Op::FinalCount, told(2)),
            (Op::Logout, wrote()),
            (Op::Ghost, Outcome::NoSession),
            (Op::Login { value: 4 }, wrote()),
            (Op::Count, told(0)),
        ];
        assert_eq!(check(&history(calls)), Findings::default());
    }

    #[test]
    fn a_register_that_goes_back_is_stale() {
        let go_back = |value: Option<u64>| {
            found(vec![(LOGIN, wrote()), (set(2), wrote()), (GET, told(value))])
        };
        assert_eq!(go_back(Some(1)), [(Kind::Stale, 1)]);
        assert_eq!(go_back(None), [(Kind::Stale, 1)]);
        assert_eq!(go_back(Some(9)), [(Kind::Phantom, 1)]);
    }

    #[test]
    fn a_counter_that_goes_back_is_stale() {
        let two = vec![(LOGIN, wrote()), (Op::Incr, added(1)), (Op::Incr, added(2))];
        let then = |op, outcome| found([two.clone(), vec![(op, outcome)]].concat());
        assert_eq!(then(Op::Count, told(1)), [(Kind::Stale, 1)]);
        assert_eq!(then(Op::Incr, added(2)), [(Kind::Stale, 1)]);
        assert_eq!(then(Op::Count, told(3)), [(Kind::Phantom, 1)]);
        assert_eq!(then(Op::Incr, added(4)), [(Kind::Phantom, 1)]);
    }

    #[test]
    fn additions_that_are_missing_at_the_end_are_lost() {
        let mut calls = vec![(LOGIN, wrote())];
        calls.extend((1..=5).map(|value| (Op::Incr, added(value))));
        calls.extend([(Op::FinalCount, told(2)), (Op::FinalCount, told(5))]);
        assert_eq!(found(calls), [(Kind::LostIncrements, 3), (Kind::Disagreement, 1)]);
    }

    #[test]
    fn an_unknown_addition_may_count_or_not_and_once_seen_it_stays() {
        for end in [1, 2] {
            let mut history = history(vec![
                (LOGIN, wrote()),
                (Op::Incr, added(1)),
                (Op::Incr, unknown()),
                (Op::FinalCount, told(end)),
            ]);
            let (from, until) = (Duration::ZERO, Duration::from_secs(1));
            history.downs.push(Down { node: 0, from, until });
            let findings = check(&history);
            assert_eq!((findings.violations.as_slice(), findings.failed_in_flight), (&[][..], 1));
        }
        let seen_then_gone = vec![
            (LOGIN, wrote()),
            (Op::Incr, unknown()),
            (Op::Count, told(1)),
            (Op::Count, told(0)),
        ];
        assert_eq!(found(seen_then_gone), [(Kind::Error, 1), (Kind::Stale, 1)]);
    }

    #[test]
    fn an_unknown_write_may_be_read_or_not_and_once_seen_it_stays() {
        let begin = vec![(LOGIN, wrote()), (set(2), unknown())];
        let read = |values: &[u64]| {
            let reads = values.iter().map(|value| (GET, told(*value))).collect();
            found([begin.clone(), reads].concat()).split_off(1)
        };
        assert_eq!(read(&[1, 1, 2, 2]), []);
        assert_eq!(read(&[2, 1]), [(Kind::Stale, 1)]);
    }

    #[test]
    fn a_write_that_nobody_acknowledged_may_be_lost_and_is_counted() {
        let short = Outcome::Done { value: Some(1), ack: Some((0, 1)) };
        let findings =
            check(&history(vec![(LOGIN, wrote()), (Op::Incr, short), (Op::FinalCount, told(0))]));
        assert_eq!((findings.violations.as_slice(), findings.acknowledged_short), (&[][..], 1));
    }

    #[test]
    fn a_session_that_is_gone_without_a_logout_is_lost() {
        let lost = found(vec![(LOGIN, wrote()), (Op::Count, Outcome::NoSession)]);
        assert_eq!(lost, [(Kind::LostSession, 1)]);
    }

    #[test]
    fn after_an_unknown_logout_or_login_nothing_is_expected_of_the_session() {
        for op in [Op::Logout, Op::Login { value: 2 }] {
            let calls = vec![(LOGIN, wrote()), (op, unknown()), (Op::Login { value: 3 }, wrote())];
            let then = vec![(Op::Count, told(0)), (GET, told(3))];
            assert_eq!(found([calls, then].concat()), [(Kind::Error, 1)]);
        }
    }

    #[test]
    fn an_ended_session_that_is_served_is_a_resurrection() {
        let calls = vec![(LOGIN, wrote()), (Op::Logout, wrote()), (Op::Ghost, told(0))];
        assert_eq!(found(calls), [(Kind::Resurrection, 1)]);
        let calls = vec![(LOGIN, wrote()), (Op::Logout, wrote()), (Op::Incr, added(1))];
        assert_eq!(found(calls), [(Kind::Resurrection, 1)]);
    }

    #[test]
    fn a_failure_is_an_error_unless_the_node_was_down() {
        let refused = Outcome::Refused { status: 503, why: String::new() };
        assert_eq!(found(vec![(LOGIN, wrote()), (GET, refused)]), [(Kind::Error, 1)]);
        let mut history = history(vec![(LOGIN, wrote()), (GET, unknown())]);
        let at = Duration::from_millis;
        let mut with_down = |node, from, until| {
            history.downs = vec![Down { node, from: at(from), until: at(until) }];
            check(&history).violations.len()
        };
        assert_eq!(with_down(0, 0, 10), 0);
        assert_eq!(with_down(1, 0, 10), 1);
        assert_eq!(with_down(0, 5, 10), 1);
    }

    fn in_trouble(calls: Vec<(Op, Outcome)>, nodes: &[usize]) -> Findings {
        let mut history = history(calls);
        let (nodes, until) = (nodes.to_vec(), Duration::from_secs(1));
        history.troubles = vec![Trouble { nodes, from: Duration::ZERO, until }];
        check(&history)
    }

    #[test]
    fn a_node_that_reaches_not_everybody_may_refuse_and_no_other_one() {
        let refused = Outcome::Refused { status: 503, why: String::new() };
        let calls = vec![(LOGIN, wrote()), (GET, refused), (GET, told(1))];
        let findings = in_trouble(calls.clone(), &[0, 1]);
        assert_eq!((findings.violations.as_slice(), findings.refused_in_trouble), (&[][..], 1));
        assert_eq!(in_trouble(calls, &[1, 2]).amount(Kind::Error), 1);
        for outcome in [unknown(), Outcome::Refused { status: 500, why: String::new() }] {
            let calls = vec![(LOGIN, wrote()), (GET, outcome)];
            assert_eq!(in_trouble(calls, &[0]).amount(Kind::Error), 1, "trouble is no excuse");
        }
        let gone = vec![(LOGIN, wrote()), (GET, Outcome::NoSession)];
        assert_eq!(in_trouble(gone, &[0]).amount(Kind::LostSession), 1);
    }

    #[test]
    fn a_node_beyond_a_cut_may_serve_what_has_ended_and_no_other_one() {
        let calls = vec![(LOGIN, wrote()), (Op::Logout, wrote()), (Op::Ghost, told(0))];
        let findings = in_trouble(calls.clone(), &[0]);
        assert_eq!((findings.violations.as_slice(), findings.served_beyond_cut), (&[][..], 1));
        assert_eq!(in_trouble(calls, &[1]).amount(Kind::Resurrection), 1);
    }

    #[test]
    fn a_reader_falls_back_behind_unacknowledged_writes_only_when_their_node_may_be_gone() {
        let short = |value| Outcome::Done { value, ack: Some((0, 1)) };
        let begin = vec![(LOGIN, wrote()), (Op::Incr, added(1)), (set(2), wrote())];
        let written = vec![(Op::Incr, short(Some(2))), (set(3), short(None))];
        let seen = vec![(Op::Count, told(2)), (GET, told(3))];
        let back = vec![(Op::Count, told(1)), (GET, told(2)), (Op::Incr, added(2))];
        let stale = |findings: &Findings| {
            findings.violations.iter().filter(|found| found.kind == Kind::Stale).count()
        };
        let calls = [begin.clone(), written.clone(), seen.clone(), back.clone()].concat();
        let findings = in_trouble(calls.clone(), &[0]);
        assert_eq!((findings.violations.as_slice(), findings.short_lost), (&[][..], 2));
        assert_eq!(stale(&check(&history(calls))), 3, "nobody was gone");
        for too_far in [(Op::Count, told(0)), (GET, told(1))] {
            let calls = [begin.clone(), written.clone(), seen.clone(), vec![too_far]].concat();
            assert_eq!(stale(&in_trouble(calls, &[0])), 1);
        }
        // An acknowledgement is one of everything before it.
        let certain = vec![(Op::Incr, added(3)), (set(4), wrote())];
        let calls = [begin, written, seen, certain, back].concat();
        assert_eq!(stale(&in_trouble(calls, &[0])), 3);
    }

    /// A long visit without a fault: logins, writes and reads of all kinds, ends that stay ends.
    fn long_visit() -> Vec<(Op, Outcome)> {
        let (mut calls, mut count, mut value) = (Vec::new(), 0, 0);
        for round in 0..100_u64 {
            value += 1;
            calls.push((Op::Login { value }, wrote()));
            calls.push((GET, told(value)));
            for _ in 0..round % 7 {
                count += 1;
                calls.push((Op::Incr, added(count)));
                value += 1;
                calls.push((set(value), wrote()));
                calls.push((GET, told(value)));
                calls.push((Op::Count, told(count)));
            }
            if round % 5 == 4 {
                calls.extend([(Op::Logout, wrote()), (Op::Ghost, Outcome::NoSession)]);
                count = 0;
            }
        }
        value += 1;
        calls.extend([(Op::Login { value }, wrote()), (Op::Incr, added(1))]);
        calls.extend([(Op::FinalCount, told(1)), (Op::FinalCount, told(1))]);
        calls
    }

    #[test]
    fn whatever_is_planted_anywhere_in_a_long_visit_is_found() {
        assert_eq!(found(long_visit()), []);
        type Plant = (Kind, fn(&Op) -> bool, fn(&Outcome) -> Outcome);
        let plants: [Plant; 8] = [
            (Kind::Stale, |op| *op == Op::Count, less),
            (Kind::Stale, |op| *op == GET, |_| told(None)),
            (Kind::Phantom, |op| *op == GET, |_| told(u64::MAX)),
            (Kind::Phantom, |op| *op == Op::Count, |_| told(u64::MAX)),
            (Kind::LostSession, |op| *op == Op::Count, |_| Outcome::NoSession),
            (Kind::LostIncrements, |op| *op == Op::FinalCount, less),
            (Kind::Resurrection, |op| *op == Op::Ghost, |_| told(0)),
            (Kind::Error, |op| *op == GET, |_| unknown()),
        ];
        for (kind, concerns, becomes) in plants {
            let visit = long_visit();
            let places: Vec<usize> =
                (0..visit.len()).filter(|index| concerns(&visit[*index].0)).collect();
            assert!(!places.is_empty(), "{kind:?}");
            for place in places {
                let mut planted = visit.clone();
                planted[place].1 = becomes(&planted[place].1);
                if planted[place].1 == visit[place].1 {
                    continue;
                }
                let found = found(planted);
                assert!(found.iter().any(|(found, _)| *found == kind), "{kind:?} {place}");
            }
        }
    }

    /// What a reader is told of a counter that has gone back by one.
    fn less(outcome: &Outcome) -> Outcome {
        match outcome {
            Outcome::Done { value: Some(value @ 1..), ack } => {
                Outcome::Done { value: Some(value - 1), ack: *ack }
            }
            Outcome::Done { .. }
            | Outcome::NoSession
            | Outcome::Refused { .. }
            | Outcome::Handed { .. }
            | Outcome::Unknown { .. } => outcome.clone(),
        }
    }
}
