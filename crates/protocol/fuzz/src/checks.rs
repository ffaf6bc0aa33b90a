//! What must hold at any time, remembered over a run.

use std::collections::BTreeMap;

use protocol::Node;
use session::{Inc, Session, SessionKey, State, Time, Version};

/// What was seen so far.
#[derive(Default)]
pub struct Checks {
    /// Of each process: the version of each copy, `None` once the session has ended there.
    held: BTreeMap<Inc, BTreeMap<SessionKey, Option<Version>>>,
    /// Each value by its version, as entries of writer and reading.
    values: BTreeMap<(SessionKey, Vec<(u64, u64)>), Session>,
}

impl Checks {
    /// Looks at all copies of one node.
    pub fn look(&mut self, node: &Node) {
        let held = self.held.entry(node.inc()).or_default();
        held.retain(|key, version| version.is_none() || node.store().get(*key).is_some());
        for (key, state) in node.store().iter() {
            let State::Alive(session) = state else {
                held.insert(key, None);
                continue;
            };
            let before = held.insert(key, Some(session.version.clone()));
            match before {
                Some(None) => panic!("I-TOMB: {key:?} came back at {:?}", node.inc()),
                Some(Some(before)) => assert!(
                    session.version.covers_all(&before),
                    "I-MONO: {key:?} at {:?} had {before:?}, has {:?}",
                    node.inc(),
                    session.version
                ),
                None => {}
            }
            let version = session.version.iter().map(|(inc, hlc)| (inc.0, hlc.0)).collect();
            let value = Session { last_access: Time(0), ..session.as_ref().clone() };
            let known = self.values.entry((key, version)).or_insert_with(|| value.clone());
            assert_eq!(*known, value, "I-DET: {key:?} at {:?}", node.inc());
        }
    }
}
