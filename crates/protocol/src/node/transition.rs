//! Adopting views: who is told of what, what is caught up with, what is given up.

use std::collections::BTreeSet;

use session::{Inc, Slot, Time, Version};

use super::Node;
use crate::event::Event;
use crate::limits::BEHIND_MS;
use crate::placement::Placement;
use crate::rules::Rule;
use crate::view::{MemberName, View};

/// What a node still has of slots that are not its own any more: nothing, once it has handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// Slots that it owns by a layout in force.
    pub owned: usize,
    /// Slots of which it holds anything although it does not own them.
    pub kept: usize,
    /// Sessions and tombstones in those.
    pub sessions: usize,
    /// Commits that wait for acknowledgements.
    pub waiting: usize,
}

impl Handover {
    /// True if this process can go without taking anything with it.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.owned == 0 && self.kept == 0 && self.waiting == 0
    }
}

impl Node {
    /// How far this node has handed over what it held; of use once it is leaving.
    // Rule V12.
    #[must_use]
    pub fn handover(&self) -> Handover {
        let me = self.options.inc;
        let owned = |slot: &Slot| self.placement.is_owner(*slot, me);
        let kept = self.placement.slots().filter(|s| !owned(s) && !self.store.is_empty(*s));
        let (kept, sessions) =
            kept.fold((0, 0), |(kept, sum), slot| (kept + 1, sum + self.store.count(slot)));
        let owned = self.placement.slots().filter(owned).count();
        Handover { owned, kept, sessions, waiting: self.waiters.len() }
    }

    /// Takes up a later view, or a fixed one in which another process of a member is known.
    // Rules V1, V5, V9, V11.
    pub(super) fn adopt(&mut self, view: View, now: Time) {
        if self.removed || !view.supersedes(&self.view) {
            return;
        }
        if !view.is_fixed() && !view.contains(self.options.inc) {
            // It may not speak any more, and others do not listen to it: only a process that joins
            // anew can.
            self.removed = true;
            self.sync.refresh(&view, &self.placement, self.options.inc);
            self.events.push_back(Event::Removed);
            return;
        }
        let (first, slots) = self.slots();
        let placement = Placement::new(&view, first, slots);
        let before = std::mem::replace(&mut self.placement, placement);
        let earlier = std::mem::replace(&mut self.view, view);
        self.counters.views += 1;
        self.behind = None;
        self.tell_of_losses(earlier.epoch);
        self.change_peers(&before, now);
        self.tell_new_owners(&before);
        self.loads.restart();
        let present = |inc: Inc| self.view.contains(inc);
        self.sync.retain(present);
        self.refresh_sync(now);
        self.compare_with_owners(now);
        self.tick_waiters(now);
    }

    /// Somebody goes by a later view: the application is told, at once if it has not heard of it,
    /// and every second while somebody says so. A peer that names an epoch which there is not
    /// silences nobody.
    // Rule V1.
    pub(super) fn note_later(&mut self, generation: u64, epoch: u64, now: Time) {
        let (seen, mine) = ((generation, epoch), (self.view.generation, self.view.epoch));
        if self.view.is_fixed() || seen <= mine {
            return;
        }
        let known = self.behind.is_some_and(|(told, at)| seen <= told && now.since(at) < BEHIND_MS);
        if !known {
            self.behind = Some((seen, now));
            self.events.push_back(Event::Behind(generation, epoch));
        }
    }

    /// What was lost before this process joined is no news of it; what its own joining brought to
    /// light is (its `Inc` is the epoch of that).
    fn tell_of_losses(&mut self, since: u64) {
        let since = match self.view.is_fixed() {
            true => since,
            false => since.max(self.options.inc.0.saturating_sub(1)),
        };
        let holds = |slot: &Slot| self.store.holds(*slot);
        let new = self.view.losses.iter().filter(|(_, epoch)| **epoch > since);
        let lost: Vec<Slot> = new.map(|(slot, _)| *slot).filter(holds).collect();
        if !lost.is_empty() {
            self.counters.losses_accepted += lost.len() as u64;
            self.events.push_back(Event::LossAccepted(lost));
        }
    }

    /// Processes that are gone are forgotten, and for new ones there is an outbox: whatever they
    /// own, they may lack. Of those that stay, what they own may have changed.
    fn change_peers(&mut self, before: &Placement, now: Time) {
        let others = self.view.members.iter().filter_map(|member| member.inc);
        let present: BTreeSet<Inc> = others.filter(|inc| *inc != self.options.inc).collect();
        let gone: Vec<Inc> = self.peers.difference(&present).copied().collect();
        for inc in gone {
            self.outbox.remove(inc);
            self.repair.stop(inc);
            self.forwards.forget(inc);
            self.loads.forget(inc);
        }
        for peer in &present {
            let is_new = !self.peers.contains(peer);
            if is_new {
                self.outbox.add(*peer, std::iter::empty(), now);
                if let (true, Some(outbox)) =
                    (self.is_connected(*peer), self.outbox.peer_mut(*peer))
                {
                    outbox.set_reachable(true, now);
                }
            }
            for slot in self.placement.slots() {
                let kept = !is_new && self.placement.has_kept(before, slot, *peer);
                if !is_new && !kept && before.is_owner(slot, *peer) {
                    self.outbox.lost(*peer, slot);
                }
                if !kept && self.placement.is_owner(slot, *peer) && self.may_hold(slot) {
                    self.outbox.gained(*peer, slot);
                }
            }
        }
        self.peers = present;
        self.rooms.retain(|inc, _| self.peers.contains(inc));
    }

