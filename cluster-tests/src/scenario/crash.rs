//! Nodes that are gone for a while: each role in turn, or those that could decide.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::scene::{Role, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::Cluster;
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// A crashed node is out of the view by then, if those that are left are well.
const REMOVED_WITHIN: Duration = Duration::from_secs(6);

/// Each role is killed, is out of the view, and comes back; each in a cluster of its own, because
/// only a minority is removed within half a minute.
pub(super) fn each_role(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut row = Row::new(Scenario::Crash, settings.spread);
    let mut removals = Removals::default();
    for role in Role::ALL {
        let mut cluster = started(service, settings, NODES)?;
        row.join(under_load(Scenario::Crash, settings, watch, &mut cluster, None, |scene| {
            let node = scene.who(role)?;
            scene.say(&format!("a crash: {role:?}"));
            let since = Instant::now();
            scene.kill(node)?;
            scene.until("it is out of every view", Cluster::agrees)?;
            removals.note(since.elapsed(), scene.cluster.is_swift());
            scene.full(since)?;
            scene.go_on()?;
            scene.start(node)?;
            scene.full(Instant::now())
        })?);
    }
    removals.tell(&mut row);
    Ok(row)
}

/// How long crashed nodes were members still.
#[derive(Debug, Default)]
struct Removals {
    longest: Duration,
    /// Of those during which no process was slow, which says that it is by its local health.
    longest_swift: Duration,
}

impl Removals {
    fn note(&mut self, took: Duration, was_swift: bool) {
        self.longest = self.longest.max(took);
        if was_swift {
            self.longest_swift = self.longest_swift.max(took);
        }
    }

    fn tell(&self, row: &mut Row) {
        let (longest, bound) = (self.longest.as_secs_f64(), REMOVED_WITHIN.as_secs_f64());
        row.note(format!("whoever crashed was out of every view within {longest:.1} s"));
        if self.longest_swift > REMOVED_WITHIN {
            let took = self.longest_swift.as_secs_f64();
            row.object(format!(
                "a crashed node was a member for {took:.1} s more, and at most {bound:.0} s may pass"
            ));
        }
    }
}

/// The leader is killed, then a second of three voters, so that nothing can be decided; visitors go
/// on. Both come back, and decisions as well.
pub(super) fn voters(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::VoterLoss, settings, watch, &mut cluster, None, |scene| {
        let first = scene.who(Role::Leader)?;
        let since = Instant::now();
        scene.kill(first)?;
        // Two copies outlive the second crash only if there are two again after the first.
        scene.full(since)?;
        scene.go_on()?;
        let second = scene.who(Role::Leader)?;
        scene.kill(second)?;
        for _ in 0..3 {
            scene.go_on()?;
        }
        scene.start(second)?;
        scene.start(first)?;
        scene.full(Instant::now())
    })
}
