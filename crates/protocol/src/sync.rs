//! Whether this node has caught up since it started, and may therefore speak as an owner.

use std::collections::BTreeSet;

use session::Time;

use crate::limits::SUSPECT_MS;
use crate::view::MemberName;

/// Catching up of a node that started under a static view (amendment 8).
///
/// A started node is synced after a full comparison with every member that answers; a member
/// silent for two seconds is passed over. One that is heard of but answers no comparison is not: it
/// may be the only one that holds a write which was acknowledged (decision 011). If nobody has anything, all of them are synced at once,
/// because comparing nothing with nothing is a comparison.
#[derive(Debug)]
pub(crate) struct Sync {
    started: Time,
    pending: BTreeSet<MemberName>,
    synced: bool,
}

impl Sync {
    /// A node that has just started and has to compare itself with `others`.
    pub(crate) fn new(started: Time, others: impl Iterator<Item = MemberName>) -> Self {
        Self { started, pending: others.collect(), synced: false }
    }

    pub(crate) const fn is_synced(&self) -> bool {
        self.synced
    }

    /// Members that it still has to be compared with.
    pub(crate) fn pending(&self) -> usize {
        if self.synced { 0 } else { self.pending.len() }
    }

    /// A comparison with that member is complete.
    pub(crate) fn compared_with(&mut self, member: &MemberName) {
        self.pending.remove(member);
    }

    /// True if this makes the node synced. `is_silent` tells which members do not answer.
    // Rule S1.
    pub(crate) fn check(&mut self, now: Time, is_silent: impl Fn(&MemberName) -> bool) -> bool {
        let waited = now.since(self.started) >= SUSPECT_MS;
        if self.synced || !self.pending.iter().all(|member| waited && is_silent(member)) {
            return false;
        }
        self.synced = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests rule S1.
    #[test]
    fn a_node_is_synced_after_everybody_who_answers() {
        let mut sync = Sync::new(Time(0), ["b".into(), "c".into()].into_iter());
        sync.compared_with(&"b".into());
        assert!(!sync.check(Time(5_000), |_| false), "c answers and is not compared yet");
        assert!(!sync.check(Time(1_999), |_| true), "c may still come up");
        assert!(sync.check(Time(2_000), |_| true));
        assert!(!sync.check(Time(2_001), |_| true), "it becomes synced once");
        assert!(Sync::new(Time(0), std::iter::empty()).check(Time(0), |_| false), "alone");
    }
}
