//! More load than usual for a while: afterwards everything must be as before, and not stay slow by
//! what has piled up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::period::Ratio;
use super::scene::{let_pass, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::Cluster;
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// Further visitors for each one that is always there. They do not rest.
const GUESTS: usize = 4;

/// Guests have to have at least so many times the requests of those who are always there answered,
/// or the load was not twice what it is usually.
const GUESTS_SHARE_MIN: u64 = 1;

/// Of what was answered before a surge at least this part is answered after it. It is little
/// because the machine may have something else to do.
const GOODPUT_MIN: f64 = 0.5;

/// The usual load, many times that, and the usual load again, for the same time each.
pub(super) fn there_and_back(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    let (length, guests) = (settings.surge, GUESTS * settings.visitors);
    let mut row = under_load(Scenario::Surge, settings, watch, &mut cluster, None, |scene| {
        let members = scene.processes(0)?;
        scene.say(&format!("the usual load for {length:?}"));
        scene.timed("before the surge", |_| pass(length))?;
        scene.say(&format!("{guests} more visitors for {length:?}"));
        let (before, began) = (scene.requests(), Instant::now());
        let served =
            scene.timed("during the surge", |scene| scene.with_guests(guests, |_| pass(length)))?;
        let usual = scene.requests() - before;
        ensure!(served >= GUESTS_SHARE_MIN * usual, "{served} further requests beside {usual}");
        let rate = served as f64 / began.elapsed().as_secs_f64();
        scene.note(format!("{guests} guests had {rate:.0} requests a second answered beside that"));
        let since = Instant::now();
        scene.say("the usual load again");
        scene.timed("after the surge", |_| pass(length))?;
        // Of each visitor who is still there one write may be on its way to each other node.
        let most = (settings.visitors * (NODES - 1)) as u64;
        scene.until("hardly anybody lacks anything", |cluster| {
            lacking(cluster).is_ok_and(|lacking| lacking <= most)
        })?;
        scene.full(since + length)?;
        let after = scene.processes(0)?;
        ensure!(after == members, "somebody was removed: {members:?} became {after:?}");
        let ratio = Ratio::AnsweredAtLeast(GOODPUT_MIN);
        scene.periods().bound("after the surge", "before the surge", ratio);
        Ok(())
    })?;
    let lacking = lacking(&cluster)?;
    row.note(format!("without load, {lacking} sessions are lacking anywhere"));
    Ok(row)
}

fn pass(length: Duration) -> Result<()> {
    let_pass(length);
    Ok(())
}

/// Sessions that a node knows another one lacks something of, over all pairs of nodes.
fn lacking(cluster: &Cluster) -> Result<u64> {
    let mut sum = 0;
    for node in cluster.running() {
        let status = cluster.status(node)?;
        let peers = status["peers"].as_array().context("it says whom it has links with")?;
        sum += peers.iter().filter_map(|peer| peer.get("lag_sessions")?.as_u64()).sum::<u64>();
    }
    Ok(sum)
}
