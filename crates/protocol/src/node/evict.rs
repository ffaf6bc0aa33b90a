//! Making room: what is ended when the memory limit of an owner comes near, and what does not begin.

use session::{EndReason, Inc, SessionKey, Slot, Time};

use super::Node;
use crate::limits::{EVICT_ABOVE_PERCENT, EVICT_PER_TICK_MAX, EVICT_SAMPLE_MAX, ROOM_KNOWN_MS};
use crate::message::Room;

impl Node {
    /// How much room this node has.
    // Rule M1.
    pub(super) fn room(&self) -> Room {
        let (bytes, max) = (self.store.bytes(), self.options.bytes_max);
        if bytes >= max {
            Room::Full
        } else if bytes >= max / 100 * EVICT_ABOVE_PERCENT {
            Room::Scarce
        } else {
            Room::Ample
        }
    }

    /// Every message says how much room its sender has.
    pub(super) fn note_room(&mut self, peer: Inc, room: Room, now: Time) {
        if room == Room::Ample {
            self.rooms.remove(&peer);
        } else {
            self.rooms.insert(peer, (room, now));
        }
    }

    /// The least room that any owner of that slot has, as far as this one knows: each of them holds
    /// what any of them takes in, whatever its own limit is.
    // Rule M1.
    pub(super) fn room_for(&self, slot: Slot, now: Time) -> Room {
        let others = self.placement.owners(slot).filter_map(|owner| self.rooms.get(&owner));
        let known = others.filter(|(_, at)| now.since(*at) < ROOM_KNOWN_MS);
        known.map(|(room, _)| *room).fold(self.room(), Room::max)
    }

    /// Ends sessions that nobody is signed in to, the least recently used of a sample first, while
    /// less than a tenth of the memory of one of their owners is left. An end, and not a local
    /// deletion: repair would bring a deleted copy back. Only the first owner that answers decides,
    /// so that a session is not weighed by every owner. Signed-in sessions are never ended for
    /// room; at the limit itself no session is created.
    // Rule M1.
    pub(super) fn tick_evict(&mut self, now: Time) {
        let is_short = self.room() > Room::Ample || !self.rooms.is_empty();
        if !is_short || !self.sync.speaks_for_any() || self.clock_fault {
            return;
        }
        let walk = self.store.walk(self.evict_after, EVICT_SAMPLE_MAX);
        self.evict_after = walk.next;
        let mut idle: Vec<(Time, SessionKey)> = walk
            .sessions
            .into_iter()
            .filter(|(key, session)| session.core.user.is_none() && self.decides(*key))
            .filter(|(key, _)| self.room_for(key.slot(), now) > Room::Ample)
            .map(|(key, session)| (session.last_access, key))
            .collect();
        idle.sort_unstable();
        for (_, key) in idle.into_iter().take(EVICT_PER_TICK_MAX) {
            self.end_here(key, EndReason::Evicted, now);
            self.counters.evicted += 1;
        }
    }

    /// True if this node is the first owner of the session that answers.
    fn decides(&self, key: SessionKey) -> bool {
        let me = self.options.inc;
        let first = self.placement.owners(key.slot()).find(|o| *o == me || self.is_reachable(*o));
        first == Some(me) && self.speaks_for(key)
    }
}
