//! What must hold because views are agreed: who is an owner, who may stamp, what is kept where.

use std::rc::Rc;

use protocol::Placement;
use session::{SessionKey, Slot};

use crate::client::Request;
use crate::world::log::Agreed;
use crate::world::{Violation, World};

impl World {
    // --- who owns what, by the log and not by a node ---

    /// The view that the host goes by, as it was decided.
    pub(crate) fn adopted(&self, host: usize) -> Option<&Rc<Agreed>> {
        let view = self.hosts[host].process.as_ref()?.node.view();
        self.log.view(view.generation, view.epoch)
    }

    /// True if the host goes by the newest view that was decided.
    pub(super) fn goes_by_newest(&self, host: usize) -> bool {
        self.adopted(host).is_some_and(|agreed| Rc::ptr_eq(agreed, &self.log.newest))
    }

    /// True if what this host holds of the session counts: it owns the slot by the newest view.
    pub(crate) fn counts(&self, host: usize, key: SessionKey) -> bool {
        if !self.scenario.is_agreed() {
            return true;
        }
        let newest = &self.log.newest.placement;
        let process = self.hosts[host].process.as_ref();
        process.is_some_and(|process| !process.removed && owns(newest, key.slot(), process.inc))
    }

    /// True if this host owns the slot by the view that it goes by.
    pub(crate) fn owns_by_own_view(&self, host: usize, key: SessionKey) -> bool {
        if !self.scenario.is_agreed() {
            return true;
        }
        let inc = self.hosts[host].process.as_ref().map(|process| process.inc);
        let adopted = self.adopted(host).zip(inc);
        adopted.is_some_and(|(agreed, inc)| owns(&agreed.placement, key.slot(), inc))
    }

    /// True if `inc` owns the slot by the view that the host goes by.
    pub(crate) fn is_owner_by(&self, host: usize, key: SessionKey, inc: session::Inc) -> bool {
        self.adopted(host).is_some_and(|agreed| owns(&agreed.placement, key.slot(), inc))
    }

    // --- every view that a host takes up ---

    /// I-VIEW: of one generation and epoch there is one view.
    pub(crate) fn check_view(&mut self, host: usize) -> Result<(), Violation> {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let view = process.node.view();
        let same = self.adopted(host).is_some_and(|agreed| agreed.view == *view);
        if !same {
            let detail = format!("n{} goes by {view:?}, which was not decided", host + 1);
            return Err(self.violation("I-VIEW", detail));
        }
        Ok(())
    }

    // --- every write ---

    /// I-OWN: whoever stamps owns the slot by the view that it goes by, and speaks for it.
    pub(crate) fn check_owner(&self, host: usize, key: SessionKey) -> Result<(), Violation> {
        if !self.scenario.is_agreed() {
            return Ok(());
        }
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let speaks = process.node.speaks_for(key);
        if !speaks || !self.owns_by_own_view(host, key) {
            let detail = format!("n{} stamps {key:?}, which it does not speak for", host + 1);
            return Err(self.violation("I-OWN", detail));
        }
        Ok(())
    }

    // --- every answer ---

    /// I-NF, N1: somebody who speaks for the slot has denied the session; if everybody who does has
    /// held it all the time, nobody can have.
    pub(crate) fn check_denial(
        &mut self,
        host: usize,
        key: SessionKey,
        request: &Request,
    ) -> Result<(), Violation> {
        let moved = request.crashes != self.oracle.crashes
            || request.given_up != self.oracle.given_up
            || request.decided != self.log.index;
        if !self.scenario.is_agreed() || moved || self.may_be_over(key) {
            return Ok(());
        }
        let speaks = |h: &usize| {
            self.hosts[*h].process.as_ref().is_some_and(|process| process.node.speaks_for(key))
        };
        let speakers: Vec<usize> = (0..self.hosts.len()).filter(speaks).collect();
        let held = |h: &usize| {
            let start = self.hosts[*h].starts;
            request.holders.iter().any(|(holder, at, _)| holder == h && *at == start)
                && matches!(self.held(*h, key), Some(session::State::Alive(_)))
        };
        if !speakers.is_empty() && speakers.iter().all(held) {
            let detail = format!("n{} denies {key:?}, which all who may deny it hold", host + 1);
            return Err(self.violation("I-NF", detail));
        }
        Ok(())
    }

