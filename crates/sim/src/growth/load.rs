//! Visitors: each has one session, and writes to it again and again.

use std::collections::BTreeMap;

use protocol::{Ack, Commit, Event, Life, Opened, Outcome, Ticket};
use session::{Core, Edit, SessionKey, Token, Value, Version};

use super::cluster::Cluster;
use super::{FOUNDING_MS, Plan};
use crate::client::name;

/// How long a request may take at its node, in milliseconds.
const DEADLINE_MS: u64 = 5_000;

/// How long a session lives, and may be unused, in milliseconds: longer than anything here lasts.
const LIFE_MS: u64 = 3_600_000;

/// Registers of a session.
const REGISTERS: [&str; 3] = ["a", "b", "c"];

/// To which node requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visits {
    /// Always to the one where the session was made, which holds it.
    Stay,
    /// To any.
    Roam,
}

/// Somebody with a session.
#[derive(Default)]
struct Visitor {
    cookie: Option<(SessionKey, Token)>,
    /// True while a request waits.
    waiting: bool,
}

/// A request on its way.
struct Request {
    visitor: usize,
    machine: usize,
}

/// All visitors, and what became of what they asked for.
pub(super) struct Visitors {
    plan: Plan,
    /// As many for each machine, one machine after the other.
    list: Vec<Visitor>,
    requests: BTreeMap<u64, Request>,
    next_request: u64,
    /// None while nobody writes.
    visits: Option<Visits>,
    /// Writes to sessions there were, acknowledged as far as was asked for.
    pub(super) writes: u64,
    /// Requests that came to anything else.
    pub(super) refused: u64,
}

impl Visitors {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut list = Vec::new();
        list.resize_with(plan.members * plan.sessions, Visitor::default);
        Self {
            plan: *plan,
            list,
            requests: BTreeMap::new(),
            next_request: 1,
            visits: None,
            writes: 0,
            refused: 0,
        }
    }

    fn home_of(&self, visitor: usize) -> usize {
        visitor / self.plan.sessions
    }

    fn ask(&mut self, visitor: usize, machine: usize) -> Ticket {
        let ticket = self.next_request;
        self.next_request += 1;
        self.list[visitor].waiting = true;
        self.requests.insert(ticket, Request { visitor, machine });
        Ticket(ticket)
    }

    /// The request is over; `seen` is the version of its session after it, if it was served.
    fn answered(&mut self, Ticket(ticket): Ticket, seen: Option<Version>) {
        let Some(request) = self.requests.remove(&ticket) else { return };
        let visitor = &mut self.list[request.visitor];
        visitor.waiting = false;
        match (seen, &mut visitor.cookie) {
            (Some(version), Some((_, token))) => {
                // Before its first answer it has seen nothing: that was no write but the session.
                self.writes += u64::from(!token.version.is_empty());
                token.version = version;
            }
            (Some(_) | None, _) => self.refused += 1,
        }
    }
}

impl Cluster {
    /// The visitors make their sessions.
    pub(super) fn found(&mut self) {
        for visitor in 0..self.visitors.list.len() {
            let in_us = self.rng.u64(0..FOUNDING_MS * 1_000);
            self.schedule_founding(in_us, visitor);
        }
    }

    pub(super) fn begin_load(&mut self, visits: Visits) {
        self.visitors.visits = Some(visits);
        for home in 0..self.machines() {
            self.schedule_next_write(home);
        }
    }

    pub(super) fn end_load(&mut self) {
        self.visitors.visits = None;
    }

    fn schedule_next_write(&mut self, home: usize) {
        let mean_us = 1_000_000 / self.visitors.plan.writes_per_second.max(1);
        let in_us = self.rng.u64(1..mean_us * 2);
        self.schedule_write(in_us, home);
    }

    /// A visitor makes a session, at a node that draws ids until one belongs to it.
    pub(super) fn create(&mut self, visitor: usize) {
        let machine = self.visitors.home_of(visitor);
        let key = loop {
            let key = SessionKey(std::array::from_fn(|_| self.rng.u8(..)));
            if self.speaks_for(machine, key) {
                break key;
            }
        };
        let edits = REGISTERS.map(|register| Edit::Set(name(register), self.draw_value()));
        let now = self.now();
        let (may_expire, at) = (now.plus(LIFE_MS), Version::new());
        self.visitors.list[visitor].cookie =
            Some((key, Token { version: Version::new(), may_expire }));
        let ticket = self.visitors.ask(visitor, machine);
        self.drive_at(machine, key, |node, now| {
            let (created, hard_deadline) = (node.stamp(now), now.plus(LIFE_MS));
            let core = Core { created, hard_deadline, idle_ms: LIFE_MS, user: None };
            let (life, edits) = (Life::Create(core), edits.to_vec());
            let commit = Commit { key, life, at, edits, level: Ack::One };
            node.commit(ticket, commit, now.plus(DEADLINE_MS), now);
        });
    }

    /// One of the visitors from that machine opens the session, to write to it.
    pub(super) fn write(&mut self, home: usize) {
        let Some(visits) = self.visitors.visits else { return };
        self.schedule_next_write(home);
        let sessions = self.visitors.plan.sessions;
        let visitor = home * sessions + self.rng.usize(0..sessions);
        let machine = match visits {
            Visits::Stay => home,
            Visits::Roam => self.rng.usize(0..self.machines()),
        };
        let Visitor { cookie: Some((key, token)), waiting: false } = &self.visitors.list[visitor]
        else {
            return;
        };
        let (key, token) = (*key, token.clone());
        let ticket = self.visitors.ask(visitor, machine);
        self.drive_at(machine, key, |node, now| {
            node.open(ticket, key, Some(token), now.plus(DEADLINE_MS), now);
        });
    }

    /// A node answers.
    pub(super) fn heard(&mut self, event: Event) {
        match event {
            Event::Opened(ticket, Opened::Session { session, lost }) if lost.is_empty() => {
                self.commit(ticket, session.version);
            }
            Event::Opened(ticket, _) => self.visitors.answered(ticket, None),
            Event::Committed(ticket, Outcome::Done(acked)) if acked.report.is_reached() => {
                self.visitors.answered(ticket, Some(acked.version));
            }
            Event::Committed(ticket, _) => self.visitors.answered(ticket, None),
            Event::Synced(_) => {}
            Event::Behind(..) | Event::LossAccepted(_) | Event::Removed | Event::Violation(..) => {
                unreachable!("nobody comes, goes or breaks a rule: {event:?}")
            }
        }
    }

    /// The session is open: the request sets one register.
    fn commit(&mut self, ticket: Ticket, at: Version) {
        let Some(request) = self.visitors.requests.get(&ticket.0) else { return };
        let (machine, visitor) = (request.machine, request.visitor);
        let Some((key, _)) = self.visitors.list[visitor].cookie else { return };
        let register = REGISTERS[self.rng.usize(0..REGISTERS.len())];
        let edits = vec![Edit::Set(name(register), self.draw_value())];
        let commit = Commit { key, life: Life::Keep, at, edits, level: Ack::One };
        self.drive_at(machine, key, |node, now| {
            node.commit(ticket, commit, now.plus(DEADLINE_MS), now);
        });
    }

    fn draw_value(&mut self) -> Value {
        let bytes = self.visitors.plan.value_bytes;
        (0..bytes).map(|_| self.rng.u8(..)).collect::<Vec<u8>>().into()
    }
}
