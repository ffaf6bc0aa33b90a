//! The way into the cluster: the bootstrap of the Raft directory, the voter on it, and the first
//! decisions about this node.

use std::sync::Arc;
use std::time::Duration;

use membership::bootstrap::{Bootstrap, BootstrapError, Claimant, Step};
use membership::{Place, Settings, Store, Voter};
use protocol::wire::WIRE_VERSION;
use protocol::{Decision, Refused, View};
use smol_str::SmolStr;
use tokio::time::Instant;

use super::{Me, Steward, What};
use crate::config::ClusterSection;
use crate::links::member_name;

/// A voter that did not start is started again after so long.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

impl Steward {
    pub(super) async fn advance_bootstrap(&mut self) {
        while let Some((store, bootstrap)) = &mut self.directory {
            let standing = match bootstrap.step() {
                Step::Wait(_) => return,
                Step::Done { .. } => return self.start_voter().await,
                Step::Write(standing) | Step::Join { standing, .. } => standing,
            };
            let (to, written) = (store.clone(), standing.clone());
            let written = tokio::task::spawn_blocking(move || to.write_standing(written)).await;
            match written {
                Ok(Ok(())) => bootstrap.written(standing),
                Ok(Err(error)) => {
                    tracing::error!("the Raft directory cannot be written: {error}");
                    return;
                }
                Err(_) => return,
            }
        }
    }

    async fn start_voter(&mut self) {
        let Some((store, _)) = &self.directory else { return };
        if self.voter.is_some() || Instant::now() < self.start_at {
            return;
        }
        self.start_at = Instant::now() + RESTART_INTERVAL;
        let place = Place { name: member_name(&self.me.name), zone: self.me.zone.clone() };
        let link = self.courier.clone();
        match Voter::start(store.clone(), place, link, Settings::default()).await {
            Ok(voter) => {
                self.views = Some(voter.views());
                self.voter = Some(Arc::new(voter));
            }
            Err(error) => tracing::error!("this node cannot vote: {error}"),
        }
    }

    /// What this node has decided for itself: to begin, to join, that it has caught up, to leave.
    pub(super) fn advance_member(&mut self) {
        let own = self.driver.own_inc();
        let Some(chart) = &self.chart else {
            if let (Some(group), true) = (self.group(), self.leads()) {
                self.propose(What::Begin, self.me.replication.begin(group.generation));
            }
            return;
        };
        match own {
            None if self.is_leaving => self.leaving.drain(..).for_each(|done| {
                let _ = done.send(());
            }),
            None => self.join(),
            Some(inc) => {
                self.synced.retain(|epoch| chart.view.layouts.iter().any(|l| l.epoch == *epoch));
                let mut synced = self.driver.synced_epochs();
                synced.retain(|epoch| !self.synced.contains(epoch));
                for epoch in synced {
                    self.propose(What::Synced(epoch), Decision::Synced { inc, epoch });
                }
                if self.is_leaving {
                    self.advance_leaving(inc);
                }
            }
        }
    }

    fn join(&mut self) {
        let Some(chart) = &self.chart else { return };
        let protocol = chart.view.protocol;
        if protocol > WIRE_VERSION {
            // Rule W2: nor does waiting help.
            self.fatal.note(Refused::Downgrade(protocol).to_string());
            return;
        }
        let disagrees = self.me.replication.disagrees_with(&chart.view);
        if let Some(why) = disagrees.filter(|_| !self.was_member) {
            self.fatal.note(why);
            return;
        }
        if let Some(address) = self.superseded_by(&chart.view).filter(|_| self.was_member) {
            // Were it to join again, the other would have to go, and join again in its turn.
            self.fatal.note(format!(
                "another process has become a member as {} since, at {address}: a later start of \
                 this node, or another node with its certificate; this one ends, stop the other \
                 one before starting it again",
                self.me.name
            ));
            return;
        }
        let join = Decision::Join {
            name: member_name(&self.me.name),
            address: SmolStr::from(&self.me.address),
            zone: self.me.zone.clone(),
            start: self.me.start,
            version: WIRE_VERSION,
        };
        self.propose(What::Join, join);
    }

    /// Where the member of this node's name is reached, if that is another process than this.
    fn superseded_by<'v>(&self, view: &'v View) -> Option<&'v SmolStr> {
        let name = member_name(&self.me.name);
        let other = view.members.iter().find(|member| member.name == name)?;
        (other.start != self.me.start).then_some(&other.address)
    }
}

/// How the Raft directory of this node takes part in founding a cluster.
pub(super) fn bootstrap(
    store: &Store,
    me: &Me,
    cluster: &ClusterSection,
) -> Result<Bootstrap, BootstrapError> {
    let identity = store.identity();
    let claimant = Claimant { name: member_name(&me.name), raft_id: identity.raft_id };
    let is_seed = cluster.seeds.iter().any(|seed| seed.to_string() == me.address);
    let nodes = cluster.seeds.len() + usize::from(!is_seed);
    Bootstrap::new(claimant, identity.standing, nodes, cluster.expect, cluster.voters)
}
