//! Who votes: from who is a member, who is alive and who votes now, the next change of that. Pure.
//!
//! One voter for one or two nodes, three from three on, five if so configured; spread over zones;
//! who is silent for long, leaves, or has lost its disk is replaced. One change at a time, a new
//! voter first as a learner, so that no change ever makes the cluster wait for one that has to
//! catch up.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{MemberName, Zone};

use crate::raft_types::{Place, RaftId};

/// How a voter is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterPolicy {
    /// At most so many: 3, or 5 if the nodes allow. Other numbers are rounded down to 1, 3 or 5.
    pub voters_max: usize,
    /// A voter that is silent for so long is replaced, in milliseconds.
    pub replace_after_ms: u64,
}

impl Default for VoterPolicy {
    fn default() -> Self {
        Self { voters_max: 3, replace_after_ms: 60_000 }
    }
}

/// Whether a node answers, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It answers, since that moment in milliseconds.
    AliveSince(u64),
    /// It does not, since that moment in milliseconds.
    SilentSince(u64),
}

/// A member that can vote: it has a Raft directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: MemberName,
    /// Where it stands.
    pub zone: Zone,
    /// Whether it answers.
    pub pulse: Pulse,
    /// True while it drains: it is not to be a voter when it goes.
    pub leaving: bool,
    /// As a learner, it has all that the leader has.
    pub caught_up: bool,
}

/// All that the choice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The members of the view that can vote, by their present directories. A node that has lost
    /// its disk stands here under its new id, and its old one is nobody's.
    pub candidates: BTreeMap<RaftId, Candidate>,
    /// Who votes now.
    pub voters: BTreeSet<RaftId>,
    /// True if a leader has ended while it changed the voters: a majority of those before and one
    /// of those after are needed until somebody carries it through.
    pub is_joint: bool,
    /// Who is a learner now.
    pub learners: BTreeSet<RaftId>,
    /// Who leads, and is not to be replaced without need: that costs an election.
    pub leader: RaftId,
    /// The present moment, in milliseconds.
    pub now_ms: u64,
}

/// A change of who votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// This one is to be told the log.
    AddLearner {
        /// The new learner.
        id: RaftId,
        /// Which node it is.
        place: Place,
    },
    /// This learner is a voter from now on, in the place of another if one is named.
    Promote {
        /// The new voter.
        add: RaftId,
        /// Who votes no more.
        instead_of: Option<RaftId>,
    },
    /// These two learners are voters from now on, both at once: two voters alone would decide nothing
    /// when either is lost, as often as one, and one has just been enough.
    Grow([RaftId; 2]),
    /// This one votes no more, and nobody takes its place.
    RemoveVoter(RaftId),
    /// This one is told the log no more.
    RemoveLearner(RaftId),
    /// A change that was begun is carried through: these of the voters remain.
    Finish(BTreeSet<RaftId>),
}

/// How many of so many nodes vote.
pub(crate) const fn voters_among(nodes: usize, voters_max: usize) -> usize {
    let least = if nodes < voters_max { nodes } else { voters_max };
    match least {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    }
}

