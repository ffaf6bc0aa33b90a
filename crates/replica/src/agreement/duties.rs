//! What this node does for the cluster again and again: whom it suspects; as the leader, who is
//! removed and who votes; and its own way out.

use std::collections::BTreeMap;
use std::time::Duration;

use membership::voters::{Candidate, Pulse, Situation, VoterPolicy, next_change};
use membership::{Chart, Place, RaftId, RaftStatus};
use protocol::{Decision, Member, MemberName};
use session::Inc;
use tokio::time::Instant;

use super::{Done, PATIENCE, Steward, What};
use crate::driver::millis;
use crate::links::member_name;

/// A node of which nothing is heard for so long is silent. It tells its news twice a second to
/// voters, and if it leads to everybody; of others only voters are to go by this.
const SILENT: Duration = Duration::from_secs(3);

/// After so many looks at which nothing had come from a node that sends no heartbeats, the link with
/// it is taken for lost: 5 s, ten times as long as it takes it to tell its news again. Looks, because
/// what this process slept through is no silence of others.
const LOST_TICKS: u32 = 50;

/// So long a new member may take until there is a link with it.
const UNMET: Duration = Duration::from_secs(5);

pub(super) fn is_silent(heard: Instant, now: Instant) -> bool {
    now.saturating_duration_since(heard) > SILENT
}

/// Whether a voter leads. One that led when its process ended takes itself for the leader when it
/// is started again, until somebody tells it otherwise, and who votes no more is told nothing: so
/// others must have answered it as their leader.
pub(super) fn is_leading(raft: &RaftStatus) -> bool {
    raft.is_leader && (raft.voters.len() == 1 || raft.quorum_ack_ms.is_some())
}

/// True once all have been let in that vote first, or others vote. Before that the cluster begins:
/// they are let in one after another, and who is a member already is not to take the votes of the
/// others away.
fn has_begun(chart: &Chart) -> bool {
    // The first entry of the log says who votes first.
    chart.voters_at > 0 || chart.view.members.len() >= chart.voters.len()
}

/// What to think of a member of which nothing was heard since this process began: a leader that was
/// started again must not take those away who vote with it before they have had time to answer.
fn unheard(name: &MemberName, voters: &BTreeMap<RaftId, Place>) -> Option<(RaftId, Pulse)> {
    let (raft_id, _) = voters.iter().find(|(_, place)| place.name == *name)?;
    Some((*raft_id, Pulse::SilentSince(0)))
}

impl Steward {
    pub(super) fn handle_tick(&mut self) {
        self.look_for_suspects();
        self.look_for_lost_links();
        // Who goes afterwards is gone.
        self.has_begun |= self.chart.as_ref().is_some_and(has_begun);
        if let Some(raft) = self.voter.as_ref().and_then(|voter| voter.status().raft)
            && is_leading(&raft)
        {
            self.remove_silent(raft.term);
            self.look_after_voters(&raft);
        }
        let now = Instant::now();
        let view = self.chart.as_ref().map(|chart| &chart.view);
        self.heard.retain(|name, heard| {
            let is_member = view.is_some_and(|view| view.members.iter().any(|m| m.name == *name));
            is_member || !is_silent(heard.at, now)
        });
    }

    /// Members that do not answer; new ones are given time until there is a link with them.
    fn look_for_suspects(&mut self) {
        let (silent, now) = (self.driver.suspects(), Instant::now());
        let view = self.chart.as_ref().map(|chart| &chart.view);
        let members = view.into_iter().flat_map(|view| view.members.iter().filter_map(|m| m.inc));
        for inc in members {
            if !silent.contains(&inc) {
                self.met.insert(inc);
            } else if !self.met.contains(&inc) {
                self.unmet.entry(inc).or_insert(now);
            }
        }
        let is_member = |inc: &Inc| view.is_some_and(|view| view.contains(*inc));
        self.met.retain(is_member);
        self.unmet.retain(|inc, _| is_member(inc) && !self.met.contains(inc));
        let is_new =
            |inc: &Inc| self.unmet.get(inc).is_some_and(|at| now.duration_since(*at) < UNMET);
        self.suspected = silent.into_iter().filter(|inc| !is_new(inc)).collect();
    }

