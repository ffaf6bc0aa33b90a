//! Whom this node is linked with, and what it tells them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use membership::bootstrap::{Introduction, Standing};
use membership::{Chart, Letter, News, Seen};
use tokio::time::Instant;
use transport::NodeName;

use super::Steward;

/// News is told again after so long, also if it is none.
const NEWS_INTERVAL: Duration = Duration::from_millis(500);

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
        self.driver.send_letter(peer, Letter::News(self.own_news()).to_bytes());
    }

    /// Tells everybody, if there is news or it is time.
    pub(super) fn tell_all(&mut self) {
        let (news, now) = (self.own_news(), Instant::now());
        if self.news.as_ref() == Some(&news) && now < self.news_at {
            return;
        }
        let letter = Letter::News(news.clone()).to_bytes();
        for peer in self.driver.linked() {
            self.driver.send_letter(&peer, letter.clone());
        }
        self.news = Some(news);
        self.news_at = now + NEWS_INTERVAL;
    }
}
