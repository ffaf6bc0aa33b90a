//! The queue of what happens next, and the hosts that it happens to.

mod arrive;
pub(crate) mod detector;
mod links;
pub(crate) mod log;
mod members;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::rc::Rc;

use fastrand::Rng;
use protocol::limits::{NEIGHBOURS_A_SIDE, OUTBOX_SESSIONS_MAX, REPAIR_BYTES_PER_SECOND};
use protocol::{Copies, Decision, Envelope, Heartbeat, Zone};
use session::{Inc, SessionKey, Slot};

use crate::client::{Browser, Request};
use crate::coverage::Coverage;
use crate::fault::strikes::Strike;
use crate::fault::{FaultKind, schedule, strikes};
use crate::host::{Host, Settings};
use crate::network::Network;
use crate::oracle::Oracle;
use crate::scenario::{Scenario, Views};
use detector::Detector;
use log::{Agreed, ViewLog};

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
    /// Milliseconds of calm until one layout was in force and every host a member.
    pub settled_ms: u64,
    /// Requests that could not be served.
    pub refused: u64,
    /// Writes that were acknowledged, and lost by more crashes than they were to survive.
    pub lost: u64,
    /// What the run has met.
    pub coverage: Coverage,
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
    /// A view of the log.
    View(Rc<Agreed>),
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
    /// A proposal reaches the log.
    Propose(Decision),
    /// A host asks for the view.
    Poll(usize),
    /// The detector of failures looks.
    Detect,
    /// A host starts again, whatever strikes.
    Start(usize),
    /// The survivors of these begin anew.
    Recover(Vec<usize>),
}

/// A cluster, its clients, and what is known of both.
pub struct World {
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    sequence: u64,
    /// When what happens next, in the order in which it was scheduled: a place in `happenings`.
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    vacant: Vec<usize>,
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
    pub(crate) log: ViewLog,
    detector: Detector,
    pub(crate) coverage: Coverage,
    /// True while a host handles an acknowledgement of a later epoch than its own.
    pub(crate) handling_later_ack: bool,
    /// True while a host handles the answer to edits that it forwarded.
    pub(crate) handling_forwarded: bool,
    /// Requests that began after the faults, and those of them that were not served.
    pub(crate) begun_after: u64,
    pub(crate) refused_after: u64,
    /// How many processes have started.
    starts: u64,
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
        let agreed = scenario.is_agreed();
        let nodes = match agreed {
            true => rng.usize(3.min(scenario.nodes)..=scenario.nodes),
            false => scenario.nodes,
        };
        let shards: u16 = if agreed { 128 } else { 16 };
        let budget = REPAIR_BYTES_PER_SECOND / u64::from(shards);
        let settings = Settings {
            nodes,
            shards,
            repair_bytes_per_second: if has(FaultKind::SmallBudget) { 10_000 } else { budget },
            outbox_sessions_max: if has(FaultKind::SmallOutbox) { 3 } else { OUTBOX_SESSIONS_MAX },
            bytes_max: if has(FaultKind::SmallMemory) {
                if agreed { 9_000 } else { 40_000 }
            } else {
                usize::MAX
            },
            rules: scenario.rules,
            // In every fourth world most are distant from each other, as in a cluster of hundreds.
            neighbours_a_side: if seed % 4 == 3 { 1 } else { NEIGHBOURS_A_SIDE },
        };
        let network = Network::new(&mut rng, &kinds, nodes);
        let hosts = hosts(&mut rng, &kinds, nodes);
        let clients = if has(FaultKind::Hot) { 4 } else { scenario.clients };
        let browsers = (0..clients).map(|_| Browser::default()).collect();
        let encode_messages = rng.u8(0..8) == 0;
        let detector = Detector::new(&mut rng);
        let mut world = Self {
            rng,
            now_us: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            vacant: Vec::new(),
            hosts,
            waiting: vec![VecDeque::new(); nodes],
            connected: vec![false; nodes * nodes],
            network,
            settings,
            scenario: scenario.clone(),
            log: ViewLog::new(Slot::COUNT / shards, scenario.rules),
            detector,
            coverage: Coverage::default(),
            handling_later_ack: false,
            handling_forwarded: false,
            begun_after: 0,
            refused_after: 0,
            starts: 0,
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
        let (kinds, nodes) = (self.kinds.clone(), self.settings.nodes);
        let strikes = if self.scenario.is_agreed() {
            let begin = match kinds.contains(&FaultKind::Join) {
                true => self.rng.usize(1..nodes),
                false => nodes,
            };
            self.begin_log(begin);
            strikes::schedule(&mut self.rng, &kinds, nodes, begin, self.scenario.storm_ms)
        } else {
            for host in 0..nodes {
                self.start(host);
            }
            schedule::schedule(&mut self.rng, &kinds, nodes, self.scenario.storm_ms)
        };
        for (at, strike) in strikes {
            self.schedule(at * 1_000, Happening::Strike(strike));
        }
        self.schedule(100_000, Happening::Request);
        self.schedule(1_000_000, Happening::Inspect);
    }

