//! What this node takes for the state of its cluster, and on whose word.

use std::time::Duration;

use membership::{Chart, Group, Letter, Seen};
use tokio::time::Instant;
use transport::NodeName;

use super::Steward;
use crate::links::member_name;

/// A chart that was asked for is asked for again after so long.
const CHART_INTERVAL: Duration = Duration::from_millis(200);

impl Steward {
    /// Whether this node's chart is as late as that one.
    pub(super) fn knows(&self, seen: Seen) -> bool {
        self.chart.as_ref().is_some_and(|chart| chart.seen() >= seen)
    }

    /// That node says that it knows more; of whom this one would not believe it, it does not ask.
    pub(super) fn ask_for_chart(&mut self, peer: &NodeName, seen: Seen, now: Instant) {
        let asked = self.chart_asked.is_some_and(|at| now.duration_since(at) < CHART_INTERVAL);
        if !asked
            && self.believes(peer, seen.group)
            && self.driver.send_letter(peer, &Letter::WantChart)
        {
            self.chart_asked = Some(now);
        }
    }

    /// Somebody tells what it knows of the cluster.
    pub(super) fn hear_chart(&mut self, peer: &NodeName, chart: Chart) {
        if self.knows(chart.seen()) {
            return;
        }
        if self.believes(peer, chart.group) {
            self.take_chart(chart);
        } else {
            self.driver.meters.charts_refused.count();
        }
    }

    /// Decision 023.
    fn believes(&self, peer: &NodeName, group: Group) -> bool {
        let Some(known) = &self.chart else { return true };
        known.believes(&member_name(peer), group, self.hears_leader(known))
    }

    /// Whether it matters to this node that another is of that group.
    pub(super) fn heeds(&self, group: Option<Group>) -> bool {
        group.is_none() || group == self.group() || self.heeds_other_groups()
    }

    /// Whether news of a later generation means that this node's directory is of the past. A sole
    /// voter leads whatever has happened elsewhere, and asks nobody, so that it could not learn of
    /// it otherwise.
    // Decision 023.
    pub(super) fn heeds_other_groups(&self) -> bool {
        let (Some(known), Some(_)) = (&self.chart, &self.voter) else { return true };
        known.voters.len() == 1 || !self.hears_leader(known)
    }

    fn hears_leader(&self, known: &Chart) -> bool {
        let is_of_known = |seen: Option<Seen>| seen.is_some_and(|seen| seen.group == known.group);
        self.leads()
            || self.heard.iter().any(|(name, heard)| {
                heard.leads() && is_of_known(heard.news.seen) && known.is_voter(name)
            })
    }

    /// This node's own voter, or somebody who is believed, knows more of the cluster than this node
    /// did.
    pub(super) fn take_chart(&mut self, chart: Chart) {
        let known = self.chart.as_ref().map(Chart::seen);
        if !chart.is_sound() || known.is_some_and(|known| known >= chart.seen()) {
            return;
        }
        let own = self.group();
        let is_foreign =
            |group: Group| group != chart.group && group.generation >= chart.group.generation;
        if own.is_some_and(is_foreign) || known.is_some_and(|known| is_foreign(known.group)) {
            return;
        }
        self.chart_asked = None;
        self.suspects.handle_view(&chart.view, self.now_ms());
        self.book.note_view(&chart.view, &chart.voters);
        self.driver.handle_view(&chart.view);
        self.was_member |= self.driver.is_member();
        self.chart = Some(chart);
    }
}
