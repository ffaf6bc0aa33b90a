//! What is remembered of the way to a state, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Layout, Node, Opened, Outcome, Placement, Ticket, View};
use session::{Content, Inc, Name, Session, Stamp, State, Token, Version};

use super::cluster::{Breach, Cluster, FOUNDING, KEY, Process, READING, slot};
use super::plan::SLOTS;
use super::print::Print;

/// A write, or the end of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Write {
    /// Once it has been executed.
    pub(super) stamp: Option<Stamp>,
    /// True for the end.
    pub(super) is_end: bool,
    /// True once the end took effect somewhere.
    took_effect: bool,
    /// How many deaths of its holders it survives, once it is reported.
    pub(super) survives: Option<usize>,
    /// Processes that have died, or are no members any more, and had it.
    failed: BTreeSet<Inc>,
}

/// A request to read that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read {
    token: Version,
    /// Who held the session, and each write, when it began.
    holders: BTreeSet<Inc>,
    holders_of: Vec<BTreeSet<Inc>>,
}

/// What is remembered.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Ledger {
    /// Every version that a copy had, and a hash of its content.
    contents: BTreeMap<u64, u64>,
    /// Write number `n` adds 2ⁿ to the counter.
    pub(super) writes: Vec<Write>,
    /// The version that everybody has from the beginning.
    founded: Version,
    /// Processes that held the end of the session.
    ended: BTreeSet<Inc>,
    read: Option<Read>,
    /// How many owners other than the stamping one there are by each layout in force.
    others: usize,
}

impl Ledger {
    /// The layouts in force have changed: with fewer copies less is survived.
    pub(super) fn note_layouts(&mut self, view: &View) {
        let others = |layout: &Layout| layout.owners_per_slot().saturating_sub(1);
        let mut seats = view.layouts.iter().map(others);
        let newest = seats.clone().next_back().unwrap_or(0);
        self.others = seats.by_ref().min().unwrap_or(0);
        for write in &mut self.writes {
            write.survives = write.survives.map(|count| count.min(newest));
        }
    }

    /// A process has died, with what it held.
    pub(super) fn crashed(&mut self, process: &Process) {
        for write in &mut self.writes {
            if write.is_held_by(&process.node) {
                write.failed.insert(process.inc);
            }
        }
    }

    /// Everybody has the session from here on.
    pub(super) fn found(&mut self, version: Version) {
        self.founded = version;
        self.writes.clear();
    }

    /// True if the session was there before anything was explored.
    fn is_founded(&self) -> bool {
        !self.founded.is_empty()
    }

    /// Everything that was acknowledged: what a client may have seen.
    fn acknowledged(&self) -> Version {
        let mut version = self.founded.clone();
        let reported = self.writes.iter().filter(|write| write.survives.is_some());
        reported.filter_map(|write| write.stamp).for_each(|stamp| version.insert(stamp));
        version
    }
}

impl Write {
    fn is_held_by(&self, node: &Node) -> bool {
        match node.store().get(KEY) {
            Some(State::Ended(_)) => self.is_end || self.stamp.is_some(),
            Some(State::Alive(session)) => {
                self.stamp.is_some_and(|stamp| session.version.covers(stamp))
            }
            None => false,
        }
    }

    /// True if it has taken effect somewhere.
    const fn is_real(&self) -> bool {
        self.stamp.is_some() || self.took_effect
    }
}

impl Cluster {
    /// A number for the next write.
    pub(super) fn begin_write(&mut self, is_end: bool) -> Ticket {
        self.ledger.writes.push(Write { is_end, ..Write::default() });
        Ticket(self.ledger.writes.len() as u64 - 1)
    }

    /// The token for a request to read, and that it begins now.
    pub(super) fn begin_read(&mut self) -> Token {
        let token = self.ledger.acknowledged();
        let holding = |has: &dyn Fn(&Node) -> bool| -> BTreeSet<Inc> {
            let processes = self.processes().filter(|p| self.is_member(p.inc) && has(&p.node));
            processes.map(|process| process.inc).collect()
        };
        let holders = holding(&|node| node.store().get(KEY).is_some());
        let writes = self.ledger.writes.iter();
        let holders_of = writes.map(|w| holding(&|node| w.is_held_by(node))).collect();
        self.ledger.read = Some(Read { token: token.clone(), holders, holders_of });
        Token { version: token, may_expire: session::Time(u64::MAX) }
    }

