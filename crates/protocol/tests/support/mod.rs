//! A few nodes of one shard, the network between them and the time they live in, all in memory:
//! what `Pair` is to quinn.
//!
//! Every message goes through its bytes. Links can be cut, single messages lost, clocks set ahead;
//! heartbeats go over the same links, so that suspicion comes about as it does in a process.
//! Whatever a test does, [`Net`] checks at every tick what must hold at any time.

mod checks;
mod looks;
pub(crate) mod membership;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::limits::{
    HEARTBEAT_MS, OUTBOX_SESSIONS_MAX, REPAIR_BYTES_PER_SECOND, REPAIR_INTERVAL_MS, TICK_MS,
};
use protocol::wire::{Frame, WIRE_VERSION};
use protocol::{
    Copies, Envelope, Event, Heartbeat, Liveness, LivenessEvent, MemberName, Message, Node, Opened,
    Options, Outcome, Room, Rules, Ticket, View, Violation,
};
use session::{Edit, Inc, LIMITS_DEFAULT, Name, SessionKey, Slot, Time, Value, Version};

use membership::Membership;

/// When the first node starts.
pub(crate) const START: Time = Time(1_800_000_000_000);

/// How long a message takes, in milliseconds.
const LATENCY_MS: u64 = 2;

/// What a test waits for at most, in milliseconds of its own time.
const PATIENCE_MS: u64 = 120_000;

/// How long a request waits, in milliseconds.
pub(crate) const REQUEST_MS: u64 = 5_000;

/// Lifetime of the sessions that tests create, in milliseconds.
pub(crate) const LIFE_MS: u64 = 3_600_000;

/// Idle timeout of the sessions that tests create, in milliseconds.
pub(crate) const IDLE_MS: u64 = 600_000;

enum Sent {
    Frame(Vec<u8>),
    Beat(Heartbeat),
}

struct Packet {
    from: usize,
    to: usize,
    inc: Inc,
    sent: Sent,
}

/// One member: its process, if it runs, and what its application was told.
pub(crate) struct Host {
    name: MemberName,
    node: Option<Node>,
    liveness: Liveness,
    /// By how much its clock is ahead, in milliseconds.
    ahead_ms: u64,
    pub(crate) opened: BTreeMap<Ticket, Opened>,
    pub(crate) committed: BTreeMap<Ticket, Outcome>,
    pub(crate) violations: Vec<(Inc, Violation)>,
    /// Layouts in which its process said that it has caught up, by their epochs.
    pub(crate) synced: Vec<u64>,
    /// Later epochs that its process has heard of.
    pub(crate) behind: Vec<u64>,
    /// Slots of which its process was told that they are lost.
    pub(crate) lost: Vec<Slot>,
    /// True once its process knows that it is no member any more.
    pub(crate) removed: bool,
    /// The version of each living session when it was last looked at; `None` for ended ones.
    seen: BTreeMap<SessionKey, Option<Version>>,
}

/// Which messages are lost.
type Loses = Box<dyn FnMut(&Envelope) -> bool>;

/// Some nodes and what is between them.
pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) hosts: Vec<Host>,
    packets: BTreeMap<(Time, u64), Packet>,
    sequence: u64,
    cut: BTreeSet<(usize, usize)>,
    loses: Option<Loses>,
    options: fn(&mut Options),
    tickets: u64,
    membership: Option<Membership>,
    /// All that was sent since the test last cleared it, lost or not.
    pub(crate) log: Vec<Envelope>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn set(text: &str, value: &str) -> Edit {
    Edit::Set(name(text), value.into())
}

/// A key; different numbers lie in different slots.
pub(crate) fn key(number: u16) -> SessionKey {
    key_in(number, 0)
}

/// A key in a slot.
pub(crate) fn key_in(slot: u16, number: u16) -> SessionKey {
    let mut key = [0; SessionKey::BYTES];
    key[..2].copy_from_slice(&(slot << 4).to_be_bytes());
    key[2..4].copy_from_slice(&number.to_be_bytes());
    SessionKey(key)
}

