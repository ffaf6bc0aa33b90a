//! Nodes in containers under load: what is done to them meanwhile, and what the visitors met.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Scenario;
use super::fleet::Fleet;
use crate::balancer::Balancer;
use crate::cluster::name;
use crate::faults::go_on;
use crate::history::Down;
use crate::load::{self, Plan, Progress};
use crate::scenario::{Row, Watch};

/// Requests between two things that are done.
const GAP: u64 = 300;

/// Visitors at once, and how long each rests between two requests.
const VISITORS: usize = 16;
const REST: Duration = Duration::from_millis(20);

/// A fleet under load.
pub(super) struct Stage<'s, 'e> {
    pub(super) fleet: &'s mut Fleet<'e>,
    watch: &'s Watch,
    progress: &'s Progress,
    downs: Vec<Down>,
    full: Duration,
    problems: Vec<String>,
}

/// Does something to a fleet while visitors use it, and checks what they met.
pub(super) fn under_load<'e>(
    scenario: Scenario,
    watch: &Watch,
    fleet: &mut Fleet<'e>,
    act: impl FnOnce(&mut Stage<'_, 'e>) -> Result<()>,
) -> Result<Row> {
    let mut row = Row::named(scenario.name(), fleet.spread());
    let progress = Progress::default();
    let balancer = Balancer::new(&fleet.addresses());
    let seed = fastrand::u64(..1 << 32);
    let plan = Plan { clients: VISITORS, requests: u64::MAX, seed, pause: REST };
    let mut stage = Stage {
        fleet,
        watch,
        progress: &progress,
        downs: Vec::new(),
        full: Duration::ZERO,
        problems: Vec::new(),
    };
    let (visitors, acted) = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| load::run_behind(&balancer, &plan, &progress));
        let acted = stage.go_on().and_then(|()| act(&mut stage)).and_then(|()| stage.go_on());
        progress.is_over.store(true, Ordering::Relaxed);
        (visitors.join().ok(), acted)
    });
    let visitors = visitors.context("the load has failed")?;
    watch.say("checking");
    let settled = acted.and_then(|()| stage.fleet.settled());
    let mut history = visitors.finish();
    history.downs = std::mem::take(&mut stage.downs);
    row.add(&history);
    row.full = stage.full;
    stage.problems.into_iter().for_each(|problem| row.object(problem));
    if let Err(error) = settled {
        row.object(format!("{error:#}"));
    }
    if !row.is_well() {
        row.object(format!("what the nodes logged last:\n{}", stage.fleet.logs()));
    }
    Ok(row)
}

impl Stage<'_, '_> {
    /// Says what happens.
    pub(super) fn say(&self, step: &str) {
        let done = self.progress.done.load(Ordering::Relaxed);
        self.watch.say(&format!("{step} ({done} requests)"));
    }

    /// Says that something is wrong, and goes on.
    pub(super) fn object(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Lets visitors work for a while.
    pub(super) fn go_on(&self) -> Result<()> {
        go_on(self.progress, GAP)
    }

    /// `kill -9`
    pub(super) fn kill(&mut self, node: usize) -> Result<()> {
        self.say(&format!("killing {}", name(node)));
        self.begin_down(node);
        self.fleet.kill(&[node])
    }

    /// Stops nodes in good order. Nobody may notice, so that it does not count as down.
    pub(super) fn stop(&mut self, nodes: &[usize]) -> Result<()> {
        self.say(&format!("stopping {}", names(nodes)));
        self.fleet.stop(nodes)
    }

    /// Starts a node again and waits until it serves.
    pub(super) fn start(&mut self, node: usize) -> Result<()> {
        self.say(&format!("starting {}", name(node)));
        self.fleet.start_again(&[node])?;
        self.end_down(node);
        Ok(())
    }

    /// Makes a node hang for so long.
    pub(super) fn pause(&mut self, node: usize, length: Duration) -> Result<()> {
        self.say(&format!("{} hangs for {length:?}", name(node)));
        self.begin_down(node);
        self.fleet.pause(node)?;
        // How long the fault lasts is what is tried out here, not a wait for anything.
        let until = Instant::now() + length;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        self.fleet.resume(node)?;
        self.end_down(node);
        Ok(())
    }

    /// Takes nodes off the network of the nodes, and away from their visitors.
    pub(super) fn cut(&mut self, nodes: &[usize]) -> Result<()> {
        self.say(&format!("{} cut off", names(nodes)));
        nodes.iter().for_each(|node| self.begin_down(*node));
        nodes.iter().try_for_each(|node| self.fleet.cut(*node))
    }

    /// Brings them back: to the others, and to visitors when they have caught up with them.
    pub(super) fn mend(&mut self, nodes: &[usize]) -> Result<()> {
        self.say(&format!("{} back", names(nodes)));
        let since = Instant::now();
        nodes.iter().try_for_each(|node| self.fleet.mend(*node))?;
        self.full(since)?;
        for node in nodes {
            self.fleet.readmit(*node);
            self.end_down(*node);
        }
        Ok(())
    }

    fn begin_down(&mut self, node: usize) {
        let from = self.progress.started.elapsed();
        self.downs.push(Down::begins(node, from));
    }

    fn end_down(&mut self, node: usize) {
        let until = self.progress.started.elapsed();
        Down::end(&mut self.downs, node, until);
    }

    /// Waits until the members are those that are connected, with full copies.
    pub(super) fn full(&mut self, since: Instant) -> Result<()> {
        self.say("waiting for full copies");
        self.fleet.full()?;
        self.full = self.full.max(since.elapsed());
        Ok(())
    }

    /// Waits for something else.
    pub(super) fn until(
        &self,
        what: &str,
        mut is_so: impl FnMut(&Fleet<'_>) -> bool,
    ) -> Result<()> {
        self.say(&format!("waiting until {what}"));
        self.fleet.until(what, || is_so(self.fleet))
    }
}

fn names(nodes: &[usize]) -> String {
    nodes.iter().copied().map(name).collect::<Vec<_>>().join(", ")
}
