//! What strikes hosts, and the connections between them that break and are made anew.

use protocol::limits::TICK_MS;

use super::{Arrival, Happening, Phase, Violation, World};
use crate::fault::Strike;
use crate::host::Host;

impl World {
    // --- faults ---

    pub(super) fn strike(&mut self, strike: &Strike) -> Result<(), Violation> {
        if self.phase != Phase::Storm {
            return Ok(());
        }
        self.calm_since_us = self.now_us;
        self.trace(|_| format!("strike {strike:?}"));
        match strike {
            Strike::Cut(ways) => {
                for &(a, b) in ways {
                    self.network.cut(a, b);
                    self.schedule(self.now_us + 5_000_000, Happening::Idle(a, b));
                }
            }
            Strike::Heal(ways) => {
                for &(a, b) in ways {
                    self.network.heal(a, b);
                }
                self.connect_all();
            }
            Strike::Pause(host) => self.hosts[*host].paused = self.hosts[*host].process.is_some(),
            Strike::Resume(host) => self.resume(*host),
            Strike::Crash(host, noticed) => self.crash(*host, *noticed)?,
            Strike::Start(host) => {
                if self.hosts[*host].process.is_none() {
                    self.start(*host);
                    self.connect_all();
                }
            }
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, host: usize) {
        if !self.hosts[host].paused {
            return;
        }
        self.hosts[host].paused = false;
        let waiting = std::mem::take(&mut self.waiting[host]);
        for arrival in waiting {
            self.schedule(self.now_us, Happening::Arrive(host, arrival));
        }
    }

    pub(super) fn crash(&mut self, host: usize, noticed: bool) -> Result<(), Violation> {
        if self.hosts[host].process.is_none() {
            return Ok(());
        }
        self.oracle_crash(host)?;
        self.hosts[host].process = None;
        self.hosts[host].paused = false;
        self.waiting[host].clear();
        self.fail_requests_of(host);
        for other in 0..self.hosts.len() {
            let pair = self.pair(host, other);
            if self.connected[pair] {
                self.connected[pair] = false;
                if noticed {
                    self.lose_link(other, host)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, host: usize) {
        let (settings, seed, now) = (self.settings, self.seed, self.now_us);
        let inc = self.hosts[host].start(&settings, seed, now);
        self.oracle.started(host);
        self.trace(|_| format!("start n{} as {inc:?}", host + 1));
        let first = self.rng.u64(0..TICK_MS * 1_000);
        self.schedule_arrival(first, host, Arrival::Tick);
        self.connect_all();
    }

    // --- connections ---

    pub(super) fn pair(&self, a: usize, b: usize) -> usize {
        a.min(b) * self.hosts.len() + a.max(b)
    }

    pub(super) fn connect_all(&mut self) {
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                if !self.connected[self.pair(a, b)] {
                    let in_us = self.rng.u64(1_000..200_000);
                    self.schedule(self.now_us + in_us, Happening::Connect(a, b));
                }
            }
        }
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        let pair = self.pair(a, b);
        let ready = |host: &Host| host.process.is_some() && !host.paused;
        if self.connected[pair] || self.network.is_cut(a, b) {
            return Ok(());
        }
        if !ready(&self.hosts[a]) || !ready(&self.hosts[b]) {
            // A host that stands still answers later.
            if self.hosts[a].process.is_some() && self.hosts[b].process.is_some() {
                self.schedule(self.now_us + 200_000, Happening::Connect(a, b));
            }
            return Ok(());
        }
        self.connected[pair] = true;
        self.meet(a, b)?;
        self.meet(b, a)
    }

    fn meet(&mut self, host: usize, peer: usize) -> Result<(), Violation> {
        let now = self.hosts[host].now(self.now_us);
        let name = self.hosts[peer].name.clone();
        let Some(inc) = self.hosts[peer].process.as_ref().map(|process| process.inc) else {
            return Ok(());
        };
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        if process.view.started(&name, inc) {
            process.node.handle_view(process.view.clone(), now);
        }
        process.liveness.handle_up(&name, inc, now);
        self.settle(host)
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        let pair = self.pair(a, b);
        if std::mem::take(&mut self.connected[pair]) {
            self.lose_link(a, b)?;
            self.lose_link(b, a)?;
        }
        Ok(())
    }

    fn lose_link(&mut self, host: usize, peer: usize) -> Result<(), Violation> {
        let name = self.hosts[peer].name.clone();
        if let Some(process) = &mut self.hosts[host].process {
            process.liveness.handle_down(&name);
        }
        self.settle(host)
    }
}
