//! Two nodes, two directions of messages between them, and the events that happen to them.

use std::collections::{BTreeSet, VecDeque};

use protocol::limits::{ANSWERS_MAX, TICK_MS};
use protocol::{
    Ack, Batch, Commit, Copies, Envelope, Life, Message, Node, Options, Refusal, Rules, Supply,
    Ticket, View,
};
use session::{
    Core, Edit, EndReason, Inc, LIMITS_DEFAULT, Name, SessionKey, State, Time, Token, Value,
    Version,
};

use super::checks::Checks;

const NAMES: [&str; 2] = ["a", "b"];
const ATTRIBUTES: [&str; 3] = ["x", "y", "z"];
const START: Time = Time(1_800_000_000_000);

/// Shards of the cluster: so many that one has few slots, which makes a node cheap.
const SHARDS: u16 = 256;

/// Messages on their way in one direction; the oldest are lost beyond it.
const QUEUE_MAX: usize = 64;

/// How long the nodes have to become equal at the end, in milliseconds.
const CALM_MS: u64 = 60_000;

/// One thing that happens. Numbers that choose among what is there are taken modulo its count.
pub enum Event {
    /// Time passes, and both nodes are told.
    Wait { ms: u64 },
    /// A message to that node arrives: the one at that place in its queue, perhaps not the last
    /// time.
    Deliver { to: usize, place: usize, again: bool },
    /// A message to that node is lost.
    Lose { to: usize, place: usize },
    /// A request commits.
    Commit { at: usize, key: SessionKey, life: Kind, edits: Vec<Edit>, level: Ack, lag: bool },
    /// A request opens a session, with what was last seen of it at one of the nodes.
    Open { at: usize, key: SessionKey, seen_at: Option<usize> },
    /// A node finds the other reachable or not.
    Reach { at: usize, reachable: bool },
    /// A process ends, and another of the same member starts.
    Restart { at: usize },
    /// A node finds its clock wrong or right.
    Fault { at: usize, fault: bool },
    /// Something arrives that no correct node sends.
    Forge { to: usize, message: Message },
}

/// What a commit does to the life of its session.
pub enum Kind {
    Keep,
    Create { idle_ms: u64, life_ms: u64 },
    End(EndReason),
}

/// Events out of bytes.
pub struct Events<'a>(&'a [u8]);

impl<'a> Events<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; 0 after the last.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn node(&mut self) -> usize {
        usize::from(self.byte() & 1)
    }

    fn key(&mut self) -> SessionKey {
        let byte = self.byte();
        let mut key = [0; SessionKey::BYTES];
        // Two slots of the first shard.
        (key[1], key[15]) = ((byte & 1) << 4, byte >> 1);
        SessionKey(key)
    }

    fn edits(&mut self) -> Vec<Edit> {
        (0..self.byte() % 4).map(|_| self.edit()).collect()
    }

    fn edit(&mut self) -> Edit {
        let (kind, what) = (self.byte(), self.byte());
        let name = Name::new(ATTRIBUTES[usize::from(what % 3)]).expect("a name");
        let value = Value::from(vec![what >> 4; usize::from(what >> 2 & 3)]);
        match kind % 7 {
            0 => Edit::Set(name, value),
            1 => Edit::SetIf { name, value, expected: None },
            2 => Edit::Remove(name),
            3 => Edit::Add(name, i64::from(what) - 100),
            4 => Edit::Reset(name),
            5 => Edit::Insert(name, value),
            _ => Edit::Withdraw(name, value),
        }
    }

    fn kind(&mut self) -> Kind {
        let (byte, reasons) = (self.byte(), [EndReason::Logout, EndReason::Forced]);
        match byte % 4 {
            0 => Kind::End(reasons[usize::from(byte >> 7)]),
            1 => Kind::Create {
                idle_ms: u64::from(byte >> 2) * 1_000,
                life_ms: u64::from(self.byte()) * 10_000,
            },
            _ => Kind::Keep,
        }
    }

    fn level(&mut self) -> Ack {
        [Ack::Local, Ack::One, Ack::Quorum, Ack::All][usize::from(self.byte() & 3)]
    }

    /// A message that contradicts what its receiver knows.
    fn forged(&mut self) -> Message {
        let (number, key) = (u64::from(self.byte()), self.key());
        let slot = key.slot();
        match self.byte() % 10 {
            0 => Message::Ack { batch: number, refused: vec![(key, Refusal::Dead)] },
            1 => {
                Message::Ack { batch: number, refused: vec![(key, Refusal::Need(Version::new()))] }
            }
            2 => Message::Fetched { request: number, synced: true, delta: None },
            3 => Message::Forwarded { request: number, outcome: None },
            4 => Message::Root { round: number, root: protocol::Digest::default() },
            5 => Message::Same { round: number },
            6 => Message::Compared { round: number },
            7 => {
                let entries = vec![(key, u64::from(self.byte()))];
                Message::List { round: number, slot, after: None, entries, more: number > 99 }
            }
            8 => {
                let supply = Supply { deferred: vec![key], ..Supply::default() };
                Message::Supplied { request: number, supply }
            }
            _ => Message::Deltas(Batch { number, deltas: Vec::new() }),
        }
    }

    /// The next event, until the bytes are used up; of a correct world, if so.
    pub fn next(&mut self, correct: bool) -> Option<Event> {
        if self.0.is_empty() {
            return None;
        }
        let (what, at) = (self.byte(), self.node());
        Some(match what % 16 {
            0 | 1 => Event::Wait { ms: u64::from(self.byte()) * 4 },
            2 => Event::Wait { ms: u64::from(self.byte()) * 200 },
            3..=6 => {
                let place = self.byte();
                Event::Deliver { to: at, place: usize::from(place >> 1), again: place & 1 == 1 }
            }
            7 => Event::Lose { to: at, place: usize::from(self.byte()) },
            8..=11 => {
                let (key, life, edits) = (self.key(), self.kind(), self.edits());
                let (level, lag) = (self.level(), self.byte() & 1 == 1);
                Event::Commit { at, key, life, edits, level, lag }
            }
            12 => {
                let (key, seen) = (self.key(), self.byte());
                let seen_at = (seen & 2 == 2).then_some(usize::from(seen & 1));
                Event::Open { at, key, seen_at }
            }
            13 => Event::Reach { at, reachable: !self.byte().is_multiple_of(4) },
            14 if !correct => Event::Forge { to: at, message: self.forged() },
            14 => Event::Fault { at, fault: self.byte().is_multiple_of(4) },
            _ => Event::Restart { at },
        })
    }
}

