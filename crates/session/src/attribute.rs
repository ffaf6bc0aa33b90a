//! A named part of a session: absent, a counter, a set or a register, and since when it is that.

use serde::{Deserialize, Serialize};

use crate::{Counter, Set, Stamp, Value, Version};

/// What an attribute is, in the order in which the greater wins between equals (amendment 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Removed, or never set.
    Absent,
    /// Concurrent additions all count.
    Counter,
    /// Concurrent additions all stay.
    Set,
    /// The last writer wins.
    Register,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Content {
    /// Removed. Kept until the session ends, so that an older write cannot bring it back.
    Absent,
    /// See [`Counter`].
    Counter(Counter),
    /// See [`Set`].
    Set(Set),
    /// Opaque bytes of which the last written wins.
    Register(Value),
}

impl Content {
    /// Which of the four it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Absent => Kind::Absent,
            Self::Counter(_) => Kind::Counter,
            Self::Set(_) => Kind::Set,
            Self::Register(_) => Kind::Register,
        }
    }
}

/// An attribute (protocol 1.3).
///
/// `since` is the stamp of the last write that replaced the whole content: a register's write, a
/// removal, a reset. Additions to a counter or a set never change it, and before the first such
/// write it is `None`; otherwise two first additions at two nodes would replace each other.
///
/// Join: the later `since` wins wholesale; at equal `since` the greater kind wins wholesale; at
/// equal kind the contents join.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attribute {
    /// The stamp of the last write that replaced the content.
    pub since: Option<Stamp>,
    /// The content.
    pub content: Content,
}

impl Attribute {
    /// An attribute that nobody has written.
    pub(crate) const ABSENT: Self = Self { since: None, content: Content::Absent };

    /// Merges `other`; `mine` and `theirs` are the versions of the sessions they belong to.
    // Rule A2.
    pub(crate) fn join(&mut self, other: &Self, mine: &Version, theirs: &Version) {
        let rank = |a: &Self| (a.since, a.content.kind());
        match rank(self).cmp(&rank(other)) {
            std::cmp::Ordering::Less => self.clone_from(other),
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Equal => match (&mut self.content, &other.content) {
                (Content::Counter(here), Content::Counter(there)) => here.join(there),
                (Content::Set(here), Content::Set(there)) => here.join(there, mine, theirs),
                // Equal stamps were made by one write, so equal kinds hold equal values here.
                (Content::Absent | Content::Register(_), _)
                | (Content::Counter(_) | Content::Set(_), _) => {}
            },
        }
    }

    /// True if a copy at `version` lacks nothing of this attribute.
    pub(crate) fn is_covered_by(&self, version: &Version) -> bool {
        self.since.is_none_or(|since| version.covers(since))
            && match &self.content {
                Content::Absent | Content::Register(_) => true,
                Content::Counter(counter) => counter.is_covered_by(version),
                Content::Set(set) => set.is_covered_by(version),
            }
    }

    /// False if no history of writes leads to it.
    ///
    /// Each write leaves a stamp, so an attribute that a copy with no writes could lack nothing of
    /// was never written, and would never be extracted again.
    pub(crate) fn is_well_formed(&self) -> bool {
        let is_written = !self.is_covered_by(&Version::new());
        is_written
            && match &self.content {
                Content::Absent | Content::Register(_) => self.since.is_some(),
                Content::Counter(_) => true,
                Content::Set(set) => set.is_well_formed(),
            }
    }

    /// Bytes that the attribute takes on the wire, rounded up.
    pub(crate) fn size_bytes(&self) -> usize {
        24 + match &self.content {
            Content::Absent => 0,
            Content::Counter(counter) => counter.size_bytes(),
            Content::Set(set) => set.size_bytes(),
            Content::Register(value) => value.bytes().len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hlc, Inc};

    /// Tests rule A2: the later replacement wins, whatever the kinds; at equal ones the kind does.
    #[test]
    fn the_later_replacement_wins_and_then_the_greater_kind() {
        let since = |hlc| Some(Stamp { hlc: Hlc(hlc), inc: Inc(1) });
        // Each is above those before it.
        let ascending = [
            Attribute { since: None, content: Content::Counter(Counter::default()) },
            Attribute { since: None, content: Content::Set(Set::default()) },
            Attribute { since: since(1), content: Content::Absent },
            Attribute { since: since(1), content: Content::Counter(Counter::default()) },
            Attribute { since: since(1), content: Content::Set(Set::default()) },
            Attribute { since: since(1), content: Content::Register("text".into()) },
            Attribute { since: since(2), content: Content::Absent },
        ];
        let none = Version::new();
        for (at, low) in ascending.iter().enumerate() {
            for high in &ascending[at..] {
                for (mut one, other) in [(low.clone(), high), (high.clone(), low)] {
                    one.join(other, &none, &none);
                    assert_eq!(one, *high);
                }
            }
        }
    }
}