/// The next change, or none if all is as it should be, or as well as it can be now.
#[must_use]
pub fn next_change(situation: &Situation, policy: &VoterPolicy) -> Option<VoterChange> {
    let choice = Choice { situation, policy };
    let wanted = choice.wanted();
    let voters = &situation.voters;
    if situation.is_joint {
        let mut remaining: BTreeSet<RaftId> = wanted.intersection(voters).copied().collect();
        // Others of them stay, fit ones first, in the place of those that have yet to learn.
        let missing = wanted.len() - remaining.len();
        let mut others: Vec<RaftId> = voters.difference(&wanted).copied().collect();
        others.sort_by_key(|id| !choice.is_fit(*id));
        remaining.extend(others.into_iter().take(missing));
        return Some(VoterChange::Finish(remaining));
    }
    // One that is to vote and does not yet: told the log first, a voter when it has it. Two if their
    // number grows by two.
    let newcomers: Vec<RaftId> = wanted.difference(voters).copied().collect();
    if let Some(add) = newcomers.first().copied() {
        if let Some(learner) = choice.useless_learner(&wanted) {
            return Some(VoterChange::RemoveLearner(learner));
        }
        let pair = match newcomers[..] {
            [one, other, ..] if wanted.len() >= voters.len() + 2 => Some([one, other]),
            _ => None,
        };
        for id in pair.unwrap_or([add; 2]) {
            let candidate = situation.candidates.get(&id)?;
            if !situation.learners.contains(&id) {
                let (name, zone) = (candidate.name.clone(), candidate.zone.clone());
                return Some(VoterChange::AddLearner { id, place: Place { name, zone } });
            }
            if !candidate.caught_up {
                return None;
            }
        }
        if let Some(pair) = pair {
            return Some(VoterChange::Grow(pair));
        }
        let instead_of = choice.dispensable(&wanted).filter(|_| voters.len() >= wanted.len());
        return Some(VoterChange::Promote { add, instead_of });
    }
    if let Some(voter) = choice.dispensable(&wanted) {
        return Some(VoterChange::RemoveVoter(voter));
    }
    choice.useless_learner(&wanted).map(VoterChange::RemoveLearner)
}

struct Choice<'a> {
    situation: &'a Situation,
    policy: &'a VoterPolicy,
}

