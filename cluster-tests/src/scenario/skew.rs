//! Wall clocks that are wrong, by way of libfaketime: it tells each node what time it is, and the
//! scenario sets that while the node runs. The monotonic clock is left alone, as it is where a
//! service or an administrator sets a clock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::scene::{Scene, let_pass, prepared, start_first, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, name};
use crate::service::Service;

const NODES: usize = 3;

/// Where Debian and others have it: the one for programs with several threads.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// How often a node looks what time it is told, in seconds.
const LOOK_S: &str = "1";

/// How long a clock stays set: several times what the others need to measure it.
const SET: Duration = Duration::from_secs(8);

/// A little off, in milliseconds: less than counts against a clock.
const LITTLE_MS: i64 = 150;

/// What has to be seen of it from the others, in milliseconds.
const SEEN_MS: i64 = 75;

/// One clock ahead a little and one back, then one an hour ahead, one an hour back, and set right.
pub(super) fn clocks(settings: &Settings, watch: &Watch) -> Result<Row> {
    let library = LIBRARIES.iter().map(Path::new).find(|path| path.exists());
    let library = library.context("libfaketime is not there: apt-get install libfaketime")?;
    watch.say("building nodes that can be told what time it is");
    let service = Service::plain()?;
    let mut cluster = prepared(&service, settings, NODES, 0)?;
    for node in 0..NODES {
        let file = told(&cluster, node);
        std::fs::write(&file, "+0s\n")?;
        let variables = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", LOOK_S.to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        cluster.set_variables(node, variables.map(|(key, value)| (key.to_owned(), value)).into());
    }
    // As processes start with it: what is set later is another matter.
    set(&cluster, 1, LITTLE_MS)?;
    set(&cluster, 2, -LITTLE_MS)?;
    start_first(&mut cluster, NODES)?;
    under_load(Scenario::Skew, settings, watch, &mut cluster, None, |scene| {
        scene.until("n1 sees that the others are off", |cluster| {
            let seen = |node| offset_ms(cluster, 0, node).is_some_and(|ms| ms.abs() >= SEEN_MS);
            seen(1) && seen(2)
        })?;
        stays_right(scene)?;
        let hour = 3_600_000;
        for (node, ms) in [(1, hour), (1, 0), (2, -hour), (2, 0), (0, hour), (0, 0)] {
            scene.say(&format!("the clock of {} is set off by {} s", name(node), ms / 1_000));
            set(scene.cluster, node, ms)?;
            let_pass(SET);
            let ahead =
                scene.cluster.status(node)?["wall_ahead_ms"].as_i64().context("a number")?;
            ensure!(
                ahead.abs_diff(ms) < 1_000,
                "{} reads a wall clock {ahead} ms ahead",
                name(node)
            );
            stays_right(scene)?;
        }
        Ok(())
    })
}

/// Visitors work on, nobody takes a clock to be wrong, no session ended by it, nobody was removed.
fn stays_right(scene: &mut Scene<'_>) -> Result<()> {
    scene.go_on()?;
    for node in 0..NODES {
        let status = scene.cluster.status(node)?;
        ensure!(status["clock_fault"] == false, "{} takes its clock to be wrong", name(node));
        let members = status["members"].as_array().map_or(0, Vec::len);
        ensure!(members == NODES, "{} knows {members} members", name(node));
        let expired = scene.cluster.count(node, "counters.expired")?;
        ensure!(expired == 0, "{} let {expired} sessions expire", name(node));
        for other in (0..NODES).filter(|other| *other != node) {
            let off = offset_ms(scene.cluster, node, other).unwrap_or(0);
            ensure!(off.abs() < 1_000, "{} is {off} ms off from {}", name(other), name(node));
        }
    }
    Ok(())
}

/// By how much a node finds the clock of another ahead, in milliseconds.
fn offset_ms(cluster: &Cluster, node: usize, other: usize) -> Option<i64> {
    let status = cluster.status(node).ok()?;
    let peers = status["peers"].as_array()?;
    let peer = peers.iter().find(|peer| peer["name"] == name(other).as_str())?;
    peer["clock_offset_ms"].as_i64()
}

/// Where a node reads what time it is.
fn told(cluster: &Cluster, node: usize) -> PathBuf {
    cluster.path(&format!("time-{}", name(node)))
}

fn set(cluster: &Cluster, node: usize, ms: i64) -> Result<()> {
    let seconds = format!(
        "{}{}.{:03}s\n",
        if ms < 0 { '-' } else { '+' },
        ms.abs() / 1_000,
        ms.abs() % 1_000
    );
    // In one step: a node may read it at any moment.
    let (file, new) = (told(cluster, node), cluster.path("time-new"));
    std::fs::write(&new, seconds)?;
    std::fs::rename(&new, &file).context("the time cannot be told")
}
