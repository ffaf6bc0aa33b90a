//! Random faults of all kinds against five real nodes under load, then calm and a final check.
//!
//! ```text
//!  visitors ──► balancer ──► five nodes ══ proxy        one request after another, for minutes
//!  striker   kill, pause, restart, drain, cuts          one strike after another (strike)
//!  weather   loss, delay, jitter, a rate …              beside it (weather)
//!  then      everybody runs, all lines are good: how long until all have everything? (calm)
//!  then      every answer is checked                    (summary, report, plot)
//! ```
//!
//! Nobody is struck before everybody is a member with full copies, and never more nodes at once than
//! may be lost at the level of acknowledgement, so nothing that was acknowledged may be lost.

mod board;
mod fault;
mod plot;
mod report;
mod strike;
mod summary;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

pub use board::Board;
pub use fault::{Dice, Kind, Line, Strike, Weather};
pub use plot::plot;
pub use report::{json, markdown};
pub use summary::{Second, Summary};

use crate::balancer::Balancer;
use crate::cluster::{Cluster, name};
use crate::history::{Down, History, NOTICED, Trouble};
use crate::load::{self, Progress};
use crate::proxy::{Conditions, Counts, Proxy};
use crate::scenario::Spread;
use crate::service::Service;
use strike::Striker;

/// Three of them vote.
pub const NODES: usize = 5;

/// Between two weathers.
const FAIR_MS: std::ops::Range<u64> = 1_000..5_000;

/// How often it is looked whether the run is over.
const LOOK: Duration = Duration::from_millis(50);

/// A line that loses more than this, in percent, can make sessions unreachable: a question and its
/// answer get lost several times in a row.
const HARSH_LOSS: f64 = 10.0;

/// Longest wait for calm: the longest quarantine of whoever was removed again and again, and a
/// minute.
const CALM_MAX: Duration = Duration::from_secs(660);

/// A run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How copies are spread.
    pub spread: Spread,
    /// How long faults go on.
    pub length: Duration,
    /// What follows from it: faults, and the choices of visitors.
    pub seed: u64,
    /// Visitors at once.
    pub visitors: usize,
    /// How long each rests between two requests.
    pub rest: Duration,
}

impl Plan {
    /// How many nodes may be lost at once.
    #[must_use]
    pub const fn survives(&self) -> usize {
        match self.spread {
            Spread::AllToAll => 2,
            Spread::PrimaryBackup => 1,
        }
    }

    /// The level of acknowledgement at which that holds.
    #[must_use]
    pub const fn level(&self) -> &'static str {
        match self.spread {
            Spread::AllToAll => "quorum",
            Spread::PrimaryBackup => "one",
        }
    }
}

/// A fault that has been brought about.
#[derive(Debug, Clone, PartialEq)]
pub struct Struck {
    /// What.
    pub kind: Kind,
    /// Whom, if it was not everybody.
    pub nodes: Vec<usize>,
    /// When, since the load began.
    pub from: Duration,
    /// When it was over: nobody is held back any more.
    pub until: Duration,
    /// What became of datagrams on the lines it concerned.
    pub datagrams: Counts,
}

/// What the two that bring about faults write down.
#[derive(Debug, Default)]
pub struct Journal {
    /// All faults.
    pub faults: Vec<Struck>,
    /// When nodes did not run.
    pub downs: Vec<Down>,
    /// When nodes did not reach each other.
    pub troubles: Vec<Trouble>,
}

