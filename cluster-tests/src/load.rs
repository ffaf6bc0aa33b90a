//! The load of the contract: visitors who go from node to node, each one request after another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::addresses::Addresses;
use crate::balancer::Balancer;
use crate::client::{Answer, Client, Failure, Jar};
use crate::history::{Call, History, KEYS, Op, Outcome};

/// Ended sessions that a client remembers, to look at the end whether they stay ended.
const GHOSTS_MAX: usize = 32;

/// How often a request goes round all nodes until one of them takes it.
const ROUNDS_MAX: usize = 3;

/// Longest part of an answer that is kept.
const WHY_BYTES_MAX: usize = 200;

/// How a node begins that has handed a write to another one, which then fell silent.
const HANDED: &str = "it is not known whether";

/// The share of each kind of request, in percent, and how it is made.
const MIX: [(u32, Wish); 6] = [
    (70, Wish::Get),
    (15, Wish::Incr),
    (8, Wish::Set),
    (4, Wish::Count),
    (2, Wish::Login),
    (1, Wish::Logout),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Get,
    Incr,
    Set,
    Count,
    Login,
    Logout,
}

/// How much load.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Visitors at once.
    pub clients: usize,
    /// Requests of all of them together.
    pub requests: u64,
    /// What their choices follow from.
    pub seed: u64,
    /// How long a visitor waits between two requests.
    pub pause: Duration,
}

/// A load that is under way: how far it is, and since when.
#[derive(Debug)]
pub struct Progress {
    /// Requests that have been answered or given up.
    pub done: AtomicU64,
    /// Set when there will be no more; setting it ends the load.
    pub is_over: AtomicBool,
    /// The beginning of the history.
    pub started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { done: AtomicU64::new(0), is_over: AtomicBool::new(false), started: Instant::now() }
    }
}

/// The visitors, after their load: their histories, and what they know of their sessions.
pub struct Visitors {
    visitors: Vec<Visitor>,
    addresses: Addresses,
    started: Instant,
}

/// Runs a load to its end: each visitor goes from node to node, whatever becomes of them.
#[must_use]
pub fn run(addresses: &Addresses, plan: &Plan, progress: &Progress) -> Visitors {
    run_among(addresses, None, plan, progress)
}

/// Runs a load to its end behind a balancer, which is kept up to date meanwhile.
#[must_use]
pub fn run_behind(balancer: &Balancer, plan: &Plan, progress: &Progress) -> Visitors {
    std::thread::scope(|scope| {
        scope.spawn(|| balancer.follow(&progress.is_over));
        run_among(balancer.addresses(), Some(balancer), plan, progress)
    })
}

/// Runs a further load to its end behind a balancer that another load keeps up to date.
#[must_use]
pub fn run_beside(balancer: &Balancer, plan: &Plan, progress: &Progress) -> Visitors {
    run_among(balancer.addresses(), Some(balancer), plan, progress)
}

