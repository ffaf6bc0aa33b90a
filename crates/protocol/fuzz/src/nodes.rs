//! Nodes, the messages between them, and what events do to them. Two nodes under a fixed view, or
//! three under views that a log decides upon: those are in `views`.

use std::collections::{BTreeSet, VecDeque};

use protocol::limits::{ANSWERS_MAX, TICK_MS};
use protocol::{
    Commit, Copies, Envelope, Life, Message, Node, Options, Room, Rules, Ticket, Transmit, View,
};
use session::{Core, Inc, LIMITS_DEFAULT, SessionKey, State, Time, Token};

use super::checks::Checks;
use super::events::{Event, Kind};
use super::views::Log;

pub const NAMES: [&str; 3] = ["a", "b", "c"];
pub const START: Time = Time(1_800_000_000_000);

/// Shards of the cluster: so many that one has few slots, which makes a node cheap.
pub const SHARDS: u16 = 256;

/// Messages on their way to one node; the oldest are lost beyond it.
const QUEUE_MAX: usize = 64;

/// How long the nodes have to become equal at the end, in milliseconds.
const CALM_MS: u64 = 60_000;

/// Where a process may run.
#[derive(Default)]
pub struct Seat {
    pub node: Option<Node>,
    /// Messages on their way to it.
    pub queue: VecDeque<Envelope>,
    /// Which of the names its process has.
    pub name: usize,
    /// Layouts in which it has caught up, and that the log has not heard of.
    pub synced: BTreeSet<u64>,
}

/// The nodes and what is between them.
pub struct World {
    pub now: Time,
    pub seats: Vec<Seat>,
    /// What decides on the views; `None` while they are fixed.
    pub log: Option<Log>,
    tickets: u64,
    created: BTreeSet<SessionKey>,
    checks: Checks,
}

/// What every node runs with.
pub fn options(inc: Inc, name: usize) -> Options {
    Options {
        inc,
        name: NAMES[name].into(),
        shard: 0,
        shards: SHARDS,
        digest_seed: 7,
        noise_seed: name as u64,
        outbox_sessions_max: 3,
        repair_interval_ms: 10_000,
        repair_bytes_per_second: 1_000_000,
        ack_timeout_ms: 1_000,
        bytes_max: 100_000,
        limits: LIMITS_DEFAULT,
        rules: Rules::default(),
    }
}

impl World {
    /// Two nodes under a fixed view that have just met.
    pub fn new() -> Self {
        let mut world = Self::empty(2);
        for at in 0..2 {
            world.place(at);
        }
        world.introduce();
        world
    }

    /// So many places at which nothing runs.
    pub fn empty(seats: usize) -> Self {
        let seat = |name| Seat { name, ..Seat::default() };
        Self {
            now: START,
            seats: (0..seats).map(seat).collect(),
            log: None,
            tickets: 0,
            created: BTreeSet::new(),
            checks: Checks::default(),
        }
    }

