//! The running cluster is told to spread copies otherwise.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::crowd::Crowd;
use super::scene::{Scene, started, under_load};
use super::{Row, Scenario, Settings, Spread, Watch};
use crate::cluster::Cluster;
use crate::service::Service;

const NODES: usize = 3;

/// Part of the sessions that are wanted elsewhere: enough to see that they are given up.
const PART: usize = 10;

/// To the other way, and back.
pub(super) fn there_and_back(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    let crowd = Crowd::enter(&cluster, settings.sessions / PART, watch)?;
    under_load(Scenario::Resize, settings, watch, &mut cluster, Some(&crowd), |scene| {
        for spread in [settings.spread.other(), settings.spread] {
            change(scene, spread, settings.backups)?;
            let held = |cluster: &Cluster| {
                let held = |node| cluster.count(node, "sessions").unwrap_or(u64::MAX);
                (0..NODES).map(held).fold(0, u64::saturating_add)
            };
            let copies = spread.held_by(NODES, settings.backups) as u64;
            let (least, most) = (crowd.len() as u64, (crowd.len() + settings.visitors) as u64);
            scene.until("who does not own a session holds nothing of it", |cluster| {
                (copies * least..=copies * most).contains(&held(cluster))
            })?;
            scene.go_on()?;
        }
        Ok(())
    })
}

fn change(scene: &mut Scene<'_>, spread: Spread, backups: usize) -> Result<()> {
    scene.say(&format!("from now on {}", spread.name()));
    let since = Instant::now();
    let words = ["mode", spread.name(), "--backups", &backups.to_string()];
    let said = scene.cluster.operate(1, &words)?;
    ensure!(said.contains(spread.name()), "the operator was told: {said}");
    scene.full(since)
}
