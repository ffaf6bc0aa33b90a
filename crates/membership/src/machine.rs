//! What Raft has agreed on, applied: the roster, and the view that follows from it, for everybody
//! in this process to watch. Kept on the disk as a snapshot now and then; between two snapshots the
//! log is what lasts.

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder};
use protocol::{Roster, Rules, View};
use tokio::sync::watch;

use crate::log::off_the_runtime;
use crate::raft_types::{
    Entry, LogId, Membership, Outcome, RaftStorageError, SnapshotMeta, TypeConfig,
};
use crate::store::{Snapshot, Store, StoreError};

/// The state machine of one voter.
pub(crate) struct Machine {
    store: Store,
    state: Applied,
    views: Arc<watch::Sender<Arc<View>>>,
}

/// What has been applied so far.
#[derive(Clone)]
struct Applied {
    roster: Roster,
    last: Option<LogId>,
    membership: Membership,
}

impl Machine {
    /// The machine as of the latest snapshot; openraft applies what is committed after it.
    pub(crate) fn load(
        store: Store,
        slots: u16,
        views: Arc<watch::Sender<Arc<View>>>,
    ) -> Result<Self, StoreError> {
        let state = match store.snapshot()? {
            Some(Snapshot { meta, roster }) => {
                Applied { roster, last: meta.last_log_id, membership: meta.last_membership }
            }
            None => Applied {
                roster: Roster::new(slots, Rules::default()),
                last: None,
                membership: Membership::default(),
            },
        };
        let machine = Self { store, state, views };
        machine.publish();
        Ok(machine)
    }

    /// Tells of the present view, unless it is older than what was told: after a restart of Raft
    /// the log is applied again from the snapshot on.
    fn publish(&self) {
        let view = self.state.roster.view();
        self.views.send_if_modified(|told| {
            let news = !view.is_fixed() && view.supersedes(told);
            if news {
                *told = Arc::new(view.clone());
            }
            news
        });
    }

    fn apply_one(&mut self, entry: &Entry) -> Outcome {
        let index = entry.log_id.index;
        self.state.last = Some(entry.log_id);
        let refused = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(decision) => self.state.roster.apply(index, decision).err(),
            EntryPayload::Membership(membership) => {
                self.state.membership = Membership::new(Some(entry.log_id), membership.clone());
                None
            }
        };
        Outcome { index, refused }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), RaftStorageError> {
        Ok((self.state.last, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        for entry in entries {
            outcomes.push(self.apply_one(&entry));
            // Each view, and not the last of several: who watches may miss some, but a test that
            // compares what two voters have told sees the same.
            self.publish();
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { store: self.store.clone(), state: self.state.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Roster>, RaftStorageError> {
        Ok(Box::new(Roster::new(0, Rules::default())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Roster>,
    ) -> Result<(), RaftStorageError> {
        let snapshot = Snapshot { meta: meta.clone(), roster: *snapshot };
        self.state = Applied {
            roster: snapshot.roster.clone(),
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        keep(&self.store, snapshot).await?;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::Snapshot<TypeConfig>>, RaftStorageError> {
        let subject = ErrorSubject::Snapshot(None);
        let kept = off_the_runtime(&self.store, subject, ErrorVerb::Read, Store::snapshot).await?;
        Ok(kept.map(|kept| openraft::Snapshot { meta: kept.meta, snapshot: Box::new(kept.roster) }))
    }
}

/// The state of one moment, on its way to the disk.
pub(crate) struct Builder {
    store: Store,
    state: Applied,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<openraft::Snapshot<TypeConfig>, RaftStorageError> {
        let Applied { roster, last, membership } = self.state.clone();
        // What was applied last says what is in it: the same entry, the same snapshot.
        let snapshot_id = last.map_or_else(|| "none".to_owned(), |last| last.to_string());
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id };
        let snapshot = Snapshot { meta: meta.clone(), roster: roster.clone() };
        keep(&self.store, snapshot).await?;
        Ok(openraft::Snapshot { meta, snapshot: Box::new(roster) })
    }
}

async fn keep(store: &Store, snapshot: Snapshot) -> Result<(), RaftStorageError> {
    let write = move |store: &Store| store.write_snapshot(&snapshot);
    off_the_runtime(store, ErrorSubject::Snapshot(None), ErrorVerb::Write, write).await
}
