//! An abstract detector of failures: whoever leads the log proposes to remove what is silent.

use std::collections::BTreeMap;

use protocol::Decision;
use session::Inc;

use super::{Happening, Phase, Violation, World};

/// How often it looks, in microseconds.
const LOOK_US: u64 = 500_000;

/// Within which a minority at most is removed, unless it is dead, in microseconds.
const CAUTION_US: u64 = 30_000_000;

/// What the detector remembers.
pub(crate) struct Detector {
    /// How long a member may be silent before it is to be removed, in microseconds.
    patience_us: u64,
    /// How long it may be silent before it is removed whatever is lost.
    despair_us: u64,
    silent_since: BTreeMap<Inc, u64>,
    /// When processes were removed that were running.
    removals: Vec<u64>,
}

impl Detector {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        let patience_us = rng.u64(2_500_000..6_000_000);
        let despair_us = patience_us + rng.u64(1_000_000..6_000_000);
        Self { patience_us, despair_us, silent_since: BTreeMap::new(), removals: Vec::new() }
    }
}

impl World {
    pub(super) fn detect(&mut self) -> Result<(), Violation> {
        self.schedule(self.now_us + LOOK_US, Happening::Detect);
        if !self.has_leader() {
            return Ok(());
        }
        let now_us = self.now_us;
        let members = self.log.newest.view.members.clone();
        self.detector.silent_since.retain(|inc, _| members.iter().any(|m| m.inc == Some(*inc)));
        for member in &members {
            let host = self.hosts.iter().position(|host| host.name == member.name);
            let (Some(inc), Some(host)) = (member.inc, host) else { continue };
            let dead = self.hosts[host].process_of(inc).is_none();
            let answers = !self.hosts[host].paused && self.reaches_log(host);
            if !dead && answers && !self.is_worse_of_two(host, inc) {
                self.detector.silent_since.remove(&inc);
                continue;
            }
            // A process that has been taken in learns of that a moment later.
            if dead && self.hosts[host].joining == Some(member.start) {
                continue;
            }
            let silent = now_us - *self.detector.silent_since.entry(inc).or_insert(now_us);
            if silent >= self.detector.patience_us && (dead || self.may_remove()) {
                let accept_loss = silent >= self.detector.despair_us;
                let removed = self.decide(&Decision::Remove { inc, accept_loss })?;
                if removed && !dead {
                    self.detector.removals.push(now_us);
                }
            }
        }
        Ok(())
    }

    /// True if the host and another do not reach each other, although both reach most others, and
    /// it is this one that is to go: the one that more do not reach, or the later start of the two.
    fn is_worse_of_two(&self, host: usize, inc: Inc) -> bool {
        let cut = |host: usize| {
            let others = (0..self.hosts.len()).filter(|other| *other != host);
            others.filter(|other| self.network.is_cut(host, *other)).count()
        };
        let mine = (cut(host), inc);
        let others = (0..self.hosts.len())
            .filter(|other| self.network.is_cut(host, *other) && self.reaches_log(*other));
        let mut running =
            others.filter_map(|other| Some((cut(other), self.hosts[other].process.as_ref()?.inc)));
        running.any(|theirs| mine > theirs)
    }

    /// True if one more process that runs may be removed: a minority at most in a short time.
    pub(super) fn may_remove(&mut self) -> bool {
        let since = self.now_us.saturating_sub(CAUTION_US);
        self.detector.removals.retain(|at| *at >= since);
        (self.detector.removals.len() + 1) * 2 < self.log.newest.view.members.len()
    }

    /// Somebody removes a process that runs.
    pub(super) fn remove_wrongly(&mut self, host: usize) -> Result<(), Violation> {
        let Some(inc) = self.hosts[host].process.as_ref().map(|process| process.inc) else {
            return Ok(());
        };
        if self.phase == Phase::Storm
            && self.may_remove()
            && self.decide(&Decision::Remove { inc, accept_loss: false })?
        {
            self.detector.removals.push(self.now_us);
        }
        Ok(())
    }
}