    /// Looks at what changed at a node: it was `before`.
    pub(super) fn observe(&mut self, host: usize, before: &Node) -> Result<(), Breach> {
        let Some(process) = self.hosts[host].process.clone() else { return Ok(()) };
        let (node, inc) = (&process.node, process.inc);
        let held = before.store().get(KEY).filter(|_| before.inc() == inc);
        match (held, node.store().get(KEY)) {
            (_, None) => self.check_absence(host, node)?,
            (Some(State::Ended(_)), Some(State::Alive(_))) => {
                return Err(told("I-TERM", host, "holds alive what had ended there"));
            }
            (_, Some(State::Ended(_))) => {
                self.ledger.ended.insert(inc);
                let ends = self.ledger.writes.iter_mut().filter(|write| write.is_end);
                ends.for_each(|end| end.took_effect = true);
            }
            (held, Some(State::Alive(copy))) => {
                if self.ledger.ended.contains(&inc) {
                    return Err(told("I-TERM", host, "holds alive what had ended there before"));
                }
                if let Some(State::Alive(old)) = held
                    && (!copy.version.covers_all(&old.version)
                        || copy.last_access < old.last_access)
                {
                    return Err(told("I-MONO", host, "has an older copy than before"));
                }
                self.observe_stamp(host, node, copy)?;
                self.check_content(host, copy)?;
            }
        }
        Ok(())
    }

    /// Notes what this node has stamped.
    fn observe_stamp(&mut self, host: usize, node: &Node, copy: &Session) -> Result<(), Breach> {
        let sum = counter(copy);
        let inc = node.inc();
        for (number, write) in self.ledger.writes.iter_mut().enumerate() {
            let here = sum >> number & 1 == 1;
            if write.is_end || write.stamp.is_some() || !here {
                continue;
            }
            let Some(hlc) = copy.version.get(inc) else {
                return Err(told("I-COV", host, "has a write that nobody stamped"));
            };
            write.stamp = Some(Stamp { hlc, inc });
            if !node.owns(KEY) {
                return Err(told("I-OWN", host, "stamps what it does not own"));
            }
        }
        Ok(())
    }

    /// I-COV: exactly the writes that the version covers. I-DET: equal versions, equal content.
    fn check_content(&mut self, host: usize, copy: &Session) -> Result<(), Breach> {
        let covered = |write: &Write| write.stamp.is_some_and(|s| copy.version.covers(s));
        let writes = self.ledger.writes.iter().enumerate().filter(|(_, write)| covered(write));
        let due: i64 = writes.map(|(number, _)| 1_i64 << number).sum();
        if counter(copy) != due {
            let detail = format!("counts {} where its version says {due}", counter(copy));
            return Err(told("I-COV", host, &detail));
        }
        let has = |number: usize| {
            register(number as u64).is_ok_and(|name| copy.attributes.contains_key(&name))
        };
        let mut writes = self.ledger.writes.iter().enumerate();
        if let Some((number, _)) = writes.find(|(number, write)| covered(write) != has(*number)) {
            return Err(told("I-COV", host, &format!("has w{number}, or its stamp, but not both")));
        }
        let (version, content) =
            (Print::of(&copy.version) as u64, Print::of(&(&copy.core, &copy.attributes)) as u64);
        if *self.ledger.contents.entry(version).or_insert(content) != content {
            return Err(told("I-DET", host, "has another content than a copy of equal version"));
        }
        Ok(())
    }

