//! Files that were cut, changed, exchanged or are somebody else's: each is refused with an error
//! that says what to do, or what was changed meant nothing. Never a panic, and never a voter that
//! has forgotten something.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::crash_tests::{Answered, LIFE, entry, log_id, open};
use super::memory_disk::MemoryDisk;
use super::*;

/// A disk after a whole life, closed in order or by a crash, and what it answers.
fn lived(crash: bool) -> (MemoryDisk, Answered) {
    let disk = MemoryDisk::new(7);
    let store = open(&disk).unwrap();
    LIFE.iter().for_each(|act| act(&store).unwrap());
    let answered = Answered::of(&store);
    if crash {
        let disk = disk.copy(8);
        disk.crash();
        (disk, answered)
    } else {
        drop(store);
        (disk, answered)
    }
}

/// Opens the changed file; true if it was refused.
fn is_refused(disk: &MemoryDisk, bytes: Vec<u8>, answered: &Answered, what: &str) -> bool {
    let disk = disk.copy(9);
    disk.set_database_bytes(bytes);
    let opened = catch_unwind(AssertUnwindSafe(|| open(&disk)));
    match opened.unwrap_or_else(|_| panic!("a panic with {what}")) {
        Ok(store) => {
            assert_eq!(Answered::of(&store), *answered, "{what} went unnoticed");
            false
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            true
        }
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    for crash in [false, true] {
        let (disk, answered) = lived(crash);
        let bytes = disk.database_bytes();
        let lengths = (0..bytes.len()).step_by(1_777).chain([1, 9, 63, 64, 319, 320, 4095, 4096]);
        for length in lengths {
            let mut cut = bytes.clone();
            cut.truncate(length);
            assert!(is_refused(&disk, cut, &answered, &format!("{length} bytes")), "{length}");
        }
    }
}

#[test]
fn a_changed_bit_is_noticed_or_means_nothing() {
    for crash in [false, true] {
        let (disk, answered) = lived(crash);
        let bytes = disk.database_bytes();
        // All of the header, where each bit has a meaning, and then of each page some.
        let header = 0..320 * 8;
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) * 8;
        let bits: Vec<usize> = header.chain((4096 * 8..used).step_by(1_013)).collect();
        let mut refused = 0;
        for bit in &bits {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(is_refused(&disk, flipped, &answered, &format!("bit {bit}")));
        }
        assert!(refused * 20 > bits.len(), "{refused} of {} refused", bits.len());
    }
}

#[test]
fn a_file_of_an_earlier_moment_is_refused() {
    let disk = MemoryDisk::new(1);
    let store = open(&disk).unwrap();
    LIFE[..4].iter().for_each(|act| act(&store).unwrap());
    drop(store);
    let earlier = disk.database_bytes();
    let store = open(&disk).unwrap();
    store.write_vote(&Vote::new(5, RaftId(9))).unwrap();
    drop(store);
    disk.set_database_bytes(earlier);
    let refused = open(&disk).err().unwrap().to_string();
    assert!(refused.contains("has been made"), "{refused}");
    assert!(refused.contains("Move its directory away"), "{refused}");
}

/// What redb would not notice: sound pages, and in them something that cannot be.
#[test]
fn what_cannot_be_is_refused() {
    type Harm = fn(&Store);
    let cases: [(Harm, &str); 6] = [
        (|store| harm(store, |t| drop(t.entries.remove(4).unwrap())), "hole before index 5"),
        (|store| harm(store, |t| drop(t.entries.remove(3).unwrap())), "hole before index 4"),
        (|store| harm(store, |t| t.entries.retain(|i, _| i < 4).unwrap()), "ends before index 4"),
        (
            |store| harm(store, |t| t.put(VOTE, &Vote::new(2, RaftId(1))).unwrap()),
            "older than the log",
        ),
        (|store| harm(store, |t| t.put(PURGED, &log_id(9, 9)).unwrap()), "ends before index 9"),
        (
            |store| {
                harm(store, |t| {
                    let sealed = seal::seal(&seal::entry_tag(4), &entry(3, 4));
                    t.entries.insert(5, &*sealed).unwrap();
                });
            },
            "record entry 5",
        ),
    ];
    for (act, message) in cases {
        let (disk, _) = lived(false);
        let store = open(&disk).unwrap();
        act(&store);
        drop(store);
        let refused = open(&disk).err().unwrap().to_string();
        assert!(refused.contains(message), "{message}: {refused}");
        assert!(refused.contains("Move its directory away"), "{refused}");
    }
}

fn harm(store: &Store, act: impl FnOnce(&mut Tables<'_>)) {
    let harmed = store.write(|tables| {
        act(tables);
        Ok(())
    });
    harmed.unwrap();
}

#[test]
fn a_directory_has_one_process_and_one_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), "shop").unwrap();
    let raft_id = store.identity().raft_id;
    let second = Store::open(directory.path(), "shop").err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }));
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(store);
    let foreign = Store::open(directory.path(), "bank").err().unwrap().to_string();
    assert!(foreign.contains("belongs to cluster shop, this node to bank"), "{foreign}");
    let again = Store::open(directory.path(), "shop").unwrap();
    assert_eq!(again.identity().raft_id, raft_id, "an intact disk is the same voter");
    drop(again);
    std::fs::write(directory.path().join("raft.redb"), "{}").unwrap();
    let strange = Store::open(directory.path(), "shop").err().unwrap();
    assert!(matches!(strange, OpenError::Damaged { .. }), "{strange}");
    let empty = tempfile::tempdir().unwrap();
    let other = Store::open(empty.path(), "shop").unwrap();
    assert_ne!(other.identity().raft_id, raft_id, "a wiped disk is another voter");
}

#[test]
fn another_release_s_directory_is_left_alone() {
    let disk = MemoryDisk::new(1);
    let store = open(&disk).unwrap();
    harm(&store, |tables| tables.put(FORMAT_RECORD, &(FORMAT + 1)).unwrap());
    drop(store);
    let refused = open(&disk).err().unwrap();
    assert!(matches!(refused, OpenError::Format { found: 2, .. }), "{refused}");
}
