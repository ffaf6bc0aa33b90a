//! A voter's process ends at each write it makes, or finds no space there. What it has answered is
//! still so afterwards: no entry is lost, no vote goes back, the log has no hole.

use openraft::{CommittedLeaderId, EntryPayload};
use protocol::{Decision, Roster, Rules};

use super::memory_disk::{Fate, MemoryDisk};
use super::*;
use crate::raft_types::Group;

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term, RaftId(1)), index }
}

pub(super) fn entry(term: u64, index: u64) -> Entry {
    let decision = Decision::Join {
        name: "n1".into(),
        address: "".into(),
        zone: "z".into(),
        start: index,
        version: protocol::wire::WIRE_VERSION,
    };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(decision) }
}

pub(super) fn snapshot(term: u64, index: u64) -> Snapshot {
    let meta = SnapshotMeta { last_log_id: Some(log_id(term, index)), ..SnapshotMeta::default() };
    Snapshot { meta, roster: Roster::new(16, Rules::default()) }
}

/// What a store has answered so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answered {
    inside: bool,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    snapshot: Option<LogId>,
    entries: Vec<LogId>,
}

impl Answered {
    pub(super) fn of(store: &Store) -> Self {
        let entries = store.entries(..).unwrap();
        Self {
            inside: store.identity().standing.group().is_some(),
            vote: store.vote().unwrap(),
            committed: store.committed().unwrap(),
            purged: store.purged().unwrap(),
            snapshot: store.snapshot().unwrap().and_then(|kept| kept.meta.last_log_id),
            entries: entries.iter().map(|entry| entry.log_id).collect(),
        }
    }
}

type Act = fn(&Store) -> Result<(), StoreError>;

/// The life of a voter, in the order in which openraft would have it.
pub(super) const LIFE: [Act; 13] = [
    |store| store.write_standing(Standing::Inside(Group { generation: 1, founder: RaftId(1) })),
    |store| store.append(&[entry(0, 0)]),
    |store| store.write_vote(&Vote::new(1, RaftId(1))),
    |store| store.write_vote(&Vote::new_committed(1, RaftId(1))),
    |store| store.append(&[entry(1, 1), entry(1, 2), entry(1, 3), entry(1, 4)]),
    |store| store.write_committed(Some(&log_id(1, 2))),
    |store| store.write_vote(&Vote::new(3, RaftId(2))),
    |store| store.truncate(3),
    |store| store.append(&[entry(3, 3), entry(3, 4)]),
    |store| store.write_snapshot(&snapshot(3, 3)),
    |store| store.purge(&log_id(1, 2)),
    |store| store.append(&[entry(3, 5)]),
    |store| store.write_committed(Some(&log_id(3, 4))),
];

pub(super) fn open(disk: &MemoryDisk) -> Result<Store, OpenError> {
    Store::open_on(Box::new(disk.clone()), "shop")
}

/// Lives until something fails; returns what was answered, and what would have been next.
fn live(store: &Store, acts: &[Act]) -> usize {
    acts.iter().take_while(|act| act(store).is_ok()).count()
}

/// What is answered after each act, and how many writes a whole life makes.
fn whole_life() -> (Vec<Answered>, u64) {
    let disk = MemoryDisk::new(0);
    let store = open(&disk).unwrap();
    let mut states = vec![Answered::of(&store)];
    for act in LIFE {
        act(&store).unwrap();
        states.push(Answered::of(&store));
    }
    (states, disk.writes())
}

#[test]
fn a_crash_at_any_write_loses_nothing_that_was_answered() {
    let (states, writes) = whole_life();
    assert!(writes > 50, "{writes}");
    for seed in 0..6 {
        for survived in 0..writes + 2 {
            let disk = MemoryDisk::new(seed * 10_000 + survived);
            disk.set_fate(Fate::DeadAfter(survived));
            let before = open(&disk).ok();
            let done = before.as_ref().map_or(0, |store| live(store, &LIFE));
            let raft_id = before.as_ref().map(|store| store.identity().raft_id);
            drop(before);
            disk.crash();
            let after = open(&disk);
            let after = after.unwrap_or_else(|error| panic!("{survived}, seed {seed}: {error}"));
            let found = Answered::of(&after);
            let last = (done + 1).min(states.len() - 1);
            let expected = &states[done..=last];
            assert!(expected.contains(&found), "{survived}, seed {seed}: {found:?}");
            assert!(raft_id.is_none_or(|id| id == after.identity().raft_id));
            // And it goes on from there.
            let next = if found == states[done] { done } else { done + 1 };
            assert_eq!(live(&after, &LIFE[next..]), LIFE.len() - next);
            assert_eq!(Some(&Answered::of(&after)), states.last());
        }
    }
}

#[test]
fn without_space_there_are_errors_and_with_space_it_goes_on() {
    let (states, _) = whole_life();
    for done in 0..LIFE.len() {
        let disk = MemoryDisk::new(done as u64);
        let store = open(&disk).unwrap();
        assert_eq!(live(&store, &LIFE[..done]), done);
        disk.set_fate(Fate::Full);
        assert!(LIFE[done](&store).is_err());
        assert!(
            matches!(store.vote(), Err(StoreError::Closed)),
            "nothing is read that may be gone"
        );
        assert!(matches!(store.reopen(), Err(OpenError::Io { .. })), "still no space");
        disk.set_fate(Fate::Well);
        store.reopen().unwrap();
        assert_eq!(Answered::of(&store), states[done]);
        assert_eq!(live(&store, &LIFE[done..]), LIFE.len() - done);
        assert_eq!(Some(&Answered::of(&store)), states.last());
    }
}

#[test]
fn what_a_run_has_left_behind_does_not_write_into_the_next() {
    let disk = MemoryDisk::new(0);
    let store = open(&disk).unwrap();
    let first = store.for_one_run();
    first.write_vote(&Vote::new(1, RaftId(1))).unwrap();
    store.close();
    store.reopen().unwrap();
    let second = store.for_one_run();
    second.write_vote(&Vote::new(2, RaftId(1))).unwrap();
    let late = first.write_vote(&Vote::new(1, RaftId(1)));
    assert!(matches!(late, Err(StoreError::Closed)));
    assert_eq!(second.vote().unwrap(), Some(Vote::new(2, RaftId(1))));
}

#[test]
fn entries_that_do_not_follow_the_log_are_not_written() {
    let store = open(&MemoryDisk::new(0)).unwrap();
    store.append(&[entry(0, 0)]).unwrap();
    let gap = store.append(&[entry(1, 2)]);
    assert!(matches!(gap, Err(StoreError::Gap { found: 2, last: Some(0) })), "{gap:?}");
}

#[test]
fn a_snapshot_that_is_overtaken_is_not_kept() {
    let store = open(&MemoryDisk::new(0)).unwrap();
    store.write_snapshot(&snapshot(2, 9)).unwrap();
    store.write_snapshot(&snapshot(2, 5)).unwrap();
    assert_eq!(store.snapshot().unwrap().unwrap().meta.last_log_id, Some(log_id(2, 9)));
}
