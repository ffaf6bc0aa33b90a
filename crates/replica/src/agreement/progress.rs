//! How far this node has come on its way into the cluster, in words and for pages.

use membership::bootstrap::{Step, Waiting};
use protocol::MemberName;

use super::Steward;

/// What others in this process may want to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What it waits for, while it is no member.
    pub(crate) waits_for: Option<String>,
    /// The Raft group, as `generation.founder`.
    pub(crate) group: Option<String>,
    /// Who votes.
    pub(crate) voters: Vec<MemberName>,
    /// Who leads, as far as this node knows.
    pub(crate) leader: Option<MemberName>,
    /// True if this node can vote: it has a Raft directory that works.
    pub(crate) can_vote: bool,
    /// Why its Raft does not run.
    pub(crate) trouble: Option<String>,
}

impl Steward {
    pub(super) fn tell_progress(&self) {
        let status = self.voter.as_ref().map(|voter| voter.status());
        let leader = status.as_ref().and_then(|status| {
            let raft = status.raft.as_ref()?;
            raft.voters.get(&raft.leader?).map(|place| place.name.clone())
        });
        let said = self.heard.iter().find(|(_, heard)| heard.leads());
        let chart = self.chart.as_ref();
        let progress = Progress {
            waits_for: self.waits_for(),
            group: chart.map(|c| format!("{}.{}", c.group.generation, c.group.founder)),
            voters: chart
                .map(|chart| chart.voters.values().map(|place| place.name.clone()).collect())
                .unwrap_or_default(),
            leader: leader.or_else(|| said.map(|(name, _)| name.clone())),
            can_vote: self.directory.is_some(),
            trouble: status.and_then(|status| status.trouble).map(|trouble| trouble.to_string()),
        };
        self.told.send_if_modified(|known| {
            let is_news = *known != progress;
            *known = progress;
            is_news
        });
    }

    fn waits_for(&self) -> Option<String> {
        if self.driver.is_member() {
            return None;
        }
        let step = self.directory.as_ref().map(|(_, bootstrap)| bootstrap.step());
        let seeds = || {
            let seeds: Vec<String> = self.cluster.seeds.iter().map(ToString::to_string).collect();
            seeds.join(", ")
        };
        let words = match step {
            _ if self.chart.is_some() => "waiting to be let in by the voters".to_owned(),
            Some(Step::Wait(Waiting::Nodes { heard, expect })) => {
                format!("waiting for nodes: {heard} of {expect} are there (seeds: {})", seeds())
            }
            Some(Step::Wait(Waiting::Lower(name))) => {
                format!("waiting for {name}, which has the lowest name, to found the cluster")
            }
            Some(Step::Wait(Waiting::Founder(claimant))) => format!(
                "waiting for {} to found the cluster; if its disk is lost, move the data \
                 directories of all nodes away that never were in a cluster",
                claimant.name
            ),
            Some(Step::Wait(Waiting::Backing { backed, expect })) => {
                format!("founding the cluster: {backed} of {expect} nodes agree")
            }
            Some(Step::Wait(Waiting::TwoClusters)) => {
                "nodes of two clusters answer under one name: the seeds are wrong".to_owned()
            }
            Some(Step::Done { .. } | Step::Write(_) | Step::Join { .. }) => {
                "waiting for the voters of its cluster".to_owned()
            }
            None => format!(
                "waiting for a cluster to join: this node has no node.data_dir and founds none \
                 (seeds: {})",
                seeds()
            ),
        };
        Some(words)
    }
}
