//! A voter whose disk is full, or comes back damaged, and what it refuses to hear.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use openraft::{CommittedLeaderId, EntryPayload};
use protocol::wire::WIRE_VERSION;
use protocol::{Copies, Decision, MemberName};

use crate::bootstrap::Standing;
use crate::link::{Answering, Link, LinkError};
use crate::raft_types::{Entry, Group, LogId, Place, RaftId, Vote};
use crate::settings::Settings;
use crate::store::Store;
use crate::store::memory_disk::{Fate, MemoryDisk};
use crate::voter::{StartError, Voter};
use crate::wire::{self, Answer, Header, Refusal, Request};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(300);

struct Nobody;

impl Link for Nobody {
    fn request<'a>(&'a self, to: &'a MemberName, _: Vec<u8>) -> Answering<'a> {
        Box::pin(async { Err(LinkError::Unreachable(to.clone())) })
    }

    fn speaks(&self, _: &MemberName) -> u8 {
        WIRE_VERSION
    }
}

fn open(disk: &MemoryDisk) -> Store {
    Store::open_on(Box::new(disk.clone()), "shop").unwrap()
}

async fn alone(disk: &MemoryDisk) -> Voter {
    start(open(disk)).await
}

async fn start(store: Store) -> Voter {
    let founder = store.identity().raft_id;
    store.write_standing(Standing::Inside(Group { generation: 1, founder })).unwrap();
    let settings = Settings { heartbeat_ms: 20, reopen_ms: 10, slots: 16, ..Settings::default() };
    let settings = Settings { election_ms_min: 60, election_ms_max: 120, ..settings };
    let voter = Voter::start(store, Place::default(), Arc::new(Nobody), settings).await.unwrap();
    let begin = Decision::Begin { generation: 1, copies: Copies::All, protocol: WIRE_VERSION };
    voter.propose(begin, PATIENCE).await.unwrap();
    voter
}

fn join(start: u64) -> Decision {
    Decision::Join {
        name: "n1".into(),
        address: "".into(),
        zone: "z".into(),
        start,
        version: WIRE_VERSION,
    }
}

pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
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
async fn a_voter_whose_directory_was_made_over_does_not_run_on() {
    let disk = MemoryDisk::new(8);
    let store = open(&disk);
    let voter = start(store.clone()).await;
    store.enter(Group { generation: 2, founder: RaftId(9) }).unwrap();
    let told = || voter.status().trouble.is_some_and(|what| what.contains("another voter"));
    let _ = voter.propose(join(1), IMPATIENCE).await;
    until("it says why", told).await;
    assert_eq!(voter.status().raft, None);
    voter.stop().await;
}

#[tokio::test]
async fn what_is_meant_for_another_or_makes_no_sense_does_not_reach_raft() {
    let voter = alone(&MemoryDisk::new(6)).await;
    let (me, group) = (voter.status().raft_id, voter.group());
    let header = Header { group, from: RaftId(9), to: me };
    let mine = Header { from: me, ..header };
    let entry = |index| Entry {
        log_id: LogId { leader_id: CommittedLeaderId::new(9, RaftId(9)), index },
        payload: EntryPayload::Blank,
    };
    let append = |entries| {
        let vote = Vote::new_committed(0, RaftId(9));
        let (prev_log_id, leader_commit) = (None, None);
        Request::Append(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
    };
    let other = Group { generation: 2, ..group };
    let earlier = Group { generation: 0, ..group };
    let cases = [
        (Header { group: earlier, ..header }, append(vec![]), Some(Refusal::Outdated)),
        (Header { group: other, ..header }, append(vec![]), Some(Refusal::Group)),
        (Header { to: RaftId(8), ..header }, append(vec![]), Some(Refusal::Addressee)),
        (mine, append(vec![]), Some(Refusal::Sender)),
        (header, append(vec![entry(0), entry(2)]), Some(Refusal::Undecodable)),
        (header, append(vec![entry(u64::MAX)]), Some(Refusal::Undecodable)),
        (header, append(vec![entry(0)]), None),
    ];
    for (header, request, refusal) in cases {
        let answer = voter
            .handle_request(&"n9".into(), &wire::encode(WIRE_VERSION, &(header, request)))
            .await;
        let refused = match wire::decode(&answer).unwrap() {
            Answer::Refused(refusal) => Some(refusal),
            Answer::Append(_) | Answer::Vote(_) | Answer::Snapshot { .. } | Answer::Proposed(_) => {
                None
            }
        };
        assert_eq!(refused, refusal);
    }
    voter.propose(join(1), PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_in_no_cluster_is_no_voter() {
    let store = Store::open_on(Box::new(MemoryDisk::new(5)), "shop").unwrap();
    let started = Voter::start(store, Place::default(), Arc::new(Nobody), Settings::default());
    assert!(matches!(started.await, Err(StartError::Outside)));
}