/// What a run was like.
#[derive(Debug)]
pub struct Run {
    /// What was asked for.
    pub plan: Plan,
    /// All requests.
    pub history: History,
    /// All faults.
    pub faults: Vec<Struck>,
    /// How long visitors were there.
    pub elapsed: Duration,
    /// From the end of faults until everybody was a member and nobody lacked anything.
    pub calm: Duration,
    /// What went wrong beside the answers, in words.
    pub problems: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// The nodes do not start, or the load fails.
pub fn run(service: &Service, plan: &Plan, board: &Board) -> Result<Run> {
    board.say("starting five nodes");
    let mut cluster = start(service, plan)?;
    let proxy = std::sync::Arc::clone(cluster.proxy()?);
    let progress = Progress::default();
    let balancer = Balancer::new(&cluster.addresses());
    let load = load::Plan {
        clients: plan.visitors,
        requests: u64::MAX,
        seed: plan.seed,
        pause: plan.rest,
    };
    let journal = Mutex::new(Journal::default());
    let is_calm = AtomicBool::new(false);
    let (visitors, struck) = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| load::run_behind(&balancer, &load, &progress));
        let weather = scope.spawn(|| bring_weather(plan, &proxy, &progress, &journal, &is_calm));
        let mut striker = Striker::new(plan, &mut cluster, &proxy, &progress, &journal, board);
        let struck = striker.strike_until_over();
        is_calm.store(true, Ordering::Relaxed);
        progress.is_over.store(true, Ordering::Relaxed);
        let weather = weather.join().map_err(|_| anyhow::anyhow!("the weather has failed"));
        (visitors.join().ok(), struck.and(weather))
    });
    let visitors = visitors.context("the load has failed")?;
    let elapsed = visitors.elapsed();
    let mut problems = Vec::new();
    problems.extend(struck.err().map(|error| format!("{error:#}")));
    proxy.heal();
    let calm = calm(&mut cluster, board, &mut problems);
    board.say("checking");
    let mut history = visitors.finish();
    let journal = journal.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    history.downs = journal.downs;
    history.troubles = journal.troubles;
    if !problems.is_empty() {
        problems.push(format!("what the nodes logged last:\n{}", cluster.logs()));
    }
    Ok(Run { plan: *plan, history, faults: journal.faults, elapsed, calm, problems })
}

fn start(service: &Service, plan: &Plan) -> Result<Cluster> {
    let over = [
        ("REPLICA__REPLICATION__MODE", plan.spread.name()),
        ("REPLICA__REPLICATION__BACKUPS", "1"),
        ("REPLICA__REPLICATION__ACK", plan.level()),
        // Longer than the balancer takes to notice.
        ("REPLICA__NODE__DRAIN_GRACE", "1s"),
        ("RUST_LOG", "info,openraft=error"),
    ];
    let mut cluster = Cluster::prepare_behind_proxy(service, NODES, &over, plan.seed)?;
    cluster.start_nodes(&(0..NODES).collect::<Vec<_>>())?;
    crate::wait::wait_until("five nodes with full copies", || cluster.is_full())?;
    Ok(cluster)
}

/// Waits until nobody lacks anything, and returns how long that took.
fn calm(cluster: &mut Cluster, board: &Board, problems: &mut Vec<String>) -> Duration {
    board.say("calm: waiting until every node has everything");
    let since = Instant::now();
    for node in
        (0..cluster.len()).filter(|node| !cluster.running().contains(node)).collect::<Vec<_>>()
    {
        problems.extend(cluster.start_node(node).err().map(|error| format!("{error:#}")));
    }
    let is_calm = || (cluster.is_full() && cluster.is_settled()).then_some(());
    let calm = crate::wait::wait_for_within("every node has everything", CALM_MAX, LOOK, is_calm);
    problems.extend(calm.err().map(|error| format!("{error:#}")));
    since.elapsed()
}

/// One weather after another, until it is over.
fn bring_weather(
    plan: &Plan,
    proxy: &Proxy,
    progress: &Progress,
    journal: &Mutex<Journal>,
    is_over: &AtomicBool,
) {
    let mut dice = Dice::new(plan.seed ^ 0x5eed, NODES, plan.survives());
    let mut random = fastrand::Rng::with_seed(plan.seed ^ 0xfa12);
    while !is_over.load(Ordering::Relaxed) {
        wait(Duration::from_millis(random.u64(FAIR_MS)), is_over);
        let weather = dice.weather();
        let (from, before) = (progress.started.elapsed(), proxy.counts_of(&weather.lines));
        proxy.set_each(&weather.lines, weather.conditions);
        wait(weather.length, is_over);
        proxy.set_each(&weather.lines, Conditions::GOOD);
        let until = progress.started.elapsed();
        let datagrams = proxy.counts_of(&weather.lines).since(before);
        let mut journal = journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if weather.conditions.loss > HARSH_LOSS {
            let until = until.saturating_add(NOTICED);
            journal.troubles.push(Trouble { nodes: (0..NODES).collect(), from, until });
        }
        let nodes = weather.node.into_iter().collect();
        journal.faults.push(Struck { kind: weather.kind, nodes, from, until, datagrams });
    }
}

fn wait(length: Duration, is_over: &AtomicBool) {
    let until = Instant::now() + length;
    while !is_over.load(Ordering::Relaxed)
        && let Some(left) = until.checked_duration_since(Instant::now())
    {
        std::thread::park_timeout(left.min(LOOK));
    }
}

/// `n1, n4`, or all.
fn names(nodes: &[usize]) -> String {
    if nodes.is_empty() {
        return "all".to_owned();
    }
    nodes.iter().copied().map(name).collect::<Vec<_>>().join(", ")
}
