//! Opening a Raft file: what was never begun is made, what is not sound is refused.
//!
//! redb checks its pages, `seal.rs` each record, and this the whole: nothing missing, no hole, no
//! step back. One thing a file cannot know by itself is that it is older than it was, be it by a
//! changed bit that makes the commit before the last one the present one, or because somebody has
//! restored a copy. For that the number of the latest commit stands in a second file, the witness.
//! It is written after each commit: if it is behind, the process has ended in between, which means
//! nothing; if it is ahead, a commit is gone.

use redb::{Builder, DatabaseError, ReadableDatabase, StorageBackend, TableError};
use smol_str::SmolStr;

use super::disk::Disk;
use super::{
    COMMITTED, COUNT, Damage, ENTRIES, FORMAT, FORMAT_RECORD, IDENTITY, Identity, Open, OpenError,
    PURGED, RECORDS, SNAPSHOT, Snapshot, StoreError, VOTE, draw, seal,
};
use crate::bootstrap::Standing;
use crate::raft_types::{Entry, LogId, Vote};

/// Memory for pages; the whole file is rarely larger than that.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Name under which the witness is sealed.
pub(crate) const WITNESS: &str = "witness";

/// Bytes of the witness: checksum and number.
const WITNESS_BYTES: usize = 16;

pub(super) fn open(disk: &dyn Disk, cluster: &SmolStr) -> Result<(Open, Identity), OpenError> {
    disk.lock()?;
    let witness = disk.witness()?;
    let written = witnessed(&*witness);
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    let database = disk.database(&builder).map_err(|error| refused(disk, error))?;
    let mut open = Open { opening: 0, database, witness, count: 0 };
    let file = || disk.file();
    let damaged = |error: StoreError| match error {
        StoreError::Damaged(damage) => OpenError::Damaged { file: file(), damage },
        StoreError::Disk(_) | StoreError::Closed | StoreError::Gap { .. } => {
            OpenError::Io { file: file(), source: std::io::Error::other(error) }
        }
    };
    if !is_begun(&open).map_err(damaged)? {
        behind(0, written).map_err(StoreError::from).map_err(damaged)?;
        let identity = begin(&mut open, cluster).map_err(damaged)?;
        return Ok((open, identity));
    }
    match load::<u16>(&open, FORMAT_RECORD).map_err(damaged)? {
        Some(FORMAT) => {}
        Some(found) => return Err(OpenError::Format { file: file(), found }),
        None => return Err(damaged(Damage::Missing(FORMAT_RECORD).into())),
    }
    let (identity, count) = check(&open).map_err(damaged)?;
    behind(count, written).map_err(StoreError::from).map_err(damaged)?;
    open.count = count;
    if identity.cluster != *cluster {
        let (found, expected) = (identity.cluster, cluster.clone());
        return Err(OpenError::Foreign { file: file(), found, expected });
    }
    Ok((open, identity))
}

