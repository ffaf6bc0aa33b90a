//! Nodes that hang, and go on as if nothing had happened.

use std::time::Instant;

use anyhow::Result;

use super::scene::{Role, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// Each role hangs for a while, shorter and longer than the others put up with.
pub(super) fn each_role(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::Pause, settings, watch, &mut cluster, None, |scene| {
        for (role, length) in Role::ALL.into_iter().cycle().zip(settings.pauses.iter().copied()) {
            let node = scene.who(role)?;
            scene.say(&format!("a pause: {role:?}"));
            scene.pause(node, length)?;
            scene.full(Instant::now())?;
            scene.go_on()?;
        }
        Ok(())
    })
}
