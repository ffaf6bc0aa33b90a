//! Between hosts and the log of membership: what hosts propose, and how views reach them.

use std::rc::Rc;

use protocol::Decision;
use protocol::limits::TICK_MS;
use session::Inc;

use super::log::Agreed;
use super::{Arrival, Happening, Phase, Violation, World};
use crate::coverage::Point;
use crate::fault::FaultKind;

/// How often a host asks for the view and repeats its proposals, in microseconds, give or take a
/// half.
const POLL_US: u64 = 700_000;

impl World {
    /// True if what the host says reaches the log, and what the log says reaches the host: it is
    /// not cut off from most of those that have not been given up.
    pub(super) fn reaches_log(&self, host: usize) -> bool {
        if self.phase != Phase::Storm {
            return true;
        }
        let voters = || (0..self.hosts.len()).filter(|h| !self.hosts[*h].exiled);
        let reached = voters().filter(|h| *h == host || !self.network.is_cut(host, *h)).count();
        !self.hosts[host].exiled && reached * 2 > voters().count()
    }

    /// True if views take their time to get to this host.
    fn is_late(&self, host: usize) -> bool {
        self.phase == Phase::Storm && self.hosts[host].late
    }

    // --- from hosts to the log ---

    /// A host proposes something; perhaps it arrives.
    pub(super) fn propose(&mut self, host: usize, decision: &Decision) {
        if !self.reaches_log(host) {
            return;
        }
        let lossy = self.phase == Phase::Storm && self.kinds.contains(&FaultKind::LostDecisions);
        let times = match self.rng.u8(0..10) {
            0..4 if lossy => 0,
            4..6 if lossy => 2,
            _ => 1,
        };
        for _ in 0..times {
            let late = lossy && self.rng.u8(0..5) == 0;
            let in_us =
                if late { self.rng.u64(500_000..6_000_000) } else { self.rng.u64(500..20_000) };
            self.schedule(self.now_us + in_us, Happening::Propose(decision.clone()));
        }
    }

    /// What this host wants decided.
    fn wishes(&self, host: usize) -> Vec<Decision> {
        let at = &self.hosts[host];
        if let Some(start) = at.joining {
            let (name, zone) = (at.name.clone(), at.zone.clone());
            return vec![Decision::Join {
                name,
                address: "".into(),
                zone,
                start,
                version: protocol::wire::WIRE_VERSION,
            }];
        }
        let Some(process) = &at.process else { return Vec::new() };
        let (inc, view) = (process.inc, process.node.view());
        let open = |epoch: &&u64| view.layouts.iter().skip(1).any(|l| l.epoch == **epoch);
        let synced = process.synced.iter().filter(open);
        let mut wishes: Vec<Decision> =
            synced.map(|epoch| Decision::Synced { inc, epoch: *epoch }).collect();
        if process.draining.is_some() {
            let leaving = view.members.iter().any(|m| m.inc == Some(inc) && m.leaving);
            if !leaving {
                wishes.push(Decision::Drain { inc });
            } else if process.node.handover().is_complete() {
                wishes.push(Decision::Remove { inc, accept_loss: false });
            }
        }
        wishes
    }

    pub(super) fn propose_wishes(&mut self, host: usize) {
        for wish in self.wishes(host) {
            self.propose(host, &wish);
        }
    }

    /// A host asks for the view, and repeats what it wants decided.
    pub(super) fn poll(&mut self, host: usize) {
        let in_us = self.rng.u64(POLL_US / 2..POLL_US * 3 / 2);
        self.schedule(self.now_us + in_us, Happening::Poll(host));
        let at = &self.hosts[host];
        if at.paused || (at.process.is_none() && at.joining.is_none()) || !self.reaches_log(host) {
            return;
        }
        let late = self.is_late(host);
        let back = if late { self.rng.usize(0..4) } else { 0 };
        let agreed = self.log.earlier(back);
        let known = at.process.as_ref().map(|p| (p.node.view().generation, p.node.view().epoch));
        let lost = late && self.rng.u8(0..10) < 6;
        if !lost && known < Some((agreed.view.generation, agreed.view.epoch)) {
            let in_us = self.rng.u64(1_000..30_000);
            self.schedule_arrival(in_us, host, Arrival::View(agreed));
        }
        self.propose_wishes(host);
    }

