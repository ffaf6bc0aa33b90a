//! The value that copies agree on: a living session or what is left of an ended one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::expiry::idle_deadline;
use crate::limits::{ABSOLUTE_TIMEOUT_MS_MAX, SKEW_MS_MAX};
use crate::{
    Attribute, Content, Kind, Name, SessionKey, Stamp, Time, User, Version, purge_after,
    touch_granularity_ms,
};

/// What is fixed when a session is created, by the node that drew its id (amendments 4 and 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Core {
    /// The stamp of its creation; no other session has it.
    pub created: Stamp,
    /// The end of its life whatever happens (rule T1): its tombstone is kept until then.
    pub hard_deadline: Time,
    /// Idle timeout in milliseconds.
    pub idle_ms: u64,
    /// Whom it is signed in as. Immutable: a login makes a new session (rule D2).
    pub user: Option<User>,
}

/// Why a session ended. The order decides between two reasons (the smaller stays): what somebody
/// did goes before what merely came about. A conflict is the last, because whether one is seen
/// depends on the order in which copies meet: next to a tombstone both sessions leave no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// Its user logged out.
    Logout,
    /// Ended by force, with all others of its user.
    Forced,
    /// Replaced by a session with a fresh id at login.
    Rotated,
    /// Its user has too many sessions.
    MaxSessions,
    /// Ended to make room.
    Evicted,
    /// Idle too long.
    Expired,
    /// Two different sessions appeared under one key, which random ids exclude; or, after a loss
    /// that an operator or the cluster accepted, nobody is left who may write to it (rule V9).
    Conflict,
}

/// What is left of an ended session, until its deadline (rule T3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tombstone {
    /// The hard deadline of the session it ends.
    pub deadline: Time,
    /// Why it ended.
    pub reason: EndReason,
}

impl Tombstone {
    /// False if no session that exists at `now` lives as long as this tombstone says: keeping it
    /// would be a burden without an end.
    // Rules T1, H4.
    #[must_use]
    pub fn is_well_formed(self, now: Time) -> bool {
        self.deadline <= now.plus(SKEW_MS_MAX + ABSOLUTE_TIMEOUT_MS_MAX)
    }

    /// The least tombstone above both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self { deadline: self.deadline.max(other.deadline), reason: self.reason.min(other.reason) }
    }
}

/// A living session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// What was fixed at creation.
    pub core: Core,
    /// Its attributes, removed ones included.
    pub attributes: BTreeMap<Name, Attribute>,
    /// Which writes it includes (I-COV). The creation counts as a write.
    pub version: Version,
    /// When a request last used it, to a granularity ([`touch_granularity_ms`]). The one part
    /// outside the version: a maximum, replicated like the rest.
    pub last_access: Time,
}

impl Session {
    /// A session that has just been created.
    #[must_use]
    pub fn new(core: Core) -> Self {
        let created = core.created;
        Self {
            core,
            attributes: BTreeMap::new(),
            version: created.into(),
            last_access: created.hlc.time(),
        }
    }

    /// The content of an attribute; absent if it was never written.
    #[must_use]
    pub fn content(&self, name: &Name) -> &Content {
        self.attributes.get(name).map_or(&Attribute::ABSENT.content, |a| &a.content)
    }

    /// The attributes that are not absent.
    pub fn present(&self) -> impl Iterator<Item = (&Name, &Content)> {
        self.attributes
            .iter()
            .filter(|(_, a)| a.content.kind() != Kind::Absent)
            .map(|(name, a)| (name, &a.content))
    }

    /// True if the session is past its hard deadline.
    // Rule T2.
    #[must_use]
    pub fn is_dead(&self, now: Time) -> bool {
        now > self.core.hard_deadline
    }

    /// True if it has been idle too long to be served, by this copy's data.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        now >= idle_deadline(&self.core, self.last_access)
    }

    /// When this copy may be forgotten without a tombstone.
    #[must_use]
    pub fn purge_after(&self) -> Time {
        purge_after(&self.core, self.last_access)
    }

    /// True if a request at `now` must be noted as a new last access (protocol 1.4).
    #[must_use]
    pub fn wants_touch(&self, now: Time) -> bool {
        now.since(self.last_access) > touch_granularity_ms(self.core.idle_ms)
    }

    /// Bytes that the session takes, counted alike on every node.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let attributes: usize =
            self.attributes.iter().map(|(name, a)| name.as_str().len() + a.size_bytes()).sum();
        let user = self.core.user.as_ref().map_or(0, |user| user.as_str().len());
        128 + attributes + user + self.version.size_bytes()
    }

    /// What remains of it when it ends for `reason`.
    #[must_use]
    pub const fn end(&self, reason: EndReason) -> Tombstone {
        Tombstone { deadline: self.core.hard_deadline, reason }
    }
}