/// Notes the number of the latest commit. That it fails costs a check, and is no reason to stop.
pub(super) fn witness(file: &dyn StorageBackend, count: u64) {
    let bytes = seal::seal(WITNESS, &count.to_le_bytes());
    let grown = match file.len() {
        Ok(length) if length < bytes.len() as u64 => file.set_len(bytes.len() as u64),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = grown.and_then(|()| file.write(0, &bytes)).and_then(|()| file.sync_data()) {
        tracing::warn!(%error, "the witness beside the Raft file was not written");
    }
}

fn witnessed(file: &dyn StorageBackend) -> u64 {
    let mut bytes = [0; WITNESS_BYTES];
    let Ok(()) = file.read(0, &mut bytes) else { return 0 };
    seal::unseal(WITNESS, &bytes).map_or(0, u64::from_le_bytes)
}

const fn behind(found: u64, written: u64) -> Result<(), Damage> {
    if found < written { Err(Damage::RolledBack { found, written }) } else { Ok(()) }
}

fn refused(disk: &dyn Disk, error: DatabaseError) -> OpenError {
    let file = disk.file();
    if let DatabaseError::DatabaseAlreadyOpen = error {
        return OpenError::InUse { directory: disk.directory() };
    }
    if let DatabaseError::Storage(redb::StorageError::Io(source)) = error {
        // What redb says of a file that is not its own.
        if source.kind() == std::io::ErrorKind::InvalidData {
            let damage = Damage::Database(source.to_string().into());
            return OpenError::Damaged { file, damage };
        }
        return OpenError::Io { file, source };
    }
    // Of redb's other errors, whatever later versions add, none lets the file be trusted.
    OpenError::Damaged { file, damage: Damage::Database(error.to_string().into()) }
}

/// False if nothing has ever been written: the first write makes both tables.
fn is_begun(open: &Open) -> Result<bool, StoreError> {
    match open.database.begin_read()?.open_table(RECORDS) {
        Ok(_) => Ok(true),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(TableError::Storage(error)) => Err(error.into()),
        // The table is there and is not ours.
        Err(other) => Err(Damage::Database(other.to_string().into()).into()),
    }
}

fn begin(open: &mut Open, cluster: &SmolStr) -> Result<Identity, StoreError> {
    let identity = Identity {
        cluster: cluster.clone(),
        raft_id: draw()?,
        standing: Standing::Outside { backs: None },
    };
    open.write(|tables| {
        tables.put(FORMAT_RECORD, &FORMAT)?;
        tables.put(IDENTITY, &identity)
    })?;
    Ok(identity)
}

fn load<T: serde::de::DeserializeOwned>(
    open: &Open,
    name: &'static str,
) -> Result<Option<T>, StoreError> {
    let table = open.database.begin_read()?.open_table(RECORDS)?;
    let Some(bytes) = table.get(name)? else { return Ok(None) };
    Ok(Some(seal::unseal(name, bytes.value())?))
}

/// All that must hold of a file, whatever moment its process has ended at.
fn check(open: &Open) -> Result<(Identity, u64), StoreError> {
    let identity = load(open, IDENTITY)?.ok_or(Damage::Missing(IDENTITY))?;
    let count = load(open, COUNT)?.ok_or(Damage::Missing(COUNT))?;
    let vote: Option<Vote> = load(open, VOTE)?;
    let committed: Option<LogId> = load::<Option<LogId>>(open, COMMITTED)?.flatten();
    let purged: Option<LogId> = load(open, PURGED)?;
    let snapshot: Option<Snapshot> = load(open, SNAPSHOT)?;
    let covered = snapshot.and_then(|snapshot| snapshot.meta.last_log_id);
    // What is purged is in the snapshot, or there is a hole between the two.
    if let Some(purged) = purged.filter(|purged| Some(*purged) > covered) {
        return Err(Damage::Short(purged.index).into());
    }
    let last = check_entries(open, purged)?;
    if let Some(committed) = committed.filter(|committed| Some(*committed) > last.max(covered)) {
        return Err(Damage::Short(committed.index).into());
    }
    let voted = vote.map(|vote| vote.leader_id.term);
    if last.is_some_and(|last| last.index > 0 && voted < Some(last.leader_id.term)) {
        return Err(Damage::Vote.into());
    }
    Ok((identity, count))
}

/// Reads the whole log, which is short; returns its end.
fn check_entries(open: &Open, purged: Option<LogId>) -> Result<Option<LogId>, StoreError> {
    let table = open.database.begin_read()?.open_table(ENTRIES)?;
    let mut last = purged;
    for item in table.range::<u64>(..)? {
        let (index, bytes) = item?;
        let index = index.value();
        let entry: Entry = seal::unseal(&seal::entry_tag(index), bytes.value())?;
        let next = last.map_or(0, |last| last.index.saturating_add(1));
        if index != next || entry.log_id.index != index {
            return Err(Damage::Hole(index).into());
        }
        if last.is_some_and(|last| entry.log_id.leader_id < last.leader_id) {
            return Err(Damage::Order(index).into());
        }
        last = Some(entry.log_id);
    }
    Ok(last)
}
