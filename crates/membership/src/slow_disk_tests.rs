//! Voters of which one has a disk that takes longer for a write than the others wait for a leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::wire::WIRE_VERSION;
use protocol::{Copies, Decision, MemberName};

use crate::bootstrap::Standing;
use crate::link::{Answering, Link, LinkError};
use crate::raft_types::{Group, Place, RaftId};
use crate::settings::Settings;
use crate::store::Store;
use crate::store::memory_disk::MemoryDisk;
use crate::supervisor_tests::{PATIENCE, until};
use crate::voter::Voter;

const SETTINGS: Settings = Settings {
    heartbeat_ms: 30,
    election_ms_min: 150,
    election_ms_max: 300,
    snapshot_ms: 5_000,
    snapshot_entries: 1_000,
    kept_entries: 200,
    reopen_ms: 10,
    slots: 16,
};

/// As long as a disk takes in the worst case, in proportion to the time without a leader after which
/// a voter stands for election: twice the longest.
const SYNC: Duration = Duration::from_millis(600);

/// Several writes of the log.
const SLOW_SYNCS: u64 = 8;

type Voters = Arc<Mutex<BTreeMap<MemberName, Arc<Voter>>>>;

struct ToVoters {
    voters: Voters,
    me: MemberName,
}

impl Link for ToVoters {
    fn request<'a>(&'a self, to: &'a MemberName, request: Vec<u8>) -> Answering<'a> {
        Box::pin(async move {
            let voter = self.voters.lock().get(to).cloned();
            let voter = voter.ok_or_else(|| LinkError::Unreachable(to.clone()))?;
            Ok(voter.handle_request(&self.me, &request).await)
        })
    }

    fn speaks(&self, _: &MemberName) -> u8 {
        WIRE_VERSION
    }
}

struct World {
    disks: Vec<MemoryDisk>,
    voters: Vec<Arc<Voter>>,
    /// Those that are reached.
    reached: Voters,
}

impl World {
    async fn of_three() -> Self {
        let disks: Vec<MemoryDisk> = (1..=3).map(MemoryDisk::new).collect();
        let open = |disk: &MemoryDisk| Store::open_on(Box::new(disk.clone()), "shop").unwrap();
        let stores: Vec<Store> = disks.iter().map(open).collect();
        let ids: Vec<RaftId> = stores.iter().map(|store| store.identity().raft_id).collect();
        let names: Vec<MemberName> = ["a", "b", "c"].map(MemberName::from).into();
        let group = Group { generation: 1, founder: ids[0] };
        let founders: BTreeMap<_, _> = ids.into_iter().zip(names.iter().cloned()).collect();
        let (all, mut voters) = (Voters::default(), Vec::new());
        for (store, name) in stores.into_iter().zip(names) {
            let standing = Standing::Founded { group, voters: founders.clone() };
            store.write_standing(standing).unwrap();
            let link = Arc::new(ToVoters { voters: Arc::clone(&all), me: name.clone() });
            let place = Place { name: name.clone(), zone: "".into() };
            let voter = Arc::new(Voter::start(store, place, link, SETTINGS).await.unwrap());
            all.lock().insert(name, Arc::clone(&voter));
            voters.push(voter);
        }
        let begin = Decision::Begin { generation: 1, copies: Copies::All, protocol: WIRE_VERSION };
        voters[0].propose(begin, PATIENCE).await.unwrap();
        Self { disks, voters, reached: all }
    }

    fn leads(&self, voter: usize) -> bool {
        self.voters[voter].status().raft.is_some_and(|raft| raft.is_leader)
    }

