//! What arrives at a host, and everything that the host wants afterwards.

use protocol::limits::TICK_MS;
use protocol::wire::{Frame, WIRE_VERSION};
use protocol::{Envelope, Event, Lane, LivenessEvent, Ticket, Transmit};

use super::{Arrival, Happening, Violation, World};
use crate::coverage::Point;
use crate::host::Host;

impl World {
    pub(super) fn arrive(&mut self, host: usize, arrival: Arrival) -> Result<(), Violation> {
        if self.hosts[host].paused {
            self.waiting[host].push_back(arrival);
            return Ok(());
        }
        let now = self.hosts[host].now(self.now_us);
        match arrival {
            Arrival::Message(from, envelope) => {
                self.trace(|_| format!("n{} ← {from:?} {:?}", host + 1, envelope.message));
                self.ended_before = self.ended_in(host, &envelope);
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                if let protocol::Message::Forward { request, .. } = &envelope.message
                    && !self.oracle.forwards.insert((from, *request))
                {
                    self.coverage.hit(Point::ForwardTwice);
                }
                let foreign = process.node.view().generation != envelope.generation;
                let view = process.node.view();
                let later_ack = matches!(envelope.message, protocol::Message::Ack { .. })
                    && envelope.generation == view.generation
                    && envelope.epoch > view.epoch;
                let forwarded = matches!(envelope.message, protocol::Message::Forwarded { .. });
                process.node.handle_message(from, *envelope, now);
                if let Some(name) = process.node.view().name_of(from) {
                    process.liveness.handle_received(name, now);
                }
                self.handling_forwarded = forwarded;
                self.handling_later_ack = later_ack && self.scenario.is_agreed();
                if foreign && self.scenario.is_agreed() {
                    self.check_nothing_taken(host)?;
                }
            }
            Arrival::Heartbeat(peer, inc, beat) => {
                let present = self.hosts[peer].process.as_ref().map(|p| p.inc) == Some(inc);
                let name = self.hosts[peer].name.clone();
                let connected = self.is_connected(host, peer);
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                if present && connected {
                    process.liveness.handle_heartbeat(&name, beat, now);
                }
            }
            Arrival::View(agreed) => self.take_view(host, &agreed)?,
            Arrival::Begin(request) => self.begin_request(host, request),
            Arrival::Finish(request) => self.finish_request(host, request),
            Arrival::Tick => {
                let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
                process.liveness.handle_tick(now);
                process.node.handle_tick(now);
                self.schedule_arrival(TICK_MS * 1_000, host, Arrival::Tick);
            }
        }
        self.settle(host)
    }

    /// Drains everything that a host wants, in the order that the protocol asks for.
    pub(crate) fn settle(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.hosts[host].now(self.now_us);
        while let Some(event) = self.poll_liveness(host) {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            match event {
                LivenessEvent::Send(name, beat) => {
                    let inc = process.inc;
                    if let Some(to) = self.hosts.iter().position(|h| h.name == name) {
                        self.transmit(host, to, &Arrival::Heartbeat(host, inc, beat));
                    }
                }
                LivenessEvent::Reachable(_, inc) => process.node.handle_reachable(inc, true, now),
                LivenessEvent::Suspected(name, inc) => {
                    if !process.liveness.is_near(&name) {
                        self.coverage.hit(Point::DistantSilent);
                    }
                    process.node.handle_reachable(inc, false, now);
                }
                LivenessEvent::ClockFault(fault) => process.node.handle_clock_fault(fault),
            }
            self.settle_node(host)?;
        }
        self.settle_node(host)
    }

    fn poll_liveness(&mut self, host: usize) -> Option<LivenessEvent> {
        self.hosts[host].process.as_mut()?.liveness.poll_event()
    }

    fn settle_node(&mut self, host: usize) -> Result<(), Violation> {
        let now = self.hosts[host].now(self.now_us);
        let mut left = false;
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(event) = process.node.poll_event() else { break };
            match event {
                Event::Opened(Ticket(ticket), opened) => self.opened(host, ticket, opened)?,
                Event::Committed(Ticket(ticket), outcome) => {
                    self.committed(host, ticket, outcome)?;
                }
                Event::Synced(epoch) => {
                    process.synced.insert(epoch);
                    if self.scenario.is_agreed() {
                        self.check_synced(host, epoch)?;
                    }
                    self.trace(|_| format!("n{} synced in {epoch}", host + 1));
                    if self.scenario.is_agreed() {
                        self.propose_wishes(host);
                    }
                }
                Event::Behind(generation, epoch) => self.pull(host, generation, epoch),
                Event::LossAccepted(slots) => {
                    self.trace(|_| format!("n{} knows {} slots lost", host + 1, slots.len()));
                }
                Event::Removed => left = true,
                Event::Violation(peer, violation) => {
                    let detail = format!("n{} accuses {peer:?}: {violation}", host + 1);
                    return Err(self.violation("a correct peer is accused", detail));
                }
            }
        }
        self.handling_later_ack = false;
        self.handling_forwarded = false;
        // What was answered was answered before what changed in the same step.
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        for key in process.node.store_mut().drain_journal() {
            self.observe(host, key)?;
        }
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(transmit) = process.node.poll_transmit(now) else { break };
            self.route(host, transmit)?;
        }
        if left { self.leave(host) } else { Ok(()) }
    }

    fn route(&mut self, host: usize, transmit: Transmit) -> Result<(), Violation> {
        let Transmit { to, lane, mut envelope } = transmit;
        let now = self.hosts[host].now(self.now_us);
        if envelope.message.wants_answer()
            && let Some(process) = &mut self.hosts[host].process
            && let Some(name) = process.node.view().name_of(to)
        {
            process.liveness.handle_asked(name, now);
        }
        self.count(lane, &envelope);
        self.check_push_back(host, &envelope)?;
        let is_target = |h: &Host| h.process.as_ref().is_some_and(|p| p.inc == to);
        let Some(target) = self.hosts.iter().position(is_target) else { return Ok(()) };
        if self.encode_messages {
            let bytes = Frame::Envelope(envelope.clone()).encode(WIRE_VERSION);
            match Frame::decode(&bytes) {
                Ok(Frame::Envelope(decoded)) if decoded == envelope => envelope = decoded,
                other => {
                    let detail = format!("{envelope:?} became {other:?}");
                    return Err(self.violation("W1", detail));
                }
            }
        }
        let from = envelope.from;
        self.transmit(host, target, &Arrival::Message(from, Box::new(envelope)));
        Ok(())
    }

    fn count(&mut self, lane: Lane, envelope: &Envelope) {
        self.report.messages += 1;
        if let protocol::Message::Deltas(batch) = &envelope.message {
            let bytes: usize = batch.deltas.iter().map(session::Delta::size_bytes).sum();
            self.report.delta_bytes += bytes as u64;
        }
        self.oracle.noise(lane, &envelope.message);
        let deferred = matches!(&envelope.message, protocol::Message::Supplied { supply, .. } if !supply.deferred.is_empty());
        if deferred {
            self.coverage.hit(Point::BudgetSpent);
        }
    }

    fn transmit(&mut self, from: usize, to: usize, arrival: &Arrival) {
        let arrivals = self.network.arrivals(&mut self.rng, from, to, self.now_us);
        for at in arrivals.into_iter().flatten() {
            self.schedule(at, Happening::Arrive(to, arrival.clone()));
        }
    }
}
