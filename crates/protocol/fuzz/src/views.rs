//! Views that change: a log of decisions, and what each node hears of it.

use std::num::NonZeroU16;

use protocol::limits::TICK_MS;
use protocol::wire::WIRE_VERSION;
use protocol::{Ack, Copies, Decision, Node, Refused, Roster, Rules, View, Zone};
use session::{Inc, SessionKey, Slot};

use super::events::{Event, Events, Kind, key};
use super::nodes::{NAMES, SHARDS, World, options};

/// Places at which a process may run.
pub const SEATS: usize = 3;

/// Slots of the only shard that there is.
const SLOTS: u16 = Slot::COUNT / SHARDS;

/// How long a transition and all that follows may take in calm, in milliseconds.
const CALM_MS: u64 = 120_000;

/// Longer than any run.
const HOUR_MS: u64 = 3_600_000;

/// Rounds of telling the log and being told: each can end a transition, and begin the next.
const FOLLOW_MAX: usize = 64;

/// The log of membership.
pub struct Log {
    roster: Roster,
    /// Index of the latest decision.
    index: u64,
    /// Every view so far.
    views: Vec<View>,
    /// True if nobody says what it does not mean: then nobody is accused.
    pub correct: bool,
}

/// One thing that happens in a world whose views change.
pub enum Step {
    /// What happens under a fixed view as well.
    Happen(Event),
    /// A process starts and joins under that name, in the place of whatever runs there.
    Join { at: usize, name: usize },
    /// A process dies; the others find that out at once, or not.
    Crash { at: usize, noticed: bool },
    /// A member is to hand over and go.
    Drain { member: usize },
    /// A member is taken out.
    Remove { member: usize, accept_loss: bool },
    /// Another number of copies; 0 for all.
    Resize { copies: u16 },
    /// A node gets one of the views that there were, whichever it has: counted from the latest.
    Hand { at: usize, back: usize },
    /// A node gets the view that follows the one that it has.
    HandNext { at: usize },
    /// The log hears of every layout in which a node has caught up.
    Report { at: usize },
    /// The log hears everything, and every node gets the latest view.
    Follow,
    /// For so many ticks everything arrives; the log hears everything and is heard, or not.
    Rest { ticks: u8, told: bool },
}

/// That many copies; 0 for all.
fn copies(count: u16) -> Copies {
    NonZeroU16::new(count).map_or(Copies::All, Copies::Count)
}

impl Step {
    /// The next one, until the bytes are used up; of a correct world, if so.
    pub fn next(events: &mut Events<'_>, correct: bool) -> Option<Self> {
        if events.is_over() {
            return None;
        }
        let what = events.byte();
        if what < 0xa0 {
            return Some(Self::Happen(events.event(what, correct)));
        }
        let at = events.node();
        Some(match what % 16 {
            0 => Self::Join { at, name: events.node() },
            1 => Self::Crash { at, noticed: events.byte() & 1 == 0 },
            2 => Self::Drain { member: at },
            3 => Self::Remove { member: at, accept_loss: events.byte() & 1 == 1 },
            4 => Self::Resize { copies: u16::from(events.byte() % 4) },
            5 => Self::Hand { at, back: usize::from(events.byte()) },
            6 | 7 => Self::HandNext { at },
            8 | 9 => Self::Report { at },
            10 | 11 => Self::Follow,
            _ => {
                let byte = events.byte();
                Self::Rest { ticks: byte >> 2, told: byte & 1 == 0 }
            }
        })
    }
}