impl Host {
    /// An envelope arrives; nothing is taken away of what that leads to.
    pub(crate) fn handle(&mut self, from: Inc, envelope: Envelope, now: Time) {
        self.node.as_mut().expect("it runs").handle_message(from, envelope, now);
    }
}

impl Net {
    /// `count` nodes that have just started and know each other.
    pub(crate) fn started(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    /// `count` nodes that serve.
    pub(crate) fn synced(count: usize) -> Self {
        Self::synced_with(count, |_| {})
    }

    /// `count` nodes that serve, with changed options.
    pub(crate) fn synced_with(count: usize, options: fn(&mut Options)) -> Self {
        let mut net = Self::with(count, options);
        net.run_until("all serve", |net| net.nodes().all(Node::is_synced) && net.is_calm());
        net.run_ms(100);
        net.log.clear();
        net
    }

    /// `count` nodes that have just started, with changed options.
    pub(crate) fn with(count: usize, options: fn(&mut Options)) -> Self {
        let mut net = Self::down(count, options);
        for host in 0..count {
            net.start(host);
        }
        net
    }

    /// `count` members none of which runs.
    pub(crate) fn down(count: usize, options: fn(&mut Options)) -> Self {
        let names = ["a", "b", "c", "d", "e"];
        let hosts = names[..count].iter().map(|name| Host {
            name: (*name).into(),
            node: None,
            liveness: Liveness::new(Inc(0)),
            ahead_ms: 0,
            opened: BTreeMap::new(),
            committed: BTreeMap::new(),
            violations: Vec::new(),
            synced: Vec::new(),
            behind: Vec::new(),
            lost: Vec::new(),
            removed: false,
            seen: BTreeMap::new(),
        });
        Self {
            now: START,
            hosts: hosts.collect(),
            packets: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            loses: None,
            options,
            tickets: 0,
            membership: None,
            log: Vec::new(),
        }
    }

    // --- faults ---

    /// Nothing passes between two hosts any more, in either direction.
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
    }

    pub(crate) fn mend(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
    }

    /// The connection between two hosts goes down or comes up, and both notice at once, as from
    /// QUIC; of what it is down for less than a few heartbeats nobody hears otherwise.
    pub(crate) fn set_link(&mut self, a: usize, b: usize, up: bool) {
        for (host, other) in [(a, b), (b, a)] {
            let (peer, now) = (self.inc(other), self.time(host));
            let node = self.hosts[host].node.as_mut().expect("it runs");
            node.handle_reachable(peer, up, now);
            self.drain(host);
        }
    }

    /// Messages that `loses` finds are lost; heartbeats never are.
    pub(crate) fn lose(&mut self, loses: impl FnMut(&Envelope) -> bool + 'static) {
        self.loses = Some(Box::new(loses));
    }

    pub(crate) fn lose_nothing(&mut self) {
        self.loses = None;
    }

    pub(crate) fn set_ahead(&mut self, host: usize, ms: u64) {
        self.hosts[host].ahead_ms = ms;
    }

    pub(crate) fn crash(&mut self, host: usize) {
        self.hosts[host].node = None;
    }

    /// Starts a member's process, which introduces itself to all that run.
    pub(crate) fn start(&mut self, host: usize) {
        let index = u16::try_from(host).expect("few hosts");
        let inc = Inc::of_start(self.now, index);
        let names = self.hosts.iter().map(|host| host.name.clone());
        let mut view = View::fixed(names, Copies::All);
        view.started(&self.hosts[host].name, inc);
        self.start_as(host, inc, view);
        for other in 0..self.hosts.len() {
            if other != host && self.hosts[other].node.is_some() {
                self.introduce(host, other);
                self.introduce(other, host);
            }
        }
        self.drain(host);
    }

