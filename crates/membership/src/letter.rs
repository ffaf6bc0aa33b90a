//! What nodes tell each other of membership, whether they vote or not: how they stand, which view
//! they know, whom they suspect; and the requests of Raft with their answers. All of it goes over
//! one lane, and any of it may be lost: news is told again and again, charts are asked for again.

use std::collections::{BTreeMap, BTreeSet};

use protocol::limits::LAYOUTS_MAX;
use protocol::{Layout, Member, MemberName, View};
use serde::{Deserialize, Serialize};
use session::Inc;

use crate::bootstrap::{Claimant, Introduction, Standing};
use crate::raft_types::{Group, Place, RaftId};
use crate::wire;

/// One thing that is said to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Letter {
    /// How the sender stands.
    News(News),
    /// The chart, please.
    WantChart,
    /// The latest that the sender knows of the cluster.
    Chart(Box<Chart>),
    /// A request of Raft, or of a node that has something decided.
    Ask {
        /// Number of the question, counted by who asks.
        number: u64,
        /// For [`Voter::handle_request`](crate::Voter::handle_request).
        request: Vec<u8>,
    },
    /// The answer to the question of that number.
    Answer {
        /// Number of the question.
        number: u64,
        /// What was answered.
        answer: Vec<u8>,
    },
}

/// How a node stands. Told to every node that there is a link with at once when it changes, and
/// again at an interval: a short one to those who go by its silence, a long one to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Its Raft directory and how that stands; `None` without one: it cannot vote.
    pub directory: Option<(RaftId, Standing)>,
    /// The chart that it knows.
    pub seen: Option<Seen>,
    /// Members that do not answer it.
    pub suspects: BTreeSet<Inc>,
    /// True if it is a voter and leads.
    pub leads: bool,
}

impl News {
    /// As said by the node of that name at the start of a cluster; `None` if it cannot vote.
    #[must_use]
    pub fn introduction(&self, name: MemberName) -> Option<Introduction> {
        let (raft_id, standing) = self.directory.clone()?;
        Some(Introduction { from: Claimant { name, raft_id }, standing })
    }
}

/// Which chart a node knows. The greater is the later, within one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// Of which Raft group; of two groups of one cluster the one of the later generation goes on.
    pub group: Group,
    /// The epoch of its view.
    pub epoch: u64,
    /// Index of the entry of the log that made the voters what they are.
    pub voters_at: u64,
}

/// What a node has to know of its cluster: who is a member, and who makes the decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart {
    /// The Raft group that agrees on it.
    pub group: Group,
    /// The view.
    pub view: View,
    /// Who votes.
    pub voters: BTreeMap<RaftId, Place>,
    /// Index of the entry of the log that made them voters.
    pub voters_at: u64,
}

impl Chart {
    /// Which chart this is.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        Seen { group: self.group, epoch: self.view.epoch, voters_at: self.voters_at }
    }

    /// Whether a node that goes by this chart believes another one of `group`, told by that member.
    /// While it hears the leader of this group it believes voters of this group only, and of no
    /// other group; otherwise anybody: the voters of now may all be new to it, or lost.
    #[must_use]
    pub fn believes(&self, teller: &MemberName, group: Group, hears_leader: bool) -> bool {
        !hears_leader || group == self.group && self.is_voter(teller)
    }

    /// Whether the member of that name votes.
    #[must_use]
    pub fn is_voter(&self, name: &MemberName) -> bool {
        self.voters.values().any(|place| place.name == *name)
    }

    /// False for what no voter has ever said: a view out of order or out of bounds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let View { generation, epoch, members, layouts, losses, protocol } = &self.view;
        let in_order = |members: &[Member]| {
            members.len() as u64 <= Inc::MEMBERS_MAX
                && members.is_sorted_by(|a, b| a.name < b.name)
                && members.iter().all(|member| member.inc.is_some_and(|inc| inc.0 <= *epoch))
        };
        let fits = |layout: &Layout| layout.epoch <= *epoch && in_order(&layout.members);
        *generation > 0
            && *protocol > 0
            && in_order(members)
            && layouts.len() <= LAYOUTS_MAX
            && layouts.is_sorted_by(|a, b| a.epoch < b.epoch)
            && layouts.iter().all(fits)
            && losses.values().all(|at| at <= epoch)
            && !self.voters.is_empty()
    }
}