    // --- who runs ---

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.seats.iter().filter_map(|seat| seat.node.as_ref())
    }

    pub fn inc(&self, at: usize) -> Option<Inc> {
        self.seats[at].node.as_ref().map(Node::inc)
    }

    /// A process starts under the fixed view.
    fn place(&mut self, at: usize) {
        let inc = Inc::of_start(self.now, u16::from(at == 1));
        let view = View::fixed([NAMES[0].into(), NAMES[1].into()], Copies::All);
        self.seats[at].node = Some(Node::new(options(inc, at), view, self.now));
    }

    /// Both nodes hear of each other.
    fn introduce(&mut self) {
        let incs = [self.inc(0), self.inc(1)];
        for at in [0, 1] {
            self.drive(at, |node, now| {
                let mut view = node.view().clone();
                for (name, inc) in NAMES.iter().zip(incs.into_iter().flatten()) {
                    view.started(&(*name).into(), inc);
                }
                node.handle_view(view, now);
                incs[1 - at].into_iter().for_each(|peer| node.handle_reachable(peer, true, now));
            });
        }
    }

    fn restart(&mut self, at: usize) {
        self.now = self.now.plus(1);
        if self.log.is_some() {
            self.join(at, self.seats[at].name);
        } else {
            self.place(at);
            self.introduce();
        }
    }

    // --- what happens ---

    /// Lets something happen at a node, if one runs there, and takes away what it has to say.
    pub fn drive(&mut self, at: usize, act: impl FnOnce(&mut Node, Time)) {
        let Some(node) = self.seats[at].node.as_mut() else {
            return;
        };
        act(node, self.now);
        let mut synced = Vec::new();
        while let Some(event) = node.poll_event() {
            match event {
                protocol::Event::Synced(epoch) => synced.push(epoch),
                protocol::Event::Violation(peer, violation) => {
                    let is_fair = self.log.as_ref().is_none_or(|log| !log.correct);
                    assert!(is_fair, "V10: {:?} accuses {peer:?}: {violation}", node.inc());
                }
                protocol::Event::Opened(..)
                | protocol::Event::Committed(..)
                | protocol::Event::Behind(..)
                | protocol::Event::LossAccepted(_)
                | protocol::Event::Removed => {}
            }
        }
        let now = self.now;
        let sent: Vec<Transmit> = std::iter::from_fn(|| node.poll_transmit(now)).collect();
        self.seats[at].synced.extend(synced);
        let sent_max = ANSWERS_MAX + 8 * (self.seats.len() - 1);
        assert!(sent.len() <= sent_max, "{} messages at once", sent.len());
        for transmit in sent {
            let is_it = |to: &usize| *to != at && self.inc(*to) == Some(transmit.to);
            if let Some(to) = (0..self.seats.len()).find(is_it) {
                self.seats[to].queue.push_back(transmit.envelope);
            }
        }
        for seat in &mut self.seats {
            let surplus = seat.queue.len().saturating_sub(QUEUE_MAX);
            seat.queue.drain(..surplus);
        }
    }

    /// A message arrives over a connection: under a fixed view, that with the other node.
    pub fn receive(&mut self, to: usize, envelope: Envelope) {
        let other = if self.log.is_none() { self.inc(1 - to) } else { None };
        let from = other.unwrap_or(envelope.from);
        self.drive(to, |node, now| node.handle_message(from, envelope, now));
    }

    /// Time passes, and all nodes are told once.
    pub fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for at in 0..self.seats.len() {
            self.drive(at, Node::handle_tick);
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
                let seen = if lag { None } else { self.seats[at].node.as_ref() };
                let seen = seen.map(|node| node.store().version(key)).unwrap_or_default();
                let commit = Commit { key, life: Life::Keep, at: seen, edits, level };
                self.commit(at, &life, commit);
            }
            Event::Open { at, key, seen_at } => {
                let seen = seen_at.and_then(|host| self.seats[host].node.as_ref());
                let version = seen.map(|node| node.store().version(key));
                let may_expire = self.now.plus(60_000);
                let token = version.map(|version| Token { version, may_expire });
                let ticket = self.ticket();
                self.drive(at, |node, now| node.open(ticket, key, token, now.plus(3_000), now));
            }
            Event::Reach { at, peer, reachable } => {
                if let Some(peer) = self.inc(peer) {
                    self.drive(at, |node, now| node.handle_reachable(peer, reachable, now));
                }
            }
            Event::Restart { at } => self.restart(at),
            Event::Fault { at, fault } => {
                self.drive(at, |node, _| node.handle_clock_fault(fault));
            }
            Event::Forge { to, message } => self.forge(to, message),
        }
    }

    /// A message that its sender does not mean, in its name.
    fn forge(&mut self, to: usize, message: Message) {
        let sender = self.seats[(to + 1) % self.seats.len()].node.as_ref();
        if let (Some(sender), Some(receiver)) = (sender, self.inc(to)) {
            let (generation, epoch) = (sender.view().generation, sender.view().epoch);
            let (from, to_inc) = (sender.inc(), receiver);
            let envelope = Envelope {
                generation,
                epoch,
                from,
                to: to_inc,
                shard: 0,
                room: Room::Ample,
                message,
            };
            self.receive(to, envelope);
        }
    }

    fn take(&mut self, to: usize, place: usize, again: bool) -> Option<Envelope> {
        let queue = &mut self.seats[to].queue;
        let place = place.checked_rem(queue.len())?;
        if again { queue.get(place).cloned() } else { queue.remove(place) }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn commit(&mut self, at: usize, life: &Kind, mut commit: Commit) {
        let ticket = self.ticket();
        let Some(node) = self.seats[at].node.as_mut() else {
            return;
        };
        commit.life = match life {
            Kind::Keep => Life::Keep,
            Kind::End(reason) => Life::End(*reason),
            // Ids are random: nobody draws one that was drawn before.
            Kind::Create { .. } if !self.created.insert(commit.key) => Life::Keep,
            Kind::Create { idle_ms, life_ms } => {
                let created = node.stamp(self.now);
                let hard_deadline = self.now.plus(*life_ms);
                Life::Create(Core { created, hard_deadline, idle_ms: *idle_ms, user: None })
            }
        };
        self.drive(at, |node, now| node.commit(ticket, commit, now.plus(3_000), now));
    }

    // --- what must hold ---

    /// What is derived from the copies of a node is what it would be if it were computed anew.
    pub fn check_parts(&self) {
        for node in self.nodes() {
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
        for node in self.seats.iter().filter_map(|seat| seat.node.as_ref()) {
            self.checks.look(node);
        }
    }

    /// Everything arrives from now on: then both nodes hold the same before long.
    pub fn calm(&mut self) {
        self.heal();
        let end = self.now.plus(CALM_MS);
        while !self.is_calm() {
            assert!(self.now < end, "the nodes do not become equal");
            self.deliver_all();
            self.tick(TICK_MS);
        }
    }

    /// All clocks are right, and everybody reaches everybody.
    pub fn heal(&mut self) {
        let running: Vec<Inc> = self.nodes().map(Node::inc).collect();
        for at in 0..self.seats.len() {
            self.drive(at, |node, _| node.handle_clock_fault(false));
            for peer in &running {
                if self.inc(at) != Some(*peer) {
                    self.drive(at, |node, now| node.handle_reachable(*peer, true, now));
                }
            }
        }
    }

    /// All messages arrive, and those that follow from them.
    pub fn deliver_all(&mut self) {
        while let Some(to) = self.seats.iter().position(|seat| !seat.queue.is_empty()) {
            if let Some(envelope) = self.seats[to].queue.pop_front() {
                self.receive(to, envelope);
                if self.log.as_ref().is_none_or(|log| log.correct) {
                    self.check_copies();
                }
            }
        }
    }

    fn is_calm(&self) -> bool {
        let root = self.nodes().next().map(|node| node.store().root());
        self.nodes()
            .all(|node| node.is_synced() && node.is_drained() && Some(node.store().root()) == root)
    }
}
