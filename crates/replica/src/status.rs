//! A picture of this node for people and pages: who it is, whom it sees, what it holds, what has
//! happened. Nothing in it is secret.

use std::collections::BTreeMap;

use protocol::{Counters, Member};
use serde::Serialize;

use crate::agreement::Agreement;
use crate::driver::Driver;
use crate::links::{Agreed, member_name};
use crate::meters::MeterStatus;
use crate::network::NetworkStatus;
use crate::replica::Replica;

/// This node at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// Number of this start of its process, greater than that of every earlier start; 0 before it
    /// is a member.
    pub inc: u64,
    /// `ok`, `draining`, or why it cannot serve every session yet.
    pub health: String,
    /// Who is a member, sorted by name.
    pub members: Vec<MemberStatus>,
    /// Index of the decision that made the present view; 0 before there is one.
    pub epoch: u64,
    /// Which cluster under its name: grows only when membership is made anew after a disaster.
    pub generation: u64,
    /// The layouts in force, by the epochs that began them, the oldest first: one; more while members
    /// catch up. Whoever counts them sees how often copies had to move.
    pub layouts: Vec<u64>,
    /// True while members catch up with what they are to hold from now on.
    pub is_in_transition: bool,
    /// Version of the wire that all members speak.
    pub protocol: u8,
    /// The latest that all of them could speak: `replica-node upgrade` makes it that one.
    pub protocol_possible: u8,
    /// The Raft group that agrees on the members, where they are agreed on.
    pub group: Option<String>,
    /// Who decides.
    pub voters: Vec<String>,
    /// Who leads them, as far as is known.
    pub leader: Option<String>,
    /// Why this node's Raft does not run, if it should.
    pub raft_trouble: Option<String>,
    /// The other nodes that there are links with, or should be.
    pub peers: Vec<PeerStatus>,
    /// Living sessions that it holds.
    pub sessions: usize,
    /// Ended sessions that it remembers.
    pub tombstones: usize,
    /// Bytes of both.
    pub bytes: usize,
    /// Requests that wait for a copy, for acknowledgements, for another node.
    pub waiting: [usize; 3],
    /// How well this process is itself, from 1, which is well, to 8: it bears the silence of others
    /// so many times as long as usual, because what it hears comes late.
    pub local_health: u64,
    /// True while this machine's clock is taken to be wrong.
    pub clock_fault: bool,
    /// By how much the machine's wall clock is ahead of the time that this node goes by, in
    /// milliseconds: one that is far off is not followed where the others know better.
    pub wall_ahead_ms: i64,
    /// What happened in the protocol, by name, summed over all shards.
    pub counters: BTreeMap<&'static str, u64>,
    /// What happened beside it.
    pub meters: MeterStatus,
    /// What came over the network.
    pub network: NetworkStatus,
    /// What was heard that only the trial of a next release says.
    #[cfg(feature = "next")]
    pub trials: u64,
}

/// A member of the view.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Number of its process in the view.
    pub inc: Option<u64>,
    /// Where the others reach it; empty where the configuration says so.
    pub address: String,
    /// Its zone; empty if it names none.
    pub zone: String,
    /// True while it hands over what it holds, to leave.
    pub leaving: bool,
    /// Latest version of the wire that its process speaks.
    pub version: u8,
}

/// Another member, seen from this node.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Where it is expected.
    pub address: String,
    /// Number of the start of its process; `None` before it was first heard of.
    pub inc: Option<u64>,
    /// True if it answers.
    pub reachable: bool,
    /// Why there is no link, if that is known.
    pub error: Option<String>,
    /// Sessions that it lacks something of, as far as this node knows.
    pub lag_sessions: usize,
    /// 4096ths of all sessions of which it may lack anything.
    pub lag_slots: usize,
    /// By how much its clock is ahead, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Round trip time, in microseconds.
    pub rtt_us: Option<u64>,
}

