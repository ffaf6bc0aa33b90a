//! The Raft directory of a voter: who it is, its vote, its log and its snapshot, in one redb file.
//!
//! Whatever is written is on the disk when the call returns. Damage of any kind is found when the
//! file is opened (`check.rs`), because a voter that has forgotten a vote or an entry can split the
//! cluster; so a damaged directory is refused, and the remedy is to move it away and to come back
//! as another voter. After a failed write the store is closed until [`Store::reopen`]: what the
//! disk holds then is read anew, as after a restart.

mod check;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
mod disk;
mod error;
#[cfg(test)]
pub(crate) mod memory_disk;
mod pace;
mod recover;
pub(crate) mod seal;

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::{EntryPayload, Membership};
use parking_lot::Mutex;
use protocol::Roster;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::bootstrap::Standing;
use crate::raft_types::{Entry, LogId, Place, RaftId, SnapshotMeta, Vote};
#[cfg(test)]
pub(crate) use check::WITNESS;
use disk::{Directory, Disk};
pub use error::{Damage, OpenError, StoreError};
use pace::Pace;
pub use recover::RecoverError;

/// Version of everything in the file. A release that finds another one does not touch it.
pub(crate) const FORMAT: u16 = 1;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

pub(crate) const FORMAT_RECORD: &str = "format";
pub(crate) const IDENTITY: &str = "identity";
/// Number of the latest commit; see `check.rs`.
pub(crate) const COUNT: &str = "count";
pub(crate) const VOTE: &str = "vote";
pub(crate) const COMMITTED: &str = "committed";
pub(crate) const PURGED: &str = "purged";
pub(crate) const SNAPSHOT: &str = "snapshot";

/// Who a directory is. Made at its first opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the cluster that it was made for.
    pub cluster: SmolStr,
    /// The voter that it is.
    pub raft_id: RaftId,
    /// Whether it belongs to a Raft group yet.
    pub standing: Standing,
}

/// A snapshot as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) roster: Roster,
}

/// The Raft directory of this node. Clones are handles of the same.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// For a handle of one run of Raft, the opening that it belongs to: what an earlier run has
    /// left behind must not write over what a later one has read.
    opening: Option<u64>,
}

struct Shared {
    disk: Box<dyn Disk>,
    cluster: SmolStr,
    open: Mutex<Option<Open>>,
    /// Kept beside the file, because it is asked for often. Changed by `write_standing` only.
    identity: Mutex<Identity>,
    /// How often the file was opened again.
    openings: AtomicU64,
    pace: Pace,
}

struct Open {
    /// Which opening of the file this is, in this process.
    opening: u64,
    database: Database,
    witness: Box<dyn redb::StorageBackend>,
    count: u64,
}

impl Store {
    /// Opens the Raft directory in `data_dir`, and makes it if there is none.
    ///
    /// # Errors
    /// [`OpenError`] says which file, what is wrong, and what to do.
    pub fn open(data_dir: &Path, cluster: &str) -> Result<Self, OpenError> {
        Self::open_on(Box::new(Directory::new(data_dir)), cluster)
    }

    pub(crate) fn open_on(disk: Box<dyn Disk>, cluster: &str) -> Result<Self, OpenError> {
        let cluster = SmolStr::from(cluster);
        let (open, identity) = check::open(&*disk, &cluster)?;
        let (open, identity) = (Mutex::new(Some(open)), Mutex::new(identity));
        let (openings, pace) = (0.into(), Pace::default());
        let shared = Arc::new(Shared { disk, cluster, open, identity, openings, pace });
        Ok(Self { shared, opening: None })
    }

    /// A handle that is of use until the file is closed or opened again.
    pub(crate) fn for_one_run(&self) -> Self {
        let opening = Some(self.shared.openings.load(Ordering::SeqCst));
        Self { shared: Arc::clone(&self.shared), opening }
    }

    /// Nothing that such handles have under way is written from now on.
    fn retire_runs(&self) {
        if let Some(open) = &mut *self.shared.open.lock() {
            open.opening = self.shared.openings.fetch_add(1, Ordering::SeqCst) + 1;
        }
    }