    /// Starts a member's process, with the view that it starts from.
    fn start_as(&mut self, host: usize, inc: Inc, view: View) {
        let mut options = Options {
            inc,
            name: self.hosts[host].name.clone(),
            shard: 0,
            shards: 1,
            digest_seed: 7,
            noise_seed: host as u64,
            outbox_sessions_max: OUTBOX_SESSIONS_MAX,
            repair_interval_ms: REPAIR_INTERVAL_MS,
            repair_bytes_per_second: REPAIR_BYTES_PER_SECOND,
            ack_timeout_ms: 1_000,
            bytes_max: usize::MAX,
            limits: LIMITS_DEFAULT,
            rules: Rules::default(),
        };
        (self.options)(&mut options);
        let node = Node::new(options, view, self.time(host));
        let target = &mut self.hosts[host];
        target.node = Some(node);
        target.liveness = Liveness::new(inc);
        target.seen.clear();
        target.synced.clear();
        target.removed = false;
    }

    /// `host` learns which process `other` is.
    fn introduce(&mut self, host: usize, other: usize) {
        let (name, inc, now) = (self.hosts[other].name.clone(), self.inc(other), self.time(host));
        let target = &mut self.hosts[host];
        let node = target.node.as_mut().expect("it runs");
        let mut view = node.view().clone();
        view.started(&name, inc);
        node.handle_view(view, now);
        target.liveness.handle_up(&name, inc, now);
        self.drain(host);
    }

    // --- time ---

    /// Goes on to the next moment at which anything happens: a message arrives, or it is time for
    /// a tick.
    pub(crate) fn step(&mut self) {
        let tick = Time((self.now.0 / TICK_MS + 1) * TICK_MS);
        let arrival = self.packets.keys().next().map_or(tick, |(time, _)| *time);
        self.now = tick.min(arrival).max(self.now);
        while let Some(entry) = self.packets.first_entry().filter(|e| e.key().0 <= self.now) {
            let packet = entry.remove();
            self.deliver(packet);
        }
        if self.now == tick {
            for host in 0..self.hosts.len() {
                self.tick(host);
            }
            self.follow();
            self.check();
        }
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        while self.now < end {
            self.step();
        }
    }