    /// Heartbeats go between members. The link with any other node is made anew if it tells nothing.
    fn look_for_lost_links(&mut self) {
        let mut strangers = self.driver.linked();
        if self.driver.is_member() {
            strangers.retain(|peer| self.driver.links.inc_of(peer).is_none());
        }
        self.silent_ticks.retain(|peer, _| strangers.contains(peer));
        for peer in strangers {
            let ticks = self.silent_ticks.entry(peer.clone()).or_default();
            *ticks += 1;
            if *ticks >= LOST_TICKS {
                *ticks = 0;
                self.driver.endpoint.disconnect(&peer, "it tells nothing");
            }
        }
    }

    fn remove_silent(&mut self, term: u64) {
        let (Some(me), Some(chart)) = (self.driver.own_inc(), &self.chart) else { return };
        let now_ms = self.now_ms();
        self.suspects.handle_report(me, self.suspected.clone(), now_ms);
        let removed = self.suspects.decide(&chart.view, me, term, now_ms);
        self.driver.doubt(&self.suspects.doubted());
        let view = &chart.view;
        self.given_up.retain(|inc| view.contains(*inc));
        for inc in removed {
            let name = self.chart.as_ref().and_then(|chart| chart.view.name_of(inc).cloned());
            if let Some(name) = name.filter(|_| !self.in_flight.contains(&What::Remove(inc))) {
                tracing::warn!("removing {name}: it does not answer");
            }
            let accept_loss = self.given_up.contains(&inc);
            self.propose(What::Remove(inc), Decision::Remove { inc, accept_loss });
        }
    }

    fn look_after_voters(&mut self, raft: &RaftStatus) {
        let Some(situation) = self.situation(raft) else { return };
        let policy = VoterPolicy {
            voters_max: self.cluster.voters,
            replace_after_ms: millis(self.cluster.voter_replace_after),
        };
        if !self.has_begun && self.now_ms() < policy.replace_after_ms {
            return;
        }
        let Some(change) = next_change(&situation, &policy) else { return };
        let waits = self.not_before.get(&What::Voters).is_some_and(|at| Instant::now() < *at);
        let Some(voter) = self.voter.clone().filter(|_| !waits) else { return };
        if self.in_flight.insert(What::Voters) {
            tracing::info!("changing the voters: {change:?}");
            self.proposals.spawn(async move {
                if let Err(error) = voter.change_voters(change, PATIENCE).await {
                    tracing::debug!("the voters were not changed: {error}");
                }
                Done::Voters
            });
        }
    }

    fn situation(&self, raft: &RaftStatus) -> Option<Situation> {
        let chart = self.chart.as_ref()?;
        let now = Instant::now();
        let at = |moment: Instant| millis(moment.saturating_duration_since(self.begin));
        let own_id = self.voter.as_ref()?.status().raft_id;
        let own_name = member_name(&self.me.name);
        let candidate = |member: &Member| {
            let (raft_id, pulse) = if member.name == own_name {
                (own_id, Pulse::AliveSince(0))
            } else if let Some(heard) = self.heard.get(&member.name) {
                let (raft_id, _) = heard.news.directory.clone()?;
                let pulse = if is_silent(heard.at, now) {
                    Pulse::SilentSince(at(heard.at))
                } else {
                    Pulse::AliveSince(at(heard.since))
                };
                (raft_id, pulse)
            } else {
                unheard(&member.name, &raft.voters)?
            };
            let candidate = Candidate {
                name: member.name.clone(),
                zone: member.zone.clone(),
                pulse,
                leaving: member.leaving,
                caught_up: raft.caught_up.contains(&raft_id),
            };
            Some((raft_id, candidate))
        };
        Some(Situation {
            candidates: chart.view.members.iter().filter_map(candidate).collect(),
            voters: raft.voters.keys().copied().collect(),
            is_joint: raft.is_joint,
            learners: raft.learners.keys().copied().collect(),
            leader: own_id,
            now_ms: at(now),
        })
    }

