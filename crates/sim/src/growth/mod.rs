//! What a cluster costs, by how many members it has: messages and bytes for each write, what each
//! node holds, and what it sends while nobody asks for anything.
//!
//! Up to hundreds of members, each with all of its shards, over a network without faults. Sessions
//! and writes are in proportion to the members, so whatever a node has more of in a larger cluster
//! it has because of the others. Nothing is checked here; the storms do that.
//!
//! ```text
//! cluster  the machines, and the queue of what happens next
//! load     visitors who write
//! traffic  the frames that were sent, by what they are for
//! ```

mod cluster;
mod load;
mod traffic;

use protocol::Copies;
use protocol::limits::REPAIR_INTERVAL_MS;

use cluster::Cluster;
use load::Visits;
use traffic::Flow;

/// Time for the first comparisons, in milliseconds.
const FIRST_MS: u64 = 1_000;

/// Time in which the sessions are made, in milliseconds.
pub(crate) const FOUNDING_MS: u64 = 1_000;

/// Time for what is on its way to arrive, in milliseconds.
const REST_MS: u64 = 1_000;

/// What is measured. All of it but `members` is for each member.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Members of the cluster.
    pub members: usize,
    /// How many of them hold each session.
    pub held_by: Copies,
    /// Sessions for each member.
    pub sessions: usize,
    /// Writes for each member in a second.
    pub writes_per_second: u64,
    /// Bytes of each of a session's registers, of which a write sets one.
    pub value_bytes: usize,
    /// Within what time links are made, in simulated milliseconds: in less than the interval of
    /// comparisons these come in waves, and a short span meets too many of them or too few.
    pub start_ms: u64,
    /// How long visitors write, in simulated milliseconds: once each from where they are, once each
    /// from anywhere.
    pub load_ms: u64,
    /// How long nobody asks for anything, in simulated milliseconds.
    pub idle_ms: u64,
}

impl Plan {
    /// What `docs/testing.md` shows.
    #[must_use]
    pub const fn new(members: usize, held_by: Copies) -> Self {
        Self {
            members,
            held_by,
            sessions: 50,
            writes_per_second: 5,
            value_bytes: 100,
            start_ms: REPAIR_INTERVAL_MS,
            load_ms: 6_000,
            idle_ms: 30_000,
        }
    }
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Members of the cluster.
    pub members: usize,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Requests that were not served, or acknowledged by too few.
    pub refused: u64,
    /// Frames of deltas, acks, fetches and forwarded edits for a write, if each visitor stays at a
    /// node that holds the session.
    pub staying: Rate,
    /// The same if each request goes to any node.
    pub roaming: Rate,
    /// What a node holds.
    pub held: Held,
    /// Heartbeats that a node sends in a second while nobody asks for anything.
    pub idle_heartbeats: Rate,
    /// Frames of comparisons that a node sends in a second then.
    pub idle_repair: Rate,
    /// Everything else that a node sends in a second then.
    pub idle_live: Rate,
}

/// Frames for each of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many.
    pub messages: f64,
    /// Their bytes, with the length before each, before QUIC.
    pub bytes: f64,
}

/// Copies at a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Sessions that a node holds, on average.
    pub sessions_mean: f64,
    /// Those of the node that holds the most.
    pub sessions_max: usize,
    /// Bytes that a node counts for them, on average.
    pub bytes_mean: f64,
    /// Those of the node that counts the most.
    pub bytes_max: usize,
}

/// Runs a cluster from its start to its rest.
#[must_use]
pub fn measure(plan: &Plan, seed: u64) -> Figures {
    let mut cluster = Cluster::new(plan, seed);
    cluster.run_for(plan.start_ms + FIRST_MS);
    cluster.found();
    cluster.run_for(FOUNDING_MS + REST_MS);
    let (staying, first) = load(&mut cluster, plan, Visits::Stay);
    let (roaming, second) = load(&mut cluster, plan, Visits::Roam);
    let held = held(&cluster);
    let before = cluster.traffic;
    cluster.run_for(plan.idle_ms);
    let after = cluster.traffic;
    let a_second = plan.members as f64 * plan.idle_ms as f64 / 1_000.0;
    Figures {
        members: plan.members,
        writes: first + second,
        refused: cluster.visitors.refused,
        staying: staying.per(first as f64),
        roaming: roaming.per(second as f64),
        held,
        idle_heartbeats: (after.heartbeats - before.heartbeats).per(a_second),
        idle_repair: (after.repair - before.repair).per(a_second),
        idle_live: (after.live - before.live).per(a_second),
    }
}

