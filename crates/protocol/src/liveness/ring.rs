//! Who keeps watch over whom, in a cluster of so many members that not everybody can watch all.
//!
//! The members stand on a ring, and each exchanges heartbeats with those next to it. All work it
//! out from the view alone and alike, so of two neighbours each knows that the other is one. In one
//! zone whoever joins or goes changes the neighbours of those around it only; where there are
//! several, others may get another neighbour at the far ends as well.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::view::{Member, MemberName, View};

/// The members that watch `own`, and that it watches: the nearest to it on the ring, so many on
/// either side. `None` if those are all that there are.
// Rule D1.
#[must_use]
pub fn neighbours(view: &View, own: &MemberName, a_side: usize) -> Option<BTreeSet<MemberName>> {
    if view.members.len() <= 2 * a_side + 1 {
        return None;
    }
    let ring = ring(&view.members);
    let Some(at) = ring.iter().position(|name| *name == own) else {
        return Some(BTreeSet::new());
    };
    let places = (1..=a_side).flat_map(|step| [at + step, at + ring.len() - step]);
    Some(places.map(|place| ring[place % ring.len()].clone()).collect())
}

/// The names in their order on the ring: by a hash, so that those who stand beside each other in a
/// rack do not here. Members of a zone are spread evenly over it: whoever falls silent is missed by
/// several zones, unless most are in one (rule D5; then the leader asks).
fn ring(members: &[Member]) -> Vec<&MemberName> {
    let mut hashed: Vec<_> = members
        .iter()
        .map(|member| (&member.zone, xxh3_64(member.name.0.as_bytes()), &member.name))
        .collect();
    hashed.sort_unstable();
    let mut placed: Vec<(u64, u64, &MemberName)> = Vec::with_capacity(hashed.len());
    for zone in hashed.chunk_by(|a, b| a.0 == b.0) {
        let of = zone.len() as u64;
        let place = |rank: u64| (2 * rank + 1) * u64::from(u32::MAX) / (2 * of);
        placed.extend((0..).zip(zone).map(|(rank, (_, hash, name))| (place(rank), *hash, *name)));
    }
    placed.sort_unstable();
    placed.into_iter().map(|(.., name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Copies;

    fn view(members: usize, zone_of: impl Fn(usize) -> usize) -> View {
        let names = (0..members).map(|index| format!("n{index:03}").as_str().into());
        let mut view = View::fixed(names, Copies::All);
        for (index, member) in view.members.iter_mut().enumerate() {
            member.zone = format!("z{}", zone_of(index)).as_str().into();
        }
        view
    }

    fn names(view: &View) -> Vec<MemberName> {
        view.members.iter().map(|member| member.name.clone()).collect()
    }

    fn near(view: &View, own: &MemberName, a_side: usize) -> BTreeSet<MemberName> {
        neighbours(view, own, a_side).unwrap()
    }

    #[test]
    fn in_a_small_cluster_everybody_is_a_neighbour() {
        for members in [0, 1, 2, 16, 17] {
            assert_eq!(neighbours(&view(members, |_| 0), &"n000".into(), 8), None);
        }
        assert_eq!(near(&view(18, |_| 0), &"stranger".into(), 8), BTreeSet::new());
    }

    #[test]
    fn in_a_large_one_each_has_as_many_and_is_theirs() {
        for (members, a_side) in [(18, 8), (19, 8), (200, 8), (7, 1), (7, 2)] {
            let view = view(members, |index| index % 3);
            for own in names(&view) {
                let watched = near(&view, &own, a_side);
                assert_eq!(watched.len(), 2 * a_side, "{own} of {members}");
                assert!(!watched.contains(&own));
                for other in watched {
                    assert!(near(&view, &other, a_side).contains(&own), "{own} and {other}");
                }
            }
        }
    }

    /// Tests rule D5: whoever falls silent is missed by two zones, if an eighth of the members or
    /// more is in each.
    #[test]
    fn neighbours_are_of_several_zones() {
        let view = view(100, |index| usize::from(index < 13));
        for own in names(&view) {
            let watched = near(&view, &own, 8);
            let zones: BTreeSet<_> = (view.members.iter())
                .filter(|member| watched.contains(&member.name))
                .map(|member| &member.zone)
                .collect();
            assert_eq!(zones.len(), 2, "{own}");
        }
    }

    #[test]
    fn in_one_zone_who_goes_changes_what_is_around_it_only() {
        let before = view(50, |_| 0);
        let gone = names(&before)[20].clone();
        let mut after = before.clone();
        after.members.retain(|member| member.name != gone);
        let around = near(&before, &gone, 8);
        for own in names(&after) {
            let same = near(&before, &own, 8) == near(&after, &own, 8);
            assert_eq!(same, !around.contains(&own), "{own}");
        }
    }
}
