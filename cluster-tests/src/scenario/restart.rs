//! Nodes that come back: stopped in good order, or killed and started at once.

use std::time::Instant;

use anyhow::Result;

use super::scene::{started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::service::Service;

const NODES: usize = 3;

/// One node after another is stopped and started again.
pub(super) fn rolling(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::RollingRestart, settings, watch, &mut cluster, None, |scene| {
        for node in 0..NODES {
            let since = Instant::now();
            scene.terminate(node)?;
            scene.start(node)?;
            scene.full(since)?;
            scene.go_on()?;
        }
        Ok(())
    })
}

/// One node after another is killed and started again before the others have missed it.
pub(super) fn at_once(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::KillRestart, settings, watch, &mut cluster, None, |scene| {
        for node in 0..NODES {
            let since = Instant::now();
            scene.kill(node)?;
            scene.start(node)?;
            scene.full(since)?;
            scene.go_on()?;
        }
        Ok(())
    })
}
