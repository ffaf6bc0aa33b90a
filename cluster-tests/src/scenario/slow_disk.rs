//! A disk that takes two seconds for each write: that of a voter, then that of the leader.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::scene::{Role, Scene, prepared, start_first, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::addresses::Addresses;
use crate::client::Client;
use crate::cluster::{name, voters};
use crate::service::Service;
use crate::system::System;

/// Three of them vote.
const NODES: usize = 5;

/// How long it takes until anything is on the disk, several times for each change of the log.
const SYNC: Duration = Duration::from_secs(2);

/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(50);

/// So often another may lead while a disk is slow: once because it is, and once more because the
/// others share their processors with whatever else runs.
const CHANGES_MAX: usize = 2;

/// Members are removed and let in, visitors notice nothing, and the lead goes to another and does not
/// come back. The voter says that its disk is slow.
pub(super) fn each_role(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = prepared(service, settings, NODES, 0)?;
    let systems = System::of_all(&mut cluster)?;
    start_first(&mut cluster, NODES)?;
    under_load(Scenario::SlowDisk, settings, watch, &mut cluster, None, |scene| {
        // Who was removed lately is let in later: another one each time.
        let others = others(scene)?;
        for (role, other) in [Role::Voter, Role::Leader].into_iter().zip(others) {
            let node = scene.who(role)?;
            scene.say(&format!("the disk of {} is slow: {role:?}", name(node)));
            systems[node].slow_disk(SYNC)?;
            let leaders = while_slow(scene, node, other)?;
            let syncs = systems[node].slow_syncs()?;
            ensure!(syncs > 0, "the disk of {} was not slow", name(node));
            scene.note(format!("{role:?}: {syncs} slow syncs; led: {}", leaders.join(", ")));
            judge(role, &name(node), &leaders)?;
            systems[node].slow_disk(Duration::ZERO)?;
            scene.until("it says no more that its disk is slow", |cluster| {
                cluster.status(node).is_ok_and(|status| status["raft_trouble"].is_null())
            })?;
            scene.full(Instant::now())?;
        }
        Ok(())
    })
}

/// Nodes that do not vote.
fn others(scene: &Scene<'_>) -> Result<Vec<usize>> {
    let running = scene.cluster.running();
    let voters = voters(&scene.cluster.status(running[0])?);
    Ok(running.into_iter().filter(|node| !voters.contains(&name(*node))).collect())
}

/// Has a removal and a join decided; who led meanwhile, one after another.
fn while_slow(scene: &mut Scene<'_>, node: usize, other: usize) -> Result<Vec<String>> {
    let voters = voters(&scene.cluster.status(node)?);
    let running = scene.cluster.running();
    let witness = running.into_iter().find(|at| *at != node && voters.contains(&name(*at)));
    let (witness, addresses) = (witness.context("a voter")?, scene.cluster.addresses());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| leaders(&addresses, witness, &is_over));
        let done = decides(scene, node, other);
        is_over.store(true, Ordering::Relaxed);
        let leaders = looks.join().ok().context("nobody looked who leads")?;
        done.map(|()| leaders)
    })
}

/// A node that does not vote crashes, is left out, and comes back.
fn decides(scene: &mut Scene<'_>, node: usize, other: usize) -> Result<()> {
    let since = Instant::now();
    scene.kill(other)?;
    scene.full(since)?;
    let removed = since.elapsed().as_secs_f64();
    scene.until("it says that its disk is slow", |cluster| {
        let trouble = cluster.status(node).map(|status| status["raft_trouble"].to_string());
        trouble.is_ok_and(|trouble| trouble.contains("slow"))
    })?;
    let since = Instant::now();
    scene.start(other)?;
    scene.full(since)?;
    let back = since.elapsed().as_secs_f64();
    scene.note(format!("{} was out after {removed:.1} s, and in after {back:.1} s", name(other)));
    scene.go_on()
}

/// Who leads by the word of a node, each as often as it comes to lead.
fn leaders(addresses: &Addresses, node: usize, is_over: &AtomicBool) -> Vec<String> {
    let (mut client, mut leaders) = (Client::new(), Vec::<String>::new());
    while !is_over.load(Ordering::Relaxed) {
        let answer = client.get(addresses.of(node), "/status.json");
        let status = answer.ok().and_then(|answer| serde_json::from_str(&answer.body).ok());
        let leader = status.and_then(|s: serde_json::Value| Some(s["leader"].as_str()?.to_owned()));
        if let Some(leader) = leader.filter(|leader| leaders.last() != Some(leader)) {
            leaders.push(leader);
        }
        std::thread::park_timeout(LOOK);
    }
    leaders
}

fn judge(role: Role, slow: &str, leaders: &[String]) -> Result<()> {
    let changes = leaders.len().saturating_sub(1);
    ensure!(changes <= CHANGES_MAX, "the lead went to and fro: {}", leaders.join(", "));
    let later = leaders.iter().skip(1).any(|leader| leader == slow);
    ensure!(!later, "the lead came to {slow}, whose disk is slow: {}", leaders.join(", "));
    let stays = leaders.last().is_some_and(|leader| leader == slow);
    ensure!(!stays || role != Role::Leader, "{slow} goes on to lead, whose disk is slow");
    Ok(())
}