fn run_among(
    addresses: &Addresses,
    balancer: Option<&Balancer>,
    plan: &Plan,
    progress: &Progress,
) -> Visitors {
    let left = AtomicU64::new(plan.requests);
    let is_left = || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    };
    let visit = |number: usize| {
        let mut visitor = Visitor::new(number, plan.seed, addresses.clone(), progress.started);
        while !progress.is_over.load(Ordering::Relaxed) && is_left() {
            visitor.next(balancer);
            if !plan.pause.is_zero() {
                std::thread::park_timeout(plan.pause);
            }
            progress.done.fetch_add(1, Ordering::Relaxed);
        }
        visitor
    };
    let visitors = std::thread::scope(|scope| {
        let visit = &visit;
        let started: Vec<_> =
            (0..plan.clients).map(|number| scope.spawn(move || visit(number))).collect();
        started.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    progress.is_over.store(true, Ordering::Relaxed);
    let visitors = visitors.into_iter().map(|joined| joined.expect("a visitor panicked"));
    let visitors = visitors.collect();
    Visitors { visitors, addresses: addresses.clone(), started: progress.started }
}

impl Visitors {
    /// How long the load took so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asks every node for the counter of every session that lives, and for sessions that have
    /// ended; for when every node has everything. Returns all that happened.
    #[must_use]
    pub fn finish(self) -> History {
        let mut history = History::default();
        for mut visitor in self.visitors {
            for node in 0..self.addresses.len() {
                if !visitor.client.jar.is_empty() {
                    visitor.call_at(node, Op::FinalCount);
                }
                for ghost in visitor.ghosts.clone() {
                    visitor.haunt(node, ghost);
                }
            }
            history.tried_elsewhere += visitor.tried_elsewhere;
            history.clients.push(visitor.calls);
        }
        history
    }
}

/// One client and what it did.
struct Visitor {
    number: usize,
    random: fastrand::Rng,
    client: Client,
    addresses: Addresses,
    /// The node that is asked next.
    turn: usize,
    /// Counts the values that were written.
    values: u64,
    started: Instant,
    calls: Vec<Call>,
    /// Cookies of sessions that have ended for certain, the last ones.
    ghosts: VecDeque<Jar>,
    tried_elsewhere: u64,
}

impl Visitor {
    fn new(number: usize, seed: u64, addresses: Addresses, started: Instant) -> Self {
        Self {
            number,
            random: fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003) ^ number as u64),
            client: Client::new(),
            turn: number % addresses.len(),
            addresses,
            values: 0,
            started,
            calls: Vec::new(),
            ghosts: VecDeque::new(),
            tried_elsewhere: 0,
        }
    }

    /// The next request of the mix; without a session it is a login.
    fn next(&mut self, balancer: Option<&Balancer>) {
        let wish = if self.client.jar.is_empty() { Wish::Login } else { self.wish() };
        let key = self.random.usize(..KEYS);
        let op = match wish {
            Wish::Get => Op::Get { key },
            Wish::Incr => Op::Incr,
            Wish::Set => Op::Set { key, value: self.value() },
            Wish::Count => Op::Count,
            Wish::Login => Op::Login { value: self.value() },
            Wish::Logout => Op::Logout,
        };
        let choose = |turn| balancer.map_or(turn, |balancer| balancer.choose(turn));
        let node = choose(self.turn);
        self.turn = (node + 1) % self.addresses.len();
        let before = self.client.jar.clone();
        let is_certain = self.call_at(node, op);
        let is_end = matches!(op, Op::Login { .. } | Op::Logout);
        if is_end && is_certain && !before.is_empty() {
            // At once on the node that is asked next, which has heard of the end from another.
            self.haunt(choose(self.turn), before.clone());
            self.ghosts.push_back(before);
            if self.ghosts.len() > GHOSTS_MAX {
                self.ghosts.pop_front();
            }
        } else if is_end && !is_certain {
            // Whether the session lives is not known: another one begins.
            self.client.jar.clear();
        }
    }

    fn wish(&mut self) -> Wish {
        let whole: u32 = MIX.iter().map(|(share, _)| share).sum();
        let mut dice = self.random.u32(..whole);
        for (share, wish) in MIX {
            match dice.checked_sub(share) {
                Some(rest) => dice = rest,
                None => return wish,
            }
        }
        Wish::Get
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> u64 {
        self.values += 1;
        (self.number as u64) << 32 | self.values
    }

    /// Calls a node, or the next one that takes the request; true if it was certainly done.
    fn call_at(&mut self, first: usize, op: Op) -> bool {
        let path = path_of(op, self.number);
        let nodes = self.addresses.len();
        let mut node = first;
        for attempt in 0..nodes * ROUNDS_MAX {
            node = (first + attempt) % nodes;
            let invoked = self.started.elapsed();
            let outcome = match self.client.get(self.addresses.of(node), &path) {
                Ok(answer) => outcome_of(op, &answer),
                Err(Failure::Unknown(why)) => Outcome::Unknown { why },
                Err(Failure::Unsent(_)) => {
                    self.tried_elsewhere += 1;
                    continue;
                }
            };
            return self.record(op, node, invoked, outcome);
        }
        let outcome = Outcome::Refused { status: 0, why: "no node can be reached".to_owned() };
        self.record(op, node, self.started.elapsed(), outcome)
    }

    fn record(&mut self, op: Op, node: usize, invoked: Duration, outcome: Outcome) -> bool {
        let is_certain = outcome.is_certain();
        if outcome == Outcome::NoSession && op != Op::Ghost {
            self.client.jar.clear();
        }
        let answered = self.started.elapsed();
        self.calls.push(Call { op, node, invoked, answered, outcome });
        is_certain
    }

    /// Comes back with the cookies of a session that has ended.
    fn haunt(&mut self, node: usize, ghost: Jar) {
        let jar = std::mem::replace(&mut self.client.jar, ghost);
        self.call_at(node, Op::Ghost);
        self.client.jar = jar;
    }
}

fn path_of(op: Op, user: usize) -> String {
    match op {
        Op::Login { value } => format!("/login?user=u{user}&k0={value}"),
        Op::Get { key } => format!("/get?k=k{key}"),
        Op::Set { key, value } => format!("/set?k=k{key}&v={value}"),
        Op::Incr => "/incr".to_owned(),
        Op::Count | Op::FinalCount | Op::Ghost => "/count".to_owned(),
        Op::Logout => "/logout".to_owned(),
    }
}

fn outcome_of(op: Op, answer: &Answer) -> Outcome {
    let ack = answer.ack();
    let is_read = matches!(op, Op::Get { .. } | Op::Incr | Op::Count | Op::FinalCount | Op::Ghost);
    match (answer.status, op) {
        (200, _) if !is_read && answer.body == "ok" => Outcome::Done { value: None, ack },
        (200, _) if is_read => match answer.body.parse() {
            Ok(value) => Outcome::Done { value: Some(value), ack },
            Err(_) => refused(answer),
        },
        (404, Op::Get { .. }) => Outcome::Done { value: None, ack },
        (401, _) => Outcome::NoSession,
        (503, _) if answer.body.starts_with(HANDED) => Outcome::Handed { why: why(answer) },
        _ => refused(answer),
    }
}

fn refused(answer: &Answer) -> Outcome {
    Outcome::Refused { status: answer.status, why: why(answer) }
}

fn why(answer: &Answer) -> String {
    answer.body.chars().take(WHY_BYTES_MAX).collect()
}
