//! After the majority of the voters is lost: membership made anew, and what becomes of the
//! directories of the generation before. Decision 018.

use std::collections::BTreeSet;
use std::time::Duration;

use membership::{Group, Place, Settings, Store};
use protocol::limits::SUSPECT_MS;
use protocol::{Member, View};
use session::Inc;
use tokio::time::Instant;

use super::entering::bootstrap;
use super::{Steward, TICK};
use crate::links::member_name;

/// Whoever is asked whether it is there and has not answered after so long is suspected, however
/// slow this process takes itself to be.
const ANSWER_MAX: Duration = Duration::from_millis(9 * SUSPECT_MS);

impl Steward {
    /// Makes membership anew with the members that this node reaches; their names.
    pub(super) async fn recover(&mut self) -> Result<Vec<String>, String> {
        let Some((store, _)) = &self.directory else {
            return Err("this node has no node.data_dir: recover on one that has".to_owned());
        };
        let (store, Some(chart)) = (store.clone(), &self.chart) else {
            return Err("this node knows of no cluster: recover on one that does".to_owned());
        };
        let view = chart.view.clone();
        self.make_sure(&view).await;
        let silent = self.driver.suspects();
        let name = member_name(&self.me.name);
        let stays = |inc: &Inc| !silent.contains(inc) || view.name_of(*inc) == Some(&name);
        let survivors: BTreeSet<Inc> =
            view.members.iter().filter_map(|member| member.inc).filter(stays).collect();
        let names = survivors.iter().filter_map(|inc| view.name_of(*inc)).map(ToString::to_string);
        let names: Vec<String> = names.collect();
        let place = Place { name, zone: self.me.zone.clone() };
        self.make_over(store, move |store| {
            store.recover(&place, &view, Settings::default().slots, &survivors)
        })
        .await?;
        tracing::warn!("membership is made anew with {}", names.join(", "));
        Ok(names)
    }

    /// In a large cluster a node does not know of everybody whether it is there, unless it asks.
    async fn make_sure(&self, view: &View) {
        let is_distant = |member: &&Member| !self.driver.is_near(&member.name);
        let distant: BTreeSet<Inc> =
            view.members.iter().filter(is_distant).filter_map(|member| member.inc).collect();
        self.driver.doubt(&distant);
        let begin = Instant::now();
        let mut waits_for = distant;
        while !waits_for.is_empty() && begin.elapsed() < ANSWER_MAX {
            tokio::time::sleep(TICK).await;
            waits_for.retain(|inc| self.driver.is_waiting_for(*inc));
        }
    }

    /// What there is to do about a directory of a generation that the cluster has left behind.
    pub(super) async fn advance_generation(&mut self) {
        let (Some((store, bootstrap)), Some(ours)) = (&self.directory, self.group()) else {
            return;
        };
        let later = |group: &Group| group.generation > ours.generation;
        let theirs = self.chart.as_ref().map(|chart| chart.group).filter(later);
        let is_survivor = theirs.is_some() && self.driver.is_member();
        if let (Some(group), true) = (theirs, is_survivor) {
            let entered = self.make_over(store.clone(), move |store| store.enter(group)).await;
            if let Err(error) = entered {
                tracing::error!("the Raft directory cannot be made one of the new group: {error}");
            }
            return;
        }
        let outdated = self.voter.as_ref().is_some_and(|voter| voter.status().is_outdated);
        let why = bootstrap.outdated().filter(|_| self.heeds_other_groups());
        let why = why.map(|outdated| outdated.to_string());
        if theirs.is_some() || outdated || why.is_some() {
            let why = why.unwrap_or_else(|| {
                "the cluster was made anew without this node's Raft directory: it takes no part in \
                 decisions; move the directory away before the next start"
                    .to_owned()
            });
            self.retire(&why).await;
        }
    }

    /// The directory must not be used any more.
    async fn retire(&mut self, why: &str) {
        tracing::error!("{why}");
        if !self.was_member {
            self.fatal.note(why.to_owned());
        }
        self.end_voter().await;
        self.directory = None;
    }

    async fn end_voter(&mut self) {
        self.views = None;
        if let Some(voter) = self.voter.take() {
            voter.stop().await;
        }
    }

    /// Changes whose directory it is, while nobody runs on it, and starts the voter on it as it is
    /// then.
    async fn make_over<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        &mut self,
        store: Store,
        change: impl FnOnce(&Store) -> Result<T, E> + Send + 'static,
    ) -> Result<T, String> {
        self.end_voter().await;
        let changed = tokio::task::spawn_blocking(move || {
            store.reopen().map_err(|error| error.to_string())?;
            let changed = change(&store).map_err(|error| error.to_string());
            Ok::<_, String>((store, changed))
        });
        let (store, changed) = changed.await.map_err(|error| error.to_string())??;
        let bootstrap = bootstrap(&store, &self.me, &self.cluster);
        self.directory = bootstrap.ok().map(|bootstrap| (store, bootstrap));
        self.start_at = Instant::now();
        changed
    }
}
