//! What may be lost, and what not: a process dies, is removed, or gives up a slot.

use session::{Inc, SessionKey, Stamp, Time};

use super::{AckedWrite, Dead, Seen};
use crate::world::log::Agreed;
use crate::world::{Violation, World};

impl World {
    /// A process is about to die, or is removed: what only it held is lost, within what was
    /// promised (I-DUR).
    pub(crate) fn oracle_crash(&mut self, host: usize) -> Result<(), Violation> {
        self.oracle.crashes += 1;
        let keys: Vec<SessionKey> = self.oracle.seen[host].keys().copied().collect();
        for key in keys {
            self.crash_of_holder(host, key)?;
        }
        Ok(())
    }

    /// A process stamps: what it wrote before, and what neither the copy it stamps nor any other
    /// has, is not in what it stamps from here on (rule E4).
    pub(super) fn note_skipped(&mut self, key: SessionKey, by: Stamp, before: Option<&Seen>) {
        let oracle = &mut self.oracle;
        let Some(record) = oracle.records.get_mut(&key) else { return };
        let copies = || oracle.seen.iter().filter_map(|seen| seen.get(&key)).chain(before);
        let own = record.log.iter_mut().filter(|w| w.stamp.inc == by.inc && w.skipped_by.is_none());
        for write in own.filter(|write| write.stamp.hlc < by.hlc) {
            if !copies().any(|copy| copy.version.covers(write.stamp)) {
                write.skipped_by = Some(by.hlc);
            }
        }
    }

