//! What must hold while owners change: whom an acknowledgement counts for, who has caught up.

use session::{Inc, SessionKey, State, Version};

use crate::client::Request;
use crate::world::log::Agreed;
use crate::world::{Violation, World};

/// What a process held when it adopted a view in which a transition was under way.
pub(crate) struct Sealed {
    epoch: u64,
    /// `None`: it had ended.
    held: Vec<(SessionKey, Option<Version>)>,
}

impl World {
    // --- acknowledgements ---

    /// I-ACK, V3, V5: what a host reports of its own write holds in each layout of the view that it
    /// goes by: so many other owners have it, or all there are.
    pub(crate) fn check_ack_in_layouts(
        &self,
        host: usize,
        key: SessionKey,
        version: &Version,
        request: &Request,
        got: usize,
    ) -> Result<(), Violation> {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let Some(agreed) = self.adopted(host) else { return Ok(()) };
        let inc = process.inc;
        let ends = version.is_empty();
        // What others stamped for it, they report by the views that they go by.
        let newest = version.newest();
        let log = self.oracle.records.get(&key).map_or(&[][..], |record| &record.log);
        let own = ends || log.iter().any(|w| w.stamp.inc == inc && w.stamp.hlc == newest);
        let own = own && !self.handling_forwarded;
        if got == 0 || !own || !process.node.speaks_for(key) || self.may_be_over(key) {
            return Ok(());
        }
        let has = |owner: Inc| {
            let other = self.hosts.iter().position(|h| h.process_of(owner).is_some());
            other.is_some_and(|other| match self.held(other, key) {
                Some(State::Ended(_)) => true,
                Some(State::Alive(copy)) => !ends && copy.version.covers_all(version),
                None => false,
            })
        };
        for age in 0..agreed.view.layouts.len() {
            let others = || agreed.placement.owners_by(age, key.slot()).filter(|o| *o != inc);
            let seats = others().count();
            let mine = agreed.placement.owners_by(age, key.slot()).any(|owner| owner == inc);
            let asked = request.level.asked(seats + usize::from(mine), mine);
            let due = got.min(asked);
            let have = others().filter(|owner| has(*owner)).count();
            if have < due {
                let detail = format!(
                    "{key:?}: n{} reports {got} others; of layout {} {have} have it, {due} are due",
                    host + 1,
                    agreed.view.layouts[age].epoch
                );
                return Err(self.violation("I-ACK", detail));
            }
        }
        Ok(())
    }

    /// V2: an acknowledgement of a later epoch than this host's completes nothing yet.
    pub(crate) fn check_not_fenced(&self, host: usize, reported: usize) -> Result<(), Violation> {
        if self.handling_later_ack && reported > 0 {
            let detail = format!("n{} counts an acknowledgement of a later epoch", host + 1);
            return Err(self.violation("V2", detail));
        }
        Ok(())
    }

    // --- catching up ---

    /// Keeps in mind what the host holds as it takes up this view.
    pub(crate) fn note_sealed(&mut self, host: usize, agreed: &Agreed) {
        if agreed.view.layouts.len() < 2 {
            return;
        }
        let Some(process) = &mut self.hosts[host].process else { return };
        let held = process.node.store().iter().map(|(key, state)| match state {
            State::Alive(session) => (key, Some(session.version.clone())),
            State::Ended(_) => (key, None),
        });
        let sealed = Sealed { epoch: agreed.view.epoch, held: held.collect() };
        let oldest = agreed.view.layouts[1].epoch;
        // The first of each layout in force is enough; a few later ones do no harm.
        process.sealed.retain(|sealed| sealed.epoch >= oldest);
        process.sealed.push(sealed);
    }

    /// V6, V7: whoever says that it is synced in a layout has what every earlier owner held when
    /// that one took the layout up; and all of them have.
    pub(crate) fn check_synced(&self, host: usize, epoch: u64) -> Result<(), Violation> {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let (Some(agreed), inc) = (self.adopted(host), process.inc) else { return Ok(()) };
        // A report of what is over already has no effect.
        let newest = &self.log.newest.view;
        let of_use = newest.contains(inc) && newest.layouts.iter().any(|l| l.epoch == epoch);
        let Some(age) = agreed.view.layouts.iter().position(|l| l.epoch == epoch && of_use) else {
            return Ok(());
        };
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            let Some(peer) = &self.hosts[other].process else { continue };
            let owned_before = |slot: session::Slot| {
                let by = |age: usize| agreed.placement.owners_by(age, slot);
                let moves = (0..age).any(|earlier| !by(earlier).eq(by(age)));
                moves
                    && by(age).any(|owner| owner == inc)
                    && (0..age).any(|earlier| by(earlier).any(|owner| owner == peer.inc))
            };
            let slots = session::Slot::COUNT / self.settings.shards;
            if !(0..slots).filter_map(session::Slot::new).any(owned_before) {
                continue;
            }
            let Some(sealed) = peer.sealed.iter().find(|sealed| sealed.epoch >= epoch) else {
                let detail = format!(
                    "n{} is synced in {epoch}, which n{} does not know",
                    host + 1,
                    other + 1
                );
                return Err(self.violation("V6", detail));
            };
            for (key, version) in sealed.held.iter().filter(|(key, _)| owned_before(key.slot())) {
                self.check_caught_up(host, other, *key, version.as_ref())?;
            }
        }
        Ok(())
    }

    fn check_caught_up(
        &self,
        host: usize,
        other: usize,
        key: SessionKey,
        version: Option<&Version>,
    ) -> Result<(), Violation> {
        let has = match (self.held(host, key), version) {
            (Some(State::Ended(_)), _) => true,
            (Some(State::Alive(copy)), Some(version)) => copy.version.covers_all(version),
            (Some(State::Alive(_)), None) | (None, _) => false,
        };
        if !has && !self.may_be_over(key) {
            let detail = format!(
                "n{} is synced and lacks {key:?} at {version:?}, which n{} held",
                host + 1,
                other + 1
            );
            return Err(self.violation("V7", detail));
        }
        Ok(())
    }
}
