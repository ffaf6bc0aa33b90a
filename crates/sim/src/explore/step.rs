//! The events: which may come next, and what they do.

use protocol::{Commit, Life, Message, Node};
use session::{Core, Edit, EndReason, Name, State, Time, Value, Version};

use super::cluster::{Breach, Cluster, FOUNDING, KEY, READING};
use super::ledger::{counter, register};
use super::plan::Plan;

/// A little more than what messages are repeated after, and a commit waits for.
const SECOND_MS: u64 = 1_100;

/// More than the longest interval of comparisons.
const INTERVAL_MS: u64 = 13_000;

/// How long requests wait at most.
const PATIENCE_MS: u64 = 2_000;

/// An event. Hosts and messages are told by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(u8),
    End(u8),
    Read(u8),
    Deliver(u8),
    Drop(u8),
    Duplicate(u8),
    Crash(u8),
    Start(u8),
    Decide,
    Adopt(u8),
    AdoptLatest(u8),
    Tick(u8),
    Second,
    Interval,
}

impl Cluster {
    /// Everything that may come next.
    pub(super) fn steps(&self, plan: &Plan) -> Vec<Step> {
        let left = self.left;
        let mut steps = Vec::new();
        for number in 0..self.air.len() {
            if !self.is_repeated(number) {
                let message = narrow(number);
                steps.push(Step::Deliver(message));
                steps.extend((left.drops > 0).then_some(Step::Drop(message)));
                let room = left.duplicates > 0 && self.air.len() < plan.air_max;
                steps.extend(room.then_some(Step::Duplicate(message)));
            }
        }
        for (number, state) in self.hosts.iter().enumerate() {
            let host = narrow(number);
            let Some(process) = &state.process else {
                let may_start = state.starts > 0;
                steps.extend(may_start.then_some(Step::Start(host)));
                continue;
            };
            steps.extend((left.writes > 0).then_some(Step::Write(host)));
            steps.extend((left.ends > 0).then_some(Step::End(host)));
            steps.extend((left.reads > 0).then_some(Step::Read(host)));
            steps.extend((left.crashes > 0).then_some(Step::Crash(host)));
            steps.push(Step::Tick(host));
            let behind = self.log.views.len() - process.adopted.min(self.log.views.len());
            if !plan.fixed && behind > 0 {
                steps.push(Step::Adopt(host));
                steps.extend((behind > 1).then_some(Step::AdoptLatest(host)));
            }
        }
        steps.extend((self.log.decided < plan.decisions.len()).then_some(Step::Decide));
        steps.extend((left.seconds > 0).then_some(Step::Second));
        steps.extend((left.intervals > 0).then_some(Step::Interval));
        steps
    }

    /// The state after that event, which may break a rule.
    pub(super) fn after(&self, plan: &Plan, step: Step) -> Result<Self, Breach> {
        let mut next = self.clone();
        next.take(plan, step)?;
        next.check()?;
        Ok(next)
    }

    fn take(&mut self, plan: &Plan, step: Step) -> Result<(), Breach> {
        match step {
            Step::Write(host) => {
                self.left.writes -= 1;
                self.write(plan, usize::from(host))
            }
            Step::End(host) => {
                self.left.ends -= 1;
                self.end(plan, usize::from(host))
            }
            Step::Read(host) => {
                self.left.reads -= 1;
                let token = self.begin_read();
                self.drive(usize::from(host), |node, now| {
                    node.open(READING, KEY, Some(token), now.plus(PATIENCE_MS), now);
                })
            }
            Step::Deliver(message) => self.deliver(usize::from(message)),
            Step::Drop(message) => {
                self.left.drops -= 1;
                self.air.remove(usize::from(message));
                Ok(())
            }
            Step::Duplicate(message) => {
                self.left.duplicates -= 1;
                self.duplicate(usize::from(message));
                Ok(())
            }
            Step::Crash(host) => {
                self.left.crashes -= 1;
                self.crash(usize::from(host))
            }
            Step::Start(host) => self.start(plan, usize::from(host)),
            Step::Decide => self.decide(plan),
            Step::Adopt(host) => self.adopt(usize::from(host), false),
            Step::AdoptLatest(host) => self.adopt(usize::from(host), true),
            Step::Tick(host) => self.drive(usize::from(host), Node::handle_tick),
            Step::Second => {
                self.left.seconds -= 1;
                self.pass(SECOND_MS)
            }
            Step::Interval => {
                self.left.intervals -= 1;
                self.pass(INTERVAL_MS)
            }
        }
    }

    /// Write number `n` adds 2ⁿ to a counter, and sets a register of its own.
    fn write(&mut self, plan: &Plan, host: usize) -> Result<(), Breach> {
        let ticket = self.begin_write(false);
        let number = ticket.0;
        let first = number == 0 && !plan.created;
        let (Ok(sum), Ok(own)) = (Name::new("sum"), register(ticket.0)) else { return Ok(()) };
        let edits = vec![Edit::Add(sum, 1 << number), Edit::Set(own, Value::from(""))];
        let level = plan.level;
        self.drive(host, |node, now| {
            let life = if first { Life::Create(core(node, now)) } else { Life::Keep };
            let at = node.store().version(KEY);
            let commit = Commit { key: KEY, life, at, edits, level };
            node.commit(ticket, commit, now.plus(PATIENCE_MS), now);
        })
    }

    fn end(&mut self, plan: &Plan, host: usize) -> Result<(), Breach> {
        let ticket = self.begin_write(true);
        let level = plan.level;
        self.drive(host, |node, now| {
            let at = node.store().version(KEY);
            let life = Life::End(EndReason::Logout);
            let commit = Commit { key: KEY, life, at, edits: Vec::new(), level };
            node.commit(ticket, commit, now.plus(PATIENCE_MS), now);
        })
    }

