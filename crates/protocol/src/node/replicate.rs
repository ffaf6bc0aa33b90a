//! Deltas to the other owners, and what they answer.

use session::{Inc, SessionKey, Time, Version};

use super::commit::quorum;
use super::{Node, Transmit};
use crate::limits::BATCH_DELTAS_MAX;
use crate::message::{Batch, Lane, Message, Refusal};
use crate::rules::Rule;
use crate::store::Verdict;
use crate::violation::Violation;

impl Node {
    /// Every other owner lacks what was just written onto `before`.
    // Rules B2, V5: only the stamper marks; whoever merges a delta does not pass it on.
    pub(super) fn mark_owners(&mut self, key: SessionKey, before: &Version) {
        let owners = self.placement.owners(key.slot()).filter(|inc| *inc != self.options.inc);
        for owner in owners {
            self.outbox.mark(owner, key, before, &mut self.counters);
        }
    }

    pub(super) fn poll_batch(&mut self, now: Time) -> Option<Transmit> {
        for peer in &self.peers {
            let batch = self.outbox.next_batch(*peer, &self.store, now, &mut self.counters);
            if let Some(batch) = batch {
                let envelope = self.address(*peer, Message::Deltas(batch));
                return Some(Transmit { to: *peer, lane: Lane::Live, envelope });
            }
        }
        None
    }

    pub(super) fn handle_deltas(&mut self, from: Inc, batch: Batch, now: Time) {
        if batch.deltas.len() > BATCH_DELTAS_MAX {
            return self.breach(from, Violation::TooMuch);
        }
        if !batch.deltas.iter().all(|delta| self.accepts(from, delta, now)) {
            return;
        }
        let mut refused = Vec::new();
        for delta in batch.deltas {
            let key = delta.key;
            if !self.placement.is_owner(key.slot(), self.options.inc) {
                self.counters.not_owned += 1;
                refused.push((key, Refusal::NotOwner));
                continue;
            }
            let refusal = match self.take(delta, now) {
                Verdict::Merged(_) => continue,
                Verdict::Need(version) => Refusal::Need(version),
                Verdict::Ended(_) if self.options.rules.off(Rule::TombPushBack) => continue,
                Verdict::Ended(tombstone) => {
                    self.counters.tombs_pushed += 1;
                    Refusal::Tomb(tombstone)
                }
                Verdict::Skew => Refusal::Skew,
                Verdict::Dead => Refusal::Dead,
            };
            refused.push((key, refusal));
        }
        self.send(from, Lane::Live, Message::Ack { batch: batch.number, refused });
    }

    pub(super) fn handle_ack(
        &mut self,
        from: Inc,
        epoch: u64,
        batch: u64,
        refused: Vec<(SessionKey, Refusal)>,
        now: Time,
    ) {
        if refused.len() > BATCH_DELTAS_MAX {
            return self.breach(from, Violation::TooMuch);
        }
        let mut tombs = refused.iter().filter_map(|(key, refusal)| refusal.tomb(*key));
        if !tombs.all(|delta| self.accepts(from, &delta, now)) {
            return;
        }
        let mut keys: Vec<SessionKey> = refused.iter().map(|(key, _)| *key).collect();
        let carried = self.outbox.carried(from, batch);
        let was_sent = !carried.is_empty();
        let outdated = carried.into_iter().filter(|key| self.is_outdated(from, epoch, *key));
        let outdated: Vec<SessionKey> = outdated.collect();
        keys.extend(&outdated);
        for (key, hi) in self.outbox.acknowledge(from, batch, &keys) {
            self.count_ack((from, epoch), key, hi.as_ref());
        }
        for (key, refusal) in refused {
            let has_ended = refusal.tomb(key).is_some();
            self.handle_refusal(from, key, refusal, now);
            if has_ended && was_sent && !outdated.contains(&key) {
                // It has the end, of which this node's own may still be on its way.
                self.count_ack((from, epoch), key, None);
            }
        }
        for key in outdated {
            self.outbox.peer_mut(from).into_iter().for_each(|peer| peer.postpone(key, now));
        }
    }

    /// True if what the process said as of `epoch` may be of an ownership that is over: it may have
    /// given the slot up since, and be an owner again that has nothing. It is asked once more.
    // Rules V3, V9, N1.
    pub(super) fn is_outdated(&self, from: Inc, epoch: u64, key: SessionKey) -> bool {
        self.placement.owned_since(key.slot(), from).is_some_and(|since| epoch < since)
    }

    /// The process has `hi` of the session, or its end. By a later epoch than this node's there may
    /// be owners that do not have it: that counts when this node has adopted the epoch, and has
    /// told them.
    // Rule V2.
    fn count_ack(&mut self, (from, epoch): (Inc, u64), key: SessionKey, hi: Option<&Version>) {
        self.counters.fenced += u64::from(epoch > self.view.epoch);
        let quorum = quorum(&self.placement, &self.view, &self.options);
        let done = self.waiters.acknowledge((from, epoch), key, hi, quorum);
        self.answer_all(done);
    }

    fn handle_refusal(&mut self, from: Inc, key: SessionKey, refusal: Refusal, now: Time) {
        // A slot that was given up stays given up.
        if let Some(delta) = refusal.tomb(key)
            && (self.owns(key) || self.store.get(key).is_some())
        {
            self.take(delta, now);
        }
        let Some(outbox) = self.outbox.peer_mut(from) else {
            return;
        };
        match refusal {
            Refusal::Need(version) => outbox.rebase(key, version),
            Refusal::Skew => outbox.postpone(key, now),
            // It does not know yet that it is an owner, or this node that it is none any more: one
            // of both will adopt the other's view.
            Refusal::NotOwner => outbox.postpone(key, now),
            Refusal::Dead | Refusal::Tomb(_) => outbox.clear(key),
        }
    }

    pub(super) fn tick_outbox(&mut self, now: Time) {
        let peers: Vec<Inc> = self.peers.iter().copied().collect();
        for peer in peers {
            let Some(outbox) = self.outbox.peer_mut(peer) else {
                continue;
            };
            outbox.handle_tick(now, &mut self.counters);
            if outbox.wants_pull(now) {
                self.send(peer, Lane::Bulk, Message::Pull);
            }
        }
    }
}