/// The nodes and what is between them.
pub struct World {
    now: Time,
    nodes: [Node; 2],
    /// Messages on their way to each.
    queues: [VecDeque<Envelope>; 2],
    tickets: u64,
    created: BTreeSet<SessionKey>,
    checks: Checks,
}

fn options(inc: Inc, at: usize) -> Options {
    Options {
        inc,
        name: NAMES[at].into(),
        shard: 0,
        shards: SHARDS,
        digest_seed: 7,
        noise_seed: at as u64,
        outbox_sessions_max: 3,
        repair_interval_ms: 10_000,
        repair_bytes_per_second: 1_000_000,
        ack_timeout_ms: 1_000,
        bytes_max: 100_000,
        limits: LIMITS_DEFAULT,
        rules: Rules::default(),
    }
}

/// The number of a process that starts as member `at`.
fn inc(now: Time, at: usize) -> Inc {
    Inc::of_start(now, u16::from(at == 1))
}

impl World {
    /// Two nodes that have just met.
    pub fn new() -> Self {
        let view = View::fixed(NAMES.map(Into::into), Copies::All);
        let node = |at| Node::new(options(inc(START, at), at), view.clone(), START);
        let mut world = Self {
            now: START,
            nodes: [node(0), node(1)],
            queues: [VecDeque::new(), VecDeque::new()],
            tickets: 0,
            created: BTreeSet::new(),
            checks: Checks::default(),
        };
        world.introduce();
        world
    }

    pub fn inc(&self, at: usize) -> Inc {
        self.nodes[at].inc()
    }

    fn introduce(&mut self) {
        let incs = [self.inc(0), self.inc(1)];
        for at in [0, 1] {
            let mut view = self.nodes[at].view().clone();
            for (name, inc) in NAMES.iter().zip(incs) {
                view.started(&(*name).into(), inc);
            }
            self.nodes[at].handle_view(view, self.now);
            self.nodes[at].handle_reachable(incs[1 - at], true, self.now);
            self.drain(at);
        }
    }

    /// Takes away all that a node has to say.
    fn drain(&mut self, at: usize) {
        while self.nodes[at].poll_event().is_some() {}
        let mut sent = 0;
        while let Some(transmit) = self.nodes[at].poll_transmit(self.now) {
            sent += 1;
            if transmit.to == self.inc(1 - at) {
                self.queues[1 - at].push_back(transmit.envelope);
            }
        }
        assert!(sent <= ANSWERS_MAX + 8, "{sent} messages at once");
        let surplus = self.queues[1 - at].len().saturating_sub(QUEUE_MAX);
        self.queues[1 - at].drain(..surplus);
    }

    /// A message arrives over the connection with the other node.
    pub fn receive(&mut self, to: usize, envelope: Envelope) {
        let from = self.inc(1 - to);
        self.nodes[to].handle_message(from, envelope, self.now);
        self.drain(to);
    }

