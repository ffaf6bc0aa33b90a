//! The view: who is a member, and which layouts say who holds what.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use session::{Inc, Slot};
use smol_str::SmolStr;

use crate::wire::WIRE_VERSION;

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

/// What may fail as a whole, a rack or a data centre: copies of a session are spread over zones.
/// Members that name none are in one zone together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Zone(pub SmolStr);

impl From<&str> for Zone {
    fn from(zone: &str) -> Self {
        Self(zone.into())
    }
}

/// How many members hold each session. The one number in which the two ways to replicate differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Copies {
    /// Every member.
    All,
    /// That many members, the first of which is the primary.
    Count(NonZeroU16),
}

/// One member of a view or of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: MemberName,
    /// Its present process; `None` while the view is fixed and it has not been heard of.
    pub inc: Option<Inc>,
    /// Where the others reach it; not interpreted here. Empty while the view is fixed.
    pub address: SmolStr,
    /// Where it stands.
    pub zone: Zone,
    /// A number that its process has drawn, by which a decision that is told twice is recognised.
    pub start: u64,
    /// True once it is to hand over what it holds and go: no new layout includes it.
    pub leaving: bool,
    /// Latest version of the wire that its process speaks.
    pub version: u8,
}

impl Member {
    /// A member that has not been heard of, in no zone.
    #[must_use]
    pub fn unheard(name: MemberName) -> Self {
        let (address, zone) = (SmolStr::default(), Zone::default());
        Self { name, inc: None, address, zone, start: 0, leaving: false, version: WIRE_VERSION }
    }
}

/// Among whom the slots are divided, and into how many copies (an active placement of protocol
/// 3.2). It does not change while it is active: a member that is removed leaves its place empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layout {
    /// The epoch of the view that began it.
    pub epoch: u64,
    /// How many of the members hold each session.
    pub copies: Copies,
    /// The members, sorted by name.
    pub members: Vec<Member>,
}

/// Who is in, as agreed (protocol 3.2).
///
/// Equal generation and epoch mean equal views (I-VIEW). A view that the configuration fixes has
/// generation 0 and epoch 1, and only its members' `inc` changes: a higher one supersedes a lower
/// of the same name (amendment 8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// Which cluster under this name: grows only when one is made anew from what a survivor knows.
    pub generation: u64,
    /// Index of the last entry of the log that changed the view.
    pub epoch: u64,
    /// The members, sorted by name.
    pub members: Vec<Member>,
    /// The layouts in force, the oldest first: one; two during a transition, more if members are
    /// removed meanwhile; none before there is a member.
    pub layouts: Vec<Layout>,
    /// Slots that once lost every owner that could speak for them, and at which epoch last.
    pub losses: BTreeMap<Slot, u64>,
    /// Version of the wire that all members speak to each other. It only grows.
    pub protocol: u8,
}

impl View {
    /// A view that the configuration fixes: these names, sorted, epoch 1, nobody heard of yet.
    #[must_use]
    pub fn fixed(names: impl IntoIterator<Item = MemberName>, copies: Copies) -> Self {
        let mut members: Vec<Member> = names.into_iter().map(Member::unheard).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        let layouts = vec![Layout { epoch: 1, copies, members: members.clone() }];
        let (losses, protocol) = (BTreeMap::new(), WIRE_VERSION);
        Self { generation: 0, epoch: 1, members, layouts, losses, protocol }
    }

    /// True if the configuration fixes this view.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.generation == 0
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
            let seats = self.layouts.iter_mut().flat_map(|layout| &mut layout.members);
            seats.filter(|seat| seat.name == *name).for_each(|seat| seat.inc = Some(inc));
        }
        news
    }

    /// True if a present process of a member is `inc`.
    #[must_use]
    pub fn contains(&self, inc: Inc) -> bool {
        self.members.iter().any(|member| member.inc == Some(inc))
    }

    /// True if `inc` is a member that is to hand over what it holds and go.
    #[must_use]
    pub fn is_leaving(&self, inc: Inc) -> bool {
        self.members.iter().any(|member| member.inc == Some(inc) && member.leaving)
    }

    /// The name of the member that runs as `inc`.
    #[must_use]
    pub fn name_of(&self, inc: Inc) -> Option<&MemberName> {
        self.members.iter().find(|member| member.inc == Some(inc)).map(|member| &member.name)
    }

    /// True if this is to be adopted by whoever has `other` (rule V1).
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let fixed = self.is_fixed() && other.is_fixed();
        fixed || (self.generation, self.epoch) > (other.generation, other.epoch)
    }

    /// The latest version of the wire that every member speaks.
    #[must_use]
    pub fn possible_protocol(&self) -> u8 {
        self.members.iter().map(|member| member.version).min().unwrap_or(self.protocol)
    }

    /// The layout that a transition leads to, if one is under way.
    #[must_use]
    pub fn next_layout(&self) -> Option<&Layout> {
        if self.layouts.len() > 1 { self.layouts.last() } else { None }
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
        assert_eq!(view.layouts[0].members, view.members);
        assert!(!view.started(&"x".into(), Inc(1)), "a stranger is no member");
    }

    /// Tests rule V1.
    #[test]
    fn only_a_later_view_supersedes() {
        let fixed = View::fixed(["a".into()], Copies::All);
        assert!(fixed.supersedes(&fixed), "its processes may have changed");
        let agreed = |generation, epoch| View { generation, epoch, ..fixed.clone() };
        assert!(agreed(1, 7).supersedes(&agreed(1, 6)));
        assert!(agreed(2, 3).supersedes(&agreed(1, 6)));
        for (generation, epoch) in [(1, 6), (1, 5), (0, 1)] {
            assert!(!agreed(generation, epoch).supersedes(&agreed(1, 6)));
        }
    }
}
