//! Machines that sleep: their processes stand still, and CLOCK_MONOTONIC with them, while wall
//! clocks go on. A pause without the second half is [`pause`](super::pause).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::scene::{Role, Scene, full_copies, let_pass, prepared_with, start_first, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::client::{Client, Jar};
use crate::cluster::{Cluster, name};
use crate::service::Service;
use crate::system::System;
use crate::wait::wait_until;

const NODES: usize = 3;

/// How long a session lives unused. Visitors come back far sooner, also those who have waited for
/// a node that sleeps until they gave up, after 20 s.
const IDLE: Duration = Duration::from_secs(30);

/// By so much later it may end (rule E1: a twentieth of that, and 5 s at least).
const LATE: Duration = Duration::from_secs(5);

/// How long one machine sleeps: longer than that, and than the others put up with.
const ONE: Duration = Duration::from_secs(38);

/// How long all sleep, and how long those sessions have not been used before that are to end by
/// it: each is less than a session lives, both together are more.
const ALL: Duration = Duration::from_secs(20);
const UNUSED: Duration = Duration::from_secs(18);

const _: () = assert!(ONE.as_secs() > IDLE.as_secs() + LATE.as_secs());
const _: () = assert!(ALL.as_secs() < IDLE.as_secs());
const _: () = assert!(ALL.as_secs() + UNUSED.as_secs() > IDLE.as_secs() + LATE.as_secs());

/// Sessions of each kind.
const SESSIONS: usize = 20;

/// Between two uses of the sessions that are used: several in the time that they live.
const USE: Duration = Duration::from_secs(3);

pub(super) fn one_and_all(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let idle = format!("{}s", IDLE.as_secs());
    let more = [("REPLICA__SESSION__IDLE_TIMEOUT", idle.as_str())];
    let mut cluster = prepared_with(service, settings, NODES, 0, &more)?;
    let systems = System::of_all(&mut cluster)?;
    start_first(&mut cluster, NODES)?;
    let mut row = under_load(Scenario::Suspend, settings, watch, &mut cluster, None, |scene| {
        for role in [Role::Leader, Role::Voter] {
            let node = scene.who(role)?;
            one(scene, node, &systems[node])?;
        }
        Ok(())
    })?;
    if row.is_well() {
        all(&cluster, &systems, watch, &mut row)?;
    }
    Ok(row)
}

/// One machine sleeps. Of the sessions that it holds some are used meanwhile at other nodes, some
/// are ended there, and some nobody uses.
fn one(scene: &mut Scene<'_>, node: usize, system: &System) -> Result<()> {
    let begin = |scene: &Scene<'_>| Group::begin(scene.cluster, node);
    let (forgotten, mut used, mut ended) = (begin(scene)?, begin(scene)?, begin(scene)?);
    scene.say(&format!("{} sleeps for {ONE:?}", name(node)));
    let began = scene.begin_sleep(node)?;
    let before = ended.clone();
    let passed = pass(scene.cluster, node, began, &mut used, &mut ended);
    wake(scene.cluster, node, system, began)?;
    scene.end_sleep(node);
    passed?;
    // From the first moment on: it may have to say that it cannot tell yet.
    let (mut early, mut served) = (0, Ok(true));
    wait_until("what it held is served", || {
        served = used.is_served(scene.cluster, node);
        early += 1;
        !matches!(served, Ok(false))
    })?;
    served?;
    early -= 1;
    scene.note(format!("{} said {early} times after it had slept that it cannot tell", name(node)));
    scene.full(Instant::now())?;
    for at in 0..NODES {
        ensure!(used.is_served(scene.cluster, at)?, "{} does not serve", name(at));
        forgotten.is_gone(scene.cluster, at)?;
        before.is_gone(scene.cluster, at)?;
    }
    scene.go_on()
}

/// What happens at the other nodes while one sleeps.
fn pass(
    cluster: &Cluster,
    node: usize,
    began: Instant,
    used: &mut Group,
    ended: &mut Group,
) -> Result<()> {
    let others: Vec<usize> = (0..NODES).filter(|other| *other != node).collect();
    used.use_at(cluster, &others)?;
    ended.end_at(cluster, &others)?;
    while let Some(left) = ONE.checked_sub(began.elapsed()) {
        let_pass(USE.min(left));
        used.use_at(cluster, &others)?;
    }
    Ok(())
}

