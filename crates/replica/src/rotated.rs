//! Ids that a login has replaced a moment ago. Requests that were under way then must not give
//! their browser yet another id; a browser that never got its new one must be able to go on.

use std::collections::{HashMap, VecDeque};

use session::{SessionKey, Time};

use crate::limits::{ROTATED_IDS_MAX, ROTATION_MS};

/// The ids that requests have brought since they were replaced, with the first time each.
///
/// Invariant: both parts hold the same keys, at most [`ROTATED_IDS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Rotated {
    first: HashMap<SessionKey, Time>,
    order: VecDeque<SessionKey>,
}

impl Rotated {
    /// True if a request that brings this replaced id may have been under way when its browser
    /// got the new one.
    pub(crate) fn is_recent(&mut self, key: SessionKey, now: Time) -> bool {
        if let Some(first) = self.first.get(&key) {
            return now.since(*first) < ROTATION_MS;
        }
        if self.order.len() >= ROTATED_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        self.first.insert(key, now);
        self.order.push_back(key);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_recent_for_a_while_after_it_was_seen_first() {
        let mut rotated = Rotated::default();
        let key = SessionKey([7; 16]);
        assert!(rotated.is_recent(key, Time(1_000)));
        assert!(rotated.is_recent(key, Time(999 + ROTATION_MS)));
        assert!(!rotated.is_recent(key, Time(1_000 + ROTATION_MS)));
        assert!(rotated.is_recent(SessionKey([8; 16]), Time(1_000 + ROTATION_MS)), "another one");
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut rotated = Rotated::default();
        for number in 0..ROTATED_IDS_MAX + 1 {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            rotated.is_recent(SessionKey(key), Time(0));
        }
        assert_eq!((rotated.first.len(), rotated.order.len()), (ROTATED_IDS_MAX, ROTATED_IDS_MAX));
        assert!(!rotated.first.contains_key(&SessionKey([0; 16])));
    }
}