    /// Opens the file again after a write has failed.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn reopen(&self) -> Result<(), OpenError> {
        let mut open = self.shared.open.lock();
        *open = None;
        let (mut opened, identity) = check::open(&*self.shared.disk, &self.shared.cluster)?;
        opened.opening = self.shared.openings.fetch_add(1, Ordering::SeqCst) + 1;
        *open = Some(opened);
        *self.shared.identity.lock() = identity;
        Ok(())
    }

    /// Closes the files and lets others have them, whoever still holds a handle of this.
    pub fn close(&self) {
        *self.shared.open.lock() = None;
        self.shared.disk.unlock();
    }

    /// How long its last write took, or the present one has if that is longer.
    pub(crate) fn write_took(&self, kept: Duration) -> Duration {
        self.shared.pace.latest(kept)
    }

    /// Who this directory is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.identity.lock().clone()
    }

    /// Writes down whom this node backs, or which group it belongs to, before anybody is told.
    ///
    /// # Errors
    /// The disk has failed; nobody may be told then.
    pub fn write_standing(&self, standing: Standing) -> Result<(), StoreError> {
        let identity = Identity { standing, ..self.identity() };
        self.write(|tables| tables.put(IDENTITY, &identity))?;
        *self.shared.identity.lock() = identity;
        Ok(())
    }

    /// Begins the log of one of the first voters with the entry that says who they are, the same for
    /// all of them; false if the log has begun. This is Raft's beginning: a voter that has nothing
    /// but this entry has agreed to nothing yet.
    pub(crate) fn begin(&self, voters: BTreeMap<RaftId, Place>) -> Result<bool, StoreError> {
        if self.vote()?.is_some() || self.purged()?.is_some() || self.last_entry()?.is_some() {
            return Ok(false);
        }
        let ids = voters.keys().copied().collect();
        let payload = EntryPayload::Membership(Membership::new(vec![ids], voters));
        self.append(&[Entry { log_id: LogId::default(), payload }])?;
        Ok(true)
    }

    pub(crate) fn write_vote(&self, vote: &Vote) -> Result<(), StoreError> {
        self.write(|tables| tables.put(VOTE, vote))
    }

    pub(crate) fn vote(&self) -> Result<Option<Vote>, StoreError> {
        self.record(VOTE)
    }

    pub(crate) fn write_committed(&self, committed: Option<&LogId>) -> Result<(), StoreError> {
        self.write(|tables| tables.put(COMMITTED, &committed))
    }

    pub(crate) fn committed(&self) -> Result<Option<LogId>, StoreError> {
        Ok(self.record::<Option<LogId>>(COMMITTED)?.flatten())
    }

    pub(crate) fn purged(&self) -> Result<Option<LogId>, StoreError> {
        self.record(PURGED)
    }

    /// Keeps the snapshot, unless a later one is kept: one that takes long to be built may be
    /// overtaken by one that a leader has sent.
    pub(crate) fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.write(|tables| {
            let kept: Option<Snapshot> = tables.get(SNAPSHOT)?;
            let is_late =
                kept.is_some_and(|kept| kept.meta.last_log_id > snapshot.meta.last_log_id);
            if is_late { Ok(()) } else { tables.put(SNAPSHOT, snapshot) }
        })
    }

    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.record(SNAPSHOT)
    }

    /// Appends entries; the first follows the last one of the log. Those that a snapshot holds
    /// already are left out.
    pub(crate) fn append(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.write(|tables| {
            let purged = tables.get::<LogId>(PURGED)?.map(|purged| purged.index);
            let mut last = tables.last_entry()?.max(purged);
            for entry in entries {
                let index = entry.log_id.index;
                if Some(index) <= purged {
                    continue;
                }
                if last.is_some_and(|last| last.checked_add(1) != Some(index)) {
                    return Err(StoreError::Gap { found: index, last });
                }
                let sealed = seal::seal(&seal::entry_tag(index), entry);
                tables.entries.insert(index, &*sealed)?;
                last = Some(index);
            }
            Ok(())
        })
    }

    /// Takes entries from `first` on away again.
    pub(crate) fn truncate(&self, first: u64) -> Result<(), StoreError> {
        self.write(|tables| Ok(tables.entries.retain_in(first.., |_, _| false)?))
    }

    /// Forgets the entries up to `last`, which a snapshot holds.
    pub(crate) fn purge(&self, last: &LogId) -> Result<(), StoreError> {
        self.write(|tables| {
            tables.put(PURGED, last)?;
            Ok(tables.entries.retain_in(..=last.index, |_, _| false)?)
        })
    }

    pub(crate) fn entries(&self, range: impl RangeBounds<u64>) -> Result<Vec<Entry>, StoreError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let mut entries = Vec::new();
            for item in table.range(range)? {
                let (index, bytes) = item?;
                entries.push(seal::unseal(&seal::entry_tag(index.value()), bytes.value())?);
            }
            Ok(entries)
        })
    }

    pub(crate) fn last_entry(&self) -> Result<Option<Entry>, StoreError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let Some((index, bytes)) = table.last()? else { return Ok(None) };
            Ok(Some(seal::unseal(&seal::entry_tag(index.value()), bytes.value())?))
        })
    }

    fn record<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(RECORDS)?;
            let Some(bytes) = table.get(name)? else { return Ok(None) };
            Ok(Some(seal::unseal(name, bytes.value())?))
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.shared.open.lock();
        let found = open.as_ref().filter(|open| self.is_of(open)).ok_or(StoreError::Closed)?;
        let result = read(&found.database);
        if result.is_err() {
            *open = None;
        }
        result
    }

    fn is_of(&self, open: &Open) -> bool {
        self.opening.is_none_or(|opening| opening == open.opening)
    }

    /// The only way to the disk: all of `change`, and then it is there, or an error.
    fn write(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut open = self.shared.open.lock();
        let found = open.as_mut().filter(|open| self.is_of(open)).ok_or(StoreError::Closed)?;
        let result = self.shared.pace.timed(|| found.write(change));
        if result.is_err() {
            *open = None;
        }
        result
    }
}

