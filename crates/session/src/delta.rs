//! A small session: what one copy has and another lacks.

use serde::{Deserialize, Serialize};

use crate::limits::ABSOLUTE_TIMEOUT_MS_MAX;
use crate::{Attribute, Core, Name, Session, SessionKey, Time, Tombstone, Version};

/// A change of one session, however it came about: a local write, a peer's write, a repair, a
/// fetched copy. There is no other way to change a copy (design, first sentence).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delta {
    /// Which session.
    pub key: SessionKey,
    /// What changes.
    pub body: Body,
}

/// The two kinds of change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// A fragment of a living session.
    Change(Change),
    /// The end of a session.
    End(Tombstone),
}

/// A fragment of a living session: the attributes in which a copy at `hi` differs from one at `lo`.
///
/// ```text
/// lo ≤ version of the receiver   required before merging (rule R3)
/// hi ≤ version of the receiver   true after merging
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// What was fixed at creation; always there when `lo` is empty.
    pub core: Option<Core>,
    /// What the receiver must already have.
    pub lo: Version,
    /// What the receiver has afterwards: the sender's whole version.
    pub hi: Version,
    /// The attributes that a copy at `lo` may lack something of, in order of their names.
    pub attributes: Vec<(Name, Attribute)>,
    /// The sender's last access.
    pub last_access: Time,
}

/// The receiver lacks something that the delta builds on; merging it would leave a gap that its
/// version hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap;

impl Session {
    /// The delta from a copy at `lo` to this one: small if `lo` is recent, everything if it is
    /// empty.
    // Rule R2.
    #[must_use]
    pub fn extract(&self, key: SessionKey, lo: &Version) -> Delta {
        let lacking = self.attributes.iter().filter(|(_, a)| !a.is_covered_by(lo));
        Delta {
            key,
            body: Body::Change(Change {
                core: lo.is_empty().then(|| self.core.clone()),
                lo: lo.clone(),
                hi: self.version.clone(),
                attributes: lacking.map(|(name, a)| (name.clone(), a.clone())).collect(),
                last_access: self.last_access,
            }),
        }
    }

    /// Merges a fragment; changes nothing if this copy lacks what it builds on.
    ///
    /// # Errors
    /// [`Gap`] if this copy does not cover `lo`; the sender extracts again against this version.
    // Rule R3.
    pub fn merge(&mut self, change: &Change) -> Result<(), Gap> {
        if !self.version.covers_all(&change.lo) {
            return Err(Gap);
        }
        self.merge_unchecked(change);
        Ok(())
    }

    /// Merges a fragment without asking whether this copy covers what it builds on. [`merge`]
    /// asks; only it and the test that switches rule R3 off come here.
    ///
    /// [`merge`]: Self::merge
    pub fn merge_unchecked(&mut self, change: &Change) {
        let attributes = change.attributes.iter().map(|(name, a)| (name, a));
        self.join_attributes(attributes, &change.hi);
        self.last_access = self.last_access.max(change.last_access);
    }

    /// A fragment that says only when the session was last used.
    #[must_use]
    pub fn touch(&self, key: SessionKey, now: Time) -> Delta {
        Delta {
            key,
            body: Body::Change(Change {
                core: None,
                lo: self.version.clone(),
                hi: self.version.clone(),
                attributes: Vec::new(),
                last_access: now,
            }),
        }
    }
}

impl Change {
    /// The session that this fragment is, if it is a whole one.
    #[must_use]
    pub fn into_session(self) -> Option<Session> {
        if !self.lo.is_empty() {
            return None;
        }
        Some(Session {
            core: self.core?,
            attributes: self.attributes.into_iter().collect(),
            version: self.hi,
            last_access: self.last_access,
        })
    }

    /// The latest point in time named anywhere in it that stamping would carry on (rule H4).
    ///
    /// Only `hi` needs asking: in a well-formed change it covers every stamp.
    #[must_use]
    pub fn newest(&self) -> Time {
        self.hi.newest().time().max(self.last_access)
    }

    /// False if no correct peer can have made it; merging it would break an invariant.
    ///
    /// `hi` covers every stamp in it (I-COV); names are in strictly increasing order; each
    /// attribute has been written; a whole session has its core, and no core lives longer than
    /// [`ABSOLUTE_TIMEOUT_MS_MAX`]. Nothing orders `lo` and `hi`: `lo` is what the *receiver* has,
    /// which may be more than the sender has.
    // Rules R3, T1.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let is_lasting = |core: &Core| {
            self.hi.covers(core.created)
                && core.hard_deadline.since(core.created.hlc.time()) <= ABSOLUTE_TIMEOUT_MS_MAX
        };
        let names_increase = self.attributes.windows(2).all(|pair| pair[0].0 < pair[1].0);
        (self.core.is_some() || !self.lo.is_empty())
            && self.core.as_ref().is_none_or(is_lasting)
            && names_increase
            && self.attributes.iter().all(|(_, a)| a.is_well_formed() && a.is_covered_by(&self.hi))
    }
}

impl Delta {
    /// Bytes that the delta takes on the wire, rounded up.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match &self.body {
            Body::End(_) => 40,
            Body::Change(change) => {
                let attributes: usize =
                    change.attributes.iter().map(|(n, a)| n.as_str().len() + a.size_bytes()).sum();
                let core = change.core.as_ref().map_or(0, |core| {
                    48 + core.user.as_ref().map_or(0, |user| user.as_str().len())
                });
                48 + attributes + core + (change.lo.len() + change.hi.len()) * 18
            }
        }
    }
}
