//! Members that come and members that go, both as somebody wishes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::crowd::Crowd;
use super::scene::{Scene, let_pass, prepared, start_first, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::client::Client;
use crate::cluster::name;
use crate::service::Service;

const NODES: usize = 3;

/// Nodes that join.
const LATER: usize = 2;

/// Nodes that join at once.
const MANY: usize = 20;

/// Layouts that nodes which join at once may bring about: one for every two of them. Whoever joins
/// while others catch up waits until they have, and all who wait are in the next layout together;
/// but the programs do not start in one moment, and the sooner copies are full the fewer wait.
const LAYOUTS_MAX: usize = MANY / 2;

/// Between two looks at the layouts: each is in force until all members have caught up with it.
const LOOK: Duration = Duration::from_millis(20);

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

/// Twenty nodes join three that have many sessions.
pub(super) fn join_many(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = prepared(service, settings, NODES, MANY)?;
    start_first(&mut cluster, NODES)?;
    let crowd = Crowd::enter(&cluster, settings.sessions, watch)?;
    under_load(Scenario::JoinMany, settings, watch, &mut cluster, Some(&crowd), |scene| {
        scene.say("three nodes, before");
        scene.timed("before anybody joined", |_| pass(settings.fault))?;
        let layouts = scene.timed("while they joined", |scene| all_join(scene))?;
        scene.say("all of them, afterwards");
        scene.timed("after all had joined", |_| pass(settings.fault))?;
        scene.note(format!("{MANY} nodes joined within {layouts} layouts; at most {LAYOUTS_MAX}"));
        ensure!(layouts > 0, "no other layout was seen");
        ensure!(layouts <= LAYOUTS_MAX, "{MANY} nodes needed {layouts} layouts");
        Ok(())
    })
}

/// Starts all that do not run; how many layouts there were until all of them had all copies.
fn all_join(scene: &mut Scene<'_>) -> Result<usize> {
    scene.say(&format!("{MANY} nodes join"));
    let since = Instant::now();
    let (is_over, first) = (AtomicBool::new(false), scene.cluster.http(0));
    let layouts = std::thread::scope(|scope| {
        let layouts = scope.spawn(|| layouts_until(&is_over, first));
        let later: Vec<usize> = (NODES..NODES + MANY).collect();
        let joined = scene.cluster.start_nodes(&later).and_then(|()| scene.full(since));
        is_over.store(true, Ordering::Relaxed);
        joined.map(|()| layouts.join())
    })?;
    let layouts = layouts.ok().context("whoever looked at the layouts panicked")?;
    // The first that was seen was in force before.
    layouts.len().checked_sub(1).context("no layout was seen")
}

/// The epochs of all layouts that a node has had in force.
fn layouts_until(is_over: &AtomicBool, node: SocketAddr) -> BTreeSet<u64> {
    let (mut client, mut layouts) = (Client::new(), BTreeSet::new());
    let mut is_last = false;
    while !is_last {
        // Once more after the end: what is in force then is one of them.
        is_last = is_over.load(Ordering::Relaxed);
        let status = client.get(node, "/status.json").ok();
        let status = status.and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok());
        let found = status.as_ref().and_then(|status| status["layouts"].as_array());
        layouts.extend(found.into_iter().flatten().filter_map(Value::as_u64));
        let_pass(LOOK);
    }
    layouts
}

fn pass(length: Duration) -> Result<()> {
    let_pass(length);
    Ok(())
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
