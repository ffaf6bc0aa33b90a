//! Whom this node is linked with, and what it tells them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use membership::bootstrap::{Introduction, Standing};
use membership::{Chart, Letter, News, Seen};
use protocol::MemberName;
use tokio::time::Instant;
use transport::NodeName;

use super::Steward;
use crate::links::member_name;

/// News is told again after so long, also if it is none, to whoever goes by its silence.
const NEWS_INTERVAL: Duration = Duration::from_millis(500);

/// In a large cluster it is told again to the others after so many times that: it was told them when
/// it was news, and this is for what was lost.
const NEWS_TO_ALL: u32 = 60;

impl Steward {
    pub(super) fn link(&mut self) {
        let linked = self.driver.linked();
        let wants_seeds = linked.is_empty() || self.book.needs_seeds();
        self.wants_seeds.store(wants_seeds, Ordering::Relaxed);
        let peers = self.book.peers(&linked);
        if peers != self.linked_with {
            self.driver.endpoint.set_peers(peers.clone());
            self.linked_with = peers;
        }
    }

    fn own_news(&self) -> News {
        let directory = self.directory.as_ref().map(|(_, bootstrap)| {
            let Introduction { from, standing } = bootstrap.introduction();
            // Once there is a chart, most of those that vote first have begun.
            let group = standing.group().filter(|_| self.chart.is_some());
            (from.raft_id, group.map_or(standing, Standing::Inside))
        });
        let seen: Option<Seen> = self.chart.as_ref().map(Chart::seen);
        News { directory, seen, suspects: self.suspected.clone(), leads: self.leads() }
    }

    pub(super) fn tell(&self, peer: &NodeName) {
        self.driver.send_letter(peer, &Letter::News(self.own_news()));
    }

    /// Tells everybody, if there is news; else, if it is time, whoever has to know that this node
    /// is there, so that what an idle node tells does not grow with the cluster.
    pub(super) fn tell_all(&mut self) {
        let (news, now) = (self.own_news(), Instant::now());
        let is_news = self.news.as_ref() != Some(&news);
        if !is_news && now < self.news_at {
            return;
        }
        self.told_again = if is_news { 0 } else { self.told_again.wrapping_add(1) };
        let letter = Letter::News(news.clone());
        let mut told = self.driver.linked();
        if !(news.leads || self.told_again.is_multiple_of(NEWS_TO_ALL)) {
            let spared = self.spared();
            told.retain(|peer| !spared.contains(&member_name(peer)));
        }
        for peer in told {
            self.driver.send_letter(&peer, &letter);
        }
        self.news = Some(news);
        self.news_at = now + NEWS_INTERVAL;
    }

    /// Members that do not go by this node's silence: those that are distant and do not vote.
    fn spared(&self) -> BTreeSet<MemberName> {
        let Some(chart) = &self.chart else { return BTreeSet::new() };
        let voters: BTreeSet<&MemberName> =
            chart.voters.values().map(|place| &place.name).collect();
        let names = chart.view.members.iter().map(|member| &member.name);
        let distant = names.filter(|name| !voters.contains(name) && !self.driver.is_near(name));
        distant.cloned().collect()
    }
}
