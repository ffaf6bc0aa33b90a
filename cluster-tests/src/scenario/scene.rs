//! A cluster under load, and what can be done to it meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::crowd::Crowd;
use super::period::Periods;
use super::{Row, Scenario, Settings, Spread, Watch};
use crate::balancer::Balancer;
use crate::cluster::{Cluster, name, voters};
use crate::faults::go_on;
use crate::history::{Down, Trouble};
use crate::load::{self, Plan, Progress, Visitors};
use crate::picture::pictures;
use crate::process::Process;
use crate::service::Service;
use crate::wait::wait_for_within;

/// Requests between two things that are done.
const GAP: u64 = 300;

/// Longest wait until copies are full.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at a few nodes: they are loaded as it is.
const LOOK: Duration = Duration::from_millis(50);

/// So many are a few.
const NODES_PER_LOOK: usize = 5;

/// Longer than the balancer takes to notice.
const GRACE: &str = "1s";

/// What nodes log: what concerns the cluster, without the single steps of Raft.
pub(super) const LOG: &str = "info,openraft=error";

/// Voters of three nodes or more.
const VOTERS: usize = 3;

/// Configured nodes that do not run yet, of which `later` come after the founding.
pub(super) fn prepared(
    service: &Service,
    settings: &Settings,
    nodes: usize,
    later: usize,
) -> Result<Cluster> {
    prepared_with(service, settings, nodes, later, &[])
}

/// The same, with further variables over their configuration.
pub(super) fn prepared_with(
    service: &Service,
    settings: &Settings,
    nodes: usize,
    later: usize,
    more: &[(&str, &str)],
) -> Result<Cluster> {
    let backups = settings.backups.to_string();
    let mut over = vec![
        ("REPLICA__REPLICATION__MODE", settings.spread.name()),
        ("REPLICA__REPLICATION__BACKUPS", backups.as_str()),
        ("REPLICA__NODE__DRAIN_GRACE", GRACE),
        ("RUST_LOG", LOG),
    ];
    over.extend(more);
    Cluster::prepare_growing(service, nodes, later, &over)
}

/// How many nodes may be lost at once, so that nothing is that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survives {
    /// One, as is usual.
    One,
    /// Two: a removal counts as a loss.
    Two,
}

/// What is over the configuration that `cert node` writes.
pub(super) const fn variables(
    spread: Spread,
    survives: Survives,
) -> [(&'static str, &'static str); 5] {
    let (level, backups) = match (survives, spread) {
        (Survives::One, _) => ("one", "1"),
        (Survives::Two, Spread::AllToAll) => ("quorum", "1"),
        (Survives::Two, Spread::PrimaryBackup) => ("all", "2"),
    };
    [
        ("REPLICA__REPLICATION__MODE", spread.name()),
        ("REPLICA__REPLICATION__BACKUPS", backups),
        ("REPLICA__REPLICATION__ACK", level),
        ("REPLICA__NODE__DRAIN_GRACE", GRACE),
        ("RUST_LOG", LOG),
    ]
}

/// Nodes that run and have found each other.
pub(super) fn started(service: &Service, settings: &Settings, nodes: usize) -> Result<Cluster> {
    let mut cluster = prepared(service, settings, nodes, 0)?;
    start_first(&mut cluster, nodes)?;
    Ok(cluster)
}

/// Starts the first nodes and waits until they can do without one of them: until there are enough
/// voters the loss of one may be the loss of the majority.
pub(super) fn start_first(cluster: &mut Cluster, nodes: usize) -> Result<()> {
    cluster.start_nodes(&(0..nodes).collect::<Vec<_>>())?;
    cluster.whole()?;
    enough_voters(cluster, VOTERS)
}

/// Waits until so many vote, all of which run.
pub(super) fn enough_voters(cluster: &Cluster, count: usize) -> Result<()> {
    let running = cluster.running();
    let first = *running.first().context("nobody runs")?;
    wait_for_within(&format!("{count} nodes vote"), PATIENCE, LOOK, || {
        let voters = voters(&cluster.status(first).ok()?);
        let run = running.iter().filter(|node| voters.contains(&name(**node))).count();
        (run == count && voters.len() == count).then_some(())
    })
}