    /// Goes on until something holds.
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = self.now.plus(PATIENCE_MS);
        while !holds(self) {
            assert!(self.now < end, "waited in vain until {what}");
            self.step();
        }
    }

    /// Goes on until all nodes are equal and nobody lacks anything.
    pub(crate) fn run_until_calm(&mut self) {
        self.run_until("all copies are equal", Self::is_calm);
    }

    fn tick(&mut self, host: usize) {
        let now = self.time(host);
        let target = &mut self.hosts[host];
        if let Some(node) = &mut target.node {
            target.liveness.handle_tick(now);
            node.handle_tick(now);
            self.drain(host);
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let (now, name) = (self.time(packet.to), self.hosts[packet.from].name.clone());
        let target = &mut self.hosts[packet.to];
        let Some(node) = &mut target.node else {
            return;
        };
        match packet.sent {
            Sent::Beat(beat) => target.liveness.handle_heartbeat(&name, beat, now),
            Sent::Frame(bytes) => match Frame::decode(&bytes) {
                Ok(Frame::Envelope(envelope)) => node.handle_message(packet.inc, envelope, now),
                other => unreachable!("a node wrote {other:?}"),
            },
        }
        self.drain(packet.to);
    }

    /// Takes away everything that a node and its liveness have to say.
    pub(crate) fn drain(&mut self, host: usize) {
        let now = self.time(host);
        while let Some(event) = self.hosts[host].liveness.poll_event() {
            self.heed(host, event, now);
        }
        let Some(node) = &mut self.hosts[host].node else {
            return;
        };
        let (mut events, mut transmits) = (Vec::new(), Vec::new());
        events.extend(std::iter::from_fn(|| node.poll_event()));
        transmits.extend(std::iter::from_fn(|| node.poll_transmit(now)));
        let target = &mut self.hosts[host];
        for event in events {
            match event {
                Event::Opened(ticket, opened) => {
                    let earlier = target.opened.insert(ticket, opened);
                    assert_eq!(earlier, None, "{ticket:?} is answered once");
                }
                Event::Committed(ticket, outcome) => {
                    let earlier = target.committed.insert(ticket, outcome);
                    assert_eq!(earlier, None, "{ticket:?} is answered once");
                }
                Event::Synced(epoch) => target.synced.push(epoch),
                Event::Behind(_, epoch) => target.behind.push(epoch),
                Event::LossAccepted(slots) => target.lost.extend(slots),
                Event::Removed => target.removed = true,
                Event::Violation(inc, violation) => target.violations.push((inc, violation)),
            }
        }
        for transmit in transmits {
            let to = self.host_of(transmit.to);
            let envelope = transmit.envelope;
            let lost = self.loses.as_mut().is_some_and(|loses| loses(&envelope));
            let sent = Sent::Frame(Frame::Envelope(envelope.clone()).encode(WIRE_VERSION));
            self.log.push(envelope);
            if let Some(to) = to.filter(|_| !lost) {
                self.post(host, to, sent);
            }
        }
    }

    fn heed(&mut self, host: usize, event: LivenessEvent, now: Time) {
        let member = |hosts: &[Host], name| hosts.iter().position(|host| host.name == name);
        if let LivenessEvent::Send(name, beat) = event {
            let to = member(&self.hosts, name).expect("a member");
            return self.post(host, to, Sent::Beat(beat));
        }
        let node = self.hosts[host].node.as_mut().expect("it runs");
        match event {
            LivenessEvent::Reachable(_, inc) => node.handle_reachable(inc, true, now),
            LivenessEvent::Suspected(_, inc) => node.handle_reachable(inc, false, now),
            LivenessEvent::ClockFault(fault) => node.handle_clock_fault(fault),
            LivenessEvent::Send(..) => {}
        }
    }

    fn post(&mut self, from: usize, to: usize, sent: Sent) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        let (inc, arrival) = (self.inc(from), self.now.plus(LATENCY_MS));
        self.sequence += 1;
        self.packets.insert((arrival, self.sequence), Packet { from, to, inc, sent });
    }

    pub(crate) fn host_of(&self, inc: Inc) -> Option<usize> {
        let runs = |host: &Host| host.node.as_ref().is_some_and(|node| node.inc() == inc);
        self.hosts.iter().position(runs)
    }

    /// A message that no node wrote arrives at `to`, over the connection with `from`.
    pub(crate) fn inject(&mut self, from: usize, to: usize, message: Message) {
        let (sender, receiver) = (self.inc(from), self.inc(to));
        let view = self.node(from).view();
        let said = envelope((view.generation, view.epoch), sender, receiver, message);
        self.handle(to, sender, said);
    }

    /// An envelope arrives at `to`, over the connection with the process `from`.
    pub(crate) fn handle(&mut self, to: usize, from: Inc, envelope: Envelope) {
        let now = self.time(to);
        self.hosts[to].handle(from, envelope, now);
        self.drain(to);
    }
}

/// True if the message carries deltas at once.
/// Generation and epoch of a view that the configuration fixes.
pub(crate) const FIXED: (u64, u64) = (0, 1);

/// What a process with room enough says to another in that view, in the shard of these tests.
pub(crate) fn envelope(
    (generation, epoch): (u64, u64),
    from: Inc,
    to: Inc,
    message: Message,
) -> Envelope {
    Envelope { generation, epoch, from, to, shard: 0, room: Room::Ample, message }
}

pub(crate) fn is_deltas(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::Deltas(_))
}

/// True if the message belongs to a comparison.
pub(crate) fn is_repair(envelope: &Envelope) -> bool {
    match envelope.message {
        Message::Root { .. }
        | Message::Same { .. }
        | Message::Digests { .. }
        | Message::Compare { .. }
        | Message::List { .. }
        | Message::Need { .. }
        | Message::Supplied { .. }
        | Message::Compared { .. }
        | Message::Pull => true,
        Message::Deltas(_)
        | Message::Ack { .. }
        | Message::Fetch { .. }
        | Message::Fetched { .. }
        | Message::Forward { .. }
        | Message::Forwarded { .. } => false,
    }
}

/// A register's value of some length.
pub(crate) fn bytes(count: usize) -> Value {
    Value::from(vec![7; count])
}

const _: () = assert!(HEARTBEAT_MS.is_multiple_of(TICK_MS));
