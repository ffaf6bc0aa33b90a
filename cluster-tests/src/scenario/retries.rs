//! How often is sent again what a crashed node does not answer: that must not become a load of its
//! own.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::scene::{Role, Scene, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, name};
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// Of what nodes ask each other at most this part is asked once more: what rule B6 allows, without
/// what may be saved up.
const REPEATED_MAX: f64 = 0.1;

/// The leader is killed, so that nobody removes it until there is another one, then a node that does
/// not vote: no more may be removed within half a minute.
pub(super) fn crash(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::Retries, settings, watch, &mut cluster, None, |scene| {
        for role in [Role::Leader, Role::Other] {
            let node = scene.who(role)?;
            kill(scene, node, role)?;
            scene.start(node)?;
            scene.full(Instant::now())?;
            scene.go_on()?;
        }
        Ok(())
    })
}

/// Counts what the others ask from the crash until copies are full without the node.
fn kill(scene: &mut Scene<'_>, node: usize, role: Role) -> Result<()> {
    let others: Vec<usize> = (0..NODES).filter(|other| *other != node).collect();
    let (before, since) = (Sent::by(scene.cluster, &others)?, Instant::now());
    scene.kill(node)?;
    scene.until("it is out of every view", Cluster::agrees)?;
    scene.full(since)?;
    let sent = Sent::by(scene.cluster, &others)?.since(&before);
    ensure!(sent.edits_again > 0, "no edit was sent again that {} may have had", name(node));
    scene.note(format!(
        "{role:?} crashed: {} edits were sent to other nodes, and {} sent again ({:.1} %); with the \
         questions for sessions {} of {} ({:.1} %, at most {:.0} %)",
        sent.edits,
        sent.edits_again,
        percent(sent.edits_again, sent.edits),
        sent.again(),
        sent.first(),
        percent(sent.again(), sent.first()),
        REPEATED_MAX * 100.0,
    ));
    let share = percent(sent.again(), sent.first());
    ensure!(share <= REPEATED_MAX * 100.0, "{share:.1} % of what was asked was asked again");
    Ok(())
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// What nodes have asked each other on behalf of requests.
#[derive(Debug, Clone, Copy)]
struct Sent {
    edits: u64,
    edits_again: u64,
    /// Requests that had to ask for a session, one node or several.
    loads: u64,
    fetches_again: u64,
}

impl Sent {
    fn by(cluster: &Cluster, nodes: &[usize]) -> Result<Self> {
        let count = |what: &str| -> Result<u64> {
            let way = format!("counters.{what}");
            nodes.iter().map(|node| cluster.count(*node, &way)).sum()
        };
        Ok(Self {
            edits: count("forwarded")?,
            edits_again: count("forwards_repeated")?,
            loads: count("loads")?,
            fetches_again: count("fetches_repeated")?,
        })
    }

    const fn since(self, before: &Self) -> Self {
        Self {
            edits: self.edits - before.edits,
            edits_again: self.edits_again - before.edits_again,
            loads: self.loads - before.loads,
            fetches_again: self.fetches_again - before.fetches_again,
        }
    }

    const fn first(&self) -> u64 {
        self.edits + self.loads
    }

    const fn again(&self) -> u64 {
        self.edits_again + self.fetches_again
    }
}