    /// Time passes, and both nodes are told once.
    pub fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for at in [0, 1] {
            self.nodes[at].handle_tick(self.now);
            self.drain(at);
        }
    }

    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Wait { ms } => self.tick(ms),
            Event::Deliver { to, place, again } => {
                if let Some(envelope) = self.take(to, place, again) {
                    self.receive(to, envelope);
                }
            }
            Event::Lose { to, place } => {
                self.take(to, place, false);
            }
            Event::Commit { at, key, life, edits, level, lag } => {
                self.commit(at, key, &life, edits, level, lag);
            }
            Event::Open { at, key, seen_at } => {
                let version = seen_at.map(|host| self.nodes[host].store().version(key));
                let may_expire = self.now.plus(60_000);
                let token = version.map(|version| Token { version, may_expire });
                let ticket = self.ticket();
                self.nodes[at].open(ticket, key, token, self.now.plus(3_000), self.now);
                self.drain(at);
            }
            Event::Reach { at, reachable } => {
                let peer = self.inc(1 - at);
                self.nodes[at].handle_reachable(peer, reachable, self.now);
                self.drain(at);
            }
            Event::Restart { at } => self.restart(at),
            Event::Fault { at, fault } => self.nodes[at].handle_clock_fault(fault),
            Event::Forge { to, message } => {
                let (from, receiver) = (self.inc(1 - to), self.inc(to));
                let envelope =
                    Envelope { generation: 0, epoch: 1, from, to: receiver, shard: 0, message };
                self.receive(to, envelope);
            }
        }
    }

    fn take(&mut self, to: usize, place: usize, again: bool) -> Option<Envelope> {
        let queue = &mut self.queues[to];
        let place = place.checked_rem(queue.len())?;
        if again { queue.get(place).cloned() } else { queue.remove(place) }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn commit(
        &mut self,
        at: usize,
        key: SessionKey,
        life: &Kind,
        edits: Vec<Edit>,
        level: Ack,
        lag: bool,
    ) {
        let life = match life {
            Kind::Keep => Life::Keep,
            Kind::End(reason) => Life::End(*reason),
            // Ids are random: nobody draws one that was drawn before.
            Kind::Create { .. } if !self.created.insert(key) => Life::Keep,
            Kind::Create { idle_ms, life_ms } => {
                let created = self.nodes[at].stamp(self.now);
                let hard_deadline = self.now.plus(*life_ms);
                Life::Create(Core { created, hard_deadline, idle_ms: *idle_ms, user: None })
            }
        };
        let at_version = if lag { Version::new() } else { self.nodes[at].store().version(key) };
        let commit = Commit { key, life, at: at_version, edits, level };
        let ticket = self.ticket();
        self.nodes[at].commit(ticket, commit, self.now.plus(3_000), self.now);
        self.drain(at);
    }

    fn restart(&mut self, at: usize) {
        self.now = self.now.plus(1);
        let view = View::fixed(NAMES.map(Into::into), Copies::All);
        self.nodes[at] = Node::new(options(inc(self.now, at), at), view, self.now);
        self.introduce();
    }

    /// What is derived from the copies of a node is what it would be if it were computed anew.
    pub fn check_parts(&self) {
        for node in &self.nodes {
            let store = node.store();
            assert_eq!(store.root(), store.recomputed_root(), "I-DIGEST");
            let alive = store.iter().filter(|(_, state)| matches!(state, State::Alive(_))).count();
            assert_eq!(
                (store.sessions(), store.tombstones()),
                (alive, store.iter().count() - alive)
            );
        }
    }

    /// What must hold of all copies at any time.
    pub fn check_copies(&mut self) {
        for node in &self.nodes {
            self.checks.look(node);
        }
    }

    /// Everything arrives from now on: then both nodes hold the same before long.
    pub fn calm(&mut self) {
        for at in [0, 1] {
            let peer = self.inc(1 - at);
            self.nodes[at].handle_clock_fault(false);
            self.nodes[at].handle_reachable(peer, true, self.now);
            self.drain(at);
        }
        let end = self.now.plus(CALM_MS);
        while !self.is_calm() {
            assert!(self.now < end, "the nodes do not become equal");
            while let Some(to) = (0..2).find(|to| !self.queues[*to].is_empty()) {
                if let Some(envelope) = self.queues[to].pop_front() {
                    self.receive(to, envelope);
                }
            }
            self.check_copies();
            self.tick(TICK_MS);
        }
    }

    fn is_calm(&self) -> bool {
        let [a, b] = &self.nodes;
        let is_done = |node: &Node| node.is_synced() && node.is_drained();
        is_done(a) && is_done(b) && a.store().root() == b.store().root()
    }
}
