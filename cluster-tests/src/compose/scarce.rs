//! Nodes that have too little of something.

use std::fs::File;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::fleet::{Fleet, NODES_MAX};
use super::stage::{Stage, under_load};
use super::{Scenario, Setting};
use crate::cluster::name;
use crate::scenario::Row;

/// What the node has that has little. Half of the memory is for sessions.
const MEMORY: &str = "64m";
const CPUS: &str = "0.2";

/// More than the disk of a node has, in bytes; see compose.small-disks.yaml.
const BALLAST_BYTES: u64 = 32 << 20;

/// Decisions that a voter has to write down, as restarts of another node.
const RESTARTS_MAX: usize = 10;

/// One node of five gets along with what it has, and nobody waits for it.
pub(super) fn limits(setting: &Setting<'_>) -> Result<Row> {
    if !setting.engine.has_limits()? {
        let skipped = Some("the engine has no control groups for memory and processor".to_owned());
        return Ok(Row { skipped, ..Row::named(Scenario::Limits.name(), setting.spread) });
    }
    let mut fleet = setting.fleet(NODES_MAX)?;
    let node = NODES_MAX - 1;
    under_load(Scenario::Limits, setting.watch, &mut fleet, |stage| {
        let since = Instant::now();
        stage.stop(&[node])?;
        stage.say(&format!("{} has {MEMORY} and {CPUS} of a processor", name(node)));
        stage.fleet.limit(node, MEMORY, CPUS)?;
        stage.start(node)?;
        stage.full(since)?;
        let began = stage.fleet.inspect(node, "{{.State.StartedAt}}")?;
        for _ in 0..3 {
            stage.go_on()?;
        }
        let killed = stage.fleet.inspect(node, "{{.State.OOMKilled}} {{.State.StartedAt}}")?;
        ensure!(killed == format!("false {began}"), "{} ran out of memory: {killed}", name(node));
        Ok(())
    })
}

/// A voter cannot write down what is decided: it votes no more, says so, and serves on. When there
/// is room again it votes again by itself.
pub(super) fn full_disk(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet_with(NODES_MAX, true)?;
    under_load(Scenario::FullDisk, setting.watch, &mut fleet, |stage| {
        let roles = stage.fleet.roles()?;
        let node = roles.voters.first().copied().context("nobody but the leader votes")?;
        let other = roles.others.first().copied().context("everybody votes")?;
        stage.say(&format!("the disk of {} is full", name(node)));
        fill(stage.fleet, node)?;
        until_in_trouble(stage, node, other)?;
        stage.go_on()?;
        stage.say(&format!("the disk of {} has room again", name(node)));
        make_room(stage.fleet, node)?;
        stage.until("its Raft runs again", |fleet| trouble(fleet, node).is_some_and(|it| !it))?;
        stage.full(Instant::now())
    })
}

/// Restarts another node until the voter has had to write more than fits into what its log holds
/// already.
fn until_in_trouble(stage: &mut Stage<'_, '_>, node: usize, other: usize) -> Result<()> {
    for _ in 0..RESTARTS_MAX {
        let since = Instant::now();
        stage.stop(&[other])?;
        stage.start(other)?;
        stage.full(since)?;
        if trouble(stage.fleet, node) == Some(true) {
            return Ok(());
        }
    }
    anyhow::bail!("{} has written everything down on a full disk", name(node))
}

/// Whether a node says that its Raft does not run.
fn trouble(fleet: &Fleet<'_>, node: usize) -> Option<bool> {
    fleet.status(node).ok().map(|status| !status["raft_trouble"].is_null())
}

/// Puts a file on the disk of a node that does not fit: what does fit stays.
fn fill(fleet: &Fleet<'_>, node: usize) -> Result<()> {
    let put = put(fleet, node, BALLAST_BYTES);
    ensure!(put.is_err(), "the disk of {} takes {BALLAST_BYTES} bytes", name(node));
    Ok(())
}

/// Puts an empty file in its place.
fn make_room(fleet: &Fleet<'_>, node: usize) -> Result<()> {
    put(fleet, node, 0)
}

fn put(fleet: &Fleet<'_>, node: usize, bytes: u64) -> Result<()> {
    let path = fleet.folder().join("ballast");
    File::create(&path)?.set_len(bytes)?;
    fleet.put(node, &path)
}
