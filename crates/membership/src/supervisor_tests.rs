//! A voter whose disk is full, and one whose disk comes back damaged.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Copies, Decision, MemberName};

use crate::bootstrap::Standing;
use crate::link::{Answering, Link, LinkError};
use crate::raft_types::{Group, Place};
use crate::settings::Settings;
use crate::store::Store;
use crate::store::memory_disk::{Fate, MemoryDisk};
use crate::voter::{StartError, Voter};

const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(300);

struct Nobody;

impl Link for Nobody {
    fn request<'a>(&'a self, to: &'a MemberName, _: Vec<u8>) -> Answering<'a> {
        Box::pin(async { Err(LinkError::Unreachable(to.clone())) })
    }
}

async fn alone(disk: &MemoryDisk) -> Voter {
    let store = Store::open_on(Box::new(disk.clone()), "shop").unwrap();
    let founder = store.identity().raft_id;
    store.write_standing(Standing::Inside(Group { generation: 1, founder })).unwrap();
    let settings = Settings { heartbeat_ms: 20, reopen_ms: 10, slots: 16, ..Settings::default() };
    let settings = Settings { election_ms_min: 60, election_ms_max: 120, ..settings };
    let voter = Voter::start(store, Place::default(), Arc::new(Nobody), settings).await.unwrap();
    let begin = Decision::Begin { generation: 1, copies: Copies::All };
    voter.propose(begin, PATIENCE).await.unwrap();
    voter
}

fn join(start: u64) -> Decision {
    Decision::Join { name: "n1".into(), zone: "z".into(), start }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let reached = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            looks.tick().await;
        }
    });
    assert!(reached.await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_voter_without_space_stops_voting_and_votes_again_when_there_is_some() {
    let disk = MemoryDisk::new(3);
    let voter = alone(&disk).await;
    let first = voter.propose(join(1), PATIENCE).await.unwrap();
    disk.set_fate(Fate::Full);
    assert!(voter.propose(join(2), IMPATIENCE).await.is_err());
    until("it does not run", || voter.status().raft.is_none()).await;
    assert!(voter.status().trouble.is_some());
    assert_eq!(voter.views().borrow().epoch, first, "the view stays as it was");
    disk.set_fate(Fate::Well);
    let second = voter.propose(join(3), PATIENCE).await.unwrap();
    assert!(second > first);
    assert_eq!(voter.views().borrow().epoch, second);
    assert_eq!(voter.status().trouble, None);
}

#[tokio::test]
async fn a_voter_whose_disk_comes_back_damaged_does_not_vote_again() {
    let disk = MemoryDisk::new(4);
    let voter = alone(&disk).await;
    disk.set_fate(Fate::Full);
    assert!(voter.propose(join(1), IMPATIENCE).await.is_err());
    until("it does not run", || voter.status().raft.is_none()).await;
    disk.set_database_bytes(vec![7; 9_000]);
    disk.set_fate(Fate::Well);
    let told = || voter.status().trouble.is_some_and(|what| what.contains("Move its directory"));
    until("it says what to do", told).await;
    assert_eq!(voter.status().raft, None);
    voter.stop().await;
}

#[tokio::test]
async fn a_node_that_is_in_no_cluster_is_no_voter() {
    let store = Store::open_on(Box::new(MemoryDisk::new(5)), "shop").unwrap();
    let started = Voter::start(store, Place::default(), Arc::new(Nobody), Settings::default());
    assert!(matches!(started.await, Err(StartError::Outside)));
}
