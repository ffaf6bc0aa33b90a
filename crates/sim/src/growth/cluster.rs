//! The machines of a cluster that is measured, and the queue of what happens next.

use std::collections::BTreeMap;
use std::iter;

use fastrand::Rng;
use protocol::limits::{NEIGHBOURS_A_SIDE, OUTBOX_SESSIONS_MAX, REPAIR_BYTES_PER_SECOND, TICK_MS};
use protocol::wire::Frame;
use protocol::{
    Copies, Decision, Envelope, Event, Heartbeat, Liveness, LivenessEvent, MemberName, Node,
    Options, Roster, Rules, Transmit, View, Zone, neighbours,
};
use session::{Inc, SessionKey, Slot, Time};

use super::Plan;
use super::load::Visitors;
use super::traffic::Traffic;
use crate::host::{self, BEGIN_MS, Settings};
use crate::network::Network;

/// Shards of a process, as many as the library has.
const SHARDS: u16 = 16;

/// A process with all of its shards.
struct Machine {
    name: MemberName,
    inc: Inc,
    liveness: Liveness,
    shards: Vec<Node>,
}

enum Happening {
    /// A message arrives at a machine.
    Message(usize, Box<Envelope>),
    /// A heartbeat of the second machine arrives at the first.
    Heartbeat(usize, usize, Heartbeat),
    Tick(usize),
    /// A link is made.
    Link(usize, usize),
    /// A visitor makes a session.
    Found(usize),
    /// One of the visitors who have their sessions from that machine writes.
    Write(usize),
}

/// A cluster whose members are in, and who visits it.
pub(super) struct Cluster {
    pub(super) rng: Rng,
    now_us: u64,
    sequence: u64,
    /// In the order of time, and of what was scheduled first.
    queue: BTreeMap<(u64, u64), Happening>,
    network: Network,
    /// In the order of their names.
    machines: Vec<Machine>,
    places: BTreeMap<Inc, usize>,
    pub(super) traffic: Traffic,
    pub(super) visitors: Visitors,
}

impl Cluster {
    /// All members have joined and hold nothing; no link has been made.
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let network = Network::new(&mut rng, &[], plan.members);
        let view = view(plan.members, plan.held_by);
        let machines: Vec<Machine> = (view.members.iter())
            .filter_map(|member| Some(machine(&view, member.name.clone(), member.inc?, seed)))
            .collect();
        let places = machines.iter().map(|machine| machine.inc).zip(0..).collect();
        let mut cluster = Self {
            rng,
            now_us: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            network,
            machines,
            places,
            traffic: Traffic::default(),
            visitors: Visitors::new(plan),
        };
        cluster.begin(plan.start_ms * 1_000);
        cluster
    }

    /// Links are made within that time, in microseconds.
    fn begin(&mut self, start_us: u64) {
        for a in 0..self.machines.len() {
            let in_us = self.rng.u64(0..TICK_MS * 1_000);
            self.schedule(in_us, Happening::Tick(a));
            for b in a + 1..self.machines.len() {
                let in_us = self.rng.u64(0..start_us);
                self.schedule(in_us, Happening::Link(a, b));
            }
        }
    }

    // --- getters ---

    pub(super) fn now(&self) -> Time {
        Time(BEGIN_MS + self.now_us / 1_000)
    }

    pub(super) fn machines(&self) -> usize {
        self.machines.len()
    }

    /// Sessions and bytes that each machine holds.
    pub(super) fn held(&self) -> impl Iterator<Item = (usize, usize)> {
        self.machines.iter().map(|machine| {
            let held =
                machine.shards.iter().map(|node| (node.store().sessions(), node.store().bytes()));
            held.fold((0, 0), |sum, held| (sum.0 + held.0, sum.1 + held.1))
        })
    }

    /// True if that machine speaks for the slot of `key`.
    pub(super) fn speaks_for(&self, machine: usize, key: SessionKey) -> bool {
        self.machines[machine].shards[shard_of(key)].speaks_for(key)
    }

    // --- what happens ---

    pub(super) fn run_for(&mut self, ms: u64) {
        let until_us = self.now_us + ms * 1_000;
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= until_us) {
            let ((at_us, _), happening) = next.remove_entry();
            self.now_us = at_us;
            self.happen(happening);
        }
        self.now_us = until_us;
    }

    fn schedule(&mut self, in_us: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now_us + in_us, self.sequence), happening);
    }

    pub(super) fn schedule_founding(&mut self, in_us: u64, visitor: usize) {
        self.schedule(in_us, Happening::Found(visitor));
    }

    pub(super) fn schedule_write(&mut self, in_us: u64, home: usize) {
        self.schedule(in_us, Happening::Write(home));
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now();
        match happening {
            Happening::Message(to, envelope) => {
                let shard = usize::from(envelope.shard);
                if let Some(from) = self.places.get(&envelope.from) {
                    let name = self.machines[*from].name.clone();
                    self.machines[to].liveness.handle_received(&name, now);
                }
                self.drive(to, shard, |node, now| {
                    node.handle_message(envelope.from, *envelope, now);
                });
            }
            Happening::Heartbeat(to, from, beat) => {
                let name = self.machines[from].name.clone();
                self.machines[to].liveness.handle_heartbeat(&name, beat, now);
                self.settle(to);
            }
            Happening::Tick(machine) => {
                self.machines[machine].liveness.handle_tick(now);
                self.settle(machine);
                self.drive_all(machine, Node::handle_tick);
                self.schedule(TICK_MS * 1_000, Happening::Tick(machine));
            }
            Happening::Link(a, b) => {
                for (machine, peer) in [(a, b), (b, a)] {
                    let (name, inc) = (self.machines[peer].name.clone(), self.machines[peer].inc);
                    self.machines[machine].liveness.handle_up(&name, inc, now);
                    self.settle(machine);
                }
            }
            Happening::Found(visitor) => self.create(visitor),
            Happening::Write(home) => self.write(home),
        }
    }

    /// Does what the heartbeats of a machine come to.
    fn settle(&mut self, machine: usize) {
        while let Some(event) = self.machines[machine].liveness.poll_event() {
            match event {
                LivenessEvent::Send(name, beat) => {
                    let to = self.machines.binary_search_by(|machine| machine.name.cmp(&name));
                    let Ok(to) = to else { continue };
                    self.traffic.count(None, &Frame::Heartbeat(beat));
                    self.post(machine, to, Happening::Heartbeat(to, machine, beat));
                }
                LivenessEvent::Reachable(_, inc) => {
                    self.drive_all(machine, |node, now| node.handle_reachable(inc, true, now));
                }
                LivenessEvent::Suspected(_, inc) => {
                    self.drive_all(machine, |node, now| node.handle_reachable(inc, false, now));
                }
                LivenessEvent::ClockFault(fault) => {
                    self.drive_all(machine, |node, _| node.handle_clock_fault(fault));
                }
            }
        }
    }

    fn drive_all(&mut self, machine: usize, mut act: impl FnMut(&mut Node, Time)) {
        for shard in 0..usize::from(SHARDS) {
            self.drive(machine, shard, &mut act);
        }
    }

    /// Lets something happen at the shard of a key.
    pub(super) fn drive_at(
        &mut self,
        machine: usize,
        key: SessionKey,
        act: impl FnOnce(&mut Node, Time),
    ) {
        self.drive(machine, shard_of(key), act);
    }

    /// Lets something happen at a shard, and takes out of it what it wants to say.
    fn drive(&mut self, machine: usize, shard: usize, act: impl FnOnce(&mut Node, Time)) {
        let now = self.now();
        let node = &mut self.machines[machine].shards[shard];
        act(node, now);
        let events: Vec<Event> = iter::from_fn(|| node.poll_event()).collect();
        let sent: Vec<Transmit> = iter::from_fn(|| node.poll_transmit(now)).collect();
        for Transmit { to, lane, envelope } in sent {
            let Some(to) = self.places.get(&to).copied() else { continue };
            if envelope.message.wants_answer() {
                let name = self.machines[to].name.clone();
                self.machines[machine].liveness.handle_asked(&name, now);
            }
            let frame = Frame::Envelope(envelope);
            self.traffic.count(Some(lane), &frame);
            if let Frame::Envelope(envelope) = frame {
                self.post(machine, to, Happening::Message(to, Box::new(envelope)));
            }
        }
        for event in events {
            self.heard(event);
        }
    }

    fn post(&mut self, from: usize, to: usize, happening: Happening) {
        let [at_us, _] = self.network.arrivals(&mut self.rng, from, to, self.now_us);
        if let Some(at_us) = at_us {
            self.schedule(at_us - self.now_us, happening);
        }
    }
}