    /// True if a process that counts runs on the host.
    pub(crate) fn is_present(&self, host: usize) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| !process.removed)
    }

    /// True if the session may have come to its end by itself, or soon does, by some clock. Nobody
    /// acknowledges a touch, so a short idle time may be over for all but one.
    pub(crate) fn may_be_over(&self, key: SessionKey) -> bool {
        let now = Time(crate::host::BEGIN_MS + self.now_us / 1_000);
        let core = self.oracle.records.get(&key).and_then(|record| record.core.as_ref());
        core.is_none_or(|core| core.idle_ms < 60_000 || now.plus(5_000) > core.hard_deadline)
    }

    fn crash_of_holder(&mut self, host: usize, key: SessionKey) -> Result<(), Violation> {
        let holds = |h: usize, version: &session::Version| {
            self.oracle.seen[h]
                .get(&key)
                .is_some_and(|seen| seen.ended.is_some() || seen.version.covers_all(version))
                && self.is_present(h)
        };
        let over = self.may_be_over(key);
        let Some(record) = self.oracle.records.get(&key) else { return Ok(()) };
        let mut crashed = Vec::new();
        let mut lost = Vec::new();
        for (index, write) in record.acked.iter().enumerate() {
            if !holds(host, &write.version) {
                continue;
            }
            crashed.push(index);
            let left = (0..self.hosts.len()).any(|h| h != host && holds(h, &write.version));
            if !left && !over {
                if write.crashed < write.got {
                    let detail = format!(
                        "{key:?}: {:?} was acknowledged by {} others and is lost by {} crashes",
                        write.version,
                        write.got,
                        write.crashed + 1
                    );
                    return Err(self.violation("I-DUR", detail));
                }
                lost.push(index);
            }
        }
        let inc = self.hosts[host].process.as_ref().filter(|p| !p.removed).map(|p| p.inc);
        let seen = self.oracle.seen[host].get(&key);
        let died = inc.zip(seen).map(|(inc, seen)| Dead {
            inc,
            held: seen.ended.is_none().then(|| seen.version.clone()),
        });
        let ended_here = self.oracle.seen[host].get(&key).is_some_and(|s| s.ended.is_some());
        self.report.lost += lost.len() as u64;
        let Some(record) = self.oracle.records.get_mut(&key) else { return Ok(()) };
        record.died.extend(died);
        for index in crashed {
            record.acked[index].crashed += 1;
        }
        for index in lost.into_iter().rev() {
            record.acked.remove(index);
            record.lost = true;
        }
        if let (Some((_, crashed)), true) = (&mut record.end_acked, ended_here) {
            *crashed += 1;
        }
        Ok(())
    }

    /// How many copies each layout in force has beside the first, at least.
    pub(crate) fn spare_copies(&self, key: SessionKey) -> usize {
        if !self.scenario.is_agreed() {
            return usize::MAX / 2;
        }
        let ages = 0..self.log.newest.view.layouts.len();
        ages.map(|age| spare_copies(&self.log.newest, age, key)).min().unwrap_or(0)
    }

    /// True if the only ones who had it of those that own the session by the newest layout have
    /// died: then it goes when the older layouts do, as it would have gone with them a moment later.
    pub(crate) fn died_with_newest(
        &self,
        key: SessionKey,
        has: &dyn Fn(usize) -> bool,
        had: &dyn Fn(&Dead) -> bool,
    ) -> bool {
        let agreed = &self.log.newest;
        let Some(newest) = agreed.view.layouts.len().checked_sub(1) else { return false };
        if newest == 0 || !self.scenario.is_agreed() {
            return false;
        }
        let owners: Vec<Inc> = agreed.placement.owners_by(newest, key.slot()).collect();
        let lasts =
            |h: usize| self.hosts[h].process.as_ref().is_some_and(|p| owners.contains(&p.inc));
        let died = self.oracle.records.get(&key).map_or(&[][..], |record| &record.died);
        !(0..self.hosts.len()).any(|h| lasts(h) && has(h))
            && died.iter().any(|dead| owners.contains(&dead.inc) && had(dead))
    }

    /// A layout has begun: what was acknowledged by more than it has copies survives, from here on,
    /// as many crashes as leave it one.
    pub(crate) fn cap_acknowledged(&mut self, agreed: &Agreed) {
        let Some(newest) = agreed.view.layouts.len().checked_sub(1) else { return };
        for (key, record) in &mut self.oracle.records {
            let spare = spare_copies(agreed, newest, *key);
            for write in &mut record.acked {
                write.got = write.got.min(write.crashed + spare);
            }
            if let Some((got, crashed)) = &mut record.end_acked {
                *got = (*got).min(*crashed + spare);
            }
        }
    }

    /// True if the process there knows that an owner lacks something of the session.
    fn knows_lacking(&self, host: usize, key: SessionKey) -> bool {
        let process = self.hosts[host].process.as_ref().filter(|process| !process.removed);
        let owners = self.log.newest.placement.owners(key.slot());
        process.is_some_and(|process| {
            owners.into_iter().any(|owner| process.node.may_lack(owner, key))
        })
    }

    /// True if the loss of the slot was accepted by a decision that this host has not heard of (rule
    /// V8): those to whom it leaves the session are gone, and what it gives up goes as well.
    fn is_lost_unheard(&self, host: usize, key: SessionKey) -> bool {
        let known = self.adopted(host).map_or(0, |agreed| agreed.view.epoch);
        self.log.newest.view.losses.get(&key.slot()).is_some_and(|at| *at > known)
    }

    /// A copy is given up because its host does not own the slot any more: whatever it held is held
    /// by those who do (rule V9), unless crashes explain that it is not.
    pub(super) fn observe_given_up(
        &mut self,
        host: usize,
        inc: Inc,
        key: SessionKey,
        before: Option<&Seen>,
    ) -> Result<(), Violation> {
        self.oracle.given_up += 1;
        self.oracle.seen[host].remove(&key);
        let Some(record) = self.oracle.records.get_mut(&key) else { return Ok(()) };
        // It may learn of the session again, from whoever has not heard of its end.
        record.ended_at.remove(&inc);
        if let Some(own) = before.and_then(|seen| seen.version.get(inc)) {
            record.given_up.insert(inc, own);
        }
        // What a process held that was removed has been counted as lost with it.
        let over = self.may_be_over(key) || !self.is_present(host);
        let (Some(seen), false) = (before, over) else { return Ok(()) };
        let Some(record) = self.oracle.records.get(&key) else { return Ok(()) };
        let ended = seen.ended.is_some();
        let owns = |h: usize| self.is_present(h) && self.counts(h, key);
        let left = |h: &usize| *h != host && owns(*h);
        let others = || (0..self.hosts.len()).filter(left);
        let has = |h: usize, of: &dyn Fn(&Seen) -> bool| {
            self.oracle.seen[h].get(&key).is_some_and(|s| s.ended.is_some() || of(s))
        };
        let at = format!("{key:?} is given up by n{}", host + 1);
        if self.is_lost_unheard(host, key) {
            let kept = |write: &AckedWrite| {
                !seen.version.covers_all(&write.version)
                    || others().any(|h| has(h, &|s| s.version.covers_all(&write.version)))
            };
            let kept: Vec<bool> = record.acked.iter().map(kept).collect();
            let told = others().any(|h| has(h, &|_| false));
            if let Some(record) = self.oracle.records.get_mut(&key) {
                let mut kept = kept.into_iter();
                record.acked.retain(|_| kept.next().unwrap_or(true));
                record.lost = true;
                record.end_acked = record.end_acked.filter(|_| told);
            }
            return Ok(());
        }
        if ended {
            let told = others().any(|h| has(h, &|_| false));
            let excused = record.end_acked.is_none_or(|(got, crashed)| crashed > got);
            if !told && !excused {
                return Err(self.violation("V9", format!("{at}, and nobody knows of its end")));
            }
            return Ok(());
        }
        for write in &record.acked {
            if seen.version.covers_all(&write.version)
                && write.crashed <= write.got
                && !others().any(|h| has(h, &|s| s.version.covers_all(&write.version)))
            {
                let detail = format!("{at}, and no owner has {:?}", write.version);
                return Err(self.violation("V9", detail));
            }
        }
        for write in record.log.iter().filter(|write| seen.version.covers(write.stamp)) {
            let covers = |s: &Seen| s.version.covers(write.stamp);
            // Whoever stamped it may still have to tell the owners, and know that.
            let on_its_way = |h: usize| h != host && has(h, &covers) && self.knows_lacking(h, key);
            // What a removed process stamps, because it has not heard of that, nobody need have.
            let counts = self.log.newest.view.contains(write.stamp.inc);
            if write.crashes == self.oracle.crashes
                && counts
                && !others().any(|h| has(h, &covers))
                && !(0..self.hosts.len()).any(on_its_way)
            {
                let detail = format!("{at}, and no owner has {:?}", write.stamp);
                return Err(self.violation("V9", detail));
            }
        }
        Ok(())
    }
}

fn spare_copies(agreed: &Agreed, age: usize, key: SessionKey) -> usize {
    agreed.placement.owners_by(age, key.slot()).count().saturating_sub(1)
}
