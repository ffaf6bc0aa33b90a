//! Histories: several writers with a copy each of one session, and messages between them that are
//! lost, repeated and reordered. Makes them and records what happened; judges nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use session::{
    Body, Change, Clock, Core, Delta, Edit, EditError, Gap, Inc, LIMITS_DEFAULT, Name, Session,
    SessionKey, Stamp, Time, User, Value, Version,
};

/// Cases of each law, unless the environment's `PROPTEST_CASES` says otherwise: as many as keep the
/// whole file below ten seconds.
const CASES: u32 = 10_000;

pub(crate) const KEY: SessionKey = SessionKey([7; 16]);

/// One attribute per kind, and one that writers use as any kind.
pub(crate) const NAMES: [&str; 4] = ["register", "counter", "set", "any"];

const WRITERS: usize = 3;
const STEPS_MAX: usize = 24;
const EDITS_MAX: usize = 4;
const START: Time = Time(1_800_000_000_000);

/// How a law is run: a failure is printed and becomes a test of its own, so no file keeps it.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

/// One thing that happens. Numbers that choose among what is there are taken modulo its count.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A request that opened the session `lag` states ago commits, and its delta goes to all.
    Commit { writer: usize, edits: Vec<Edit>, lag: usize, wait_ms: u64 },
    /// A request only uses the session.
    Touch { writer: usize },
    /// A message arrives; if `again`, it will arrive once more.
    Deliver { message: usize, again: bool },
    /// A message is lost.
    Lose { message: usize },
    /// One writer sends another what that one lacks.
    Repair { from: usize, to: usize },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 0..STEPS_MAX)
}

fn step() -> impl Strategy<Value = Step> {
    let writer = 0..WRITERS;
    prop_oneof![
        6 => (writer.clone(), vec(edit(), 1..=EDITS_MAX), 0_usize..4, 0_u64..3).prop_map(
            |(writer, edits, lag, wait_ms)| Step::Commit { writer, edits, lag, wait_ms }
        ),
        1 => writer.clone().prop_map(|writer| Step::Touch { writer }),
        6 => (0_usize..64, any::<bool>())
            .prop_map(|(message, again)| Step::Deliver { message, again }),
        2 => (0_usize..64).prop_map(|message| Step::Lose { message }),
        2 => (writer.clone(), writer).prop_map(|(from, to)| Step::Repair { from, to }),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let named = |own: usize| prop_oneof![2 => Just(name(NAMES[own])), 1 => Just(name(NAMES[3]))];
    let value = || (0_u8..8).prop_map(|byte| Value::from(vec![byte]));
    let element = || (0_u8..3).prop_map(|byte| Value::from(vec![byte]));
    prop_oneof![
        2 => (named(0), value()).prop_map(|(name, value)| Edit::Set(name, value)),
        1 => (named(0), value()).prop_map(|(name, value)| Edit::SetIf {
            name,
            value,
            expected: None,
        }),
        1 => (0..NAMES.len()).prop_map(|at| Edit::Remove(name(NAMES[at]))),
        3 => (named(1), -3_i64..4).prop_map(|(name, amount)| Edit::Add(name, amount)),
        1 => named(1).prop_map(Edit::Reset),
        4 => (named(2), element()).prop_map(|(name, element)| Edit::Insert(name, element)),
        3 => (named(2), element()).prop_map(|(name, element)| Edit::Withdraw(name, element)),
    ]
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a short name")
}

/// The core of a session that `writer` created.
pub(crate) fn core(writer: u64) -> Core {
    let created = Clock::new(Inc(writer)).stamp(START);
    Core {
        created,
        hard_deadline: START.plus(86_400_000 + writer),
        idle_ms: 1_800_000,
        user: User::new("ada").ok(),
    }
}

pub(crate) fn change_of(delta: Delta) -> Change {
    match delta.body {
        Body::Change(change) => change,
        Body::End(_) => unreachable!("nothing here ends a session"),
    }
}

/// A commit, or the refusal of one.
pub(crate) struct Commit {
    pub(crate) before: Session,
    pub(crate) at: Version,
    pub(crate) stamp: Stamp,
    pub(crate) edits: Vec<Edit>,
    pub(crate) result: Result<Option<Change>, EditError>,
}

/// The arrival of a message.
pub(crate) struct Delivery {
    pub(crate) before: Session,
    pub(crate) change: Change,
    /// The sender's copy when it sent the message.
    pub(crate) whole: Session,
    /// True if the receiver asked for it, naming its version.
    pub(crate) is_answer: bool,
    pub(crate) result: Result<(), Gap>,
    pub(crate) after: Session,
}

/// Everything that happened.
pub(crate) struct History {
    /// Every state that any copy ever had; at least one.
    pub(crate) states: Vec<Session>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) deliveries: Vec<Delivery>,
    /// The copies as they are in the end.
    pub(crate) copies: Vec<Session>,
}

impl History {
    /// Lives through `steps`, from the creation of the session.
    pub(crate) fn of(steps: &[Step]) -> Self {
        Self::under(&core(1), steps)
    }

