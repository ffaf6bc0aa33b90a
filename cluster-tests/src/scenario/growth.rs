//! Members that come and members that go, both as somebody wishes.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::crowd::Crowd;
use super::scene::{prepared, start_first, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::name;
use crate::service::Service;

const NODES: usize = 3;

/// Nodes that join.
const LATER: usize = 2;

/// Two nodes join three that have many sessions.
pub(super) fn join(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = prepared(service, settings, NODES, LATER)?;
    start_first(&mut cluster, NODES)?;
    let crowd = Crowd::enter(&cluster, settings.sessions, watch)?;
    under_load(Scenario::Join, settings, watch, &mut cluster, Some(&crowd), |scene| {
        scene.say("two nodes join");
        let since = Instant::now();
        let later: Vec<usize> = (NODES..NODES + LATER).collect();
        scene.cluster.start_nodes(&later)?;
        scene.full(since)
    })
}

/// An operator has one node after another drained; each is started again.
pub(super) fn drain(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::Drain, settings, watch, &mut cluster, None, |scene| {
        for node in 0..NODES {
            let (name, since) = (name(node), Instant::now());
            scene.say(&format!("draining {name}"));
            let said = scene.cluster.operate(node, &["drain"])?;
            ensure!(said.contains(&format!("{name} is gone")), "the operator was told: {said}");
            let status = scene.cluster.ended(node)?;
            ensure!(status.success(), "{name} ended with {status}");
            scene.full(since)?;
            scene.start(node)?;
            scene.full(Instant::now())?;
            scene.go_on()?;
        }
        Ok(())
    })
}