/// Waits until the members are those that run, with full copies.
pub(super) fn full_copies(cluster: &Cluster) -> Result<()> {
    // A look costs each of them something.
    let looks = cluster.len().div_ceil(NODES_PER_LOOK);
    let every = LOOK.saturating_mul(u32::try_from(looks)?);
    wait_for_within("all copies are where they belong", PATIENCE, every, || {
        cluster.is_full().then_some(())
    })
}

/// Lets time pass that is what is tried out, and not a wait for anything.
pub(super) fn let_pass(length: Duration) {
    let until = Instant::now() + length;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// What a node is for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It leads the voters.
    Leader,
    /// It votes and does not lead.
    Voter,
    /// It does not vote.
    Other,
}

impl Role {
    /// Sessions are spread over all nodes, so that each is the primary of some and a backup of
    /// others whatever it is here.
    pub(super) const ALL: [Self; 3] = [Self::Leader, Self::Voter, Self::Other];
}

/// A cluster under load.
pub(super) struct Scene<'s> {
    pub(super) cluster: &'s mut Cluster,
    watch: &'s Watch,
    progress: &'s Progress,
    pub(super) balancer: &'s Balancer,
    seen: Seen,
}

/// What was done to a cluster, and what was seen meanwhile.
#[derive(Default)]
struct Seen {
    downs: Vec<Down>,
    troubles: Vec<Trouble>,
    periods: Periods,
    notes: Vec<String>,
    full: Duration,
    /// Visitors who came for a while.
    guests: Vec<Visitors>,
}

/// Does something to a cluster while visitors use it, and checks what they met.
pub(super) fn under_load(
    scenario: Scenario,
    settings: &Settings,
    watch: &Watch,
    cluster: &mut Cluster,
    crowd: Option<&Crowd>,
    act: impl FnOnce(&mut Scene<'_>) -> Result<()>,
) -> Result<Row> {
    let mut row = Row::new(scenario, settings.spread);
    let progress = Progress::default();
    let balancer = Balancer::new(&cluster.addresses());
    let seed = fastrand::u64(..1 << 32);
    let plan = Plan { clients: settings.visitors, requests: u64::MAX, seed, pause: settings.rest };
    let (visitors, acted, seen) = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| load::run_behind(&balancer, &plan, &progress));
        let (seen, balancer, progress) = (Seen::default(), &balancer, &progress);
        let mut scene = Scene { cluster: &mut *cluster, watch, progress, balancer, seen };
        let acted = scene.go_on().and_then(|()| act(&mut scene)).and_then(|()| scene.go_on());
        progress.is_over.store(true, Ordering::Relaxed);
        (visitors.join().ok(), acted, scene.seen)
    });
    let Seen { downs, troubles, periods, notes, full, guests } = seen;
    let visitors = visitors.context("the load has failed")?;
    if let Err(error) = acted {
        row.object(format!("{error:#}"));
    }
    watch.say("checking");
    if let Err(error) = cluster.settled() {
        row.object(format!("{error:#}"));
    }
    let mut history = visitors.finish();
    history.downs = downs;
    history.troubles = troubles;
    // How long requests took is looked at for those who were there all the time.
    periods.tell(&history, &mut row);
    history.clients.extend(guests.into_iter().flat_map(|guests| guests.finish().clients));
    row.add(&history);
    row.full = full;
    notes.into_iter().for_each(|note| row.note(note));
    if let Some(crowd) = crowd {
        crowd.check(cluster, &mut row);
    }
    if !row.is_well() {
        row.object(format!("what the nodes logged last:\n{}", cluster.logs()));
    }
    Ok(row)
}

