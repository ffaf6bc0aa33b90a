//! The view: who is a member, and how many of them hold each session.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use session::Inc;
use smol_str::SmolStr;

/// Name of a member, from its certificate; stable across restarts. Not an identity of data: that
/// is [`Inc`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberName(pub SmolStr);

impl fmt::Debug for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MemberName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// How many members hold each session. The one number in which the two ways to replicate differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copies {
    /// Every member.
    All,
    /// That many members, the first of which is the primary.
    Count(NonZeroU16),
}

/// One member of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: MemberName,
    /// Its present process; `None` while the view is static and it has not been heard of.
    pub inc: Option<Inc>,
}

/// Who is in, as agreed (protocol 3.2).
///
/// While membership is static the epoch is 1 and only the members' `inc` changes: a higher one
/// supersedes a lower of the same name (amendment 8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Number of the view; grows with every change of members or copies.
    pub epoch: u64,
    /// How many members hold each session.
    pub copies: Copies,
    /// The members, sorted by name.
    pub members: Vec<Member>,
}

impl View {
    /// A view that the configuration fixes: these names, sorted, epoch 1, nobody heard of yet.
    #[must_use]
    pub fn fixed(names: impl IntoIterator<Item = MemberName>, copies: Copies) -> Self {
        let mut members: Vec<Member> =
            names.into_iter().map(|name| Member { name, inc: None }).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        Self { epoch: 1, copies, members }
    }

    /// Notes that `name` now runs as `inc`; false if that is not news (amendment 8: of two
    /// processes of one name the later start is the member).
    pub fn started(&mut self, name: &MemberName, inc: Inc) -> bool {
        let Some(member) = self.members.iter_mut().find(|member| member.name == *name) else {
            return false;
        };
        let news = member.inc.is_none_or(|held| held < inc);
        if news {
            member.inc = Some(inc);
        }
        news
    }

    /// True if a present process of a member is `inc`.
    #[must_use]
    pub fn contains(&self, inc: Inc) -> bool {
        self.members.iter().any(|member| member.inc == Some(inc))
    }

    /// The name of the member that runs as `inc`.
    #[must_use]
    pub fn name_of(&self, inc: Inc) -> Option<&MemberName> {
        self.members.iter().find(|member| member.inc == Some(inc)).map(|member| &member.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_start_of_a_member_supersedes_the_earlier() {
        let mut view = View::fixed(["b".into(), "a".into(), "b".into()], Copies::All);
        assert_eq!(view.members.len(), 2);
        assert!(view.started(&"b".into(), Inc(7)));
        assert!(!view.started(&"b".into(), Inc(6)), "an earlier start is no news");
        assert!(view.started(&"b".into(), Inc(8)));
        assert!(view.contains(Inc(8)) && !view.contains(Inc(7)));
        assert!(!view.started(&"x".into(), Inc(1)), "a stranger is no member");
    }
}
