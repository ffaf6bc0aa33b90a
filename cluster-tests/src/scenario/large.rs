//! A cluster of more nodes than the machine has cores for: a few found it, the rest joins.

use anyhow::{Context as _, Result, ensure};

use super::scene::{enough_voters, full_copies, prepared_with};
use super::{Settings, Watch};
use crate::cluster::{Cluster, name, voters};
use crate::service::Service;

/// Nodes that found it.
pub(super) const FOUNDERS: usize = 5;

/// Nodes that vote: enough to decide when two of them crash at once.
pub(super) const VOTERS: usize = 5;

/// The founders, and the others that do not run yet.
pub(super) fn founded(service: &Service, settings: &Settings, watch: &Watch) -> Result<Cluster> {
    ensure!(settings.nodes > FOUNDERS, "{FOUNDERS} nodes found it, and others join");
    // What all owners have survives the crash of all but one.
    let over = [("REPLICA__REPLICATION__ACK", "all"), ("REPLICA__CLUSTER__VOTERS", "5")];
    let later = settings.nodes - FOUNDERS;
    let mut cluster = prepared_with(service, settings, FOUNDERS, later, &over)?;
    watch.say(&format!("{FOUNDERS} nodes found the cluster"));
    cluster.start_nodes(&(0..FOUNDERS).collect::<Vec<_>>())?;
    cluster.whole()?;
    enough_voters(&cluster, VOTERS)?;
    Ok(cluster)
}

/// All others join.
pub(super) fn grow(cluster: &mut Cluster, watch: &Watch) -> Result<()> {
    let later: Vec<usize> = (FOUNDERS..cluster.len()).collect();
    watch.say(&format!("{} nodes join", later.len()));
    cluster.start_nodes(&later)?;
    full_copies(cluster)
}

/// Whether those who vote can still decide when these nodes crash.
pub(super) fn can_decide_without(cluster: &Cluster, nodes: &[usize]) -> Result<bool> {
    let first = *cluster.running().first().context("nobody runs")?;
    let voters = voters(&cluster.status(first)?);
    let crashed = nodes.iter().filter(|node| voters.contains(&name(**node))).count();
    Ok(2 * crashed < voters.len())
}