/// All machines sleep at once, and nobody uses anything: nobody is awake who could know better.
fn all(cluster: &Cluster, systems: &[System], watch: &Watch, row: &mut Row) -> Result<()> {
    watch.say("all sleep");
    let groups = || (0..NODES).map(|node| Group::begin(cluster, node)).collect::<Result<Vec<_>>>();
    let old = groups()?;
    let_pass(UNUSED);
    let mut young = groups()?;
    let began = Instant::now();
    (0..NODES).try_for_each(|node| cluster.pause(node))?;
    let_pass(ALL);
    for (node, system) in systems.iter().enumerate() {
        wake(cluster, node, system, began)?;
    }
    for (node, group) in young.iter_mut().enumerate() {
        let at = (node + 1) % NODES;
        wait_until("the sessions are served", || group.is_served(cluster, at).unwrap_or(true))?;
        ensure!(group.is_served(cluster, at)?, "{} does not serve", name(at));
        group.use_at(cluster, &[node])?;
    }
    full_copies(cluster)?;
    for at in 0..NODES {
        old.iter().try_for_each(|group| group.is_gone(cluster, at))?;
        for group in &young {
            ensure!(group.is_served(cluster, at)?, "{} does not serve", name(at));
        }
    }
    row.note(format!("all slept for {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// The process goes on, and its monotonic clock where it stood.
fn wake(cluster: &Cluster, node: usize, system: &System, began: Instant) -> Result<()> {
    system.lose_monotonic(began.elapsed())?;
    cluster.resume(node)
}

/// Sessions that are treated alike, each with what its counter has come to.
#[derive(Clone)]
struct Group {
    sessions: Vec<(Jar, u64)>,
}

impl Group {
    fn begin(cluster: &Cluster, node: usize) -> Result<Self> {
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            let mut client = Client::new();
            let answer = client.get(cluster.http(node), &format!("/login?user=s{number}"))?;
            ensure!(answer.status == 200, "{} begins no session: {answer:?}", name(node));
            sessions.push((client.jar.clone(), 0));
        }
        Ok(Self { sessions })
    }

    /// Adds one to each, wherever it comes first.
    fn use_at(&mut self, cluster: &Cluster, nodes: &[usize]) -> Result<()> {
        for (number, (jar, count)) in self.sessions.iter_mut().enumerate() {
            // What a node could not tell it may have done.
            *jar = done(cluster, nodes, number, jar, "/incr", |body| {
                let before = std::mem::replace(count, body.parse().unwrap_or(0));
                *count > before
            })?;
        }
        Ok(())
    }

    /// Logs all of them out.
    fn end_at(&mut self, cluster: &Cluster, nodes: &[usize]) -> Result<()> {
        for (number, (jar, _)) in self.sessions.iter_mut().enumerate() {
            *jar = done(cluster, nodes, number, jar, "/logout", |_| true)?;
        }
        Ok(())
    }

    /// Whether a node serves all of them with what was written last. It may say that it cannot tell
    /// yet, and nothing else.
    fn is_served(&self, cluster: &Cluster, node: usize) -> Result<bool> {
        for (jar, count) in &self.sessions {
            let mut client = Client::new();
            client.jar = jar.clone();
            let answer = client.get(cluster.http(node), "/count")?;
            if answer.status == 503 {
                return Ok(false);
            }
            let is_right = answer.status == 200 && answer.body == count.to_string();
            ensure!(is_right, "{} says {answer:?}, and not {count}", name(node));
        }
        Ok(true)
    }

    /// That there is none of them any more, by the word of that node.
    fn is_gone(&self, cluster: &Cluster, node: usize) -> Result<()> {
        for (jar, _) in &self.sessions {
            let mut client = Client::new();
            client.jar = jar.clone();
            let answer = client.get(cluster.http(node), "/count")?;
            ensure!(answer.status == 401, "{} still knows a session: {answer:?}", name(node));
        }
        Ok(())
    }
}

/// Has a request done by one of the nodes, and returns the cookies that came of it. One that has
/// lost sight of another for a moment says so, and the visitor comes again.
fn done(
    cluster: &Cluster,
    nodes: &[usize],
    number: usize,
    jar: &Jar,
    path: &str,
    is_right: impl FnOnce(&str) -> bool,
) -> Result<Jar> {
    let mut client = Client::new();
    client.jar = jar.clone();
    let node = nodes[number % nodes.len()];
    let mut answer = client.get(cluster.http(node), path)?;
    wait_until("a request is served", || {
        if answer.status == 503
            && let Ok(next) = client.get(cluster.http(node), path)
        {
            answer = next;
        }
        answer.status != 503
    })?;
    ensure!(answer.status == 200 && is_right(&answer.body), "{} says {answer:?}", name(node));
    Ok(client.jar)
}