    /// The same for a session of that core.
    pub(crate) fn under(core: &Core, steps: &[Step]) -> Self {
        let mut run = Run::new(core);
        for step in steps {
            run.step(step);
        }
        let copies = run.copies.iter().map(|copy| copy.session().clone());
        let copies = copies.collect();
        let states = run.copies.into_iter().flat_map(|copy| copy.past).collect();
        Self { states, commits: run.commits, deliveries: run.deliveries, copies }
    }

    /// One of the states, whatever the number.
    pub(crate) fn state(&self, number: usize) -> &Session {
        &self.states[number % self.states.len()]
    }
}

struct Copy {
    /// Every state it had; the last is the present one.
    past: Vec<Session>,
    clock: Clock,
    /// How far its clock is ahead.
    ahead_ms: u64,
}

impl Copy {
    fn session(&self) -> &Session {
        self.past.last().expect("the state of the beginning")
    }
}

struct Message {
    from: usize,
    to: usize,
    change: Change,
    whole: Session,
    is_answer: bool,
}

struct Run {
    now: Time,
    copies: Vec<Copy>,
    messages: Vec<Message>,
    commits: Vec<Commit>,
    deliveries: Vec<Delivery>,
}

impl Run {
    fn new(core: &Core) -> Self {
        let copy = |writer: usize| Copy {
            past: vec![Session::new(core.clone())],
            clock: Clock::new(Inc(writer as u64 + 1)),
            ahead_ms: 2 * writer as u64,
        };
        Self {
            now: START.plus(1),
            copies: (0..WRITERS).map(copy).collect(),
            messages: Vec::new(),
            commits: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit { writer, edits, lag, wait_ms } => {
                self.now = self.now.plus(*wait_ms);
                self.commit(*writer, edits, *lag);
            }
            Step::Touch { writer } => {
                let delta = self.copies[*writer].session().touch(KEY, self.now);
                self.spread(*writer, &change_of(delta));
            }
            Step::Deliver { message, again } => self.deliver(*message, *again),
            Step::Lose { message } => {
                if !self.messages.is_empty() {
                    self.messages.swap_remove(message % self.messages.len());
                }
            }
            Step::Repair { from, to } => self.answer(*from, *to),
        }
    }

    fn commit(&mut self, writer: usize, edits: &[Edit], lag: usize) {
        let copy = &mut self.copies[writer];
        let opened = &copy.past[copy.past.len() - 1 - lag % copy.past.len()];
        let edits: Vec<Edit> = edits.iter().map(|edit| as_seen(edit, opened)).collect();
        let at = opened.version.clone();
        copy.clock.observe(&at);
        copy.clock.observe(&copy.session().version.clone());
        let stamp = copy.clock.stamp(self.now.plus(copy.ahead_ms));
        let before = copy.session().clone();
        let result = before
            .stamp(KEY, &edits, &at, stamp, &LIMITS_DEFAULT)
            .map(|delta| delta.map(change_of));
        self.commits.push(Commit { before, at, stamp, edits, result: result.clone() });
        if let Ok(Some(change)) = result {
            self.spread(writer, &change);
        }
    }

    /// Applies a change where it was made, and sends it to all others.
    fn spread(&mut self, writer: usize, change: &Change) {
        let mut whole = self.copies[writer].session().clone();
        whole.merge(change).expect("it builds on this copy");
        self.copies[writer].past.push(whole.clone());
        for to in (0..WRITERS).filter(|&to| to != writer) {
            self.messages.push(Message {
                from: writer,
                to,
                change: change.clone(),
                whole: whole.clone(),
                is_answer: false,
            });
        }
    }

    fn deliver(&mut self, number: usize, again: bool) {
        if self.messages.is_empty() {
            return;
        }
        let number = number % self.messages.len();
        let message = &self.messages[number];
        let (from, to) = (message.from, message.to);
        let copy = &mut self.copies[to];
        let before = copy.session().clone();
        let mut after = before.clone();
        let result = after.merge(&message.change);
        if result.is_ok() {
            copy.past.push(after.clone());
        }
        self.deliveries.push(Delivery {
            before,
            change: message.change.clone(),
            whole: message.whole.clone(),
            is_answer: message.is_answer,
            result,
            after,
        });
        if !again {
            self.messages.swap_remove(number);
        }
        if result.is_err() {
            self.answer(from, to);
        }
    }

    /// Sends `to` what it lacks, by the version it has now; the answer is a message like others.
    fn answer(&mut self, from: usize, to: usize) {
        let whole = self.copies[from].session().clone();
        let lacking = self.copies[to].session().version.clone();
        self.messages.push(Message {
            from,
            to,
            change: change_of(whole.extract(KEY, &lacking)),
            whole,
            is_answer: true,
        });
    }
}

/// The edit as a request makes it that saw the session as it was `opened`.
fn as_seen(edit: &Edit, opened: &Session) -> Edit {
    match edit {
        Edit::SetIf { name, value, .. } => Edit::SetIf {
            name: name.clone(),
            value: value.clone(),
            expected: opened.attributes.get(name).and_then(|a| a.since),
        },
        Edit::Set(..)
        | Edit::Remove(_)
        | Edit::Add(..)
        | Edit::Reset(_)
        | Edit::Insert(..)
        | Edit::Withdraw(..) => edit.clone(),
    }
}
