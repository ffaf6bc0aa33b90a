//! Having decisions made: whom to ask, what came of it, when to ask again.

use std::collections::BTreeMap;
use std::time::Duration;

use membership::{Outsider, ProposeError};
use protocol::{Decision, MemberName, Refused};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::duties::is_leading;
use super::{Done, Heard, PATIENCE, PAUSE, Steward, What};
use crate::links::member_name;

impl Steward {
    pub(super) fn leads(&self) -> bool {
        let status = self.voter.as_ref().map(|voter| voter.status());
        status.and_then(|status| status.raft).is_some_and(|raft| is_leading(&raft))
    }

    pub(super) fn propose(&mut self, what: What, decision: Decision) {
        let waits = self.not_before.get(&what).is_some_and(|at| Instant::now() < *at);
        if waits || !self.in_flight.insert(what) {
            return;
        }
        tracing::debug!("proposing {decision:?}");
        let decided = self.decided(decision);
        self.proposals.spawn(async move { Done::Decided(what, decided.await) });
    }

    pub(super) fn decide(
        &self,
        decision: Decision,
        done: oneshot::Sender<Result<u64, ProposeError>>,
    ) {
        let decided = self.decided(decision);
        tokio::spawn(async move {
            let _ = done.send(decided.await);
        });
    }

    /// Has a decision made: by this node's voter, if it leads; else by asking the voter that has said
    /// that it does, or all. What this node's own Raft knows of a leader may be of long ago: once it
    /// does not vote any more, nobody tells it anything.
    fn decided(
        &self,
        decision: Decision,
    ) -> impl Future<Output = Result<u64, ProposeError>> + Send + use<> {
        let voter = self.voter.clone().filter(|_| self.leads());
        let courier = self.courier.clone();
        let own_name = member_name(&self.me.name);
        let leads = |name: &MemberName| self.heard.get(name).is_some_and(Heard::leads);
        let voters = self.chart.as_ref().map(|chart| {
            let others = chart.voters.iter().filter(|(_, place)| place.name != own_name);
            let others: BTreeMap<_, _> = others.map(|(id, place)| (*id, place.clone())).collect();
            let mut leaders = others.clone();
            leaders.retain(|_, place| leads(&place.name));
            (chart.group, if leaders.is_empty() { others } else { leaders })
        });
        async move {
            match (voter, voters) {
                (Some(voter), _) => voter.propose(decision, PATIENCE).await,
                (None, Some((group, voters))) => {
                    Outsider::new(courier, group).propose(&voters, &decision, PATIENCE).await
                }
                (None, None) => Err(ProposeError::NoLeader),
            }
        }
    }

    pub(super) fn note_done(&mut self, what: What, pause: Duration) {
        self.in_flight.remove(&what);
        self.not_before.retain(|_, at| *at > Instant::now());
        self.not_before.insert(what, Instant::now() + pause);
    }

    pub(super) fn handle_decided(&mut self, what: What, result: &Result<u64, ProposeError>) {
        let is_so = match result {
            Ok(_) => true,
            Err(ProposeError::Refused { why, .. }) => {
                matches!(why, Refused::NoNews | Refused::NoMember | Refused::OutOfPlace)
            }
            Err(ProposeError::NoLeader | ProposeError::Unknown) => false,
        };
        match (what, result) {
            (What::Synced(epoch), _) if is_so => {
                self.synced.insert(epoch);
            }
            (
                What::Remove(inc),
                Err(ProposeError::Refused { why: Refused::WouldLose(slots), .. }),
            ) => {
                let slots = slots.len();
                tracing::error!("removing {} loses {slots} slots of 4096: it was the last", inc.0);
                self.given_up.insert(inc);
            }
            (What::Drain, _) => self.has_said_goodbye = true,
            (What::Join, Err(error)) => {
                tracing::warn!("this node has not been let in yet: {error}");
            }
            _ => {}
        }
        self.note_done(what, PAUSE);
    }
}