impl Letter {
    /// As bytes, in a version of the wire that the other end of the link speaks, from
    /// `WIRE_VERSION_MIN` on.
    #[must_use]
    pub fn to_bytes(&self, version: u8) -> Vec<u8> {
        wire::encode(version, self)
    }

    /// From bytes; `None` if they are no letter in any version that this release speaks.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use protocol::wire::WIRE_VERSION;
    use protocol::{Copies, Decision, Roster, Rules};

    use super::*;

    const GROUP: Group = Group { generation: 1, founder: RaftId(7) };

    fn chart() -> Chart {
        let mut roster = Roster::new(16, Rules::default());
        let join = |name: &str| Decision::Join {
            name: name.into(),
            address: "127.0.0.1:7001".into(),
            zone: "z".into(),
            start: 5,
            version: WIRE_VERSION,
        };
        let decisions = [
            Decision::Begin { generation: 1, copies: Copies::All, protocol: WIRE_VERSION },
            join("a"),
            join("b"),
        ];
        for (decision, index) in decisions.iter().zip(1..) {
            roster.apply(index, decision).unwrap();
        }
        let place = Place { name: "a".into(), zone: "z".into() };
        let voters = BTreeMap::from([(RaftId(7), place)]);
        Chart { group: GROUP, view: roster.view().clone(), voters, voters_at: 1 }
    }

    #[test]
    fn what_is_said_is_understood_and_cut_short_it_is_not() {
        let news = News {
            directory: Some((RaftId(u64::MAX), Standing::Inside(GROUP))),
            seen: Some(chart().seen()),
            suspects: [Inc(3)].into(),
            leads: true,
        };
        for letter in [
            Letter::News(news),
            Letter::WantChart,
            Letter::Chart(Box::new(chart())),
            Letter::Ask { number: 3, request: vec![1, 2] },
            Letter::Answer { number: 3, answer: Vec::new() },
        ] {
            let bytes = letter.to_bytes(WIRE_VERSION);
            assert_eq!(Letter::from_bytes(&bytes), Some(letter));
            for length in 0..bytes.len() {
                assert_eq!(Letter::from_bytes(&bytes[..length]), None);
            }
            assert_eq!(Letter::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn while_the_leader_is_heard_voters_alone_are_believed_and_no_other_group() {
        let (voter, other) = ("a".into(), "b".into());
        let later = Group { generation: 2, ..GROUP };
        let believes = |teller, group, hears_leader| chart().believes(teller, group, hears_leader);
        assert!(believes(&voter, GROUP, true));
        assert!(!believes(&other, GROUP, true));
        assert!(!believes(&voter, later, true));
        for (teller, group) in [(&voter, GROUP), (&voter, later), (&other, GROUP), (&other, later)]
        {
            assert!(believes(teller, group, false));
        }
    }

    #[test]
    fn a_chart_out_of_order_is_not_sound() {
        assert!(chart().is_sound());
        let spoilt: [fn(&mut Chart); 8] = [
            |chart| chart.view.generation = 0,
            |chart| chart.view.members.reverse(),
            |chart| chart.view.members.push(chart.view.members[1].clone()),
            |chart| chart.view.members[0].inc = None,
            |chart| chart.view.members[0].inc = Some(Inc(4)),
            |chart| chart.view.layouts.reverse(),
            |chart| chart.view.layouts[0].epoch = 4,
            |chart| chart.voters.clear(),
        ];
        for (number, spoil) in spoilt.iter().enumerate() {
            let mut chart = chart();
            assert_eq!(chart.view.layouts.len(), 2);
            spoil(&mut chart);
            assert!(!chart.is_sound(), "{number}");
        }
    }

    #[test]
    fn the_later_chart_is_the_greater() {
        let seen = chart().seen();
        assert!(Seen { epoch: 4, voters_at: 0, ..seen } > seen);
        assert!(Seen { voters_at: 2, ..seen } > seen);
        let recovered = Group { generation: 2, founder: RaftId(1) };
        assert!(Seen { group: recovered, epoch: 0, voters_at: 0 } > seen);
    }
}
