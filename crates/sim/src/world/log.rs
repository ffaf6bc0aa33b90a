//! The log of membership, as an abstract thing: decisions in one order, and the views that they
//! come to. Whether and when a proposal gets here, and a view from here to a host, is decided
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use protocol::{Decision, Placement, Refused, Roster, Rules, View};
use session::{Inc, Slot};

/// A view that was decided, and what follows from it.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) view: View,
    pub(crate) placement: Placement,
}

/// Decisions and views of one run.
pub(crate) struct ViewLog {
    roster: Roster,
    slots: u16,
    pub(crate) index: u64,
    /// Every view by generation and epoch.
    views: BTreeMap<(u64, u64), Rc<Agreed>>,
    pub(crate) newest: Rc<Agreed>,
    /// For how many reasons nothing can be decided.
    pub(crate) leaderless: u32,
    /// Who has reported to be synced, and in which layout: kept apart from what the roster keeps.
    synced: BTreeSet<(u64, Inc)>,
    /// Per slot, the last epoch in which anybody could speak for it.
    spoken: Vec<u64>,
    /// True once the first member has joined.
    begun: bool,
    /// Members in the order in which they joined.
    pub(crate) incs: BTreeSet<Inc>,
    /// The most layouts that were in force at once.
    pub(crate) layouts_most: usize,
}

impl ViewLog {
    pub(crate) fn new(slots: u16, rules: Rules) -> Self {
        let roster = Roster::new(slots, rules);
        let newest = Rc::new(Agreed {
            view: roster.view().clone(),
            placement: Placement::new(roster.view(), 0, slots),
        });
        Self {
            roster,
            slots,
            index: 0,
            views: BTreeMap::new(),
            newest,
            leaderless: 0,
            synced: BTreeSet::new(),
            spoken: vec![0; usize::from(slots)],
            begun: false,
            incs: BTreeSet::new(),
            layouts_most: 0,
        }
    }

    /// Puts a decision into the log, after `gap` entries that are not about membership.
    pub(crate) fn decide(&mut self, gap: u64, decision: &Decision) -> Result<Rc<Agreed>, Refused> {
        self.index += 1 + gap;
        self.roster.apply(self.index, decision)?;
        if let Decision::Synced { inc, epoch } = decision {
            self.synced.insert((*epoch, *inc));
        }
        if let Decision::Join { .. } = decision {
            self.incs.insert(Inc(self.index));
        }
        let view = self.roster.view().clone();
        self.layouts_most = self.layouts_most.max(view.layouts.len());
        // Most decisions leave the owners alone; then the placement is the same.
        let same = self.newest.view.layouts == view.layouts
            && self
                .newest
                .view
                .members
                .iter()
                .map(|m| m.inc)
                .eq(view.members.iter().map(|m| m.inc));
        let placement = match same {
            true => self.newest.placement.clone(),
            false => Placement::new(&view, 0, self.slots),
        };
        let agreed = Rc::new(Agreed { view, placement });
        let number = (agreed.view.generation, agreed.view.epoch);
        self.views.insert(number, Rc::clone(&agreed));
        self.newest = Rc::clone(&agreed);
        Ok(agreed)
    }

    /// The view of that generation and epoch.
    pub(crate) fn view(&self, generation: u64, epoch: u64) -> Option<&Rc<Agreed>> {
        self.views.get(&(generation, epoch))
    }

    /// Any of the last few views, the newest being 0.
    pub(crate) fn earlier(&self, back: usize) -> Rc<Agreed> {
        self.views.values().rev().nth(back).map_or_else(|| Rc::clone(&self.newest), Rc::clone)
    }

    /// Who has not reported to be synced in the layout that is being taken up.
    pub(crate) fn unsynced(&self) -> Vec<Inc> {
        self.roster.unsynced().collect()
    }

    /// V8: a slot that has lost everybody who could speak for it, without a word of that in the
    /// view. To be asked once after every decision.
    pub(crate) fn unnoticed_loss(&mut self) -> Option<Slot> {
        let agreed = Rc::clone(&self.newest);
        let view = &agreed.view;
        if view.layouts.is_empty() {
            return None;
        }
        self.begun |= !view.members.is_empty();
        let mut unnoticed = None;
        for slot in (0..self.slots).filter_map(Slot::new) {
            let by = |age: usize| agreed.placement.owners_by(age, slot);
            let later = view.layouts.iter().enumerate().skip(1);
            let spoken = by(0).next().is_some()
                || later.into_iter().any(|(age, layout)| {
                    by(age).any(|owner| self.synced.contains(&(layout.epoch, owner)))
                });
            let last = &mut self.spoken[usize::from(slot.number())];
            if spoken {
                *last = view.epoch;
            } else if view.losses.get(&slot).is_none_or(|at| *at <= *last) {
                unnoticed = Some(slot);
            }
        }
        unnoticed.filter(|_| self.begun)
    }
}