impl World {
    /// Two members that have caught up with each other, of which so many hold each session. There
    /// is one session in each of the two slots that events are about.
    pub fn agreed(count: u16, correct: bool) -> Self {
        let mut world = Self::empty(SEATS);
        let roster = Roster::new(SLOTS, Rules::default());
        world.log = Some(Log { roster, index: 0, views: Vec::new(), correct });
        let begun = world.decide(&Decision::Begin {
            generation: 1,
            copies: copies(count),
            protocol: WIRE_VERSION,
        });
        assert_eq!(begun, Ok(()));
        for at in 0..2 {
            world.join(at, at);
        }
        world.settle();
        for (at, slot) in [(0, 0), (1, 1)] {
            let (key, life) = (key(slot, 0), Kind::Create { idle_ms: HOUR_MS, life_ms: HOUR_MS });
            let (level, edits) = (Ack::All, Vec::new());
            world.happen(Event::Commit { at, key, life, edits, level, lag: false });
        }
        world.settle();
        world
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("views by agreement")
    }

    fn view(&self) -> &View {
        self.log().roster.view()
    }

    /// The log takes a decision, which perhaps changes nothing.
    fn decide(&mut self, decision: &Decision) -> Result<(), Refused> {
        let log = self.log.as_mut().expect("views by agreement");
        log.index += 1;
        log.roster.apply(log.index, decision)?;
        log.views.push(log.roster.view().clone());
        Ok(())
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Happen(event) => self.happen(event),
            Step::Join { at, name } => self.join(at, name),
            Step::Crash { at, noticed } => self.crash(at, noticed),
            Step::Drain { member } => {
                let _ = self.member(member).map(|inc| self.decide(&Decision::Drain { inc }));
            }
            Step::Remove { member, accept_loss } => {
                let removal = |inc| Decision::Remove { inc, accept_loss };
                let _ = self.member(member).map(|inc| self.decide(&removal(inc)));
            }
            Step::Resize { copies: count } => {
                let _ = self.decide(&Decision::Resize { copies: copies(count) });
            }
            Step::Hand { at, back } => {
                let views = &self.log().views;
                let view = views[views.len() - 1 - back % views.len()].clone();
                self.hand(at, view);
            }
            Step::HandNext { at } => {
                let has = self.seats[at].node.as_ref().map_or(0, |node| node.view().epoch);
                if let Some(view) = self.log().views.iter().find(|view| view.epoch > has) {
                    self.hand(at, view.clone());
                }
            }
            Step::Report { at } => self.report(at),
            Step::Follow => self.follow(),
            Step::Rest { ticks, told } => {
                for _ in 0..ticks {
                    self.rest(told);
                }
            }
        }
    }

    /// The process of the member of that number, taken modulo their count.
    fn member(&self, number: usize) -> Option<Inc> {
        let members = &self.view().members;
        members.get(number.checked_rem(members.len())?)?.inc
    }

    /// A process starts and joins, with the view that this brings about; all reach it.
    pub fn join(&mut self, at: usize, name: usize) {
        self.crash(at, true);
        let start = self.log().index + 1;
        let joined = self.decide(&Decision::Join {
            name: NAMES[name].into(),
            address: "".into(),
            zone: Zone::default(),
            start,
            version: WIRE_VERSION,
        });
        assert_eq!(joined, Ok(()), "it is new");
        let (inc, view) = (Inc(start), self.view().clone());
        self.seats[at].name = name;
        self.seats[at].node = Some(Node::new(options(inc, name), view, self.now));
        self.drive(at, |_, _| {});
        for other in (0..SEATS).filter(|other| *other != at) {
            if let Some(peer) = self.inc(other) {
                self.drive(at, |node, now| node.handle_reachable(peer, true, now));
                self.drive(other, |node, now| node.handle_reachable(inc, true, now));
            }
        }
    }

    fn crash(&mut self, at: usize, noticed: bool) {
        let Some(inc) = self.inc(at) else {
            return;
        };
        let seat = &mut self.seats[at];
        seat.node = None;
        seat.queue.clear();
        seat.synced.clear();
        for other in (0..SEATS).filter(|_| noticed) {
            self.drive(other, |node, now| node.handle_reachable(inc, false, now));
        }
    }

    fn hand(&mut self, at: usize, view: View) {
        self.drive(at, |node, now| node.handle_view(view, now));
    }

    fn report(&mut self, at: usize) {
        let Some(inc) = self.inc(at) else {
            return;
        };
        for epoch in std::mem::take(&mut self.seats[at].synced) {
            let told = self.decide(&Decision::Synced { inc, epoch });
            assert!(matches!(told, Ok(()) | Err(Refused::NoNews | Refused::NoMember)), "{told:?}");
        }
    }

    fn follow(&mut self) {
        for _ in 0..FOLLOW_MAX {
            let epoch = self.view().epoch;
            for at in 0..SEATS {
                self.report(at);
            }
            let view = self.view().clone();
            for at in 0..SEATS {
                self.hand(at, view.clone());
            }
            if self.seats.iter().all(|seat| seat.synced.is_empty()) && view.epoch == epoch {
                return;
            }
        }
        panic!("the log does not come to rest");
    }

    /// Everything arrives and all views are told from now on, somebody is there to stay, and members
    /// that do not run are removed, whatever that loses: then the transition ends before long, all
    /// owners hold the same and nobody else anything.
    pub fn settle(&mut self) {
        let stays = |inc: Inc| self.view().members.iter().any(|m| m.inc == Some(inc) && !m.leaving);
        if !self.nodes().any(|node| stays(node.inc())) {
            let is_member = |at: &usize| self.inc(*at).is_some_and(|inc| self.view().contains(inc));
            let at = (0..SEATS).find(|at| !is_member(at)).unwrap_or(0);
            self.join(at, at);
        }
        self.heal();
        let gone = |inc: &Inc| self.nodes().all(|node| node.inc() != *inc);
        let members = self.view().members.iter().filter_map(|member| member.inc);
        for inc in members.filter(gone).collect::<Vec<Inc>>() {
            let removed = self.decide(&Decision::Remove { inc, accept_loss: true });
            assert_eq!(removed, Ok(()));
        }
        let end = self.now.plus(CALM_MS);
        while !self.is_settled() {
            assert!(self.now < end, "the transition does not end: {}", self.tell());
            self.rest(true);
        }
    }

    /// Everything arrives, and a tick passes.
    fn rest(&mut self, told: bool) {
        if told {
            self.follow();
        }
        self.check_fair();
        self.deliver_all();
        self.tick(TICK_MS);
        self.check_fair();
    }

    /// What must hold of all copies, unless messages are forged.
    fn check_fair(&mut self) {
        if self.log().correct {
            self.check_copies();
        }
    }

    fn is_settled(&self) -> bool {
        let view = self.view();
        let members = || self.nodes().filter(|node| view.contains(node.inc()));
        view.layouts.len() <= 1
            && members().all(|node| node.view() == view && node.is_drained())
            && (0..SLOTS).filter_map(Slot::new).all(|slot| {
                let key = key_of(slot);
                let mut digests =
                    members().filter(|node| node.owns(key)).map(|node| node.store().digest(slot));
                let first = digests.next();
                digests.all(|digest| Some(digest) == first)
                    && members().all(|node| node.owns(key) || node.store().is_empty(slot))
            })
    }

    /// What every node goes by and holds.
    pub fn tell(&self) -> String {
        let mut lines = vec![format!("{:?}", self.view())];
        for node in self.nodes() {
            let held: Vec<_> = node.store().iter().map(|(key, _)| key).collect();
            let (epoch, pending) = (node.view().epoch, node.sync_pending());
            let drained = node.is_drained();
            lines.push(format!(
                "{:?} at epoch {epoch}, {pending} to compare with, drained: {drained}, {held:?}",
                node.inc()
            ));
        }
        lines.join("\n")
    }
}

/// A key of that slot.
fn key_of(slot: Slot) -> SessionKey {
    let mut key = [0; SessionKey::BYTES];
    let bits = slot.number() << 4;
    [key[0], key[1]] = bits.to_be_bytes();
    SessionKey(key)
}
