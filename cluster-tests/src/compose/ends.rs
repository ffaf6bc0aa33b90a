//! Nodes that end, hang, and come back.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::fleet::NODES_MAX;
use super::stage::under_load;
use super::{Scenario, Setting};
use crate::scenario::Row;

/// The leader, then one that does not vote: a minority, so that both are removed at once.
pub(super) fn kill(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX)?;
    under_load(Scenario::Kill, setting.watch, &mut fleet, |stage| {
        for is_leader in [true, false] {
            let roles = stage.fleet.roles()?;
            let other = roles.others.first().copied().context("everybody votes")?;
            let node = if is_leader { roles.leader } else { other };
            let since = Instant::now();
            stage.kill(node)?;
            stage.full(since)?;
            stage.go_on()?;
            stage.start(node)?;
            stage.full(Instant::now())?;
        }
        Ok(())
    })
}

/// Longer than anybody puts up with: it is removed, hears of it, and joins again.
pub(super) fn pause(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX)?;
    under_load(Scenario::Pause, setting.watch, &mut fleet, |stage| {
        let leader = stage.fleet.roles()?.leader;
        stage.pause(leader, setting.pause)?;
        stage.full(Instant::now())
    })
}

/// In good order, one after another.
pub(super) fn restart(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX)?;
    under_load(Scenario::Restart, setting.watch, &mut fleet, |stage| {
        for node in 0..NODES_MAX {
            let since = Instant::now();
            stage.stop(&[node])?;
            stage.start(node)?;
            stage.full(since)?;
            stage.go_on()?;
        }
        Ok(())
    })
}
