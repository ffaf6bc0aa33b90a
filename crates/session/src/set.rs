//! A set in which an addition wins over a concurrent removal.

use serde::{Deserialize, Serialize};

use crate::{Stamp, Unordered, Value, Version};

/// An add-wins set without tombstones (optimised OR-set, Bieniusa et al. 2012).
///
/// Each element carries the stamps of the additions that hold it. What a copy lacks although its
/// version covers it, it has seen removed; so the versions of both sides decide, and no trace of a
/// removed element is kept. `changed` says when each writer last changed anything, removals
/// included; it exists only to tell whether a peer needs this set at all.
///
/// Invariants: elements are sorted, each once; no element is without a stamp; its stamps are
/// sorted and covered by `changed`, which is covered by the session's version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Set {
    elements: Vec<(Value, Vec<Stamp>)>,
    changed: Version,
}

#[derive(Deserialize)]
struct Parts {
    elements: Vec<(Value, Vec<Stamp>)>,
    changed: Version,
}

impl TryFrom<Parts> for Set {
    type Error = Unordered;

    fn try_from(parts: Parts) -> Result<Self, Unordered> {
        let sorted = |stamps: &[Stamp]| {
            !stamps.is_empty() && stamps.windows(2).all(|pair| pair[0] < pair[1])
        };
        let ordered = parts.elements.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && parts.elements.iter().all(|(_, stamps)| sorted(stamps));
        if ordered {
            Ok(Self { elements: parts.elements, changed: parts.changed })
        } else {
            Err(Unordered)
        }
    }
}

