//! A voter that cannot write to its disk.
//!
//! Without privileges no disk can be filled here that is not everybody's. So the system refuses
//! every write to a file of that process, by its limit for the size of files: as on a full disk the
//! call fails, with another error (EFBIG), and it fails for what lies within a file as well.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::scene::{Role, Scene, prepared, start_first, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::client::Client;
use crate::cluster::{Cluster, name};
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// It votes no more, says so, and serves on; the others decide without it. When it can write again
/// it votes again by itself.
pub(super) fn full(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = prepared(service, settings, NODES, 0)?;
    let patient = service.that_bears_limits();
    (0..NODES).for_each(|node| cluster.set_release(node, &patient));
    start_first(&mut cluster, NODES)?;
    under_load(Scenario::FullDisk, settings, watch, &mut cluster, None, |scene| {
        let (node, other) = (scene.who(Role::Voter)?, scene.who(Role::Other)?);
        scene.say(&format!("{} cannot write any more", name(node)));
        scene.cluster.process(node)?.limit_files(Some(0))?;
        // The removal is decided, which each voter has to write down.
        let since = Instant::now();
        scene.kill(other)?;
        scene.until("it says that it does not vote", |cluster| is_in_trouble(cluster, node))?;
        scene.full(since)?;
        serves(scene, node)?;
        scene.start(other)?;
        scene.full(Instant::now())?;
        scene.go_on()?;
        ensure!(is_in_trouble(scene.cluster, node), "{} votes without a disk", name(node));
        serves(scene, node)?;
        scene.say(&format!("{} can write again", name(node)));
        scene.cluster.process(node)?.limit_files(None)?;
        scene.until("its Raft runs again", |cluster| {
            cluster.status(node).is_ok_and(|status| status["raft_trouble"].is_null())
        })?;
        scene.full(Instant::now())
    })
}

fn is_in_trouble(cluster: &Cluster, node: usize) -> bool {
    cluster.status(node).is_ok_and(|status| !status["raft_trouble"].is_null())
}

/// A session begins on that very node, and is written to there.
fn serves(scene: &Scene<'_>, node: usize) -> Result<()> {
    let (mut client, at) = (Client::new(), scene.cluster.http(node));
    for path in ["/login?user=ada", "/incr", "/count"] {
        let answer = client.get(at, path)?;
        ensure!(answer.status == 200, "{} does not serve: {answer:?}", name(node));
    }
    Ok(())
}
