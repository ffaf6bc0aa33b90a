//! The queue of what happens next, and the hosts that it happens to.

mod links;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;

use fastrand::Rng;
use protocol::limits::{OUTBOX_SESSIONS_MAX, TICK_MS};
use protocol::wire::Frame;
use protocol::{Envelope, Event, Heartbeat, Lane, LivenessEvent, Ticket, Transmit};
use session::{Inc, SessionKey};

use crate::client::{Browser, Request};
use crate::fault::{FaultKind, Strike, schedule};
use crate::host::{Host, Settings};
use crate::network::Network;
use crate::oracle::Oracle;
use crate::scenario::Scenario;

/// A promise that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The invariant or rule.
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
    /// When, in simulated milliseconds.
    pub at_ms: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.rule, self.at_ms, self.detail)
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Simulated milliseconds.
    pub ticks: u64,
    /// Requests that clients made.
    pub requests: u64,
    /// Commits that took effect, as far as clients know.
    pub commits: u64,
    /// Messages that hosts sent.
    pub messages: u64,
    /// Bytes of deltas in them, before encoding.
    pub delta_bytes: u64,
    /// Milliseconds of calm until all copies were equal.
    pub converged_ms: u64,
    /// The trace, if the scenario asked for one.
    pub trace: Vec<String>,
}

/// Something on its way to a host.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    Message(Inc, Box<Envelope>),
    Heartbeat(usize, Inc, Heartbeat),
    /// A request's first step.
    Begin(u64),
    /// Its handler has finished.
    Finish(u64),
    Tick,
}

#[derive(Clone, Debug)]
enum Happening {
    Arrive(usize, Arrival),
    Strike(Strike),
    /// The connection between two hosts is made if nothing is in the way.
    Connect(usize, usize),
    /// It breaks if it is still cut.
    Idle(usize, usize),
    /// A client makes a request.
    Request,
    /// A client gives up waiting.
    GiveUp(u64),
    /// The checkers that look at everything have their turn.
    Inspect,
}

/// A cluster, its clients, and what is known of both.
pub struct World {
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    pub(crate) hosts: Vec<Host>,
    waiting: Vec<VecDeque<Arrival>>,
    connected: Vec<bool>,
    pub(crate) network: Network,
    pub(crate) settings: Settings,
    pub(crate) scenario: Scenario,
    pub(crate) kinds: Vec<FaultKind>,
    seed: u64,
    pub(crate) browsers: Vec<Browser>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) next_request: u64,
    pub(crate) oracle: Oracle,
    pub(crate) report: Report,
    pub(crate) phase: Phase,
    /// When the last fault ended, in microseconds.
    pub(crate) calm_since_us: u64,
    encode_messages: bool,
    /// Sessions of the batch that is being handled that had ended at its receiver before.
    pub(crate) ended_before: Vec<SessionKey>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Storm,
    /// Healed, clients go on.
    Calm,
    /// Healed, nobody asks for anything.
    Quiet,
}

impl World {
    /// The world of one seed, at its beginning.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kinds: Vec<FaultKind> =
            scenario.faults.iter().copied().filter(|_| rng.u8(0..100) < 35).collect();
        let has = |kind| kinds.contains(&kind);
        let nodes = scenario.nodes;
        let settings = Settings {
            nodes,
            outbox_sessions_max: if has(FaultKind::SmallOutbox) { 3 } else { OUTBOX_SESSIONS_MAX },
            bytes_max: if has(FaultKind::SmallMemory) { 40_000 } else { usize::MAX },
            rules: scenario.rules,
        };
        let network = Network::new(&mut rng, &kinds, nodes);
        let hosts = hosts(&mut rng, &kinds, nodes);
        let clients = if has(FaultKind::Hot) { 4 } else { scenario.clients };
        let browsers = (0..clients).map(|_| Browser::default()).collect();
        let encode_messages = rng.u8(0..8) == 0;
        let mut world = Self {
            rng,
            now_us: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            hosts,
            waiting: vec![VecDeque::new(); nodes],
            connected: vec![false; nodes * nodes],
            network,
            settings,
            scenario: scenario.clone(),
            kinds,
            seed,
            browsers,
            requests: BTreeMap::new(),
            next_request: 1,
            oracle: Oracle::new(nodes),
            report: Report::default(),
            phase: Phase::Storm,
            calm_since_us: 0,
            encode_messages,
            ended_before: Vec::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.trace(|world| format!("faults {:?}", world.kinds));
        for host in 0..self.hosts.len() {
            self.start(host);
        }
        let strikes = {
            let kinds = self.kinds.clone();
            schedule(&mut self.rng, &kinds, self.settings.nodes, self.scenario.storm_ms)
        };
        for (at, strike) in strikes {
            self.schedule(at * 1_000, Happening::Strike(strike));
        }
        self.schedule(100_000, Happening::Request);
        self.schedule(1_000_000, Happening::Inspect);
    }

