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
    /// gone with the next view. An owner that was removed is not waited for, and the report says
    /// that the level has not been reached, unless others make up for it.
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
        let mut asked = 0;
        let mut least = None;
        for age in first..layouts {
            let mine = placement.is_owner_by(age, slot, self.me);
            let nominal = level.asked(placement.seats(age, slot), mine);
            let others = placement.owners_by(age, slot).filter(|owner| *owner != self.me).count();
            let has = self.count(age, key, &got);
            asked = asked.max(nominal);
            if has < nominal.min(others) {
                least = Some(least.map_or(has, |least: usize| least.min(has)));
            }
        }
        let owners = placement.owners(slot).filter(|o| *o != self.me && got.contains(o)).count();
        let owners = if self.counts_anybody() { got.len() } else { owners };
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let has = least.unwrap_or(owners).min(asked);
        let report = Report { asked: narrow(asked), got: narrow(has) };
        Standing { report, is_over: least.is_none() }
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
