//! Both sides of a comparison: the one that catches up and the one that is asked.

use session::{Inc, SessionKey, Slot, Time, Version};

use super::Node;
use crate::digest::Digest;
use crate::limits::{LIST_KEYS_MAX, NEED_KEYS_MAX, SUPPLY_BYTES_MAX};
use crate::message::{Lane, Message, Supply};
use crate::repair::{Due, Step};
use crate::rules::Rule;
use crate::store::Verdict;
use crate::violation::Violation;

// The side that catches up.
impl Node {
    pub(super) fn tick_repair(&mut self, now: Time) {
        for (peer, due) in self.repair.handle_tick(now) {
            match due {
                Due::Start(round) => {
                    self.counters.rounds += 1;
                    self.ask(peer, round, Step::Root, now);
                }
                Due::Repeat(round, step) => self.ask(peer, round, step, now),
                Due::Failed => self.counters.rounds_failed += 1,
            }
        }
        for peer in self.repair.peers() {
            self.advance(peer, now);
        }
    }

    pub(super) fn handle_same(&mut self, from: Inc, epoch: u64, round: u64, now: Time) {
        let adopted = self.view.epoch;
        if let Some(round) = self.repair.round_mut(from, round) {
            round.note_same(epoch.min(adopted));
            round.differing(Vec::new(), now);
        }
        self.advance(from, now);
    }

    pub(super) fn handle_digests(
        &mut self,
        from: Inc,
        epoch: u64,
        round: u64,
        theirs: &[(Slot, Digest)],
        now: Time,
    ) {
        let ours = theirs.iter().all(|(slot, _)| self.store.holds(*slot));
        if !ours || !theirs.is_sorted_by(|(a, _), (b, _)| a < b) {
            return self.breach(from, Violation::TooMuch);
        }
        // What this node does not own it does not want, whatever the peer's view says.
        let me = self.options.inc;
        let differing = theirs
            .iter()
            .filter(|(slot, digest)| {
                self.store.digest(*slot) != *digest && self.placement.is_owner(*slot, me)
            })
            .map(|(slot, _)| *slot)
            .collect();
        let adopted = self.view.epoch;
        if let Some(round) = self.repair.round_mut(from, round) {
            // Rule V6; and what this node had not adopted when it took the answer, it left aside.
            round.note_epoch(epoch.min(adopted));
            round.differing(differing, now);
        }
        self.advance(from, now);
    }

    pub(super) fn handle_list(
        &mut self,
        (from, epoch): (Inc, u64),
        round: u64,
        (slot, after): (Slot, Option<SessionKey>),
        entries: &[(SessionKey, u64)],
        more: bool,
        now: Time,
    ) {
        let outside = entries.iter().any(|(key, _)| key.slot() != slot || Some(*key) <= after)
            || !entries.is_sorted_by(|(a, _), (b, _)| a < b);
        if entries.len() > LIST_KEYS_MAX || outside {
            return self.breach(from, Violation::TooMuch);
        }
        let awaited = self.repair.round_mut(from, round).is_some_and(|r| r.awaits(slot, after));
        if !awaited {
            return;
        }
        let wanted = self.differing_keys(from, entries, now);
        let rest = entries.last().map(|(key, _)| *key).filter(|_| more);
        let adopted = self.view.epoch;
        if let Some(round) = self.repair.round_mut(from, round) {
            round.note_epoch(epoch.min(adopted));
            round.listed(slot, after, wanted, rest, now);
        }
        self.advance(from, now);
    }

    /// The keys whose content differs from what the peer lists. A session that lives there and
    /// ended here is not asked for: the peer is told of its end (rule T5).
    // Rule P3: at once, however recently either side was written.
    fn differing_keys(
        &mut self,
        from: Inc,
        entries: &[(SessionKey, u64)],
        now: Time,
    ) -> Vec<SessionKey> {
        let mut wanted = Vec::new();
        for &(key, theirs) in entries {
            let mine = self.store.short_hash(key);
            if mine == Some(theirs) {
                continue;
            }
            let ended_here = mine.is_some_and(Digest::is_ended);
            if ended_here && !Digest::is_ended(theirs) {
                // Who does not own it any more needs nothing of it: it is about to give it up.
                let owner = self.placement.is_owner(key.slot(), from);
                if owner && !self.options.rules.off(Rule::TombPushBack) {
                    self.counters.tombs_pushed += 1;
                    self.outbox.mark(from, key, &Version::new(), &mut self.counters);
                }
                continue;
            }
            wanted.push(key);
        }
        if self.options.rules.off(Rule::NeedAtOnce) {
            let quiet = |key: &SessionKey| {
                let newest = self.store.version(*key).newest().time();
                now.since(newest) > 500
            };
            if !wanted.iter().all(quiet) {
                self.repair.stop(from);
                self.repair.hasten(from, now.plus(1_000));
                return Vec::new();
            }
        }
        wanted
    }