    /// The state from which a plan is explored: everybody is synced and, unless the plan says
    /// otherwise, has the session.
    pub(super) fn begin(plan: &Plan) -> Result<Self, Breach> {
        let mut cluster = Self::empty(plan);
        for host in &plan.members {
            cluster.start(plan, *host)?;
        }
        cluster.settle(80)?;
        if plan.created {
            let speaks = |host: &usize| {
                cluster.process(*host).is_some_and(|process| process.node.speaks_for(KEY))
            };
            let host = plan.members.iter().copied().find(speaks).unwrap_or(0);
            cluster.drive(host, |node, now| {
                let life = Life::Create(core(node, now));
                let (at, level) = (Version::new(), protocol::Ack::All);
                let commit = Commit { key: KEY, life, at, edits: Vec::new(), level };
                node.commit(FOUNDING, commit, now.plus(PATIENCE_MS), now);
            })?;
            cluster.settle(240)?;
            let version = cluster.process(host).map(|p| p.node.store().version(KEY));
            cluster.ledger.found(version.unwrap_or_default());
        }
        cluster.left = plan.allowance;
        Ok(cluster)
    }

    /// Lets so many ticks pass in which everything arrives at once and views are adopted.
    pub(super) fn settle(&mut self, ticks: usize) -> Result<(), Breach> {
        for _ in 0..ticks {
            for host in 0..self.hosts.len() {
                let behind = self.process(host).is_some_and(|p| p.adopted < self.log.views.len());
                if behind {
                    self.adopt(host, true)?;
                }
            }
            self.pass(protocol::limits::TICK_MS)?;
            let mut arrivals = 0;
            while !self.air.is_empty() && arrivals < 1_000 {
                self.deliver(0)?;
                arrivals += 1;
            }
            self.check()?;
        }
        Ok(())
    }

    // --- to be read ---

    /// What that event is, in the state before it.
    pub(super) fn tell(&self, plan: &Plan, step: Step) -> String {
        let node = |host: u8| format!("n{}", host + 1);
        match step {
            Step::Write(host) => {
                format!("{} is asked for write w{}", node(host), self.ledger.writes.len())
            }
            Step::End(host) => format!("{} is asked to end the session", node(host)),
            Step::Read(host) => format!("{} is asked to read the session", node(host)),
            Step::Deliver(message) => format!("arrives: {}", self.tell_message(message)),
            Step::Drop(message) => format!("is lost: {}", self.tell_message(message)),
            Step::Duplicate(message) => format!("is doubled: {}", self.tell_message(message)),
            Step::Crash(host) => format!("{} crashes", node(host)),
            Step::Start(host) => format!("{} starts anew", node(host)),
            Step::Decide => format!("decided: {:?}", plan.decisions.get(self.log.decided)),
            Step::Adopt(host) => format!("{} adopts the next view", node(host)),
            Step::AdoptLatest(host) => format!("{} adopts the latest view", node(host)),
            Step::Tick(host) => format!("{} ticks", node(host)),
            Step::Second => format!("{SECOND_MS} ms pass"),
            Step::Interval => format!("{INTERVAL_MS} ms pass"),
        }
    }

    fn tell_message(&self, message: u8) -> String {
        let envelope = &self.air[usize::from(message)].envelope;
        let name =
            |inc| self.host_of(inc).map_or_else(|| format!("{inc:?}"), |h| format!("n{}", h + 1));
        let said = match &envelope.message {
            Message::Deltas(batch) => format!("batch {}", batch.number),
            Message::Ack { batch, refused } if refused.is_empty() => {
                format!("ack of batch {batch}")
            }
            Message::Ack { .. }
            | Message::Fetch { .. }
            | Message::Fetched { .. }
            | Message::Forward { .. }
            | Message::Forwarded { .. }
            | Message::Root { .. }
            | Message::Same { .. }
            | Message::Digests { .. }
            | Message::Compare { .. }
            | Message::List { .. }
            | Message::Need { .. }
            | Message::Supplied { .. }
            | Message::Compared { .. }
            | Message::Pull => format!("{:?}", envelope.message),
        };
        let (from, to) = (name(envelope.from), name(envelope.to));
        format!("{from} → {to} (epoch {}) {said}", envelope.epoch)
    }

    /// What every node holds and goes by, in a line.
    pub(super) fn status(&self) -> String {
        let mut parts = Vec::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let Some(process) = &host.process else {
                parts.push(format!("n{} down", number + 1));
                continue;
            };
            let node = &process.node;
            let holds = match node.store().get(KEY) {
                None => "-".to_owned(),
                Some(State::Ended(_)) => "ended".to_owned(),
                Some(State::Alive(copy)) => self.writes_in(counter(copy)),
            };
            let view = node.view();
            let role = match (node.owns(KEY), node.speaks_for(KEY)) {
                (true, true) => "",
                (true, false) => " unsynced",
                (false, _) => " no owner",
            };
            let layouts = view.layouts.len();
            parts.push(format!("n{} e{}/{layouts} {holds}{role}", number + 1, view.epoch));
        }
        parts.join("; ")
    }

    fn writes_in(&self, sum: i64) -> String {
        let writes = (0..self.ledger.writes.len()).filter(|number| sum >> number & 1 == 1);
        let writes: Vec<String> = writes.map(|number| format!("w{number}")).collect();
        format!("{{{}}}", writes.join(" "))
    }
}

fn core(node: &mut Node, now: Time) -> Core {
    let created = node.stamp(now);
    Core { created, hard_deadline: now.plus(80_000_000), idle_ms: 40_000_000, user: None }
}

/// Numbers of hosts and messages are small.
fn narrow(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
