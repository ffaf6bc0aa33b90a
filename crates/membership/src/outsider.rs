//! A node that does not vote, and has decisions made by those that do: to join, to say that it is
//! synced, to leave. It needs neither a Raft directory nor openraft.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::Decision;
use tokio::time::Instant;

use crate::link::Link;
use crate::network::Network;
use crate::raft_types::{Group, Place, RaftId};
use crate::voter::{ProposeError, ask_to_propose, result_of};
use crate::wire::Proposed;

/// Who asks, where no voter does: the number of no directory, which are drawn from 2^64.
const NOBODY: RaftId = RaftId(0);

/// Between two rounds among the voters, none of which led.
const PAUSE: Duration = Duration::from_millis(50);

/// The way from a node that does not vote to those that do.
pub struct Outsider {
    network: Network,
}

impl Outsider {
    /// For the voters of that group, reached by that link.
    #[must_use]
    pub fn new(link: Arc<dyn Link>, group: Group) -> Self {
        Self { network: Network::new(link, group, NOBODY, PAUSE) }
    }

    /// Has a decision made by whichever of these voters leads; its index in the log if it has
    /// changed the view.
    ///
    /// # Errors
    /// [`ProposeError`] says what is known of it after `patience`.
    pub async fn propose(
        &self,
        voters: &BTreeMap<RaftId, Place>,
        decision: &Decision,
        patience: Duration,
    ) -> Result<u64, ProposeError> {
        let deadline = Instant::now() + patience;
        loop {
            for (id, place) in voters {
                let way = self.network.way_to(*id, place.name.clone());
                match ask_to_propose(&way, decision, deadline).await {
                    Proposed::NotLeader => {}
                    known @ (Proposed::Applied(_) | Proposed::Unknown) => return result_of(known),
                }
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(ProposeError::NoLeader);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