fn machine(view: &View, name: MemberName, inc: Inc, seed: u64) -> Machine {
    let settings = Settings {
        nodes: view.members.len(),
        shards: SHARDS,
        outbox_sessions_max: OUTBOX_SESSIONS_MAX / usize::from(SHARDS),
        repair_bytes_per_second: REPAIR_BYTES_PER_SECOND / u64::from(SHARDS),
        bytes_max: usize::MAX,
        rules: Rules::default(),
        neighbours_a_side: NEIGHBOURS_A_SIDE,
    };
    let options = host::options(&settings, inc, name.clone(), seed);
    let node = |shard: u16| {
        let noise_seed = options.noise_seed.wrapping_add(u64::from(shard));
        Node::new(Options { shard, noise_seed, ..options.clone() }, view.clone(), Time(BEGIN_MS))
    };
    let mut liveness = Liveness::new(inc);
    liveness.handle_neighbours(neighbours(view, &name, NEIGHBOURS_A_SIDE), Time(BEGIN_MS));
    Machine { name, inc, liveness, shards: (0..SHARDS).map(node).collect() }
}

/// The view when all members have joined and the transition to them is over.
fn view(members: usize, held_by: Copies) -> View {
    let mut roster = Roster::new(Slot::COUNT, Rules::default());
    let mut index = 0;
    let mut decide = |roster: &mut Roster, decision: &Decision| {
        index += 1;
        let done = roster.apply(index, decision);
        debug_assert!(done.is_ok(), "{done:?}");
    };
    decide(
        &mut roster,
        &Decision::Begin { generation: 1, copies: held_by, protocol: protocol::wire::WIRE_VERSION },
    );
    for member in 0..u16::try_from(members).unwrap_or(u16::MAX) {
        let (address, zone) = ("".into(), Zone::default());
        let name = host::name(member);
        decide(
            &mut roster,
            &Decision::Join {
                name,
                address,
                zone,
                start: 1,
                version: protocol::wire::WIRE_VERSION,
            },
        );
    }
    // They hold nothing, so each has caught up.
    while let Some(epoch) = roster.view().next_layout().map(|layout| layout.epoch) {
        for inc in roster.unsynced().collect::<Vec<Inc>>() {
            decide(&mut roster, &Decision::Synced { inc, epoch });
        }
    }
    roster.view().clone()
}

/// The shard that holds the slot of `key`.
fn shard_of(key: SessionKey) -> usize {
    usize::from(key.slot().number() / (Slot::COUNT / SHARDS))
}
