//! What must hold once everything has healed: under load, when nobody asks any more, at the end.

use protocol::limits::REPAIR_INTERVAL_MS;
use session::{SessionKey, State};

use crate::fault::FaultKind;
use crate::world::{Violation, World};

/// Within which every host is a member again and one layout is in force, in microseconds.
const FINAL_US: u64 = 14_000_000;

/// How much longer that may take where a host is slow, or repair is short of bytes or of memory: a
/// node that goes, and comes back, waits for several comparisons, one after the other.
const FINAL_SLOW_US: u64 = 10_000_000;

impl World {
    /// The calm under load: hosts become members again, within a bound of time, and serve.
    pub(crate) fn check_calm(&mut self) -> Result<(), Violation> {
        if self.scenario.is_agreed() {
            let slow = [FaultKind::Slow, FaultKind::SmallBudget, FaultKind::SmallOutbox];
            let slow = slow.iter().any(|kind| self.kinds.contains(kind));
            let until = self.calm_since_us + FINAL_US + if slow { FINAL_SLOW_US } else { 0 };
            while let Some(detail) = self.unfinished() {
                if self.now_us >= until {
                    return Err(self.violation("L-FINAL", detail));
                }
                self.run_until(self.now_us + 250_000)?;
            }
            self.report.settled_ms = (self.now_us - self.calm_since_us) / 1_000;
        }
        let load_us = if self.scenario.is_agreed() { 20_000_000 } else { 15_000_000 };
        let until = self.scenario.storm_ms * 1_000 + load_us;
        self.run_until(until.max(self.now_us + 4_000_000))
    }

    /// L-GOODPUT: ten seconds after the faults, requests are served as if there had been none.
    fn check_goodput(&mut self) -> Result<(), Violation> {
        let (begun, refused) = (self.begun_after, self.refused_after);
        if self.scenario.is_agreed() && refused * 20 > begun {
            let detail = format!("{refused} of {begun} requests were not served");
            return Err(self.violation("L-GOODPUT", detail));
        }
        Ok(())
    }

    // --- after the load ---

    /// S1, P3: ten seconds of calm under load are enough for everybody to catch up.
    pub(crate) fn check_after_load(&mut self) -> Result<(), Violation> {
        self.check_goodput()?;
        for host in &self.hosts {
            let Some(process) = &host.process else { continue };
            let behind = process.node.lags().map(|lag| lag.slots).sum::<usize>();
            if !process.node.is_synced() || process.node.sync_pending() > 0 {
                let detail = format!("n{} has not caught up under load", host.index + 1);
                return Err(self.violation("S1", detail));
            }
            // A slow host may be in the middle of a comparison, and a small outbox overflows again.
            let has = |kind| self.kinds.contains(&kind);
            let excused = has(FaultKind::SmallOutbox) || has(FaultKind::Slow);
            if behind > 0 && !excused {
                let detail = format!("n{}: {behind} slots behind under load", host.index + 1);
                return Err(self.violation("P3", detail));
            }
        }
        Ok(())
    }

    // --- the end ---

    /// L-CONV, L-DRAIN: all copies become equal within two comparisons, and nothing is left to
    /// send.
    pub(crate) fn converge(&mut self) -> Result<(), Violation> {
        // The last handlers finish.
        while !self.requests.is_empty() {
            self.run_until(self.now_us + 100_000)?;
        }
        let begun = self.now_us;
        let until = begun + (2 * REPAIR_INTERVAL_MS + REPAIR_INTERVAL_MS / 2 + 6_000) * 1_000;
        loop {
            let next = self.now_us + 250_000;
            self.run_until(next)?;
            match self.difference() {
                None => break,
                Some(detail) if self.now_us >= until => {
                    return Err(self.violation("L-CONV", detail));
                }
                Some(_) => {}
            }
        }
        self.report.converged_ms = (self.now_us - begun) / 1_000;
        // L-QUIET: nothing but heartbeats and the beginnings of comparisons.
        self.run_until(self.now_us + 2_000_000)?;
        self.oracle.loud = 0;
        self.oracle.listening = true;
        self.run_until(self.now_us + 12_000_000)?;
        // Expiry is decided by each host's clock, so that copies that are going to expire differ
        // for a moment. And that an owner has little room is heard with its next comparison.
        let mut excused = [FaultKind::ShortLives, FaultKind::SmallMemory].iter();
        let is_excused = excused.any(|kind| self.kinds.contains(kind));
        if self.oracle.loud > 0 && !is_excused {
            let detail = format!(
                "{} messages in twelve idle seconds, {}",
                self.oracle.loud, self.oracle.last_loud
            );
            return Err(self.violation("L-QUIET", detail));
        }
        Ok(())
    }