impl Set {
    /// The elements, in the order of their bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.elements.iter().map(|(element, _)| element)
    }

    /// The elements, each with the stamps of the additions that hold it.
    pub fn iter_stamps(&self) -> impl ExactSizeIterator<Item = (&Value, &[Stamp])> {
        self.elements.iter().map(|(element, stamps)| (element, stamps.as_slice()))
    }

    /// True if `element` is in the set.
    #[must_use]
    pub fn contains(&self, element: &Value) -> bool {
        self.find(element).is_ok()
    }

    fn find(&self, element: &Value) -> Result<usize, usize> {
        self.elements.binary_search_by(|(held, _)| held.cmp(element))
    }

    /// Adds `element`: held by `stamp`, which supersedes the additions that the adder had `seen`.
    ///
    /// Those it had not seen stay beside it, for this same commit may still remove the element.
    pub(crate) fn insert(&mut self, element: &Value, stamp: Stamp, seen: &Version) {
        let at = self.find(element).unwrap_or_else(|at| {
            self.elements.insert(at, (element.clone(), Vec::new()));
            at
        });
        let dots = &mut self.elements[at].1;
        dots.retain(|&dot| !seen.covers(dot));
        if let Err(place) = dots.binary_search(&stamp) {
            dots.insert(place, stamp);
        }
        self.changed.insert(stamp);
    }

    /// Removes the additions of `element` that the remover had `seen`, and its own of this commit;
    /// false if there were none. A concurrent addition stays.
    // Rule A3.
    pub(crate) fn remove(&mut self, element: &Value, stamp: Stamp, seen: &Version) -> bool {
        let Ok(at) = self.find(element) else {
            return false;
        };
        let before = self.elements[at].1.len();
        self.elements[at].1.retain(|&dot| dot != stamp && !seen.covers(dot));
        let removed = self.elements[at].1.len() < before;
        if self.elements[at].1.is_empty() {
            self.elements.remove(at);
        }
        if removed {
            self.changed.insert(stamp);
        }
        removed
    }

    /// Merges `other`, knowing what each side has seen.
    ///
    /// An addition on both sides stays. One on a single side stays only if the other side has not
    /// seen it: having seen it and not having it means that it was removed there.
    pub(crate) fn join(&mut self, other: &Self, mine: &Version, theirs: &Version) {
        for (element, dots) in &mut self.elements {
            let there = other.find(element).map_or(&[][..], |at| &other.elements[at].1);
            dots.retain(|dot| there.contains(dot) || !theirs.covers(*dot));
        }
        for (element, dots) in &other.elements {
            let unseen = dots.iter().copied().filter(|&dot| !mine.covers(dot));
            match self.find(element) {
                Ok(at) => {
                    let held = &mut self.elements[at].1;
                    for dot in unseen {
                        if let Err(place) = held.binary_search(&dot) {
                            held.insert(place, dot);
                        }
                    }
                }
                Err(at) => {
                    let unseen: Vec<Stamp> = unseen.collect();
                    if !unseen.is_empty() {
                        self.elements.insert(at, (element.clone(), unseen));
                    }
                }
            }
        }
        self.elements.retain(|(_, dots)| !dots.is_empty());
        self.changed.join(&other.changed);
    }

    /// True if every change of this set, removals included, is included in `version`.
    pub(crate) fn is_covered_by(&self, version: &Version) -> bool {
        version.covers_all(&self.changed)
    }

    /// True if `changed` covers every addition: extraction asks only there.
    pub(crate) fn is_well_formed(&self) -> bool {
        let mut dots = self.elements.iter().flat_map(|(_, dots)| dots);
        dots.all(|&dot| self.changed.covers(dot))
    }

    pub(crate) fn size_bytes(&self) -> usize {
        let elements: usize =
            self.elements.iter().map(|(e, dots)| 8 + e.bytes().len() + dots.len() * 16).sum();
        elements + self.changed.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hlc, Inc};

    fn stamp(hlc: u64, inc: u64) -> Stamp {
        Stamp { hlc: Hlc(hlc), inc: Inc(inc) }
    }

    fn version(stamps: &[Stamp]) -> Version {
        stamps.iter().map(|stamp| (stamp.inc, stamp.hlc)).collect()
    }

    #[test]
    fn elements_are_there_once_in_the_order_of_their_bytes() {
        let mut set = Set::default();
        for (hlc, element) in [(1, "b"), (2, "a"), (3, "b")] {
            set.insert(&element.into(), stamp(hlc, 1), &version(&[stamp(hlc - 1, 1)]));
        }
        assert!(set.iter().eq([&Value::from("a"), &Value::from("b")]));
        assert!(set.contains(&"a".into()) && !set.contains(&"c".into()));
    }

    /// Tests rule A3.
    #[test]
    fn a_removal_takes_what_was_seen_and_says_so() {
        let (x, seen, unseen, own) = ("x".into(), stamp(1, 1), stamp(2, 2), stamp(3, 3));
        let mut set = Set::default();
        set.insert(&x, seen, &Version::new());
        set.insert(&x, unseen, &Version::new());
        assert!(set.remove(&x, own, &version(&[seen])));
        assert!(set.contains(&x));
        assert!(!set.remove(&x, own, &version(&[seen])), "nothing is left to take");
        assert!(set.remove(&x, own, &version(&[unseen])));
        assert!(!set.contains(&x));
        assert!(!set.remove(&x, own, &version(&[unseen])));
        assert!(set.is_covered_by(&version(&[seen, unseen, own])));
        assert!(!set.is_covered_by(&version(&[seen, unseen])), "a removal is a change");
    }

    /// Additions that were seen leave no trace, so that a set does not grow with its writes.
    #[test]
    fn an_addition_supersedes_what_was_seen() {
        let (x, mut set, mut seen) = ("x".into(), Set::default(), Version::new());
        for hlc in 1..100 {
            set.insert(&x, stamp(hlc, hlc % 2), &seen);
            seen.insert(stamp(hlc, hlc % 2));
        }
        assert_eq!(set.elements[0].1, [stamp(99, 1)]);
    }

    /// Tests rule A2: what one side lacks though it has seen it, it has removed.
    #[test]
    fn joining_keeps_what_the_other_has_not_seen() {
        let (added, removed, fresh) = (stamp(1, 1), stamp(2, 2), stamp(3, 1));
        let mut here = Set::default();
        here.insert(&"old".into(), added, &Version::new());
        let mut there = here.clone();
        there.remove(&"old".into(), removed, &version(&[added]));
        here.insert(&"new".into(), fresh, &version(&[added]));
        here.join(&there, &version(&[fresh]), &version(&[added, removed]));
        assert!(here.iter().eq([&Value::from("new")]));
        assert!(here.is_well_formed());
    }
}
