//! Changes that an application intends, and how a stamp makes a delta of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Attribute, Body, Change, Content, Delta, Kind, Limits, Name, Session, SessionKey, Stamp, Value,
    Version,
};

/// An intended change of one attribute, before it is stamped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Edit {
    /// Writes a register.
    Set(Name, Value),
    /// Writes a register if nobody else has since the editor saw it: `expected` is the stamp of
    /// the write that it read, `None` for an attribute that was never written.
    SetIf {
        /// Which register.
        name: Name,
        /// Its new value.
        value: Value,
        /// What the editor saw.
        expected: Option<Stamp>,
    },
    /// Makes an attribute absent, of whatever kind.
    Remove(Name),
    /// Adds to a counter; a negative amount subtracts.
    Add(Name, i64),
    /// Sets a counter back to zero; concurrent additions under the old count are lost.
    Reset(Name),
    /// Adds an element to a set.
    Insert(Name, Value),
    /// Removes the element that the editor saw; a concurrent addition of it stays.
    Withdraw(Name, Value),
}

impl Edit {
    /// The attribute that it changes.
    #[must_use]
    pub const fn name(&self) -> &Name {
        match self {
            Self::Set(name, _)
            | Self::SetIf { name, .. }
            | Self::Remove(name)
            | Self::Add(name, _)
            | Self::Reset(name)
            | Self::Insert(name, _)
            | Self::Withdraw(name, _) => name,
        }
    }

    /// True if it depends on what others have written meanwhile.
    #[must_use]
    pub const fn is_conditional(&self) -> bool {
        matches!(self, Self::SetIf { .. })
    }

    /// Bytes that the edit takes on the wire, rounded up.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        16 + self.name().as_str().len()
            + match self {
                Self::Set(_, v) | Self::Insert(_, v) | Self::Withdraw(_, v) => v.bytes().len(),
                Self::SetIf { value, .. } => 24 + value.bytes().len(),
                Self::Remove(_) | Self::Add(..) | Self::Reset(_) => 0,
            }
    }
}

/// Why edits were refused; none of them took effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EditError {
    /// The attribute is of another kind; remove it first, or use the key of its kind.
    Kind {
        /// Which attribute.
        name: Name,
        /// What it is.
        is: Kind,
        /// What the edit takes it for.
        wanted: Kind,
    },
    /// Somebody else wrote the register meanwhile; read it again.
    Changed(Name),
    /// The counter would leave the range of its sums.
    Overflow(Name),
    /// The session would have more attribute names than the limit, removed ones included.
    TooManyAttributes {
        /// The limit.
        max: u64,
    },
    /// The session would be larger than the limit.
    TooLarge {
        /// Its size, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        max: u64,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { name, is, wanted } => write!(
                f,
                "attribute {name:?} is a {is:?}, not a {wanted:?}: remove it first or use another name"
            ),
            Self::Changed(name) => {
                write!(f, "attribute {name:?} was written meanwhile: read it again")
            }
            Self::Overflow(name) => write!(f, "counter {name:?} would overflow"),
            Self::TooManyAttributes { max } => write!(
                f,
                "the session would have more than {max} attribute names, removed ones included"
            ),
            Self::TooLarge { bytes, max } => {
                write!(f, "the session would have {bytes} bytes, the limit is {max}")
            }
        }
    }
}

impl std::error::Error for EditError {}

/// The attributes that one commit changes, worked on in the order of its edits.
struct Draft<'a> {
    session: &'a Session,
    changed: BTreeMap<&'a Name, Attribute>,
    stamp: Stamp,
    /// What the client had seen when its request opened the session.
    at: &'a Version,
}

impl Session {
    /// One delta with one stamp out of the edits of one request (rules R5 and A4); `None` if they
    /// change nothing. Applying it is the caller's affair: this session stays as it is.
    ///
    /// `at` is what the editor has seen, and `stamp` comes from a clock that has observed the
    /// version of this session (rule H1): otherwise an older write would win over this one.
    ///
    /// # Errors
    /// [`EditError`] if any edit cannot be done here; then none is.
    pub fn stamp(
        &self,
        key: SessionKey,
        edits: &[Edit],
        at: &Version,
        stamp: Stamp,
        limits: &Limits,
    ) -> Result<Option<Delta>, EditError> {
        debug_assert!(
            stamp.hlc > self.version.newest(),
            "a stamp comes after what its writer holds"
        );
        let mut draft = Draft { session: self, changed: BTreeMap::new(), stamp, at };
        for edit in edits {
            draft.make(edit)?;
        }
        if draft.changed.is_empty() {
            return Ok(None);
        }
        let mut hi = self.version.clone();
        hi.insert(stamp);
        draft.check(&hi, limits)?;
        let attributes = draft.changed.into_iter().map(|(name, a)| (name.clone(), a)).collect();
        let last_access = self.last_access;
        let lo = self.version.clone();
        let change = Change { core: None, lo, hi, attributes, last_access };
        Ok(Some(Delta { key, body: Body::Change(change) }))
    }
}