    /// A peer of this host goes by a later view: it asks whoever has one that is as late.
    pub(super) fn pull(&mut self, host: usize, generation: u64, epoch: u64) {
        let mut able = Vec::new();
        for other in 0..self.hosts.len() {
            let Some(process) = &self.hosts[other].process else { continue };
            let view = process.node.view();
            let late = (view.generation, view.epoch) >= (generation, epoch);
            if late && !self.hosts[other].paused && self.is_connected(host, other) {
                able.push(other);
            }
        }
        if able.is_empty() {
            return;
        }
        let other = able[self.rng.usize(0..able.len())];
        let Some(process) = &self.hosts[other].process else { return };
        let (generation, epoch) = (process.node.view().generation, process.node.view().epoch);
        if let Some(agreed) = self.log.view(generation, epoch).map(Rc::clone) {
            let most = if self.is_late(host) { 4_000_000 } else { 20_000 };
            let in_us = self.rng.u64(2_000..most);
            self.schedule_arrival(in_us, host, Arrival::View(agreed));
        }
    }

    // --- the log ---

    /// True if anything can be decided now.
    pub(super) fn has_leader(&self) -> bool {
        self.log.leaderless == 0 && (0..self.hosts.len()).any(|host| self.reaches_log(host))
    }

    /// A proposal has arrived at the log. True if it changed the view.
    pub(super) fn decide(&mut self, decision: &Decision) -> Result<bool, Violation> {
        if !self.has_leader() {
            return Ok(false);
        }
        let before = Rc::clone(&self.log.newest);
        let gap = self.rng.u64(0..3);
        match self.log.decide(gap, decision) {
            Err(refused) => {
                self.trace(|_| format!("{decision:?} refused: {refused}"));
                Ok(false)
            }
            Ok(agreed) => {
                self.trace(|_| format!("{decision:?} makes {}", told(&agreed)));
                if let Decision::Remove { accept_loss: true, .. } = decision
                    && agreed.view.losses != before.view.losses
                {
                    self.coverage.hit(Point::RemovedWithLoss);
                }
                if let Decision::Join { .. } = decision
                    && agreed.view.losses != before.view.losses
                {
                    self.coverage.hit(Point::LastSpeakerCrashed);
                }
                if let Some(slot) = self.log.unnoticed_loss() {
                    let detail =
                        format!("nobody speaks for {slot:?}, and the view does not say so");
                    return Err(self.violation("V8", detail));
                }
                self.note_decided(&before, &agreed)?;
                self.announce(&agreed);
                Ok(true)
            }
        }
    }

    /// What the oracle has to know of a new view.
    fn note_decided(&mut self, before: &Agreed, agreed: &Agreed) -> Result<(), Violation> {
        if agreed.view.layouts.len() > 2 {
            self.coverage.hit(Point::ThreeLayouts);
        }
        if agreed.view.generation > before.view.generation && before.view.generation > 0 {
            self.coverage.hit(Point::GenerationChange);
        }
        let gone = before.view.members.iter().filter_map(|member| member.inc);
        let gone: Vec<Inc> = gone.filter(|inc| !agreed.view.contains(*inc)).collect();
        for host in 0..self.hosts.len() {
            let removed = self.hosts[host]
                .process
                .as_ref()
                .is_some_and(|p| gone.contains(&p.inc) && !p.removed);
            if removed {
                self.oracle_crash(host)?;
                if let Some(process) = &mut self.hosts[host].process {
                    process.removed = true;
                    if process.draining.is_none() {
                        self.coverage.hit(Point::RunningRemoved);
                    }
                }
            }
        }
        let newest = |agreed: &Agreed| agreed.view.layouts.last().map(|layout| layout.epoch);
        if newest(agreed) != newest(before) {
            self.cap_acknowledged(agreed);
        }
        Ok(())
    }

