//! Making room: what is ended when the memory limit comes near.

use session::{EndReason, SessionKey, Time};

use super::Node;
use crate::limits::{EVICT_ABOVE_PERCENT, EVICT_PER_TICK_MAX, EVICT_SAMPLE_MAX};

impl Node {
    /// Ends sessions that nobody is signed in to, the least recently used of a sample first, while
    /// less than a tenth of the memory is left. An end, and not a local deletion: repair would
    /// bring a deleted copy back. Only the first owner that answers decides, so that a session is
    /// not weighed by every owner. Signed-in sessions are never ended for room; at the limit
    /// itself no session is created.
    // Rule M1.
    pub(super) fn tick_evict(&mut self, now: Time) {
        let above = self.options.bytes_max / 100 * EVICT_ABOVE_PERCENT;
        if self.store.bytes() < above || !self.sync.speaks_for_any() || self.clock_fault {
            return;
        }
        let walk = self.store.walk(self.evict_after, EVICT_SAMPLE_MAX);
        self.evict_after = walk.next;
        let mut idle: Vec<(Time, SessionKey)> = walk
            .sessions
            .into_iter()
            .filter(|(key, session)| session.core.user.is_none() && self.decides(*key))
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