impl Choice<'_> {
    /// Who is to vote in the end.
    fn wanted(&self) -> BTreeSet<RaftId> {
        let situation = self.situation;
        let fit: BTreeSet<RaftId> =
            situation.voters.iter().copied().filter(|id| self.is_fit(*id)).collect();
        let mut wanted = fit;
        let count = self.count();
        while wanted.len() > count {
            let Some(least) = self.least_useful(&wanted) else { break };
            wanted.remove(&least);
        }
        while wanted.len() < count {
            let Some(best) = self.best_newcomer(&wanted) else { break };
            wanted.insert(best);
        }
        self.spread(&mut wanted);
        // Nobody can take the place of these: gone or not, they are part of the majority.
        let missing = count.saturating_sub(wanted.len());
        let others = situation.voters.difference(&wanted).copied().take(missing);
        let others: Vec<RaftId> = others.collect();
        wanted.extend(others);
        wanted
    }

    /// How many there are to be.
    fn count(&self) -> usize {
        let fit = self.situation.candidates.keys().filter(|id| self.is_fit(**id)).count();
        voters_among(fit, self.policy.voters_max)
    }

    /// A member that stays, has its disk, and is not silent for long.
    fn is_fit(&self, id: RaftId) -> bool {
        let Some(candidate) = self.situation.candidates.get(&id) else { return false };
        let is_heard = match candidate.pulse {
            Pulse::AliveSince(_) => true,
            Pulse::SilentSince(since) => {
                self.situation.now_ms.saturating_sub(since) < self.policy.replace_after_ms
            }
        };
        is_heard && !candidate.leaving
    }

    fn alive_since(&self, id: RaftId) -> Option<u64> {
        match self.situation.candidates.get(&id)?.pulse {
            Pulse::AliveSince(since) => Some(since),
            Pulse::SilentSince(_) => None,
        }
    }

    fn zone(&self, id: RaftId) -> Option<&Zone> {
        Some(&self.situation.candidates.get(&id)?.zone)
    }

    /// How many of them stand where that one does, itself not counted.
    fn neighbours(&self, id: RaftId, among: &BTreeSet<RaftId>) -> usize {
        let zone = self.zone(id);
        among.iter().filter(|other| **other != id && self.zone(**other) == zone).count()
    }

    /// Of those that could come in: the one with the fewest in its zone, alive for longest.
    fn best_newcomer(&self, wanted: &BTreeSet<RaftId>) -> Option<RaftId> {
        let ids = self.situation.candidates.iter();
        let fit = ids.filter(|(id, _)| self.is_fit(**id) && !wanted.contains(id));
        let alive = fit.filter_map(|(id, candidate)| {
            let since = self.alive_since(*id)?;
            // Who is learning already is not left for one that is as good.
            let is_new = !self.situation.learners.contains(id);
            let rank = (self.neighbours(*id, wanted), is_new, since, &candidate.name);
            Some((rank, *id))
        });
        alive.min().map(|(_, id)| id)
    }

    /// Of those that vote: silent before alive, from a full zone, not the leader, the youngest.
    fn least_useful(&self, wanted: &BTreeSet<RaftId>) -> Option<RaftId> {
        wanted.iter().copied().max_by_key(|id| {
            let since = self.alive_since(*id);
            let is_other = *id != self.situation.leader;
            (since.is_none(), self.neighbours(*id, wanted), is_other, since, *id)
        })
    }

    /// Exchanges as long as that makes the zones more equal.
    fn spread(&self, wanted: &mut BTreeSet<RaftId>) {
        loop {
            let Some(out) = wanted
                .iter()
                .copied()
                .max_by_key(|id| (self.neighbours(*id, wanted), *id != self.situation.leader, *id))
            else {
                return;
            };
            let Some(best) = self.best_newcomer(wanted) else { return };
            if self.neighbours(best, wanted) >= self.neighbours(out, wanted) {
                return;
            }
            wanted.remove(&out);
            wanted.insert(best);
        }
    }

    /// A voter that is not wanted: who is gone before who is there, the leader last.
    fn dispensable(&self, wanted: &BTreeSet<RaftId>) -> Option<RaftId> {
        let out = self.situation.voters.difference(wanted).copied();
        out.min_by_key(|id| (*id == self.situation.leader, self.is_fit(*id), *id))
    }

    fn useless_learner(&self, wanted: &BTreeSet<RaftId>) -> Option<RaftId> {
        self.situation.learners.difference(wanted).next().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn candidate(name: &str, zone: &str) -> Candidate {
        Candidate {
            name: name.into(),
            zone: zone.into(),
            pulse: Pulse::AliveSince(0),
            leaving: false,
            caught_up: false,
        }
    }

    /// Nodes 1, 2, … in these zones; the first ones vote.
    fn situation(zones: &[&str], voters: u64) -> Situation {
        let ids = 1..=zones.len() as u64;
        let candidates =
            ids.zip(zones).map(|(id, zone)| (RaftId(id), candidate(&id.to_string(), zone)));
        Situation {
            candidates: candidates.collect(),
            voters: (1..=voters).map(RaftId).collect(),
            is_joint: false,
            learners: BTreeSet::new(),
            leader: RaftId(1),
            now_ms: NOW,
        }
    }

    fn five() -> VoterPolicy {
        VoterPolicy { voters_max: 5, ..VoterPolicy::default() }
    }

    /// Carries out change after change, each checked; returns how many.
    fn settle(situation: &mut Situation, policy: &VoterPolicy) -> usize {
        for count in 0..100 {
            let Some(change) = next_change(situation, policy) else { return count };
            carry_out(situation, &change);
        }
        panic!("no end of changes: {situation:?}");
    }

    fn carry_out(situation: &mut Situation, change: &VoterChange) {
        match change {
            VoterChange::AddLearner { id, .. } => {
                assert!(!situation.voters.contains(id) && situation.learners.insert(*id));
                // It learns.
                situation.candidates.get_mut(id).unwrap().caught_up = true;
            }
            VoterChange::Promote { add, instead_of } => {
                assert!(situation.candidates[add].caught_up, "first a learner that has all");
                assert!(situation.learners.remove(add) && situation.voters.insert(*add));
                assert!(instead_of.is_none_or(|gone| situation.voters.remove(&gone)));
            }
            VoterChange::Grow(pair) => {
                for add in pair {
                    assert!(situation.candidates[add].caught_up, "first a learner that has all");
                    assert!(situation.learners.remove(add) && situation.voters.insert(*add));
                }
            }
            VoterChange::RemoveVoter(id) => assert!(situation.voters.remove(id)),
            VoterChange::RemoveLearner(id) => assert!(situation.learners.remove(id)),
            VoterChange::Finish(voters) => {
                assert!(situation.is_joint && voters.is_subset(&situation.voters));
                situation.voters.clone_from(voters);
                situation.is_joint = false;
            }
        }
        assert!(!situation.voters.is_empty());
    }

    fn ids(voters: &BTreeSet<RaftId>) -> Vec<u64> {
        voters.iter().map(|id| id.0).collect()
    }

    #[test]
    fn one_voter_for_two_nodes_three_from_three_on_five_if_configured() {
        let three = VoterPolicy::default();
        for (nodes, policy, voters) in [
            (1, three, 1),
            (2, three, 1),
            (3, three, 3),
            (4, three, 3),
            (9, three, 3),
            (2, five(), 1),
            (4, five(), 3),
            (5, five(), 5),
            (9, five(), 5),
        ] {
            let mut situation = situation(&vec!["z"; nodes], 1);
            settle(&mut situation, &policy);
            assert_eq!(situation.voters.len(), voters, "{nodes} nodes");
            assert!(situation.learners.is_empty());
        }
    }

    #[test]
    fn voters_are_spread_over_zones() {
        let mut apart = situation(&["x", "x", "x", "y", "z"], 1);
        settle(&mut apart, &VoterPolicy::default());
        assert_eq!(ids(&apart.voters), [1, 4, 5]);
        let mut together = situation(&["x", "x", "x", "y"], 3);
        let changes = settle(&mut together, &VoterPolicy::default());
        assert_eq!(ids(&together.voters), [1, 2, 4], "the leader stays");
        assert_eq!(changes, 2, "a learner, and the exchange");
    }

    #[test]
    fn a_voter_is_replaced_when_it_is_silent_for_long_and_not_before() {
        let mut situation = situation(&["z"; 4], 3);
        let silent = |since| Pulse::SilentSince(since);
        situation.candidates.get_mut(&RaftId(2)).unwrap().pulse = silent(NOW - 59_999);
        assert_eq!(next_change(&situation, &VoterPolicy::default()), None);
        situation.candidates.get_mut(&RaftId(2)).unwrap().pulse = silent(NOW - 60_000);
        let next = |s: &mut Situation| {
            let change = next_change(s, &VoterPolicy::default()).unwrap();
            carry_out(s, &change);
            change
        };
        let place = Place { name: "4".into(), zone: "z".into() };
        assert_eq!(next(&mut situation), VoterChange::AddLearner { id: RaftId(4), place });
        let promote = VoterChange::Promote { add: RaftId(4), instead_of: Some(RaftId(2)) };
        assert_eq!(next(&mut situation), promote);
        assert_eq!(next_change(&situation, &VoterPolicy::default()), None);
    }

    #[test]
    fn a_learner_that_has_not_caught_up_is_waited_for() {
        let mut situation = situation(&["z"; 3], 2);
        situation.learners.insert(RaftId(3));
        assert_eq!(next_change(&situation, &VoterPolicy::default()), None);
        situation.candidates.get_mut(&RaftId(3)).unwrap().caught_up = true;
        let promote = VoterChange::Promote { add: RaftId(3), instead_of: None };
        assert_eq!(next_change(&situation, &VoterPolicy::default()), Some(promote));
    }

    #[test]
    fn one_voter_becomes_three_and_never_two() {
        let mut situation = situation(&["z"; 3], 1);
        for expected in [1, 1, 3] {
            let change = next_change(&situation, &VoterPolicy::default()).unwrap();
            carry_out(&mut situation, &change);
            assert_eq!(situation.voters.len(), expected, "{change:?}");
        }
        assert_eq!(next_change(&situation, &VoterPolicy::default()), None);
    }

    #[test]
    fn a_node_that_lost_its_disk_takes_its_own_place() {
        let mut situation = situation(&["z"; 3], 3);
        let wiped = situation.candidates.remove(&RaftId(3)).unwrap();
        situation.candidates.insert(RaftId(33), wiped);
        settle(&mut situation, &VoterPolicy::default());
        assert_eq!(ids(&situation.voters), [1, 2, 33]);
    }

    #[test]
    fn a_node_that_leaves_hands_its_vote_over_first() {
        let mut situation = situation(&["z"; 4], 3);
        situation.candidates.get_mut(&RaftId(1)).unwrap().leaving = true;
        settle(&mut situation, &VoterPolicy::default());
        assert_eq!(ids(&situation.voters), [2, 3, 4]);
    }

    #[test]
    fn two_nodes_that_are_left_of_three_become_one_voter() {
        let mut situation = situation(&["z"; 2], 2);
        situation.voters.insert(RaftId(9));
        let first = next_change(&situation, &VoterPolicy::default());
        assert_eq!(first, Some(VoterChange::RemoveVoter(RaftId(9))), "who is gone goes first");
        settle(&mut situation, &VoterPolicy::default());
        assert_eq!(ids(&situation.voters), [1], "the leader");
    }

    #[test]
    fn a_change_that_was_begun_is_carried_through() {
        let mut begun = situation(&["z"; 4], 4);
        begun.is_joint = true;
        begun.candidates.get_mut(&RaftId(2)).unwrap().pulse = Pulse::SilentSince(0);
        let change = next_change(&begun, &VoterPolicy::default()).unwrap();
        assert_eq!(change, VoterChange::Finish([1, 3, 4].map(RaftId).into()));
        carry_out(&mut begun, &change);
        assert_eq!(next_change(&begun, &VoterPolicy::default()), None);
    }

    fn any_situation() -> impl Strategy<Value = Situation> {
        let one =
            (0_u8..3, any::<bool>(), 0..120_000_u64, prop::bool::weighted(0.1), any::<bool>());
        let nodes = prop::collection::vec(one, 1..10);
        let bits = (any::<u16>(), any::<u16>(), any::<bool>());
        (nodes, bits, 0_u64..3).prop_map(|(nodes, (votes, learns, is_joint), strangers)| {
            let mut situation = situation(&vec!["z"; nodes.len()], 0);
            for (index, (zone, alive, since, leaving, caught_up)) in nodes.into_iter().enumerate() {
                let id = RaftId(index as u64 + 1);
                let candidate = situation.candidates.get_mut(&id).unwrap();
                candidate.zone = format!("{zone}").as_str().into();
                let since = NOW - since;
                candidate.pulse =
                    if alive { Pulse::AliveSince(since) } else { Pulse::SilentSince(since) };
                (candidate.leaving, candidate.caught_up) = (leaving, caught_up);
                if votes >> index & 1 == 1 {
                    situation.voters.insert(id);
                } else if learns >> index & 1 == 1 {
                    situation.learners.insert(id);
                }
            }
            situation.voters.extend((0..strangers).map(|number| RaftId(100 + number)));
            if situation.voters.is_empty() {
                situation.voters.insert(RaftId(1));
                situation.learners.remove(&RaftId(1));
            }
            situation.is_joint = is_joint;
            situation.leader = *situation.voters.first().unwrap();
            situation
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// From wherever it begins, it ends, with as many voters as there should be, all of them
        /// fit if enough are alive; and no step on the way leaves fewer fit voters than there have
        /// to be in the end, or were before.
        #[test]
        fn changes_come_to_an_end_and_never_weaken(start in any_situation(), many in any::<bool>()) {
            let policy = if many { five() } else { VoterPolicy::default() };
            let mut now = start;
            let mut steps = 0;
            loop {
                let fit = |s: &Situation| {
                    let choice = Choice { situation: s, policy: &policy };
                    s.voters.iter().filter(|id| choice.is_fit(**id)).count()
                };
                let count = Choice { situation: &now, policy: &policy }.count();
                let before = fit(&now);
                let Some(change) = next_change(&now, &policy) else { break };
                carry_out(&mut now, &change);
                prop_assert!(fit(&now) >= before.min(count), "{:?}", change);
                steps += 1;
                prop_assert!(steps < 60, "no end: {:?}", now);
            }
            let choice = Choice { situation: &now, policy: &policy };
            let alive = now.candidates.keys().filter(|id| choice.is_fit(**id) && choice.alive_since(**id).is_some());
            let alive = alive.count();
            let waits = now.learners.iter().any(|id| !now.candidates[id].caught_up);
            if alive >= choice.count() && !waits {
                prop_assert_eq!(now.voters.len(), choice.count(), "{:?}", now);
                prop_assert!(now.voters.iter().all(|id| choice.is_fit(*id)), "{:?}", now);
            }
        }
    }
}