impl Scene<'_> {
    /// Says what happens.
    pub(super) fn say(&self, step: &str) {
        let done = self.progress.done.load(Ordering::Relaxed);
        self.watch.say(&format!("{step} ({done} requests)"));
    }

    /// Lets visitors work for a while.
    pub(super) fn go_on(&self) -> Result<()> {
        go_on(self.progress, GAP)
    }

    /// `kill -9`
    pub(super) fn kill(&mut self, node: usize) -> Result<()> {
        self.say(&format!("killing {}", name(node)));
        self.begin_down(node);
        self.cluster.kill(node)
    }

    /// The same for several nodes in one moment.
    pub(super) fn kill_at_once(&mut self, nodes: &[usize]) -> Result<()> {
        let names: Vec<String> = nodes.iter().copied().map(name).collect();
        self.say(&format!("killing {} at once", names.join(", ")));
        nodes.iter().for_each(|node| self.begin_down(*node));
        self.cluster.kill_at_once(nodes)
    }

    /// Stops a node in good order. Nobody may notice, so that it does not count as down.
    pub(super) fn terminate(&mut self, node: usize) -> Result<()> {
        self.say(&format!("stopping {}", name(node)));
        let status = self.cluster.terminate(node)?;
        ensure!(status.success(), "{} ended with {status}", name(node));
        Ok(())
    }

    /// Starts it again and waits until it serves.
    pub(super) fn start(&mut self, node: usize) -> Result<()> {
        self.say(&format!("starting {}", name(node)));
        self.cluster.start_node(node)?;
        self.end_down(node);
        Ok(())
    }

    /// Starts a second process of a node that runs, by what its variables are now; the first one.
    pub(super) fn begin_twin(&mut self, node: usize) -> Result<Process> {
        self.begin_down(node);
        self.begin_trouble((0..self.cluster.len()).collect());
        let first = self.cluster.let_go(node)?;
        self.cluster.launch(node)?;
        Ok(first)
    }

    /// The second one is the member, with all that it is to have.
    pub(super) fn end_twin(&mut self, node: usize) {
        self.end_down(node);
        self.end_trouble();
    }

    /// Waits until a node serves that was started by the cluster itself.
    pub(super) fn serves(&mut self, node: usize) -> Result<()> {
        self.cluster.serves(node)?;
        self.end_down(node);
        Ok(())
    }

    /// Makes a node hang for so long.
    pub(super) fn pause(&mut self, node: usize, length: Duration) -> Result<()> {
        self.say(&format!("{} hangs for {length:?}", name(node)));
        self.begin_down(node);
        self.cluster.pause(node)?;
        let_pass(length);
        self.cluster.resume(node)?;
        self.end_down(node);
        Ok(())
    }

    /// Makes a node stand still until it is made to go on; since when it does.
    pub(super) fn begin_sleep(&mut self, node: usize) -> Result<Instant> {
        self.begin_down(node);
        self.cluster.pause(node)?;
        Ok(Instant::now())
    }

    /// It goes on.
    pub(super) fn end_sleep(&mut self, node: usize) {
        self.end_down(node);
    }

    /// Starts nodes again, together, and waits until each of them serves.
    pub(super) fn start_all(&mut self, nodes: &[usize]) -> Result<()> {
        let names: Vec<String> = nodes.iter().copied().map(name).collect();
        self.say(&format!("starting {}", names.join(", ")));
        self.cluster.start_nodes(nodes)?;
        nodes.iter().for_each(|node| self.end_down(*node));
        Ok(())
    }

    /// From now on these nodes may not reach everybody.
    pub(super) fn begin_trouble(&mut self, nodes: Vec<usize>) {
        let from = self.progress.started.elapsed();
        self.seen.troubles.push(Trouble { nodes, from, until: Duration::MAX });
    }

    /// They reach everybody again.
    pub(super) fn end_trouble(&mut self) {
        let until = self.progress.started.elapsed();
        for trouble in &mut self.seen.troubles {
            trouble.until = trouble.until.min(until);
        }
    }

    /// Does something, and tells in the end how long requests took meanwhile.
    pub(super) fn timed<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let from = self.progress.started.elapsed();
        let done = act(self)?;
        let time = from..self.progress.started.elapsed();
        self.seen.periods.add(name, time);
        Ok(done)
    }

    /// Lets further visitors come who do not rest, until something is done. What becomes of them is
    /// checked like everything else; returns how many of their requests were answered or given up.
    pub(super) fn with_guests(
        &mut self,
        guests: usize,
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<u64> {
        let progress = Progress { started: self.progress.started, ..Progress::default() };
        let seed = fastrand::u64(..1 << 32);
        let plan = Plan { clients: guests, requests: u64::MAX, seed, pause: Duration::ZERO };
        let balancer = self.balancer;
        let (acted, guests) = std::thread::scope(|scope| {
            let guests = scope.spawn(|| load::run_beside(balancer, &plan, &progress));
            let acted = act(self);
            progress.is_over.store(true, Ordering::Relaxed);
            (acted, guests.join().ok())
        });
        self.seen.guests.push(guests.context("the load of guests has failed")?);
        acted?;
        Ok(progress.done.load(Ordering::Relaxed))
    }

    /// Which requests were slow in which time, to be told and compared in the end.
    pub(super) const fn periods(&mut self) -> &mut Periods {
        &mut self.seen.periods
    }

    /// How long there has been load.
    pub(super) fn elapsed(&self) -> Duration {
        self.progress.started.elapsed()
    }

    /// Says what was seen.
    pub(super) fn note(&mut self, note: String) {
        self.seen.notes.push(note);
    }

    /// Requests that have been answered so far.
    pub(super) fn requests(&self) -> u64 {
        self.progress.done.load(Ordering::Relaxed)
    }

    /// Which process each member is, as a node has it: who was removed and came back is another one.
    pub(super) fn processes(&self, node: usize) -> Result<BTreeMap<String, u64>> {
        let status = self.cluster.status(node)?;
        let members = status["members"].as_array().into_iter().flatten();
        let process =
            |member: &Value| Some((member["name"].as_str()?.to_owned(), member["inc"].as_u64()?));
        Ok(members.filter_map(process).collect())
    }

    fn begin_down(&mut self, node: usize) {
        let from = self.progress.started.elapsed();
        self.seen.downs.push(Down::begins(node, from));
    }

    fn end_down(&mut self, node: usize) {
        let until = self.progress.started.elapsed();
        Down::end(&mut self.seen.downs, node, until);
    }

    /// Waits until the members are those that run, with full copies.
    pub(super) fn full(&mut self, since: Instant) -> Result<()> {
        self.say("waiting for full copies");
        full_copies(self.cluster).with_context(|| pictures(self.cluster))?;
        self.seen.full = self.seen.full.max(since.elapsed());
        Ok(())
    }

    /// Waits for something else.
    pub(super) fn until(&self, what: &str, mut is_so: impl FnMut(&Cluster) -> bool) -> Result<()> {
        self.say(&format!("waiting until {what}"));
        wait_for_within(what, PATIENCE, LOOK, || is_so(self.cluster).then_some(()))
            .with_context(|| pictures(self.cluster))
    }

    /// A node of this role.
    pub(super) fn who(&self, role: Role) -> Result<usize> {
        let running = self.cluster.running();
        let first = *running.first().context("nobody runs")?;
        let find = || {
            let status = self.cluster.status(first).ok()?;
            let leader = status["leader"].as_str()?;
            let voters = voters(&status);
            running.iter().copied().rev().find(|node| {
                let name = name(*node);
                let (leads, votes) = (name == leader, voters.contains(&name));
                match role {
                    Role::Leader => leads,
                    Role::Voter => votes && !leads,
                    Role::Other => !votes,
                }
            })
        };
        wait_for_within(&format!("somebody is the {role:?}"), PATIENCE, LOOK, find)
            .with_context(|| pictures(self.cluster))
    }
}
