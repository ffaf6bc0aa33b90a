//! Nodes of two neighbouring releases in one cluster: this one, and the trial of a next one, which has
//! a message and a field more.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::scene::{Role, Scene, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, name};
use crate::service::Service;

const NODES: usize = 3;

/// Which node is replaced first.
#[derive(Debug, Clone, Copy)]
enum Order {
    LeaderFirst,
    LeaderLast,
}

/// All nodes are upgraded, the leader first; brought back, which is possible as long as nobody agreed
/// on what the next release speaks; upgraded again, the leader last; and then for good.
pub(super) fn there_and_back(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    watch.say("building the trial of a next release");
    let next = Service::next()?;
    let mut cluster = started(service, settings, NODES)?;
    let before = cluster.count(0, "protocol")?;
    under_load(Scenario::Upgrade, settings, watch, &mut cluster, None, |scene| {
        replace_all(scene, &next, Order::LeaderFirst, before)?;
        replace_all(scene, service, Order::LeaderLast, before)?;
        replace_all(scene, &next, Order::LeaderLast, before)?;
        scene.say("agreeing on the next version of the wire");
        scene.cluster.operate(0, &["upgrade"])?;
        scene.until("all speak it", |cluster| {
            let speaks = |node| cluster.count(node, "protocol").is_ok_and(|now| now > before);
            (0..NODES).all(speaks)
        })?;
        scene.until("all hear what only it has", |cluster| {
            (0..NODES).all(|node| cluster.count(node, "trials").is_ok_and(|heard| heard > 0))
        })?;
        scene.go_on()?;
        understood(scene.cluster)?;
        refused(scene, service, &next)
    })
}

/// One node after another runs another release from now on.
fn replace_all(scene: &mut Scene<'_>, to: &Service, order: Order, before: u64) -> Result<()> {
    let leader = scene.who(Role::Leader)?;
    let mut nodes: Vec<usize> = (0..NODES).filter(|node| *node != leader).collect();
    match order {
        Order::LeaderFirst => nodes.insert(0, leader),
        Order::LeaderLast => nodes.push(leader),
    }
    for (done, &node) in nodes.iter().enumerate() {
        let since = Instant::now();
        scene.terminate(node)?;
        scene.cluster.set_release(node, to);
        scene.start(node)?;
        scene.full(since)?;
        scene.go_on()?;
        understood(scene.cluster)?;
        for node in 0..NODES {
            let speaks = scene.cluster.count(node, "protocol")?;
            ensure!(speaks == before, "{} speaks version {speaks} unasked", name(node));
            // A node of this release has no such count.
            let heard = scene.cluster.count(node, "trials").unwrap_or(0);
            ensure!(heard == 0, "{} heard what was not agreed upon", name(node));
        }
        if done + 1 < NODES {
            let early = scene.cluster.operate(node, &["upgrade"]);
            ensure!(early.is_err(), "agreed upon although not all speak it: {early:?}");
        }
    }
    Ok(())
}

/// Nobody has sent anybody what that one does not understand.
fn understood(cluster: &Cluster) -> Result<()> {
    for node in 0..NODES {
        let wrong = cluster.count(node, "meters.frames_undecodable")?;
        ensure!(wrong == 0, "{} did not understand {wrong} frames", name(node));
    }
    Ok(())
}

/// The release before cannot come back, and says why.
fn refused(scene: &mut Scene<'_>, old: &Service, next: &Service) -> Result<()> {
    let node = scene.who(Role::Voter)?;
    scene.terminate(node)?;
    scene.cluster.set_release(node, old);
    scene.cluster.launch(node)?;
    scene.until("the release before says why it is refused", |cluster| {
        cluster.process(node).is_ok_and(|process| process.errors().contains("start a release that"))
    })?;
    let status = scene.cluster.ended(node)?;
    ensure!(!status.success(), "{} ended with {status}", name(node));
    scene.cluster.set_release(node, next);
    let since = Instant::now();
    scene.start(node).context("the next release is let in again")?;
    scene.full(since)
}