    /// True if anything of the slot is held here, or may come to be written here.
    fn may_hold(&self, slot: Slot) -> bool {
        self.placement.is_owner(slot, self.options.inc) || !self.store.is_empty(slot)
    }

    /// Writes that wait for their level must reach owners that have become ones meanwhile. What an
    /// owner acknowledged before it gave the slot up, it does not have any more.
    // Rules V3, V9.
    fn tell_new_owners(&mut self, before: &Placement) {
        let placement = &self.placement;
        self.waiters.retain_acks(|key, inc, at| {
            placement.has_kept(before, key.slot(), inc)
                || placement.owned_since(key.slot(), inc).is_some_and(|since| since <= at)
        });
        for key in self.waiters.keys() {
            let slot = key.slot();
            let new: Vec<Inc> = self
                .placement
                .owners(slot)
                .filter(|owner| *owner != self.options.inc)
                .filter(|owner| !self.placement.has_kept(before, slot, *owner))
                .collect();
            for owner in new {
                self.outbox.mark(owner, key, &Version::new(), &mut self.counters);
            }
        }
    }

    /// Compares with everybody with whom any slot is shared, and with nobody else.
    fn compare_with_owners(&mut self, now: Time) {
        let peers: Vec<Inc> = self.peers.iter().copied().collect();
        for peer in peers {
            if !self.shares_with(peer) {
                self.repair.stop(peer);
            } else if self.is_reachable(peer) {
                self.repair.hasten(peer, now);
            }
        }
    }

    /// True if any slot of this shard is owned by this node and by `peer`.
    pub(super) fn shares_with(&self, peer: Inc) -> bool {
        let me = self.options.inc;
        let both =
            |slot: Slot| self.placement.is_owner(slot, me) && self.placement.is_owner(slot, peer);
        self.placement.slots().any(both)
    }

    /// A comparison with `peer` is complete, all of whose answers were of `epoch` or later.
    pub(super) fn compared_with(&mut self, peer: Inc, epoch: u64, now: Time) {
        let name = self.view.name_of(peer).cloned();
        self.sync.compared_with(name.as_ref(), peer, epoch);
        if self.sources.contains(&peer) {
            let sealed = self.view.next_layout().is_none_or(|layout| epoch >= layout.epoch);
            self.counters.unsealed += u64::from(!sealed);
        }
        if !self.shares_with(peer) {
            // It had something left of a slot that it does not own any more.
            self.repair.stop(peer);
        }
        self.refresh_sync(now);
    }

    /// Works out anew what this node speaks for, and tells if that is all of a layout.
    // Rules V7, E4.
    pub(super) fn refresh_sync(&mut self, now: Time) {
        let me = self.options.inc;
        self.check_whole(now);
        let gained = self.sync.refresh(&self.view, &self.placement, me);
        if !self.view.is_fixed() {
            for slot in gained {
                self.store.readmit_slot(slot, self.view.losses.get(&slot).copied());
            }
        }
        for epoch in self.sync.newly_synced(&self.view, &self.placement, me) {
            self.events.push_back(Event::Synced(epoch));
        }
        self.sources = self.sync.sources(&self.view, &self.placement, me);
    }

    /// Under a fixed view a started node has caught up once, with everybody who answers.
    fn check_whole(&mut self, now: Time) -> bool {
        if !self.view.is_fixed() {
            return false;
        }
        let (view, reachable) = (&self.view, &self.reachable);
        let is_silent = |name: &MemberName| {
            let inc = view.members.iter().find(|m| m.name == *name).and_then(|m| m.inc);
            !inc.is_some_and(|inc| reachable.contains(&inc))
        };
        let news = self.sync.check_whole(now, is_silent);
        if news {
            self.events.push_back(Event::Synced(self.view.epoch));
        }
        news
    }

    pub(super) fn tick_transition(&mut self, now: Time) {
        if self.view.is_fixed() && self.check_whole(now) {
            self.refresh_sync(now);
        }
        let sources: Vec<Inc> =
            self.sources.iter().copied().filter(|inc| self.is_reachable(*inc)).collect();
        for source in sources {
            self.repair.start_soon(source, now);
        }
        self.give_up_slots();
    }

    /// Gives up what this node does not own any more, once no owner is known to lack any of it.
    // Rule V9: the layouts by which it owned them are no longer in force, so all their new owners
    // have caught up with it (V7); and what it stamped since has arrived.
    fn give_up_slots(&mut self) {
        if self.view.is_fixed() || self.removed {
            return;
        }
        let (me, rules) = (self.options.inc, self.options.rules);
        let early = rules.off(Rule::DropAfterFinish);
        let owned = |slot: Slot| match self.view.layouts.len().checked_sub(1) {
            Some(newest) if early => self.placement.is_owner_by(newest, slot, me),
            Some(_) | None => self.placement.is_owner(slot, me),
        };
        let clean = |slot: Slot| rules.off(Rule::DropWhenClean) || self.outbox.is_clean_of(slot);
        let over = |slot: &Slot| !self.store.is_empty(*slot) && !owned(*slot) && clean(*slot);
        let over: BTreeSet<Slot> = self.placement.slots().filter(over).collect();
        if !over.is_empty() {
            self.counters.handed_over += self.store.drop_slots(&over, me, self.view.epoch) as u64;
        }
    }
}
