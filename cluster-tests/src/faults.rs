//! Faults during a load: nodes are killed and started again while it goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster::Cluster;
use crate::history::Down;
use crate::load::{Plan, Progress};
use crate::wait::PATIENCE;

/// A killed node stays down for this part of all requests.
const DOWN_PART: u64 = 50;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(2);

/// Kills nodes in turn with `kill -9`, spread evenly over a load, and starts each of them again
/// while the load goes on. Before the next one is killed every node has everything again, because
/// what one copy acknowledged survives one crash.
///
/// # Errors
/// A node does not come back, or the load does not go on.
pub fn kill_in_turn(
    cluster: &mut Cluster,
    kills: u64,
    plan: &Plan,
    progress: &Progress,
) -> Result<Vec<Down>> {
    let mut downs = Vec::new();
    for (kill, node) in (1..=kills).zip((0..cluster.len()).cycle()) {
        reach(progress, plan.requests * kill / (kills + 1))?;
        cluster.settled()?;
        let from = progress.started.elapsed();
        cluster.kill(node)?;
        let done = progress.done.load(Ordering::Relaxed);
        reach(progress, (done + plan.requests / DOWN_PART).min(plan.requests))?;
        cluster.start_node(node)?;
        downs.push(Down { node, from, until: progress.started.elapsed() });
    }
    Ok(downs)
}

/// Waits until so many requests are done, as long as there are more and more of them.
fn reach(progress: &Progress, requests: u64) -> Result<()> {
    let mut last = (0, Instant::now());
    loop {
        let done = progress.done.load(Ordering::Relaxed);
        if done >= requests || progress.is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        if done != last.0 {
            last = (done, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            bail!("no request was answered for {PATIENCE:?}; {done} of {requests} are done");
        }
        std::thread::park_timeout(LOOK);
    }
}