impl<'a> Draft<'a> {
    fn current(&self, name: &Name) -> &Attribute {
        self.changed
            .get(name)
            .or_else(|| self.session.attributes.get(name))
            .unwrap_or(&Attribute::ABSENT)
    }

    fn replace(&mut self, name: &'a Name, content: Content) {
        let attribute = Attribute { since: Some(self.stamp), content };
        self.changed.insert(name, attribute);
    }

    /// Rule A1: additions never change `since`, and open an absent attribute where it stands.
    fn extend(&mut self, name: &'a Name, content: Content) {
        let since = self.current(name).since;
        self.changed.insert(name, Attribute { since, content });
    }

    fn make(&mut self, edit: &'a Edit) -> Result<(), EditError> {
        match edit {
            Edit::Set(name, value) => self.set(name, value)?,
            Edit::SetIf { name, value, expected } => {
                // Against what others have written: an earlier edit of this commit is the editor's.
                let held = self.session.attributes.get(name);
                if held.and_then(|a| a.since) != *expected {
                    return Err(EditError::Changed(name.clone()));
                }
                self.set(name, value)?;
            }
            Edit::Remove(name) => {
                if self.current(name).content.kind() != Kind::Absent {
                    self.replace(name, Content::Absent);
                }
            }
            Edit::Add(name, amount) => {
                let counter = self.counter(name)?;
                let counter = counter
                    .with(self.stamp, *amount)
                    .ok_or_else(|| EditError::Overflow(name.clone()))?;
                self.extend(name, Content::Counter(counter));
            }
            Edit::Reset(name) => {
                self.counter(name)?;
                self.replace(name, Content::Counter(crate::Counter::default()));
            }
            Edit::Insert(name, element) => {
                let mut set = self.set_of(name)?;
                set.insert(element, self.stamp, self.at);
                self.extend(name, Content::Set(set));
            }
            Edit::Withdraw(name, element) => {
                let mut set = self.set_of(name)?;
                if set.remove(element, self.stamp, self.at) {
                    self.extend(name, Content::Set(set));
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &'a Name, value: &Value) -> Result<(), EditError> {
        match &self.current(name).content {
            Content::Absent | Content::Register(_) => {
                self.replace(name, Content::Register(value.clone()));
                Ok(())
            }
            other @ (Content::Counter(_) | Content::Set(_)) => {
                Err(wrong_kind(name, other, Kind::Register))
            }
        }
    }

    fn counter(&self, name: &Name) -> Result<crate::Counter, EditError> {
        match &self.current(name).content {
            Content::Absent => Ok(crate::Counter::default()),
            Content::Counter(counter) => Ok(counter.clone()),
            other @ (Content::Set(_) | Content::Register(_)) => {
                Err(wrong_kind(name, other, Kind::Counter))
            }
        }
    }

    fn set_of(&self, name: &Name) -> Result<crate::Set, EditError> {
        match &self.current(name).content {
            Content::Absent => Ok(crate::Set::default()),
            Content::Set(set) => Ok(set.clone()),
            other @ (Content::Counter(_) | Content::Register(_)) => {
                Err(wrong_kind(name, other, Kind::Set))
            }
        }
    }

    /// Limits bind stamping and nothing else (amendment 20). What does not make the attributes
    /// larger is always allowed: a removal above all. `hi` is the version afterwards.
    fn check(&self, hi: &Version, limits: &Limits) -> Result<(), EditError> {
        let held = &self.session.attributes;
        let new = self.changed.keys().filter(|name| !held.contains_key(**name)).count();
        if new > 0 && held.len() + new > limits.attributes_max {
            return Err(EditError::TooManyAttributes { max: limits.attributes_max as u64 });
        }
        let size = |name: &Name, a: &Attribute| name.as_str().len() + a.size_bytes();
        let grown: usize = self.changed.iter().map(|(name, a)| size(name, a)).sum();
        let replaced: usize =
            self.changed.keys().filter_map(|name| held.get(*name).map(|a| size(name, a))).sum();
        let entry = hi.size_bytes() - self.session.version.size_bytes();
        let bytes = self.session.size_bytes() + entry + grown - replaced;
        if grown > replaced && bytes > limits.session_bytes_max {
            let max = limits.session_bytes_max as u64;
            return Err(EditError::TooLarge { bytes: bytes as u64, max });
        }
        Ok(())
    }
}

fn wrong_kind(name: &Name, is: &Content, wanted: Kind) -> EditError {
    EditError::Kind { name: name.clone(), is: is.kind(), wanted }
}
