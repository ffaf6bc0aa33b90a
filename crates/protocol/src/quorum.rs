//! When enough owners have a write: levels counted in every layout in force.

use session::{Inc, SessionKey};

use crate::event::{Ack, Report};
use crate::placement::Placement;
use crate::rules::{Rule, Rules};

/// By what acknowledgements are counted: the view that this node has now (rule V3).
#[derive(Clone, Copy)]
pub(crate) struct Quorum<'a> {
    pub(crate) placement: &'a Placement,
    /// The node that stamped.
    pub(crate) me: Inc,
    /// Its epoch: an acknowledgement of a later one does not count yet (rule V2).
    pub(crate) epoch: u64,
    pub(crate) rules: Rules,
}

/// How far a commit has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What is told.
    pub(crate) report: Report,
    /// True if everybody has it whom the level could ask now: waiting is over.
    pub(crate) is_over: bool,
}

impl Quorum<'_> {
    /// How far a write to `key` is acknowledged that the processes `got` have, each as of the epoch
    /// beside it.
    ///
    /// Every level has to hold in each layout in force, because the owners by one of them may be
    /// gone with the next view. An owner that was removed is not waited for, and missing in the
    /// report. Once the level holds, what is told is what it comes to in the newest layout: the
    /// copies beyond that are about to be given up.
    // Rules C1, V2, V3, V5.
    pub(crate) fn standing(&self, key: SessionKey, level: Ack, got: &[(Inc, u64)]) -> Standing {
        let counts = |(inc, at): &(Inc, u64)| {
            (*at <= self.epoch || self.rules.off(Rule::Fence)).then_some(*inc)
        };
        let got: Vec<Inc> = got.iter().filter_map(counts).collect();
        let (placement, slot) = (self.placement, key.slot());
        let layouts = placement.layouts(slot);
        let newest_only = self.rules.off(Rule::EachLayout)
            || (self.rules.off(Rule::OneEachLayout) && level == Ack::One);
        let first = if newest_only { layouts.saturating_sub(1) } else { 0 };
        let (mut most_asked, mut least_got) = (0, None);
        let mut newest = (0, 0);
        for age in first..layouts {
            let mine = placement.is_owner_by(age, slot, self.me);
            let asked = level.asked(placement.seats(age, slot), mine);
            let others = placement.owners_by(age, slot).filter(|owner| *owner != self.me).count();
            let has = self.count(age, key, &got);
            newest = (asked, has.min(asked));
            most_asked = most_asked.max(asked);
            if has < asked.min(others) {
                least_got = Some(least_got.map_or(has, |least: usize| least.min(has)));
            }
        }
        let (asked, has) = least_got.map_or(newest, |least| (most_asked, least));
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let report = Report { asked: narrow(asked), got: narrow(has) };
        Standing { report, is_over: least_got.is_none() }
    }

    /// With either rule off, acknowledgements are counted without asking whose they are.
    fn counts_anybody(&self) -> bool {
        self.rules.off(Rule::OwnersOnly) || self.rules.off(Rule::DistinctAcks)
    }

    /// How many other owners by the layout of that age are among `got`.
    fn count(&self, age: usize, key: SessionKey, got: &[Inc]) -> usize {
        if self.counts_anybody() {
            return got.len();
        }
        let owners = self.placement.owners_by(age, key.slot());
        owners.filter(|owner| *owner != self.me && got.contains(owner)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{agreed, key};

    const LEVELS: [Ack; 4] = [Ack::Local, Ack::One, Ack::Quorum, Ack::All];

    /// What process 1 reports in epoch 7, level by level, as asked and got, where the processes of
    /// each layout own the slot, `gone` were removed, and `got` have the write.
    fn reports(layouts: &[&[u64]], gone: &[u64], got: &[(u64, u64)]) -> [(u16, u16); 4] {
        standings(layouts, gone, got).map(|standing| (standing.report.asked, standing.report.got))
    }

    fn standings(layouts: &[&[u64]], gone: &[u64], got: &[(u64, u64)]) -> [Standing; 4] {
        let mut view = agreed(7, layouts);
        view.members.retain(|member| !gone.contains(&member.start));
        let placement = Placement::new(&view, 0, 1);
        let quorum =
            Quorum { placement: &placement, me: Inc(1), epoch: 7, rules: Rules::default() };
        let got: Vec<(Inc, u64)> = got.iter().map(|(inc, at)| (Inc(*inc), *at)).collect();
        LEVELS.map(|level| quorum.standing(key(0, 0), level, &got))
    }

    /// Tests rules C1 and V5: every level in each layout in force.
    #[test]
    fn a_level_has_to_hold_in_each_layout() {
        let during: &[&[u64]] = &[&[1, 2, 3], &[3, 4, 5]];
        for (layouts, got, expected) in [
            // One layout: as under a fixed view.
            (&[&[1, 2, 3][..]][..], vec![], [(0, 0), (1, 0), (1, 0), (2, 0)]),
            (&[&[1, 2, 3]], vec![2], [(0, 0), (1, 1), (1, 1), (2, 1)]),
            (&[&[1, 2, 3]], vec![2, 3], [(0, 0), (1, 1), (1, 1), (2, 2)]),
            (&[&[1]], vec![], [(0, 0), (0, 0), (0, 0), (0, 0)]),
            // A transition in which the stamper leaves: it is no owner by the next layout.
            (during, vec![], [(0, 0), (1, 0), (2, 0), (3, 0)]),
            (during, vec![2], [(0, 0), (1, 0), (2, 0), (3, 0)]),
            (during, vec![3], [(0, 0), (1, 1), (2, 1), (3, 1)]),
            (during, vec![2, 4], [(0, 0), (1, 1), (2, 1), (3, 1)]),
            (during, vec![2, 4, 5], [(0, 0), (1, 1), (2, 2), (3, 1)]),
            (during, vec![3, 4], [(0, 0), (1, 1), (2, 2), (3, 1)]),
            (during, vec![2, 3, 4, 5], [(0, 0), (1, 1), (2, 2), (3, 3)]),
            // Three layouts: the one in the middle as well.
            (&[&[1, 2], &[3], &[4]], vec![2, 4], [(0, 0), (1, 0), (1, 0), (1, 0)]),
            (&[&[1, 2], &[3], &[4]], vec![2, 3, 4], [(0, 0), (1, 1), (1, 1), (1, 1)]),
            // Alone in the oldest layout: there is no other owner by it to wait for.
            (&[&[1], &[1, 2]], vec![], [(0, 0), (1, 0), (1, 0), (1, 0)]),
            (&[&[1], &[1, 2]], vec![2], [(0, 0), (1, 1), (1, 1), (1, 1)]),
        ] {
            let got_now: Vec<(u64, u64)> = got.iter().map(|inc| (*inc, 7)).collect();
            assert_eq!(reports(layouts, &[], &got_now), expected, "{layouts:?} {got:?}");
        }
    }

    /// Tests rules C1 and V5: the copy of a removed owner counts for nobody; it is not waited for,
    /// and the report says that it is missing, unless an owner by another layout makes up for it.
    #[test]
    fn an_owner_that_was_removed_is_missing_and_not_waited_for() {
        let (one, during): (&[&[u64]], &[&[u64]]) = (&[&[1, 2, 3]], &[&[1, 2, 3], &[1, 4]]);
        for (layouts, gone, got, expected, over) in [
            (one, vec![3], vec![], [(0, 0), (1, 0), (1, 0), (2, 0)], [true, false, false, false]),
            (one, vec![3], vec![2], [(0, 0), (1, 1), (1, 1), (2, 1)], [true; 4]),
            (one, vec![3], vec![2, 3], [(0, 0), (1, 1), (1, 1), (2, 1)], [true; 4]),
            (one, vec![2, 3], vec![2, 3], [(0, 0), (1, 0), (1, 0), (2, 0)], [true; 4]),
            (
                during,
                vec![2, 3],
                vec![],
                [(0, 0), (1, 0), (1, 0), (2, 0)],
                [true, false, false, false],
            ),
            (during, vec![2, 3], vec![4], [(0, 0), (1, 1), (1, 1), (1, 1)], [true; 4]),
        ] {
            let got: Vec<(u64, u64)> = got.iter().map(|inc| (*inc, 7)).collect();
            assert_eq!(reports(layouts, &gone, &got), expected, "without {gone:?}: {got:?}");
            let ends = standings(layouts, &gone, &got).map(|standing| standing.is_over);
            assert_eq!(ends, over, "without {gone:?}: {got:?}");
        }
    }

    /// Tests rule V3: whoever is an owner by no layout any more may report what owners have.
    #[test]
    fn a_stamper_that_is_no_owner_counts_all_seats() {
        let (none, some, all) = (vec![], vec![(2, 7)], vec![(2, 7), (3, 7)]);
        for (got, expected) in [
            (none, [(0, 0), (1, 0), (2, 0), (2, 0)]),
            (some, [(0, 0), (1, 1), (2, 1), (2, 1)]),
            (all, [(0, 0), (1, 1), (2, 2), (2, 2)]),
        ] {
            assert_eq!(reports(&[&[2, 3]], &[], &got), expected, "{got:?}");
        }
    }

    /// Tests rules V2 and I-ACK: what is of a later epoch, of no owner, of oneself, or said twice
    /// does not count.
    #[test]
    fn fenced_strange_own_and_repeated_acks_do_not_count() {
        for (got, counts) in [
            (vec![(2, 7)], 1),
            (vec![(2, 1)], 1),
            (vec![(2, 8)], 0),
            (vec![(2, 8), (3, 7)], 1),
            (vec![(9, 7)], 0),
            (vec![(1, 7)], 0),
            (vec![(2, 7), (2, 7), (2, 6)], 1),
        ] {
            let [local, _, _, all] = reports(&[&[1, 2, 3]], &[], &got);
            assert_eq!((local, all), ((0, 0), (2, counts)), "{got:?}");
        }
    }
}
