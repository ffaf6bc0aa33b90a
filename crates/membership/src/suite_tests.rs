//! openraft's own tests of a log and a state machine, on ours.

use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use protocol::{Copies, View};
use tokio::sync::watch;

use crate::log::Log;
use crate::machine::Machine;
use crate::raft_types::{RaftStorageError, TypeConfig};
use crate::store::Store;
use crate::store::memory_disk::MemoryDisk;

struct Fresh;

impl StoreBuilder<TypeConfig, Log, Machine> for Fresh {
    async fn build(&self) -> Result<((), Log, Machine), RaftStorageError> {
        let store = Store::open_on(Box::new(MemoryDisk::new(1)), "suite").unwrap();
        let views = watch::Sender::new(Arc::new(View::fixed([], Copies::All)));
        let machine = Machine::load(store.clone(), 16, Arc::new(views)).unwrap();
        Ok(((), Log::new(store), machine))
    }
}

#[test]
fn openraft_finds_no_fault_with_log_and_machine() {
    // It brings a runtime of its own.
    let suite = std::thread::spawn(|| Suite::test_all(Fresh).map_err(|error| error.to_string()));
    assert_eq!(suite.join().unwrap(), Ok(()));
}