    /// Who leads, and since which term.
    async fn leader(&self) -> (usize, u64) {
        let mut leader = None;
        until("one leads, and all know", || {
            let status = |voter: &Arc<Voter>| voter.status().raft;
            let known: Vec<_> = self.voters.iter().filter_map(status).collect();
            let same =
                known.iter().all(|raft| raft.leader.is_some() && raft.leader == known[0].leader);
            leader = (0..3).find(|voter| self.leads(*voter)).map(|voter| (voter, known[0].term));
            known.len() == 3 && same && leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// Has decisions made by way of a voter, one after each sync of the slow one, so many.
    async fn decide_during(&self, via: usize, slow: usize, syncs: u64) {
        let mut done = self.disks[slow].slow_syncs();
        for start in 1..=syncs {
            self.decide(via, start).await;
            until("it syncs", || self.disks[slow].slow_syncs() > done).await;
            done = self.disks[slow].slow_syncs();
        }
    }

    /// Has a decision made by way of that voter, however often it has to be proposed.
    async fn decide(&self, via: usize, start: u64) {
        let decision = Decision::Join {
            name: format!("n{start}").as_str().into(),
            address: "".into(),
            zone: "z".into(),
            start,
            version: WIRE_VERSION,
        };
        let name: MemberName = format!("n{start}").as_str().into();
        let is_made = || {
            let view = self.voters[via].views().borrow().clone();
            view.members.iter().any(|member| member.name == name)
        };
        let decided = tokio::time::timeout(PATIENCE, async {
            while !is_made() {
                let _ = self.voters[via].propose(decision.clone(), SYNC).await;
            }
        });
        assert!(decided.await.is_ok(), "{decision:?} is not made");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_with_a_slow_disk_takes_the_lead_from_nobody() {
    let world = World::of_three().await;
    let before = world.leader().await;
    let (leader, slow) = (before.0, (before.0 + 1) % 3);
    world.disks[slow].set_sync(SYNC);
    world.decide_during(leader, slow, SLOW_SYNCS).await;
    until("it says that its disk is slow", || world.voters[slow].status().trouble.is_some()).await;
    world.disks[slow].set_sync(Duration::ZERO);
    world.decide(leader, SLOW_SYNCS + 1).await;
    until("it has caught up", || {
        *world.voters[slow].views().borrow() == *world.voters[leader].views().borrow()
    })
    .await;
    let (leads, term) = world.leader().await;
    assert_ne!(leads, slow);
    // A busy machine may cost an election; the slow voter would force one with every other write.
    assert!(term <= before.1 + 2, "from term {} to {term}", before.1);
    until("it says so no more", || world.voters[slow].status().trouble.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_does_not_come_back_to_a_slow_disk() {
    let world = World::of_three().await;
    let (slow, term) = world.leader().await;
    world.disks[slow].set_sync(SYNC);
    world.decide_during((slow + 1) % 3, slow, SLOW_SYNCS).await;
    world.disks[slow].set_sync(Duration::ZERO);
    let (leader, after) = world.leader().await;
    assert_ne!(leader, slow);
    // The two others may have stood at the same time, more than once.
    assert!(after <= term + 4, "from term {term} to {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_does_not_say_that_it_leads_until_its_write_is_done() {
    let world = World::of_three().await;
    let (slow, _) = world.leader().await;
    world.disks[slow].set_sync(6 * SYNC);
    world.decide((slow + 1) % 3, 1).await;
    until("the others have another leader", || !world.leads(slow)).await;
    assert_eq!(world.disks[slow].slow_syncs(), 0, "the first write is still under way");
    world.disks[slow].set_sync(Duration::ZERO);
    assert_ne!(world.leader().await.0, slow);
}

/// Tests that nobody holds back for ever: a slow write of long ago keeps no voter from standing for
/// election, although nothing is written while nobody leads, and Raft goes on to name the dead leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_held_back_stand_when_the_leader_is_gone() {
    let world = World::of_three().await;
    let (leader, term) = world.leader().await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let is_slow = |voter: usize| {
        let trouble = world.voters[voter].status().trouble;
        trouble.is_some_and(|trouble| trouble.contains("slow"))
    };
    others.iter().for_each(|other| world.disks[*other].set_sync(SYNC));
    world.decide(leader, 1).await;
    until("both hold back", || others.iter().all(|other| is_slow(*other))).await;
    world.voters[leader].stop().await;
    world.reached.lock().retain(|_, voter| !Arc::ptr_eq(voter, &world.voters[leader]));
    others.iter().for_each(|other| world.disks[*other].set_sync(Duration::ZERO));
    until("one of them leads", || others.iter().any(|other| world.leads(*other))).await;
    let after = others.iter().filter_map(|other| world.voters[*other].status().raft);
    assert!(after.map(|raft| raft.term).max() > Some(term));
}