    /// The log begins, and the first hosts start.
    fn begin_log(&mut self, hosts: usize) {
        let copies = match self.scenario.views {
            Views::Fixed | Views::AgreedAll => Copies::All,
            Views::AgreedBackups => {
                let count = std::num::NonZeroU16::new(self.rng.u16(1..=4));
                count.map_or(Copies::All, Copies::Count)
            }
        };
        let zones = if self.kinds.contains(&FaultKind::Zones) { self.rng.usize(2..=3) } else { 1 };
        for host in 0..self.hosts.len() {
            let zone = ["", "z1", "z2"][host % zones];
            self.hosts[host].zone = Zone::from(zone);
            self.hosts[host].late =
                self.kinds.contains(&FaultKind::LateViews) && self.rng.u8(0..5) < 3;
            let in_us = self.rng.u64(1_000..700_000);
            self.schedule(in_us, Happening::Poll(host));
        }
        self.schedule(
            0,
            Happening::Propose(Decision::Begin {
                generation: 1,
                copies,
                protocol: protocol::wire::WIRE_VERSION,
            }),
        );
        for host in 0..hosts {
            let at = self.rng.u64(1_000..300_000);
            self.schedule(at, Happening::Start(host));
        }
        self.schedule(500_000, Happening::Detect);
    }

    /// Runs the storm and the calm.
    ///
    /// # Errors
    /// The first promise that did not hold.
    pub fn run(mut self) -> Result<Report, Violation> {
        self.run_until(self.scenario.storm_ms * 1_000)?;
        self.calm();
        self.check_calm()?;
        self.check_after_load()?;
        self.phase = Phase::Quiet;
        self.converge()?;
        self.check_end()?;
        self.report.ticks = self.now_us / 1_000;
        for host in 0..self.hosts.len() {
            self.note_counters(host);
        }
        self.report.coverage = self.coverage;
        Ok(self.report)
    }

    /// Everything heals; the clients go on.
    fn calm(&mut self) {
        self.trace(|_| "calm".to_owned());
        self.phase = Phase::Calm;
        self.calm_since_us = self.now_us;
        self.network.calm();
        self.log.leaderless = 0;
        for host in 0..self.hosts.len() {
            self.hosts[host].set_clock_right();
            self.hosts[host].exiled = false;
            self.start(host);
            self.resume(host);
        }
        self.connect_all();
    }

    pub(crate) fn run_until(&mut self, until_us: u64) -> Result<(), Violation> {
        while let Some(Reverse((at, _, place))) = self.queue.peek().copied() {
            if at > until_us {
                break;
            }
            self.queue.pop();
            self.now_us = at;
            self.vacant.push(place);
            if let Some(happening) = self.happenings[place].take() {
                self.happen(happening)?;
            }
        }
        self.now_us = until_us;
        Ok(())
    }

    fn schedule(&mut self, at_us: u64, happening: Happening) {
        self.sequence += 1;
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.happenings.push(None);
            self.happenings.len() - 1
        });
        self.happenings[place] = Some(happening);
        self.queue.push(Reverse((at_us, self.sequence, place)));
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
            Happening::Propose(decision) => self.decide(&decision).map(|_| ()),
            Happening::Poll(host) => {
                self.poll(host);
                Ok(())
            }
            Happening::Detect => self.detect(),
            Happening::Start(host) => {
                self.start(host);
                Ok(())
            }
            Happening::Recover(doomed) => self.recover(&doomed),
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