impl Replica {
    /// A picture of this node, for pages and for people.
    #[must_use]
    pub fn status(&self) -> Status {
        let driver = &self.shared.driver;
        let mut counters = Counters::default();
        let (mut sessions, mut tombstones, mut bytes, mut waiting) = (0, 0, 0, [0; 3]);
        driver.each(|node| {
            sessions += node.store().sessions();
            tombstones += node.store().tombstones();
            bytes += node.store().bytes();
            let (loads, commits, forwards) = node.waiting();
            waiting = [waiting[0] + loads, waiting[1] + commits, waiting[2] + forwards];
            add(&mut counters, node.counters());
        });
        let progress = self.shared.agreement.as_ref().map(Agreement::progress).unwrap_or_default();
        let (view, local_health, clock_fault) = {
            let Agreed { view, liveness, .. } = &*driver.links.agreed();
            (view.clone(), liveness.local_health(), liveness.has_clock_fault())
        };
        Status {
            members: view.members.iter().map(MemberStatus::of).collect(),
            epoch: view.epoch,
            generation: view.generation,
            layouts: view.layouts.iter().map(|layout| layout.epoch).collect(),
            is_in_transition: view.next_layout().is_some(),
            protocol: driver.links.protocol(),
            protocol_possible: view.possible_protocol(),
            group: progress.group,
            voters: progress.voters.iter().map(ToString::to_string).collect(),
            leader: progress.leader.map(|leader| leader.to_string()),
            raft_trouble: progress.trouble,
            name: self.shared.name.to_string(),
            cluster: self.shared.config.cluster().name.to_string(),
            inc: driver.own_inc().map_or(0, |inc| inc.0),
            health: self.health().to_string(),
            peers: peers(driver),
            sessions,
            tombstones,
            bytes,
            waiting,
            local_health,
            clock_fault,
            wall_ahead_ms: driver.clock.wall_ahead_ms(),
            counters: named(&counters),
            meters: driver.meters.snapshot(),
            network: NetworkStatus::of(&driver.endpoint.counters()),
            #[cfg(feature = "next")]
            trials: driver.trials.value(),
        }
    }
}

impl MemberStatus {
    fn of(member: &Member) -> Self {
        Self {
            name: member.name.to_string(),
            inc: member.inc.map(|inc| inc.0),
            address: member.address.to_string(),
            zone: member.zone.0.to_string(),
            leaving: member.leaving,
            version: member.version,
        }
    }
}

fn peers(driver: &Driver) -> Vec<PeerStatus> {
    let mut lags = BTreeMap::new();
    driver.each(|node| {
        for lag in node.lags() {
            let (sessions, slots, reachable) = lags.entry(lag.peer).or_insert((0, 0, true));
            *sessions += lag.sessions;
            *slots += lag.slots;
            *reachable &= lag.reachable;
        }
    });
    let agreed = driver.links.agreed();
    let offsets: BTreeMap<_, _> = agreed.liveness.offsets().collect();
    let picture = |peer: transport::PeerStatus| {
        let name = member_name(&peer.name);
        let inc = agreed.view.members.iter().find(|m| m.name == name).and_then(|m| m.inc);
        let (lag_sessions, lag_slots, reachable) =
            inc.and_then(|inc| lags.get(&inc).copied()).unwrap_or((0, 0, false));
        PeerStatus {
            name: peer.name.to_string(),
            address: peer.address.unwrap_or_default(),
            inc: inc.map(|inc| inc.0),
            reachable: reachable && peer.up,
            error: peer.last_error,
            lag_sessions,
            lag_slots,
            clock_offset_ms: offsets.get(&name).copied(),
            rtt_us: peer.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        }
    };
    driver.endpoint.status().into_iter().map(picture).collect()
}

macro_rules! counters {
    ($($name:ident),+ $(,)?) => {
        fn add(sum: &mut Counters, shard: &Counters) {
            $(sum.$name += shard.$name;)+
        }

        fn named(sum: &Counters) -> BTreeMap<&'static str, u64> {
            [$((stringify!($name), sum.$name)),+].into()
        }
    };
}

counters!(
    batches_sent,
    deltas_sent,
    deltas_applied,
    batches_resent,
    gaps,
    tombs_pushed,
    dead_on_arrival,
    skew_refused,
    slots_degraded,
    slots_recovered,
    loads,
    fetches_repeated,
    unavailable,
    writes_lost,
    forwarded,
    forwards_repeated,
    forwards_refused,
    rounds,
    rounds_failed,
    repaired,
    expired,
    evicted,
    ended,
    created,
    violations,
    answers_dropped,
    strangers,
    views,
    not_owned,
    fenced,
    unsealed,
    handed_over,
    losses_accepted,
    repair_bytes,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_of_the_protocol_is_forgotten() {
        let all = format!("{:?}", Counters::default());
        let names = named(&Counters::default());
        assert_eq!(all.matches(": 0").count(), names.len(), "{all}");
    }
}
