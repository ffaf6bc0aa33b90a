//! Names whose processes come and go: each time they have to wait longer before they are let in.

use std::collections::BTreeMap;

use protocol::MemberName;
use session::Inc;

use super::SuspectPolicy;

/// Names that are remembered; as many as there can be members.
const NAMES_MAX: usize = Inc::MEMBERS_MAX as usize;

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
struct Flaps {
    /// How often its process went without leaving, one after another.
    count: u32,
    /// Until when it may not join, in milliseconds.
    until_ms: u64,
    /// When it is forgotten, in milliseconds.
    forgotten_ms: u64,
}

/// The names of processes that went without leaving, not long ago.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    flaps: BTreeMap<MemberName, Flaps>,
}

impl Quarantine {
    pub(super) const fn new() -> Self {
        Self { flaps: BTreeMap::new() }
    }

    /// A process of that name has gone without leaving.
    pub(super) fn note(&mut self, name: &MemberName, policy: &SuspectPolicy, now_ms: u64) {
        self.flaps.retain(|_, flaps| now_ms < flaps.forgotten_ms);
        if self.flaps.len() >= NAMES_MAX && !self.flaps.contains_key(name) {
            let first = self.flaps.iter().min_by_key(|(_, flaps)| flaps.forgotten_ms);
            if let Some(first) = first.map(|(name, _)| name.clone()) {
                self.flaps.remove(&first);
            }
        }
        let count = self.flaps.get(name).map_or(0, |flaps| flaps.count).saturating_add(1);
        // The first time it is an accident.
        let doubled =
            count.checked_sub(2).map(|times| 1_u64.checked_shl(times).unwrap_or(u64::MAX));
        let wait_ms = doubled.map_or(0, |times| policy.quarantine_ms_min.saturating_mul(times));
        let until_ms = now_ms.saturating_add(wait_ms.min(policy.quarantine_ms_max));
        let forgotten_ms = until_ms.saturating_add(policy.forget_ms);
        self.flaps.insert(name.clone(), Flaps { count, until_ms, forgotten_ms });
    }

    pub(super) fn wait_ms(&self, name: &MemberName, now_ms: u64) -> Option<u64> {
        let until_ms = self.flaps.get(name)?.until_ms;
        until_ms.checked_sub(now_ms).filter(|wait_ms| *wait_ms > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests rule D6.
    #[test]
    fn bound_names_remembered() {
        let mut quarantine = Quarantine::new();
        let policy = SuspectPolicy::default();
        let name = |number: usize| MemberName::from(&*number.to_string());
        for number in 0..=NAMES_MAX {
            let now_ms = number as u64;
            quarantine.note(&name(number), &policy, now_ms);
            quarantine.note(&name(number), &policy, now_ms);
        }
        assert_eq!(quarantine.flaps.len(), NAMES_MAX);
        assert_eq!(quarantine.wait_ms(&name(0), 5_000), None, "the oldest is forgotten");
        assert!(quarantine.wait_ms(&name(1), 5_000).is_some());
    }
}