    /// Runs the storm and the calm.
    ///
    /// # Errors
    /// The first promise that did not hold.
    pub fn run(mut self) -> Result<Report, Violation> {
        self.run_until(self.scenario.storm_ms * 1_000)?;
        self.calm();
        self.run_until((self.scenario.storm_ms + 15_000) * 1_000)?;
        self.check_after_load()?;
        self.phase = Phase::Quiet;
        self.converge()?;
        self.check_end()?;
        self.report.ticks = self.now_us / 1_000;
        Ok(self.report)
    }

    /// Everything heals; the clients go on.
    fn calm(&mut self) {
        self.trace(|_| "calm".to_owned());
        self.phase = Phase::Calm;
        self.calm_since_us = self.now_us;
        self.network.calm();
        for host in 0..self.hosts.len() {
            self.hosts[host].set_clock_right();
            if self.hosts[host].process.is_none() {
                self.start(host);
            }
            self.resume(host);
        }
        self.connect_all();
    }

    pub(crate) fn run_until(&mut self, until_us: u64) -> Result<(), Violation> {
        while let Some(Reverse((at, id))) = self.queue.peek().copied() {
            if at > until_us {
                break;
            }
            self.queue.pop();
            self.now_us = at;
            if let Some(happening) = self.happenings.remove(&id) {
                self.happen(happening)?;
            }
        }
        self.now_us = until_us;
        Ok(())
    }

    fn schedule(&mut self, at_us: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at_us, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    pub(crate) fn schedule_arrival(&mut self, in_us: u64, host: usize, arrival: Arrival) {
        self.schedule(self.now_us + in_us, Happening::Arrive(host, arrival));
    }

    pub(crate) fn schedule_give_up(&mut self, in_us: u64, request: u64) {
        self.schedule(self.now_us + in_us, Happening::GiveUp(request));
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Arrive(host, arrival) => self.arrive(host, arrival),
            Happening::Strike(strike) => {
                self.strike(&strike)?;
                Ok(())
            }
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Idle(a, b) => {
                if self.phase == Phase::Storm && self.network.is_cut(a, b) {
                    self.disconnect(a, b)?;
                }
                Ok(())
            }
            Happening::Request => {
                if self.phase != Phase::Quiet {
                    let mean = 1_000_000 / self.scenario.requests_per_second.max(1);
                    let next = self.now_us + self.rng.u64(1..mean * 2);
                    self.schedule(next, Happening::Request);
                    self.make_request();
                }
                Ok(())
            }
            Happening::GiveUp(request) => {
                self.give_up(request);
                Ok(())
            }
            Happening::Inspect => {
                self.schedule(self.now_us + 1_000_000, Happening::Inspect);
                self.inspect()
            }
        }
    }

    // --- arrivals ---

    fn arrive(&mut self, host: usize, arrival: Arrival) -> Result<(), Violation> {
        if self.hosts[host].paused {
            self.waiting[host].push_back(arrival);
            return Ok(());
        }
        let now = self.hosts[host].now(self.now_us);
        match arrival {
            Arrival::Message(from, envelope) => {
                self.trace(|_| format!("n{} ← {from:?} {:?}", host + 1, envelope.message));
                self.ended_before = self.ended_in(host, &envelope);
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                process.node.handle_message(from, *envelope, now);
            }
            Arrival::Heartbeat(peer, inc, beat) => {
                let present = self.hosts[peer].process.as_ref().map(|p| p.inc) == Some(inc);
                let name = self.hosts[peer].name.clone();
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                if present && self.connected[host.min(peer) * self.settings.nodes + host.max(peer)]
                {
                    process.liveness.handle_heartbeat(&name, beat, now);
                }
            }
            Arrival::Begin(request) => self.begin_request(host, request),
            Arrival::Finish(request) => self.finish_request(host, request),
            Arrival::Tick => {
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                process.liveness.handle_tick(now);
                process.node.handle_tick(now);
                self.schedule_arrival(TICK_MS * 1_000, host, Arrival::Tick);
            }
        }
        self.settle(host)
    }

