//! Two processes under one name: the files of a node were copied, and both run.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::scene::{Role, Scene, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{members, name};
use crate::ports::free_udp;
use crate::service::Service;
use crate::wait::PATIENCE;

/// Three of them vote.
const NODES: usize = 4;

/// What the first process says when it ends.
const SUPERSEDED: &str = "another process has become a member as";

/// The later process is the member, and the first one ends: of each role.
pub(super) fn each_role(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::Twice, settings, watch, &mut cluster, None, |scene| {
        for role in Role::ALL {
            let node = scene.who(role)?;
            scene.say(&format!("a second process as {}: {role:?}", name(node)));
            supersede(scene, node)?;
            scene.go_on()?;
        }
        Ok(())
    })
}

fn supersede(scene: &mut Scene<'_>, node: usize) -> Result<()> {
    let before = scene.processes(node)?;
    let own = name(node);
    let address = free_udp(1)?.first().copied().context("there is a port")?;
    let folder = scene.cluster.path(&format!("{own}-{}", address.port()));
    let variables = [
        ("REPLICA__NODE__LISTEN".to_owned(), address.to_string()),
        ("REPLICA__NODE__ADVERTISE".to_owned(), address.to_string()),
        ("REPLICA__NODE__DATA_DIR".to_owned(), folder.display().to_string()),
    ];
    scene.cluster.set_variables(node, variables.into());
    let since = Instant::now();
    // What is on the first one when it ends is under way there, as when it crashes. Until then the
    // two take each other's links away, and no node can tell what only they hold.
    let mut first = scene.begin_twin(node)?;
    let status = first.ended_within(PATIENCE)?;
    let took = since.elapsed().as_secs_f64();
    scene.note(format!("{own} ended {took:.1} s after the start of the second process"));
    ensure!(status.code() == Some(1), "the first {own} ended with {status}");
    let said = first.errors();
    ensure!(said.contains(SUPERSEDED), "the first {own} does not say why it ended: {said}");
    scene.cluster.serves(node)?;
    scene.full(since)?;
    scene.end_twin(node);
    let status = scene.cluster.status(node)?;
    ensure!(members(&status).len() == NODES, "there are other members: {}", status["members"]);
    let after = scene.processes(node)?;
    ensure!(after.contains_key(&own) && after.get(&own) != before.get(&own), "{own} is the same");
    Ok(())
}
