//! What must hold at any time, remembered over a run.

use std::collections::BTreeMap;

use protocol::Node;
use session::{Inc, Session, SessionKey, State, Time, Version};

/// What was seen so far.
#[derive(Default)]
pub struct Checks {
    /// Of each process: version and last access of each copy, `None` once the session has ended
    /// there.
    held: BTreeMap<Inc, BTreeMap<SessionKey, Option<(Version, Time)>>>,
    /// Each value by its version, as entries of writer and reading.
    values: BTreeMap<(SessionKey, Vec<(u64, u64)>), Session>,
}

impl Checks {
    /// Looks at all copies of one node.
    pub fn look(&mut self, node: &Node) {
        let held = self.held.entry(node.inc()).or_default();
        // Rule V9: of a slot that it gave up it may hear again from one that is behind. What it
        // forgot by itself was over: only the end of it stays known.
        held.retain(|key, seen| {
            node.store().get(*key).is_some() || (seen.is_none() && node.owns(*key))
        });
        for (key, state) in node.store().iter() {
            let State::Alive(session) = state else {
                held.insert(key, None);
                continue;
            };
            let now = (session.version.clone(), session.last_access);
            match held.insert(key, Some(now)) {
                Some(None) => panic!("I-TOMB: {key:?} came back at {:?}", node.inc()),
                Some(Some((version, last_access))) => assert!(
                    session.version.covers_all(&version) && session.last_access >= last_access,
                    "I-MONO: {key:?} at {:?} had {version:?} of {last_access:?}, has {:?} of {:?}",
                    node.inc(),
                    session.version,
                    session.last_access
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