/// A session or its tombstone: `Alive(_) < Ended(_)`, so that nothing alive replaces a tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It can be served.
    Alive(Box<Session>),
    /// It ended and never comes back (promise P3).
    Ended(Tombstone),
}

impl State {
    /// The least state above both: what two copies that hear of each other become.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ended(a), Self::Ended(b)) => Self::Ended(a.join(b)),
            (Self::Ended(end), Self::Alive(session)) | (Self::Alive(session), Self::Ended(end)) => {
                let deadline = end.deadline.max(session.core.hard_deadline);
                Self::Ended(Tombstone { deadline, ..end })
            }
            (Self::Alive(mut a), Self::Alive(b)) => match a.join(&b) {
                Ok(()) => Self::Alive(a),
                Err(conflict) => Self::Ended(conflict),
            },
        }
    }

    /// The delta that makes a copy which lacks everything equal to this one.
    #[must_use]
    pub fn to_delta(&self, key: SessionKey) -> crate::Delta {
        match self {
            Self::Alive(session) => session.extract(key, &Version::new()),
            Self::Ended(end) => crate::Delta { key, body: crate::Body::End(*end) },
        }
    }
}

impl Session {
    /// Merges another copy of the same session.
    ///
    /// # Errors
    /// The tombstone that remains if the other is a different session under the same key.
    pub fn join(&mut self, other: &Self) -> Result<(), Tombstone> {
        if self.core != other.core {
            return Err(self.conflict_with(&other.core));
        }
        self.join_attributes(&other.attributes, &other.version);
        self.last_access = self.last_access.max(other.last_access);
        Ok(())
    }

    /// What remains when another session appears under the same key.
    #[must_use]
    pub fn conflict_with(&self, other: &Core) -> Tombstone {
        Tombstone {
            deadline: self.core.hard_deadline.max(other.hard_deadline),
            reason: EndReason::Conflict,
        }
    }

    /// Merges attributes that belong to a state at version `theirs`, and then covers it.
    pub(crate) fn join_attributes<'a>(
        &mut self,
        attributes: impl IntoIterator<Item = (&'a Name, &'a Attribute)>,
        theirs: &Version,
    ) {
        for (name, attribute) in attributes {
            match self.attributes.get_mut(name) {
                Some(held) => held.join(attribute, &self.version, theirs),
                None => {
                    self.attributes.insert(name.clone(), attribute.clone());
                }
            }
        }
        self.version.join(theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hlc, Inc};

    /// Which of two sessions under one key met the tombstone first must not show.
    #[test]
    fn a_tombstone_next_to_a_conflict_keeps_its_own_reason() {
        let core = |writer, deadline| Core {
            created: Stamp { hlc: Hlc(1), inc: Inc(writer) },
            hard_deadline: Time(deadline),
            idle_ms: 1,
            user: None,
        };
        let alive = |core| State::Alive(Box::new(Session::new(core)));
        let (a, b) = (alive(core(1, 10)), alive(core(2, 30)));
        let end = State::Ended(Tombstone { deadline: Time(20), reason: EndReason::Logout });
        let expected = State::Ended(Tombstone { deadline: Time(30), reason: EndReason::Logout });
        assert_eq!(a.clone().join(b.clone()).join(end.clone()), expected);
        assert_eq!(a.clone().join(b.clone().join(end)), expected);
        let conflict = Tombstone { deadline: Time(30), reason: EndReason::Conflict };
        assert_eq!(a.join(b), State::Ended(conflict));
    }

    #[test]
    fn a_removed_attribute_is_held_and_not_present() {
        let created = Stamp { hlc: Hlc(1), inc: Inc(1) };
        let hard_deadline = Time(10);
        let mut session = Session::new(Core { created, hard_deadline, idle_ms: 1, user: None });
        let name = Name::new("a").expect("short");
        let removed = Attribute { since: Some(created), content: Content::Absent };
        session.attributes.insert(name.clone(), removed);
        assert_eq!(session.present().count(), 0);
        assert_eq!(session.content(&name), &Content::Absent);
        assert_eq!(session.content(&Name::new("b").expect("short")), &Content::Absent);
    }
}