    // Rule V12.
    pub(super) fn advance_leaving(&mut self, inc: Inc) {
        let Some(view) = self.chart.as_ref().map(|chart| &chart.view) else { return };
        let is_leaving =
            view.members.iter().any(|member| member.inc == Some(inc) && member.leaving);
        let silent = self.driver.suspects();
        let stays = |member: &Member| {
            let others = member.inc.filter(|other| *other != inc);
            !member.leaving && others.is_some_and(|other| !silent.contains(&other))
        };
        // The others are told first, so that those who leave at the same time do not wait for this
        // node; if nobody is left to decide it, that is tried once.
        if !is_leaving && !self.has_said_goodbye {
            self.propose(What::Drain, Decision::Drain { inc });
        } else if !view.members.iter().any(stays) {
            // Nobody stays that could take anything over.
            self.leaving.drain(..).for_each(|done| {
                let _ = done.send(());
            });
        } else if !is_leaving {
            self.propose(What::Drain, Decision::Drain { inc });
        } else if self.driver.has_handed_over() && !self.has_duty() {
            self.propose(What::Leave, Decision::Remove { inc, accept_loss: false });
        }
    }

    /// True while this node votes and another could in its place. Its own Raft does not hear of it
    /// when it votes no more.
    fn has_duty(&self) -> bool {
        let (Some(voter), Some(chart)) = (&self.voter, &self.chart) else { return false };
        let votes = chart.voters.contains_key(&voter.status().raft_id);
        let can_vote = |heard: &super::Heard| {
            heard.news.directory.is_some() && !is_silent(heard.at, Instant::now())
        };
        votes && self.heard.values().any(can_vote)
    }
}

#[cfg(test)]
mod tests {
    use membership::Group;
    use protocol::{Copies, View};

    use super::*;

    #[test]
    fn a_leader_that_was_started_again_leads_when_a_majority_has_answered() {
        let place = Place { name: "n".into(), zone: "".into() };
        let voters = |count| (0..count).map(|id| (RaftId(id), place.clone())).collect();
        let status = |is_leader, count, quorum_ack_ms| RaftStatus {
            leader: Some(RaftId(0)),
            is_leader,
            term: 1,
            applied: None,
            quorum_ack_ms,
            is_joint: false,
            voters: voters(count),
            learners: BTreeMap::new(),
            caught_up: [].into(),
        };
        assert!(!is_leading(&status(true, 3, None)));
        assert!(is_leading(&status(true, 3, Some(0))));
        assert!(is_leading(&status(true, 1, None)));
        assert!(!is_leading(&status(false, 1, None)));
    }

    #[test]
    fn a_cluster_begins_until_as_many_are_members_as_vote_first() {
        let place = |name: &str| Place { name: name.into(), zone: "".into() };
        let voters: BTreeMap<_, _> = (1..).map(RaftId).zip(["n1", "n2", "n3"].map(place)).collect();
        let begins = |members: &[&str], voters_at| {
            let members = members.iter().map(|name| Member::unheard((*name).into())).collect();
            let view = View { members, ..View::fixed([], Copies::All) };
            let group = Group { generation: 1, founder: RaftId(1) };
            !has_begun(&Chart { group, view, voters: voters.clone(), voters_at })
        };
        assert!(begins(&["n2"], 0));
        assert!(begins(&["n2", "n4"], 0));
        assert!(!begins(&["n2", "n3", "n4"], 0));
        assert!(!begins(&["n2"], 5), "they have been changed since");
    }

    #[test]
    fn a_voter_that_has_not_been_heard_yet_goes_on_voting() {
        let ids = [1, 2, 3].map(RaftId);
        let place =
            |id: RaftId| Place { name: format!("n{}", id.0).as_str().into(), zone: "".into() };
        let voters: BTreeMap<_, _> = ids.map(|id| (id, place(id))).into();
        let candidate = |name: MemberName| {
            let (id, pulse) = if name.0 == "n1" {
                (ids[0], Pulse::AliveSince(0))
            } else {
                unheard(&name, &voters)?
            };
            let zone = "".into();
            Some((id, Candidate { name, zone, pulse, leaving: false, caught_up: false }))
        };
        let names = ["n1", "n2", "n3", "n4"].map(MemberName::from);
        let mut situation = Situation {
            candidates: names.into_iter().filter_map(candidate).collect(),
            voters: ids.into(),
            is_joint: false,
            learners: [].into(),
            leader: ids[0],
            now_ms: 1_000,
        };
        let policy = VoterPolicy::default();
        assert_eq!(next_change(&situation, &policy), None);
        situation.now_ms = policy.replace_after_ms;
        assert!(next_change(&situation, &policy).is_some(), "it is not waited for for ever");
    }
}
