//! Nodes that are gone for a while: each role in turn, or those that could decide.

use std::time::Instant;

use anyhow::Result;

use super::scene::{Role, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// Each role is killed, is out of the view, and comes back; each in a cluster of its own, because
/// only a minority is removed within half a minute.
pub(super) fn each_role(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut row = Row::new(Scenario::Crash, settings.spread);
    for role in Role::ALL {
        let mut cluster = started(service, settings, NODES)?;
        row.join(under_load(Scenario::Crash, settings, watch, &mut cluster, None, |scene| {
            let node = scene.who(role)?;
            scene.say(&format!("a crash: {role:?}"));
            let since = Instant::now();
            scene.kill(node)?;
            scene.full(since)?;
            scene.go_on()?;
            scene.start(node)?;
            scene.full(Instant::now())
        })?);
    }
    Ok(row)
}

/// The leader is killed, then a second of three voters, so that nothing can be decided; visitors go
/// on. Both come back, and decisions as well.
pub(super) fn voters(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::VoterLoss, settings, watch, &mut cluster, None, |scene| {
        let first = scene.who(Role::Leader)?;
        let since = Instant::now();
        scene.kill(first)?;
        // Two copies outlive the second crash only if there are two again after the first.
        scene.full(since)?;
        scene.go_on()?;
        let second = scene.who(Role::Leader)?;
        scene.kill(second)?;
        for _ in 0..3 {
            scene.go_on()?;
        }
        scene.start(second)?;
        scene.start(first)?;
        scene.full(Instant::now())
    })
}