impl Open {
    fn write(
        &mut self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let count = self.count + 1;
        let mut transaction = self.database.begin_write()?;
        // In two phases, so that the file says of a commit that is not sound: damaged, and does
        // not take back to the one before it.
        transaction.set_two_phase_commit(true);
        {
            let records = transaction.open_table(RECORDS)?;
            let entries = transaction.open_table(ENTRIES)?;
            let mut tables = Tables { records, entries };
            change(&mut tables)?;
            tables.put(COUNT, &count)?;
        }
        transaction.commit()?;
        self.count = count;
        check::witness(&*self.witness, count);
        Ok(())
    }
}

/// A raft id that nobody has had.
fn draw() -> Result<RaftId, StoreError> {
    getrandom::u64().map(RaftId).map_err(|error| StoreError::Disk(error.to_string().into()))
}

struct Tables<'a> {
    records: Table<'a, &'static str, &'static [u8]>,
    entries: Table<'a, u64, &'static [u8]>,
}

impl Tables<'_> {
    /// Forgets all that Raft has written.
    fn clear(&mut self) -> Result<(), StoreError> {
        for name in [VOTE, COMMITTED, PURGED, SNAPSHOT] {
            self.records.remove(name)?;
        }
        Ok(self.entries.retain(|_, _| false)?)
    }

    fn put(&mut self, name: &'static str, value: &impl Serialize) -> Result<(), StoreError> {
        self.records.insert(name, &*seal::seal(name, value))?;
        Ok(())
    }

    /// Index of the last entry that is in the log itself.
    fn last_entry(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.entries.last()?.map(|(index, _)| index.value()))
    }

    fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.records.get(name)? else { return Ok(None) };
        Ok(Some(seal::unseal(name, bytes.value())?))
    }
}