    /// I-NF: who holds nothing does not deny what others hold.
    fn check_absence(&self, host: usize, node: &Node) -> Result<(), Breach> {
        let mut asked = node.clone();
        asked.open(READING, KEY, None, self.now.plus(2_000), self.now);
        let denies = std::iter::from_fn(|| asked.poll_event())
            .any(|event| event == protocol::Event::Opened(READING, Opened::NotFound));
        if denies && !node.speaks_for(KEY) {
            return Err(told("I-NF", host, "denies the session and does not speak for it"));
        }
        let holds = |p: &&Process| self.is_member(p.inc) && p.node.store().session(KEY).is_some();
        match self.processes().find(holds) {
            Some(holder) if denies && self.ledger.is_founded() && !self.is_loss_accepted() => {
                let detail = format!("denies the session that {:?} holds", holder.inc);
                Err(told("I-NF", host, &detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A commit was answered.
    pub(super) fn committed(
        &mut self,
        host: usize,
        ticket: Ticket,
        outcome: Outcome,
    ) -> Result<(), Breach> {
        let Outcome::Done(acked) = outcome else { return Ok(()) };
        let others = self.ledger.others;
        let number = usize::try_from(ticket.0).unwrap_or(usize::MAX);
        if ticket == FOUNDING {
            return Ok(());
        }
        let nodes: Vec<Process> = self.processes().cloned().collect();
        let Some(write) = self.ledger.writes.get_mut(number) else { return Ok(()) };
        let got = usize::from(acked.report.got);
        write.survives = Some(got.min(others));
        let mut holders = write.failed.clone();
        holders.extend(nodes.iter().filter(|p| write.is_held_by(&p.node)).map(|p| p.inc));
        // An answer to forwarded edits may arrive after fewer copies were decided on.
        if got > 0 && holders.len() < got.min(others) + 1 {
            let detail = format!("reports {got} others, {} in all have it", holders.len());
            return Err(told("I-ACK", host, &detail));
        }
        let inc = nodes.iter().find(|p| self.host_of(p.inc) == Some(host)).map(|p| p.inc);
        let stamped_here = self.ledger.writes[number].stamp.map(|stamp| stamp.inc) == inc;
        if got == 0 || acked.report.got < acked.report.asked || !stamped_here {
            return Ok(());
        }
        self.check_layouts(host, &holders)
    }

    /// V5: a level that is reached holds in each layout in force at whoever stamped: in each that
    /// has another owner one has it.
    fn check_layouts(&self, host: usize, holders: &BTreeSet<Inc>) -> Result<(), Breach> {
        let Some(process) = self.process(host) else {
            return Ok(());
        };
        let view = process.node.view();
        let placement = Placement::new(view, 0, SLOTS);
        for age in 0..view.layouts.len() {
            let mut others =
                placement.owners_by(age, slot()).filter(|owner| *owner != process.inc).peekable();
            if others.peek().is_some() && !others.any(|owner| holders.contains(&owner)) {
                let epoch = view.layouts[age].epoch;
                let detail = format!("no other owner by the layout of epoch {epoch} has it");
                return Err(told("V5", host, &detail));
            }
        }
        Ok(())
    }

    /// A request to read was answered.
    // Rules K3, N1.
    pub(super) fn opened(
        &mut self,
        host: usize,
        _ticket: Ticket,
        opened: &Opened,
    ) -> Result<(), Breach> {
        let Some(read) = self.ledger.read.take() else { return Ok(()) };
        let still = |since: &BTreeSet<Inc>, has: &dyn Fn(&Node) -> bool| {
            self.processes()
                .find(|p| since.contains(&p.inc) && self.is_member(p.inc) && has(&p.node))
                .map(|process| process.inc)
        };
        match opened {
            Opened::NotFound => {
                if let Some(holder) = still(&read.holders, &|n| n.store().session(KEY).is_some()) {
                    let detail = format!("denies to a reader what {holder:?} holds all the time");
                    return Err(told("I-NF", host, &detail));
                }
            }
            Opened::Session { session, lost } => {
                let mut has = session.version.clone();
                has.join(lost);
                if !has.covers_all(&read.token) {
                    return Err(told("I-RYW", host, "serves less than the token names"));
                }
                for (write, since) in self.ledger.writes.iter().zip(&read.holders_of) {
                    // What is lost of a writer is what follows the writes that are served.
                    let is_lost = |s: &Stamp| lost.covers(*s) && !session.version.covers(*s);
                    let Some(stamp) = write.stamp.filter(is_lost) else { continue };
                    if let Some(holder) = still(since, &|node| write.is_held_by(node)) {
                        let detail = format!("calls {stamp:?} lost, which {holder:?} has");
                        return Err(told("K3", host, &detail));
                    }
                }
            }
            Opened::Ended(_) | Opened::Unavailable => {}
        }
        Ok(())
    }

    /// What must hold of every state as a whole.
    pub(super) fn check(&mut self) -> Result<(), Breach> {
        self.check_survival()?;
        self.check_outboxes()
    }

    /// I-DUR: what was stamped is held by a member, unless more of its holders failed than had it
    /// by the last report.
    fn check_survival(&mut self) -> Result<(), Breach> {
        let processes: Vec<Process> = self.processes().cloned().collect();
        let view = self.log.view().clone();
        for (number, write) in self.ledger.writes.iter_mut().enumerate() {
            let holders = processes.iter().filter(|p| write.is_held_by(&p.node));
            let (members, others): (Vec<&Process>, Vec<&Process>) =
                holders.partition(|p| view.contains(p.inc));
            write.failed.extend(others.iter().map(|process| process.inc));
            let survives = write.survives.unwrap_or(0);
            if write.is_real() && members.is_empty() && write.failed.len() <= survives {
                let what = if write.is_end { "the end".to_owned() } else { format!("w{number}") };
                let failed = write.failed.len();
                let detail = format!(
                    "no member has {what}, which survives {survives} failures, after {failed}"
                );
                return Err(Breach::new("I-DUR", detail));
            }
        }
        Ok(())
    }

    /// B1: what a node stamped and another owner lacks, its outbox knows.
    fn check_outboxes(&self) -> Result<(), Breach> {
        for a in self.processes() {
            let Some(copy) = a.node.store().session(KEY) else { continue };
            let Some(hlc) = copy.version.get(a.inc) else { continue };
            let own = Stamp { hlc, inc: a.inc };
            if copy.core.created == own {
                continue;
            }
            for b in self.processes().filter(|b| b.inc != a.inc) {
                let owns = a.node.owners(KEY).contains(&b.inc) && b.node.owns(KEY);
                let speaks = a.node.view().is_fixed() || b.node.speaks_for(KEY);
                let has = match b.node.store().get(KEY) {
                    Some(State::Ended(_)) => true,
                    Some(State::Alive(copy)) => copy.version.covers(own),
                    None => false,
                };
                if owns && speaks && !has && !a.node.may_lack(b.inc, KEY) {
                    let detail = format!("{:?} takes {:?} to have its write", a.inc, b.inc);
                    return Err(Breach::new("B1", detail));
                }
            }
        }
        Ok(())
    }

    /// V8: after a removal somebody is left who speaks for the session, or the loss is recorded. Of
    /// the dead the log may not know yet.
    pub(super) fn check_gate(&self, removed: Inc) -> Result<(), Breach> {
        let view = self.log.view();
        let speaks = |inc: Inc| {
            self.host_of(inc)
                .and_then(|host| self.process(host))
                .is_none_or(|process| process.node.speaks_for(KEY))
        };
        if view.losses.contains_key(&slot())
            || view.members.iter().filter_map(|member| member.inc).any(speaks)
        {
            return Ok(());
        }
        let detail = format!("{removed:?} was the last that speaks for the session");
        Err(Breach::new("V8", detail))
    }
}

pub(super) fn told(rule: &'static str, host: usize, what: &str) -> Breach {
    Breach::new(rule, format!("n{} {what}", host + 1))
}

/// The register that a write sets.
pub(super) fn register(write: u64) -> Result<Name, session::NameError> {
    Name::new(format!("w{write}"))
}

/// The sum that the copy counts.
pub(super) fn counter(copy: &Session) -> i64 {
    let Ok(name) = Name::new("sum") else { return 0 };
    match copy.content(&name) {
        Content::Counter(counter) => counter.value(),
        Content::Absent | Content::Set(_) | Content::Register(_) => 0,
    }
}
