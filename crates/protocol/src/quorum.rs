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

impl Quorum<'_> {
    /// How far a write to `key` is acknowledged that the processes `got` have, each as of the epoch
    /// beside it: what the level asks for, and how much of that there is. The level is reached when
    /// both are equal.
    ///
    /// Every level has to hold in each layout in force, because the owners by one of them may be
    /// gone with the next view. An owner that was removed is missing.
    // Rules C1, V2, V3, V5.
    pub(crate) fn report(&self, key: SessionKey, level: Ack, got: &[(Inc, u64)]) -> Report {
        let counts = |(inc, at): &(Inc, u64)| {
            (*at <= self.epoch || self.rules.off(Rule::Fence)).then_some(*inc)
        };
        let got: Vec<Inc> = got.iter().filter_map(counts).collect();
        let layouts = self.placement.layouts(key.slot());
        let newest_only = self.rules.off(Rule::EachLayout)
            || (self.rules.off(Rule::OneEachLayout) && level == Ack::One);
        let first = if newest_only { layouts.saturating_sub(1) } else { 0 };
        let mut most_asked = 0;
        let mut least_got = None;
        for age in first..layouts {
            let mine = self.placement.is_owner_by(age, key.slot(), self.me);
            let asked = level.asked(self.placement.seats(age, key.slot()), mine);
            let has = self.count(age, key, &got);
            most_asked = most_asked.max(asked);
            if has < asked {
                least_got = Some(least_got.map_or(has, |least: usize| least.min(has)));
            }
        }
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        Report { asked: narrow(most_asked), got: narrow(least_got.unwrap_or(most_asked)) }
    }

    /// How many other owners by the layout of that age are among `got`.
    fn count(&self, age: usize, key: SessionKey, got: &[Inc]) -> usize {
        if self.rules.off(Rule::OwnersOnly) || self.rules.off(Rule::DistinctAcks) {
            return got.len();
        }
        let owners = self.placement.owners_by(age, key.slot());
        owners.filter(|owner| *owner != self.me && got.contains(owner)).count()
    }
}
