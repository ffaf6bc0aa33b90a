//! What strikes hosts, and the connections between them that break and are made anew.

use std::collections::BTreeSet;

use protocol::limits::TICK_MS;
use protocol::{Copies, Decision};
use session::Inc;

use super::{Arrival, Happening, Phase, Violation, World};
use crate::client::Stage;
use crate::coverage::Point;
use crate::fault::strikes::Strike;
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
            Strike::Start(host) => self.start(*host),
            Strike::StartAll => (0..self.hosts.len()).for_each(|host| self.start_again(host)),
            Strike::LoseAll => {
                for host in 0..self.hosts.len() {
                    self.crash(host, false)?;
                }
            }
            Strike::Drain(host) => self.drain(*host),
            Strike::Resize(copies) => self.resize(*copies),
            Strike::NoLeader => self.log.leaderless += 1,
            Strike::Leader => self.log.leaderless = self.log.leaderless.saturating_sub(1),
            Strike::Remove(host) => self.remove_wrongly(*host)?,
            Strike::Doom(hosts, alive) => self.doom(hosts, *alive)?,
            Strike::Return(hosts) => self.come_back(hosts),
        }
        Ok(())
    }

    /// A host that has run before starts again.
    fn start_again(&mut self, host: usize) {
        if self.hosts[host].starts > 0 {
            self.start(host);
        }
    }

    /// The process is told to hand over and go, unless nobody would be left to take it.
    fn drain(&mut self, host: usize) {
        let now_us = self.now_us;
        let view = &self.log.newest.view;
        let Some(process) = &mut self.hosts[host].process else { return };
        let staying = view.members.iter().filter(|m| !m.leaving && m.inc != Some(process.inc));
        if staying.count() > 0 && process.draining.is_none() {
            process.draining = Some(now_us);
            self.propose_wishes(host);
        }
    }

    /// An operator asks for another number of copies, at a host that reaches the log.
    fn resize(&mut self, copies: Copies) {
        if let Some(host) = (0..self.hosts.len()).find(|host| self.reaches_log(*host)) {
            self.coverage.hit(Point::Resized);
            self.propose(host, &Decision::Resize { copies });
        }
    }

    /// Most hosts are given up for good: they die, or go on without the others.
    fn doom(&mut self, hosts: &[usize], alive: bool) -> Result<(), Violation> {
        self.log.leaderless += 1;
        for &host in hosts {
            self.hosts[host].exiled = true;
            if !alive {
                self.crash(host, false)?;
                continue;
            }
            for other in (0..self.hosts.len()).filter(|other| !hosts.contains(other)) {
                self.network.cut(host, other);
                self.network.cut(other, host);
                self.schedule(self.now_us + 5_000_000, Happening::Idle(host, other));
            }
        }
        let in_us = self.rng.u64(500_000..1_900_000);
        self.schedule(self.now_us + in_us, Happening::Recover(hosts.to_vec()));
        Ok(())
    }

    /// The survivors begin anew, if there are any; or one does without the others, as if it had not
    /// heard of them.
    pub(super) fn recover(&mut self, doomed: &[usize]) -> Result<(), Violation> {
        if self.phase != Phase::Storm {
            return Ok(());
        }
        self.log.leaderless = self.log.leaderless.saturating_sub(1);
        let at_most = if self.rng.u8(0..3) == 0 { 1 } else { usize::MAX };
        let view = &self.log.newest.view;
        let survivors: BTreeSet<Inc> = (0..self.hosts.len())
            .filter(|host| !doomed.contains(host) && !self.hosts[*host].exiled)
            .filter_map(|host| self.hosts[host].process.as_ref())
            .filter(|process| view.contains(process.inc))
            .map(|process| process.inc)
            .take(at_most)
            .collect();
        if survivors.is_empty() {
            return Ok(());
        }
        let generation = view.generation + 1;
        if self.decide(&Decision::Recover { generation, survivors })?
            && self.log.newest.view.members.len() > 1
        {
            self.coverage.hit(Point::SurvivorsTogether);
        }
        Ok(())
    }

    fn come_back(&mut self, hosts: &[usize]) {
        for &host in hosts {
            self.hosts[host].exiled = false;
            for other in (0..self.hosts.len()).filter(|other| !hosts.contains(other)) {
                self.network.heal(host, other);
                self.network.heal(other, host);
            }
            self.start_again(host);
        }
        self.connect_all();
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
        self.hosts[host].joining = None;
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        // A removal has been counted when it was decided.
        if !process.removed {
            self.oracle_crash(host)?;
        }
        self.note_end(host);
        self.oracle.given_up += 1;
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
        if self.hosts[host].process.is_some() || self.hosts[host].joining.is_some() {
            return;
        }
        self.oracle.started(host);
        if self.scenario.is_agreed() {
            self.starts += 1;
            self.hosts[host].starts += 1;
            self.hosts[host].joining = Some(self.starts);
            self.trace(|world| format!("start {} at n{}", world.starts, host + 1));
            return self.propose_wishes(host);
        }
        let (settings, seed, now) = (self.settings, self.seed, self.now_us);
        let inc = self.hosts[host].start(&settings, seed, now);
        self.trace(|_| format!("start n{} as {inc:?}", host + 1));
        let first = self.rng.u64(0..TICK_MS * 1_000);
        self.schedule_arrival(first, host, Arrival::Tick);
        self.connect_all();
    }

    /// What a process that ends has met.
    fn note_end(&mut self, host: usize) {
        self.note_counters(host);
        let Some(process) = &self.hosts[host].process else { return };
        let joiner = process.node.sync_pending() > 0 && !process.removed;
        let drained = process.draining.is_some() && process.node.handover().is_complete();
        let stages: Vec<Stage> =
            self.requests.values().filter(|r| r.host == host).map(|r| r.stage).collect();
        for (met, point) in [
            (joiner, Point::JoinerCrashed),
            (drained, Point::Drained),
            (stages.contains(&Stage::Creating), Point::RotateCrashCreating),
            (stages.contains(&Stage::Ending), Point::RotateCrashEnding),
        ] {
            if met {
                self.coverage.hit(point);
            }
        }
    }

    pub(super) fn note_counters(&mut self, host: usize) {
        if let Some(process) = &self.hosts[host].process {
            self.coverage.take(process.node.counters());
        }
    }

    // --- connections ---

    /// True if the processes of both hosts are connected.
    pub(super) fn is_connected(&self, a: usize, b: usize) -> bool {
        self.connected[self.pair(a, b)]
    }

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
        if process.view.is_fixed() && process.view.started(&name, inc) {
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