/// What is sent because of a load until all of it has arrived, and how many writes were
/// acknowledged.
fn load(cluster: &mut Cluster, plan: &Plan, visits: Visits) -> (Flow, u64) {
    let (before, writes) = (cluster.traffic.live, cluster.visitors.writes);
    cluster.begin_load(visits);
    cluster.run_for(plan.load_ms);
    cluster.end_load();
    cluster.run_for(REST_MS);
    (cluster.traffic.live - before, cluster.visitors.writes - writes)
}

fn held(cluster: &Cluster) -> Held {
    let held: Vec<(usize, usize)> = cluster.held().collect();
    let mean = |sum: usize| sum as f64 / held.len().max(1) as f64;
    Held {
        sessions_mean: mean(held.iter().map(|(sessions, _)| sessions).sum()),
        sessions_max: held.iter().map(|(sessions, _)| *sessions).max().unwrap_or(0),
        bytes_mean: mean(held.iter().map(|(_, bytes)| bytes).sum()),
        bytes_max: held.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use protocol::limits::NEIGHBOURS_A_SIDE;

    use super::*;

    fn small(members: usize, held_by: Copies) -> Plan {
        let (start_ms, load_ms, idle_ms) = (200, 1_000, 2_000);
        Plan { sessions: 20, start_ms, load_ms, idle_ms, ..Plan::new(members, held_by) }
    }

    fn near(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 0.02
    }

    #[test]
    fn a_node_of_many_writes_and_holds_what_a_node_of_few_does() {
        for (backups, sizes) in [(1, [4, 8]), (2, [5, 20])] {
            let held_by = NonZeroU16::new(backups + 1).map_or(Copies::All, Copies::Count);
            let [few, many] = sizes.map(|members| measure(&small(members, held_by), 1));
            let expected = f64::from(2 * backups);
            for figures in [few, many] {
                assert!(near(figures.staying.messages, expected), "{figures:?}");
                assert!(near(figures.held.sessions_mean, f64::from(20 * (backups + 1))));
                assert!(figures.roaming.messages <= expected + 5.0, "{figures:?}");
                assert_eq!((figures.refused, figures.idle_live.messages), (0, 0.0));
            }
            assert!(near(few.staying.bytes, many.staying.bytes), "{few:?} {many:?}");
            assert!(near(few.held.bytes_mean, many.held.bytes_mean), "{few:?} {many:?}");
        }
    }

    #[test]
    fn where_every_member_holds_all_a_write_costs_two_messages_for_each() {
        for members in [3, 9] {
            let figures = measure(&small(members, Copies::All), 1);
            let others = (members - 1) as f64;
            assert!(near(figures.staying.messages, 2.0 * others), "{figures:?}");
            assert!(near(figures.held.sessions_mean, 20.0 * members as f64), "{figures:?}");
        }
    }

    /// Tests rule D1: twice a second to each other member, if there are few, and to so many.
    #[test]
    fn heartbeats_go_to_neighbours_and_to_nobody_else() {
        let two = NonZeroU16::new(2).map_or(Copies::All, Copies::Count);
        for members in [2, 8, 17, 30] {
            let plan = Plan { sessions: 5, ..small(members, two) };
            let figures = measure(&plan, 1);
            let neighbours = (members - 1).min(2 * NEIGHBOURS_A_SIDE) as f64;
            assert!(near(figures.idle_heartbeats.messages, 2.0 * neighbours), "{figures:?}");
        }
    }

    #[test]
    fn the_same_seed_has_the_same_figures() {
        let plan = small(6, Copies::All);
        assert_eq!(measure(&plan, 7), measure(&plan, 7));
        assert_ne!(measure(&plan, 7), measure(&plan, 8));
    }
}
