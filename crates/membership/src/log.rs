//! openraft's log on our store. Nothing is decided here: each call is one call of [`Store`], off
//! the threads of the runtime, and answered when it is on the disk.

use std::fmt::Debug;
use std::ops::RangeBounds;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError,
};

use crate::raft_types::{Entry, LogId, RaftId, RaftStorageError, TypeConfig, Vote};
use crate::store::{Store, StoreError};

/// The log of one voter.
#[derive(Clone)]
pub(crate) struct Log {
    store: Store,
}

impl Log {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    async fn write<T: Send + 'static>(
        &self,
        subject: ErrorSubject<RaftId>,
        write: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RaftStorageError> {
        off_the_runtime(&self.store, subject, ErrorVerb::Write, write).await
    }

    /// A read waits for a write that is under way, so it is no better.
    async fn read<T: Send + 'static>(
        &self,
        subject: ErrorSubject<RaftId>,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RaftStorageError> {
        off_the_runtime(&self.store, subject, ErrorVerb::Read, read).await
    }
}

/// Runs what waits for the disk where it keeps nobody else waiting.
pub(crate) async fn off_the_runtime<T: Send + 'static>(
    store: &Store,
    subject: ErrorSubject<RaftId>,
    verb: ErrorVerb,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RaftStorageError> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    // The task is gone only if the runtime is ending, or if there is a mistake of ours in it.
    let result = done.unwrap_or(Err(StoreError::Closed));
    result.map_err(|error| StorageIOError::new(subject, verb, AnyError::new(&error)).into())
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.read(ErrorSubject::Logs, move |store| store.entries(range)).await
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, RaftStorageError> {
        let read = |store: &Store| {
            let last_purged_log_id = store.purged()?;
            let last = store.last_entry()?.map(|entry| entry.log_id);
            Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
        };
        self.read(ErrorSubject::Logs, read).await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        let vote = *vote;
        self.write(ErrorSubject::Vote, move |store| store.write_vote(&vote)).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        self.read(ErrorSubject::Vote, Store::vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), RaftStorageError> {
        let write = move |store: &Store| store.write_committed(committed.as_ref());
        self.write(ErrorSubject::Logs, write).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        self.read(ErrorSubject::Logs, Store::committed).await
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let done = self.write(ErrorSubject::Logs, move |store| store.append(&entries)).await;
        let told = done.clone().map_err(|error| std::io::Error::other(error.to_string()));
        callback.log_io_completed(told);
        done
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        self.write(ErrorSubject::Log(log_id), move |store| store.truncate(log_id.index)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        self.write(ErrorSubject::Log(log_id), move |store| store.purge(&log_id)).await
    }
}