    /// The view goes to every host, by its own way.
    fn announce(&mut self, agreed: &Rc<Agreed>) {
        let storm = self.phase == Phase::Storm;
        for host in 0..self.hosts.len() {
            let runs = self.hosts[host].process.is_some() || self.hosts[host].joining.is_some();
            let late = self.is_late(host);
            let skipped = self.rng.u8(0..100) < if late { 35 } else { 5 };
            let slow = late && self.rng.bool();
            let in_us =
                if slow { self.rng.u64(100_000..6_000_000) } else { self.rng.u64(1_000..60_000) };
            if runs && self.reaches_log(host) && !(storm && skipped) {
                self.schedule_arrival(in_us, host, Arrival::View(Rc::clone(agreed)));
            }
        }
    }

    // --- from the log to hosts ---

    /// A view has reached a host.
    pub(super) fn take_view(&mut self, host: usize, agreed: &Agreed) -> Result<(), Violation> {
        if let Some(start) = self.hosts[host].joining {
            let name = &self.hosts[host].name;
            let mut members = agreed.view.members.iter();
            let me = members.find(|member| member.name == *name && member.start == start);
            if let Some(inc) = me.and_then(|member| member.inc) {
                self.run_as(host, inc, agreed)?;
            }
            return Ok(());
        }
        let now = self.hosts[host].now(self.now_us);
        let number = (agreed.view.generation, agreed.view.epoch);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let view = process.node.view();
        if number <= (view.generation, view.epoch) {
            return Ok(());
        }
        if process.node.waiting().1 > 0 {
            self.coverage.hit(Point::SealDuringWrite);
        }
        self.note_sealed(host, agreed);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        process.node.handle_view(agreed.view.clone(), now);
        self.hosts[host].find_neighbours(&self.settings, now);
        self.trace(|_| format!("n{} goes by {number:?}", host + 1));
        self.check_view(host)
    }

    /// The process that has started on the host is a member now.
    fn run_as(&mut self, host: usize, inc: Inc, agreed: &Agreed) -> Result<(), Violation> {
        if !self.oracle.incs.insert(inc) {
            return Err(self.violation("I-INC", format!("{inc:?} is used again")));
        }
        let (settings, seed, now) = (self.settings, self.seed, self.now_us);
        self.hosts[host].join(inc, agreed.view.clone(), &settings, seed, now);
        self.trace(|_| format!("n{} runs as {inc:?} by {}", host + 1, told(agreed)));
        let newest = &self.log.newest.view;
        let removed = !newest.contains(inc);
        if let Some(process) = &mut self.hosts[host].process {
            process.removed = removed;
        }
        self.note_sealed(host, agreed);
        let first = self.rng.u64(0..TICK_MS * 1_000);
        self.schedule_arrival(first, host, Arrival::Tick);
        self.connect_all();
        self.settle(host)
    }

    /// The node says that it is not a member any more: its process ends, and another starts unless
    /// it was on its way out.
    pub(super) fn leave(&mut self, host: usize) -> Result<(), Violation> {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let drained = process.draining.is_some();
        self.trace(|_| format!("n{} is not a member any more", host + 1));
        self.crash(host, true)?;
        let calm = self.phase != Phase::Storm;
        let most = if drained && !calm { 5_000_000 } else { 1_500_000 };
        let in_us = self.rng.u64(20_000..most);
        self.schedule(self.now_us + in_us, Happening::Start(host));
        Ok(())
    }
}

fn told(agreed: &Agreed) -> String {
    let view = &agreed.view;
    let members: Vec<String> = view
        .members
        .iter()
        .map(|m| format!("{}={}{}", m.name, number(m), if m.leaving { "-" } else { "" }))
        .collect();
    let layouts: Vec<String> = view
        .layouts
        .iter()
        .map(|l| {
            let seats: Vec<String> = l.members.iter().map(|m| format!("{}", number(m))).collect();
            format!("@{} of {}", l.epoch, seats.join(","))
        })
        .collect();
    format!(
        "view {}.{} [{}] layouts [{}] {} losses",
        view.generation,
        view.epoch,
        members.join(" "),
        layouts.join("; "),
        view.losses.len()
    )
}

fn number(member: &protocol::Member) -> u64 {
    member.inc.map_or(0, |inc| inc.0)
}
