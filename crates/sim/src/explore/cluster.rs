//! A state that is explored: real nodes, the messages between them, the log of membership, and what
//! is remembered of the way.

use std::rc::Rc;

use protocol::{Decision, Envelope, Event, MemberName, Node, Options, Roster, Ticket, View, Zone};
use session::{Inc, LIMITS_DEFAULT, SessionKey, Slot, Time};

use super::ledger::Ledger;
use super::plan::{Allowance, Plan, Resolve, SLOTS, names};
use super::print::Print;

/// The one session.
pub(super) const KEY: SessionKey = SessionKey([0; SessionKey::BYTES]);

/// When everything begins.
pub(super) const BEGIN: Time = Time(1_800_000_000_000);

/// The ticket of the commit by which the session is created before anything is explored.
pub(super) const FOUNDING: Ticket = Ticket(1_000);

/// The ticket of a request to read.
pub(super) const READING: Ticket = Ticket(2_000);

/// What must hold and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The invariant or rule.
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
}

impl Breach {
    pub(super) const fn new(rule: &'static str, detail: String) -> Self {
        Self { rule, detail }
    }
}

/// A process that runs.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) inc: Inc,
    pub(super) node: Rc<Node>,
    /// Hash of the node's state.
    print: u128,
    /// How much of the log it has adopted.
    pub(super) adopted: usize,
}

#[derive(Clone, Default)]
pub(super) struct Host {
    pub(super) process: Option<Process>,
    pub(super) starts: u64,
}

/// A message on its way.
pub(super) struct Flying {
    print: u128,
    pub(super) envelope: Envelope,
}

/// The log of membership, or the view that the configuration fixes.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) roster: Roster,
    index: u64,
    /// Every view that there was.
    pub(super) views: Vec<View>,
    /// How many of the plan's decisions are made.
    pub(super) decided: usize,
}

impl Log {
    /// The present view.
    pub(super) fn view(&self) -> &View {
        &self.views[self.views.len() - 1]
    }

    /// Adds a decision; false if it changes nothing.
    fn decide(&mut self, decision: &Decision) -> bool {
        let done = self.roster.apply(self.index + 1, decision).is_ok();
        if done {
            self.index += 1;
            self.views.push(self.roster.view().clone());
        }
        done
    }
}

/// A state.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) now: Time,
    pub(super) hosts: Vec<Host>,
    /// In the order of their hashes.
    pub(super) air: Vec<Rc<Flying>>,
    pub(super) log: Rc<Log>,
    pub(super) ledger: Ledger,
    pub(super) left: Allowance,
}

impl Cluster {
    /// Nothing runs yet.
    pub(super) fn empty(plan: &Plan) -> Self {
        let mut log = Log {
            roster: Roster::new(SLOTS, plan.rules),
            index: 0,
            views: vec![View::fixed(names(plan.hosts), plan.held_by)],
            decided: 0,
        };
        if !plan.fixed {
            log.views.clear();
            log.decide(&Decision::Begin {
                generation: 1,
                copies: plan.held_by,
                protocol: protocol::wire::WIRE_VERSION,
            });
        }
        Self {
            now: BEGIN,
            hosts: vec![Host::default(); plan.hosts],
            air: Vec::new(),
            log: Rc::new(log),
            ledger: Ledger::default(),
            left: plan.allowance,
        }
    }