    // --- every message ---

    /// I-GEN: a message of another generation changes nothing.
    pub(crate) fn check_nothing_taken(&mut self, host: usize) -> Result<(), Violation> {
        self.coverage.hit(crate::coverage::Point::OtherGeneration);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if process.node.store_mut().drain_journal().is_empty() {
            return Ok(());
        }
        let detail = format!("n{} takes a message of another generation", host + 1);
        Err(self.violation("I-GEN", detail))
    }

    // --- every second ---

    /// B4: what is answered to repair requests in a second stays within the budget: what was saved
    /// up, what is earned, and one answer that overdraws it.
    pub(crate) fn check_budget(&mut self) -> Result<(), Violation> {
        let rate = self.settings.repair_bytes_per_second;
        for host in 0..self.hosts.len() {
            let Some(process) = &mut self.hosts[host].process else { continue };
            let bytes = process.node.counters().repair_bytes;
            let spent = bytes - std::mem::replace(&mut process.repair_bytes, bytes);
            let allowed = 2 * rate + 4 * 1_024;
            if spent > allowed {
                let detail =
                    format!("n{} answers {spent} bytes in a second, {rate} are allowed", host + 1);
                return Err(self.violation("B4", detail));
            }
        }
        Ok(())
    }

    // --- calm ---

    /// L-FINAL: one layout, everybody a member, nobody leaving.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let view = &self.log.newest.view;
        if view.layouts.len() != 1 {
            let unsynced = self.log.unsynced();
            return Some(format!("{} layouts, unsynced {unsynced:?}", view.layouts.len()));
        }
        if let Some(member) = view.members.iter().find(|member| member.leaving) {
            return Some(format!("{} is still leaving", member.name));
        }
        for host in &self.hosts {
            let inc = host.process.as_ref().filter(|p| !p.removed).map(|process| process.inc);
            let member = inc.is_some_and(|inc| view.contains(inc));
            if !member {
                return Some(format!("{} is not a member", host.name));
            }
            let epoch = host.process.as_ref().map_or(0, |process| process.node.view().epoch);
            if epoch != view.epoch {
                return Some(format!("{} goes by epoch {epoch} of {}", host.name, view.epoch));
            }
        }
        None
    }

    /// P11: who does not own a slot holds nothing of it.
    pub(crate) fn kept(&self) -> Option<String> {
        let newest = &self.log.newest.placement;
        for host in &self.hosts {
            let Some(process) = &host.process else { continue };
            let slots = Slot::COUNT / self.settings.shards;
            let kept = (0..slots).filter_map(Slot::new).find(|slot| {
                !owns(newest, *slot, process.inc) && process.node.store().count(*slot) > 0
            });
            if let Some(slot) = kept {
                return Some(format!("P11: {} keeps something of {slot:?}", host.name));
            }
        }
        None
    }

    // --- goodput ---

    /// A request could not be served.
    pub(crate) fn note_refused(&mut self, id: u64) {
        self.report.refused += 1;
        let goodput = self.requests.get(&id).is_some_and(|request| self.is_after_faults(request));
        self.refused_after += u64::from(goodput);
    }

    /// True if the request began when nothing was an excuse any more.
    pub(crate) fn is_after_faults(&self, request: &Request) -> bool {
        self.phase != crate::world::Phase::Storm
            && request.began_us > self.calm_since_us + 10_000_000
    }
}

fn owns(placement: &Placement, slot: Slot, inc: session::Inc) -> bool {
    placement.owners(slot).any(|owner| owner == inc)
}
