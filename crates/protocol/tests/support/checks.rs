//! What must hold at any time.

use std::collections::BTreeMap;

use session::{Session, SessionKey, State, Time};

use super::Net;

impl Net {
    pub(super) fn check(&mut self) {
        let mut values: BTreeMap<(SessionKey, Vec<u64>), Session> = BTreeMap::new();
        for host in &mut self.hosts {
            let Some(node) = &host.node else {
                continue;
            };
            assert_eq!(node.store().root(), node.store().recomputed_root(), "I-DIGEST");
            assert_eq!(host.violations, [], "nobody breaks the protocol unless a test says so");
            // A slot that was given up begins anew; an end that was known stays known.
            host.seen.retain(|key, seen| seen.is_none() || node.store().get(*key).is_some());
            for (key, state) in node.store().iter() {
                let seen = match state {
                    State::Ended(_) => None,
                    State::Alive(session) => Some(session.version.clone()),
                };
                match (host.seen.get(&key), &seen) {
                    (Some(None), Some(_)) => panic!("I-TOMB: {key:?} came back at {}", host.name),
                    (Some(Some(before)), Some(now)) => {
                        assert!(now.covers_all(before), "I-MONO: {key:?} at {}", host.name);
                    }
                    (None | Some(_), _) => {}
                }
                host.seen.insert(key, seen);
                if let State::Alive(session) = state {
                    let version = session.version.iter().flat_map(|(i, h)| [i.0, h.0]).collect();
                    let mut value = session.as_ref().clone();
                    value.last_access = Time(0);
                    let known = values.entry((key, version)).or_insert_with(|| value.clone());
                    assert_eq!(*known, value, "I-DET: {key:?} at {}", host.name);
                }
            }
        }
    }
}