    pub(super) fn handle_supplied(&mut self, from: Inc, request: u64, supply: Supply, now: Time) {
        let Supply { deltas, absent, deferred } = &supply;
        if deltas.len() + absent.len() + deferred.len() > NEED_KEYS_MAX {
            return self.breach(from, Violation::TooMuch);
        }
        if self.repair.round_needing(from, request).is_none() {
            return;
        }
        if !supply.deltas.iter().all(|delta| self.accepts(from, delta, now)) {
            return;
        }
        let mut again = supply.deferred;
        again.retain(|key| self.store.holds(key.slot()));
        for delta in supply.deltas {
            let key = delta.key;
            // It is no owner any more, or was sent what it did not ask for.
            if !self.owns(key) {
                continue;
            }
            match self.take(delta, now) {
                Verdict::Merged(_) => self.counters.repaired += 1,
                Verdict::Need(_) | Verdict::Skew => again.push(key),
                Verdict::Ended(_) | Verdict::Dead => {}
            }
        }
        if let Some(round) = self.repair.round_needing(from, request) {
            round.supplied(request, again, now);
        }
        self.advance(from, now);
        self.tick_loads(now);
    }

    /// Takes the comparison with `peer` as far as it goes without waiting.
    fn advance(&mut self, peer: Inc, now: Time) {
        while let Some((round, step)) = self.repair.next_step(peer, now) {
            self.ask(peer, round, step, now);
        }
    }

    fn ask(&mut self, peer: Inc, round: u64, step: Step, now: Time) {
        let message = match step {
            Step::Root => {
                if let Some(round) = self.repair.round_mut(peer, round) {
                    round.say(self.view.epoch);
                }
                Message::Root { round, root: self.root_shared_with(peer) }
            }
            Step::Compare(slot, after) => Message::Compare { round, slot, after },
            Step::Need(request, keys) => {
                let wants = keys.into_iter().map(|key| (key, self.store.version(key)));
                Message::Need { request, wants: wants.collect() }
            }
            Step::Complete(epoch) => {
                self.compared_with(peer, epoch, now);
                Message::Compared { round }
            }
        };
        self.send(peer, Lane::Bulk, message);
    }
}

// The side that is asked.
impl Node {
    // Rules P3, L1. What a peer of an earlier epoch leaves aside, because it does not know yet that
    // it owns it, must not count as compared: its slots stay noted.
    pub(super) fn handle_root(
        &mut self,
        from: Inc,
        epoch: u64,
        round: u64,
        root: Digest,
        now: Time,
    ) {
        if let Some(outbox) = self.outbox.peer_mut(from) {
            match epoch >= self.view.epoch {
                true => outbox.begin_comparison(round, now),
                false => outbox.pass_over_comparison(round),
            }
        }
        let offered: Vec<Slot> = self.offered_to(from).collect();
        let answer = if root == self.store.root_of(offered.iter().copied()) {
            Message::Same { round }
        } else {
            let digest = |slot: Slot| (slot, self.store.digest(slot));
            Message::Digests { round, slots: offered.into_iter().map(digest).collect() }
        };
        self.send(from, Lane::Bulk, answer);
    }

    /// The slots that `peer` owns and of which anything is held here, by this node as an owner, or
    /// as one that was and has not given it up yet.
    fn offered_to(&self, peer: Inc) -> impl Iterator<Item = Slot> + '_ {
        let offers =
            move |slot: &Slot| !self.store.is_empty(*slot) && self.placement.is_owner(*slot, peer);
        self.placement.slots().filter(offers)
    }

    /// Digest of what both this node and `peer` own.
    fn root_shared_with(&self, peer: Inc) -> Digest {
        let me = self.options.inc;
        let shared = |slot: &Slot| {
            self.placement.is_owner(*slot, me) && self.placement.is_owner(*slot, peer)
        };
        self.store.root_of(self.placement.slots().filter(shared))
    }

    pub(super) fn handle_compare(
        &mut self,
        from: Inc,
        round: u64,
        slot: Slot,
        after: Option<SessionKey>,
    ) {
        let (entries, more) = self.store.list(slot, after, LIST_KEYS_MAX);
        self.send(from, Lane::Bulk, Message::List { round, slot, after, entries, more });
    }

    // Rule B4: what repair may spend is bounded; what it cannot have now is asked for again.
    pub(super) fn handle_need(
        &mut self,
        from: Inc,
        request: u64,
        wants: Vec<(SessionKey, Version)>,
        now: Time,
    ) {
        if wants.len() > NEED_KEYS_MAX {
            return self.breach(from, Violation::TooMuch);
        }
        let mut supply = Supply::default();
        let mut bytes = 0;
        for (key, version) in wants {
            let allowed =
                self.supply_budget.allows(now) || self.options.rules.off(Rule::RepairBudget);
            if bytes >= SUPPLY_BYTES_MAX || !allowed {
                supply.deferred.push(key);
                continue;
            }
            match self.store.extract(key, &version) {
                None => supply.absent.push(key),
                Some(delta) => {
                    let size = delta.size_bytes();
                    bytes += size;
                    self.supply_budget.spend(size as u64);
                    self.counters.repair_bytes += size as u64;
                    supply.deltas.push(delta);
                }
            }
        }
        self.send(from, Lane::Bulk, Message::Supplied { request, supply });
    }

    pub(super) fn handle_compared(&mut self, from: Inc, round: u64) {
        if let Some(outbox) = self.outbox.peer_mut(from) {
            self.counters.slots_recovered += outbox.end_comparison(round) as u64;
        }
    }
}