    /// A hash of everything that decides what may come.
    pub(super) fn print(&self) -> u128 {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                let process = host.process.as_ref();
                (host.starts, process.map(|process| (process.inc, process.print, process.adopted)))
            })
            .collect();
        let air: Vec<u128> = self.air.iter().map(|flying| flying.print).collect();
        let log = (&self.log.roster, self.log.views.len(), self.log.decided, self.log.index);
        Print::of(&(self.now, hosts, air, log, &self.ledger, self.left))
    }

    // --- getters ---

    pub(super) fn process(&self, host: usize) -> Option<&Process> {
        self.hosts[host].process.as_ref()
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.hosts.iter().filter_map(|host| host.process.as_ref())
    }

    /// The host on which that process runs.
    pub(super) fn host_of(&self, inc: Inc) -> Option<usize> {
        self.hosts.iter().position(|host| host.process.as_ref().is_some_and(|p| p.inc == inc))
    }

    /// True if that process is a member by the latest decision.
    pub(super) fn is_member(&self, inc: Inc) -> bool {
        self.log.view().contains(inc)
    }

    /// True if a decision says that the session may be lost.
    pub(super) fn is_loss_accepted(&self) -> bool {
        self.log.view().losses.contains_key(&slot())
    }

    // --- what happens ---

    /// A process starts on that host. Under an agreed view it joins.
    pub(super) fn start(&mut self, plan: &Plan, host: usize) -> Result<(), Breach> {
        let name = names(plan.hosts)[host].clone();
        self.hosts[host].starts += 1;
        let starts = self.hosts[host].starts;
        let log = Rc::make_mut(&mut self.log);
        let inc = if plan.fixed {
            let inc = Inc::of_start(self.now.plus(starts), u16::try_from(host).unwrap_or(u16::MAX));
            let last = log.views.len() - 1;
            log.views[last].started(&name, inc);
            inc
        } else {
            let zone = Zone::default();
            log.decide(&Decision::Join {
                name: name.clone(),
                address: "".into(),
                zone,
                start: starts,
                version: protocol::wire::WIRE_VERSION,
            });
            Inc(log.index)
        };
        self.ledger.note_layouts(self.log.view());
        let view = self.log.view().clone();
        let node = Node::new(options(plan, inc, name), view.clone(), self.now);
        let adopted = self.log.views.len();
        let print = 0;
        self.hosts[host].process = Some(Process { inc, node: Rc::new(node), print, adopted });
        self.drive(host, |_, _| {})?;
        for peer in (0..self.hosts.len()).filter(|peer| *peer != host) {
            let Some(other) = self.process(peer).map(|process| process.inc) else { continue };
            if plan.fixed {
                self.drive(peer, |node, now| node.handle_view(view.clone(), now))?;
            }
            self.drive(peer, |node, now| node.handle_reachable(inc, true, now))?;
            self.drive(host, |node, now| node.handle_reachable(other, true, now))?;
        }
        Ok(())
    }

    /// The process of that host dies, and its peers notice.
    pub(super) fn crash(&mut self, host: usize) -> Result<(), Breach> {
        let Some(process) = self.hosts[host].process.take() else { return Ok(()) };
        self.ledger.crashed(&process);
        self.air.retain(|flying| flying.envelope.to != process.inc);
        for peer in 0..self.hosts.len() {
            self.drive(peer, |node, now| node.handle_reachable(process.inc, false, now))?;
        }
        Ok(())
    }

    /// The next decision of the plan is made.
    pub(super) fn decide(&mut self, plan: &Plan) -> Result<(), Breach> {
        let Some(resolve) = plan.decisions.get(self.log.decided) else { return Ok(()) };
        Rc::make_mut(&mut self.log).decided += 1;
        let member = |host: usize| {
            let name: MemberName = names(plan.hosts)[host].clone();
            self.log.view().members.iter().find(|m| m.name == name).and_then(|m| m.inc)
        };
        let decision = match resolve {
            Resolve::Join(host) => return self.start(plan, *host),
            Resolve::Drain(host) => member(*host).map(|inc| Decision::Drain { inc }),
            Resolve::Remove(host) => {
                member(*host).map(|inc| Decision::Remove { inc, accept_loss: false })
            }
            Resolve::Resize(copies) => std::num::NonZeroU16::new(*copies)
                .map(|copies| Decision::Resize { copies: protocol::Copies::Count(copies) }),
        };
        if let Some(decision) = decision {
            let done = Rc::make_mut(&mut self.log).decide(&decision);
            self.ledger.note_layouts(self.log.view());
            if let (true, Decision::Remove { inc, .. }) = (done, &decision) {
                self.check_gate(*inc)?;
            }
        }
        Ok(())
    }

    /// That host adopts the view that follows its own, or the latest.
    pub(super) fn adopt(&mut self, host: usize, latest: bool) -> Result<(), Breach> {
        let Some(process) = self.hosts[host].process.as_mut() else { return Ok(()) };
        process.adopted = if latest { self.log.views.len() } else { process.adopted + 1 };
        let view = self.log.views[process.adopted - 1].clone();
        self.drive(host, |node, now| node.handle_view(view, now))
    }

    /// Time passes, and everybody notices.
    pub(super) fn pass(&mut self, ms: u64) -> Result<(), Breach> {
        self.now = self.now.plus(ms);
        (0..self.hosts.len()).try_for_each(|host| self.drive(host, Node::handle_tick))
    }

    /// The message of that number arrives.
    pub(super) fn deliver(&mut self, number: usize) -> Result<(), Breach> {
        let flying = self.air.remove(number);
        let Some(host) = self.host_of(flying.envelope.to) else { return Ok(()) };
        let envelope = flying.envelope.clone();
        self.drive(host, |node, now| node.handle_message(envelope.from, envelope, now))
    }

    /// Lets something happen at a node, takes out of it what it wants to say, and looks at it.
    pub(super) fn drive(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut Node, Time),
    ) -> Result<(), Breach> {
        let now = self.now;
        let Some(process) = self.hosts[host].process.as_mut() else { return Ok(()) };
        let before = Rc::clone(&process.node);
        let node = Rc::make_mut(&mut process.node);
        act(node, now);
        let events: Vec<Event> = std::iter::from_fn(|| node.poll_event()).collect();
        let sent: Vec<_> = std::iter::from_fn(|| node.poll_transmit(now)).collect();
        process.print = Print::of(node);
        for transmit in sent {
            if self.host_of(transmit.to).is_some() {
                self.fly(transmit.envelope);
            }
        }
        self.observe(host, &before)?;
        for event in events {
            self.heard(host, event)?;
        }
        Ok(())
    }

    fn fly(&mut self, envelope: Envelope) {
        let print = Print::of(&envelope);
        let place = self.air.partition_point(|flying| flying.print < print);
        self.air.insert(place, Rc::new(Flying { print, envelope }));
    }

    /// Another copy of the message of that number is on its way.
    pub(super) fn duplicate(&mut self, number: usize) {
        let copy = Rc::clone(&self.air[number]);
        self.air.insert(number, copy);
    }

    /// True if the message of that number is like the one before it.
    pub(super) fn is_repeated(&self, number: usize) -> bool {
        number > 0 && self.air[number].print == self.air[number - 1].print
    }

    fn heard(&mut self, host: usize, event: Event) -> Result<(), Breach> {
        match event {
            Event::Committed(ticket, outcome) => self.committed(host, ticket, outcome),
            Event::Opened(ticket, opened) => self.opened(host, ticket, &opened),
            Event::Synced(epoch) => {
                let inc = self.process(host).map(|process| process.inc);
                if let Some(inc) = inc.filter(|_| !self.log.view().is_fixed()) {
                    Rc::make_mut(&mut self.log).decide(&Decision::Synced { inc, epoch });
                    self.ledger.note_layouts(self.log.view());
                }
                Ok(())
            }
            Event::Violation(peer, violation) => {
                Err(Breach::new("V10", format!("n{} accuses {peer:?}: {violation}", host + 1)))
            }
            Event::Behind(..) | Event::LossAccepted(_) | Event::Removed => Ok(()),
        }
    }
}

/// The slot of the session.
pub(super) const fn slot() -> Slot {
    KEY.slot()
}

fn options(plan: &Plan, inc: Inc, name: MemberName) -> Options {
    Options {
        inc,
        name,
        shard: 0,
        shards: Slot::COUNT / SLOTS,
        digest_seed: 7,
        noise_seed: 0,
        outbox_sessions_max: 1_000,
        repair_interval_ms: protocol::limits::REPAIR_INTERVAL_MS,
        repair_bytes_per_second: protocol::limits::REPAIR_BYTES_PER_SECOND,
        ack_timeout_ms: 1_000,
        bytes_max: usize::MAX,
        limits: LIMITS_DEFAULT,
        rules: plan.rules,
    }
}
