//! Faults during a load: nodes end and are started again while it goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::cluster::{Cluster, name};
use crate::history::Down;
use crate::load::Progress;
use crate::wait::PATIENCE;

/// A node that has ended stays down for this part of the requests between two ends.
const DOWN_PART: u64 = 10;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(2);

/// How a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `kill -9`, as if the machine had failed.
    Kill,
    /// SIGTERM: it drains, and ends with status 0.
    Drain,
}

/// Ends nodes in turn during a load, each after `gap` more requests, and starts each of them again
/// while the load goes on; returns after another `gap`. Before the next one ends the last one is
/// synced, because what one copy acknowledged survives one crash.
///
/// # Errors
/// A node does not end in order or does not come back, or the load is over too early.
pub fn end_in_turn(
    cluster: &mut Cluster,
    end: End,
    times: u64,
    gap: u64,
    progress: &Progress,
) -> Result<Vec<Down>> {
    let mut downs = Vec::new();
    for node in (0..cluster.len()).cycle().take(usize::try_from(times)?) {
        go_on(progress, gap)?;
        cluster.whole()?;
        let from = progress.started.elapsed();
        match end {
            End::Kill => cluster.kill(node)?,
            End::Drain => {
                let status = cluster.terminate(node)?;
                ensure!(status.success(), "a drained node ended with {status}");
            }
        }
        let took = progress.started.elapsed().saturating_sub(from);
        go_on(progress, gap / DOWN_PART)?;
        let is_over = progress.is_over.load(Ordering::Relaxed);
        ensure!(!is_over, "the load was over too early; {} took {took:?} to end", name(node));
        cluster.start_node(node)?;
        downs.push(Down { node, from, until: progress.started.elapsed() });
    }
    go_on(progress, gap)?;
    Ok(downs)
}

/// Waits until so many more requests are done, or the load is over.
///
/// # Errors
/// None is answered for a long time.
pub fn go_on(progress: &Progress, requests: u64) -> Result<()> {
    let until = progress.done.load(Ordering::Relaxed) + requests;
    let mut last = (0, Instant::now());
    loop {
        let done = progress.done.load(Ordering::Relaxed);
        if done >= until || progress.is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        if done != last.0 {
            last = (done, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            bail!("no request was answered for {PATIENCE:?}; {done} are done");
        }
        std::thread::park_timeout(LOOK);
    }
}