    /// Drains everything that a host wants, in the order that the protocol asks for.
    pub(crate) fn settle(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.hosts[host].now(self.now_us);
        while let Some(event) = self.poll_liveness(host) {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            match event {
                LivenessEvent::Send(name, beat) => {
                    let inc = process.inc;
                    if let Some(to) = self.hosts.iter().position(|h| h.name == name) {
                        self.transmit(host, to, &Arrival::Heartbeat(host, inc, beat));
                    }
                }
                LivenessEvent::Reachable(_, inc) => process.node.handle_reachable(inc, true, now),
                LivenessEvent::Suspected(_, inc) => process.node.handle_reachable(inc, false, now),
                LivenessEvent::ClockFault(fault) => process.node.handle_clock_fault(fault),
            }
            self.settle_node(host)?;
        }
        self.settle_node(host)
    }

    fn poll_liveness(&mut self, host: usize) -> Option<LivenessEvent> {
        self.hosts[host].process.as_mut()?.liveness.poll_event()
    }

    fn settle_node(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.hosts[host].now(self.now_us);
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(event) = process.node.poll_event() else { break };
            match event {
                Event::Opened(Ticket(ticket), opened) => self.opened(host, ticket, opened)?,
                Event::Committed(Ticket(ticket), outcome) => {
                    self.committed(host, ticket, outcome)?;
                }
                Event::Synced(_) => self.trace(|_| format!("n{} synced", host + 1)),
                Event::Behind(..) | Event::LossAccepted(_) | Event::Removed => {}
                Event::Violation(peer, violation) => {
                    let detail = format!("n{} accuses {peer:?}: {violation}", host + 1);
                    return Err(self.violation("a correct peer is accused", detail));
                }
            }
        }
        // What was answered was answered before what changed in the same step.
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        for key in process.node.store_mut().drain_journal() {
            self.observe(host, key)?;
        }
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(transmit) = process.node.poll_transmit(now) else { break };
            self.route(host, transmit)?;
        }
        Ok(())
    }

    fn route(&mut self, host: usize, transmit: Transmit) -> Result<(), Violation> {
        let Transmit { to, lane, mut envelope } = transmit;
        self.count(lane, &envelope);
        self.check_push_back(host, &envelope)?;
        let is_target = |h: &Host| h.process.as_ref().is_some_and(|p| p.inc == to);
        let Some(target) = self.hosts.iter().position(is_target) else { return Ok(()) };
        if self.encode_messages {
            let bytes = Frame::Envelope(envelope.clone()).encode();
            match Frame::decode(&bytes) {
                Ok(Frame::Envelope(decoded)) if decoded == envelope => envelope = decoded,
                other => {
                    let detail = format!("{envelope:?} became {other:?}");
                    return Err(self.violation("W1", detail));
                }
            }
        }
        let from = envelope.from;
        self.transmit(host, target, &Arrival::Message(from, Box::new(envelope)));
        Ok(())
    }

    fn count(&mut self, lane: Lane, envelope: &Envelope) {
        self.report.messages += 1;
        if let protocol::Message::Deltas(batch) = &envelope.message {
            let bytes: usize = batch.deltas.iter().map(session::Delta::size_bytes).sum();
            self.report.delta_bytes += bytes as u64;
        }
        self.oracle.noise(lane, &envelope.message);
    }

    fn transmit(&mut self, from: usize, to: usize, arrival: &Arrival) {
        let arrivals = self.network.arrivals(&mut self.rng, from, to, self.now_us);
        for at in arrivals.into_iter().flatten() {
            self.schedule(at, Happening::Arrive(to, arrival.clone()));
        }
    }

    // --- saying what happened ---

    pub(crate) fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.scenario.trace {
            let line = format!("{:>9.3} {}", self.now_us as f64 / 1_000.0, line(self));
            self.report.trace.push(line);
        }
    }

    /// A violation; with a trace, it carries what led to it.
    pub(crate) fn violation(&self, rule: &'static str, mut detail: String) -> Violation {
        for line in &self.report.trace {
            detail.push('\n');
            detail.push_str(line);
        }
        Violation { rule, detail, at_ms: self.now_us / 1_000 }
    }
}

fn hosts(rng: &mut Rng, kinds: &[FaultKind], nodes: usize) -> Vec<Host> {
    let has = |kind| kinds.contains(&kind);
    // Together within the tolerated offset of 200 ms, so that nobody is at fault.
    let skew_ms = if has(FaultKind::Skew) { 40 } else { 0 };
    let drift_ppm = if has(FaultKind::Drift) { 500 } else { 0 };
    let wrong = if has(FaultKind::WrongClock) { rng.usize(0..nodes) } else { nodes };
    (0..nodes)
        .map(|index| {
            let skew = if index == wrong {
                let far = rng.i64(600..2_500);
                if rng.bool() { far } else { -far }
            } else {
                rng.i64(-skew_ms..=skew_ms)
            };
            let drift = rng.i64(-drift_ppm..=drift_ppm);
            Host::new(u16::try_from(index).unwrap_or(u16::MAX), skew, drift)
        })
        .collect()
}