    fn difference(&self) -> Option<String> {
        for host in &self.hosts {
            let node = &host.process.as_ref()?.node;
            if !node.is_drained() {
                let lags: Vec<_> = node.lags().collect();
                return Some(format!("L-DRAIN: n{} keeps {lags:?}", host.index + 1));
            }
        }
        if self.scenario.is_agreed() {
            return self.kept().or_else(|| self.difference_of_owners());
        }
        let first = self.hosts.first()?;
        let reference = first.process.as_ref()?.node.store();
        for host in &self.hosts[1..] {
            let store = host.process.as_ref()?.node.store();
            if store.iter().eq(reference.iter()) {
                continue;
            }
            let mut keys = store.iter().chain(reference.iter()).map(|(key, _)| key);
            let key = keys.find(|key| store.get(*key) != reference.get(*key))?;
            return Some(format!(
                "n1 has {:?}, n{} has {:?} under {key:?}",
                reference.get(key),
                host.index + 1,
                store.get(key)
            ));
        }
        None
    }

    /// Every owner of a slot holds the same of it.
    fn difference_of_owners(&self) -> Option<String> {
        let stores = self.hosts.iter().filter_map(|h| Some(h.process.as_ref()?.node.store()));
        let keys: std::collections::BTreeSet<SessionKey> =
            stores.flat_map(|store| store.iter().map(|(key, _)| key)).collect();
        for key in keys {
            let mut owners = (0..self.hosts.len()).filter(|host| self.counts(*host, key));
            let first = owners.next()?;
            if let Some(other) = owners.find(|o| self.held(*o, key) != self.held(first, key)) {
                return Some(format!(
                    "n{} has {:?}, n{} has {:?} under {key:?}",
                    first + 1,
                    self.held(first, key),
                    other + 1,
                    self.held(other, key)
                ));
            }
        }
        None
    }

    /// I-NORES, I-DUR, I-COV once more, over everything.
    pub(crate) fn check_end(&mut self) -> Result<(), Violation> {
        self.check_bounds()?;
        let keys: Vec<SessionKey> = self.oracle.records.keys().copied().collect();
        let now = self.hosts[0].now(self.now_us);
        for key in keys {
            for host in 0..self.hosts.len() {
                self.check_coverage(host, key)?;
            }
            let Some(record) = self.oracle.records.get(&key) else { continue };
            let owner = (0..self.hosts.len()).find(|host| self.counts(*host, key)).unwrap_or(0);
            let copy = self.living(owner, key);
            if let (Some((got, crashed)), Some(_)) = (record.end_acked, copy)
                && crashed <= got
            {
                let detail = format!("{key:?} lives after its end was acknowledged");
                return Err(self.violation("I-NORES", detail));
            }
            let short = record
                .core
                .as_ref()
                .is_none_or(|core| core.idle_ms < 60_000 || now.plus(5_000) > core.hard_deadline);
            let ended = matches!(self.held(owner, key), Some(State::Ended(_)));
            if short || ended || record.lost {
                continue;
            }
            for write in record.acked.iter().filter(|write| write.crashed <= write.got) {
                if !copy.is_some_and(|copy| copy.version.covers_all(&write.version)) {
                    let detail = format!("{key:?}: {:?} is nowhere", write.version);
                    return Err(self.violation("I-DUR", detail));
                }
            }
        }
        Ok(())
    }
}
