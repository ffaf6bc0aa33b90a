//! One shard of one node: takes what arrives to the part that owns the state, and nothing else.

mod commit;
mod compare;
mod evict;
mod forward;
mod open;
mod options;
mod replicate;
mod transition;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use session::{Clock, Delta, Inc, SessionKey, Slot, State, Time, Token};

use crate::budget::Budget;
use crate::counters::Counters;
use crate::event::{Event, Ticket};
use crate::forwards::Forwards;
use crate::limits::{ANSWERS_MAX, SWEEP_PER_TICK_MAX};
use crate::loads::Loads;
use crate::message::{Commit, Envelope, Lane, Message, Room};
use crate::outbox::Outbox;
use crate::placement::Placement;
use crate::repair::Repair;
use crate::retries::Retries;
use crate::store::{Effect, Store, Verdict, is_well_formed};
use crate::sync::Sync;
use crate::view::{Copies, Layout, View};
use crate::violation::Violation;
use crate::waiters::Waiters;

pub use options::Options;
pub use transition::Handover;

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transmit {
    /// The process that it is for.
    pub to: Inc,
    /// The lane that it takes.
    pub lane: Lane,
    /// The message with its address.
    pub envelope: Envelope,
}

/// How far a peer is behind this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Which process.
    pub peer: Inc,
    /// Sessions that it lacks something of.
    pub sessions: usize,
    /// Slots of which it may lack anything.
    pub slots: usize,
    /// False while it is suspected.
    pub reachable: bool,
}

/// One shard of one node.
///
/// There are four kinds of methods:
/// - getters, which change nothing;
/// - `handle_*`: something arrived, time passed, the view changed;
/// - commands of the application: [`open`](Self::open), [`commit`](Self::commit);
/// - `poll_*`: what goes out.
///
/// After every `handle_*` and every command, call [`poll_event`](Self::poll_event) and
/// [`poll_transmit`](Self::poll_transmit) until both return `None`, before the next one. Call
/// [`handle_tick`](Self::handle_tick) every [`TICK_MS`](crate::limits::TICK_MS) milliseconds. `now`
/// never goes back.
///
/// A message that cannot be delivered may be dropped: deltas are extracted anew, questions are
/// asked again. [`handle_reachable`](Self::handle_reachable) makes that immediate.
#[derive(Clone, Hash)]
pub struct Node {
    options: Options,
    clock: Clock,
    clock_fault: bool,
    view: View,
    placement: Placement,
    /// Processes of other members.
    peers: BTreeSet<Inc>,
    /// Processes that answer, members or not yet: bounded by the driver's connections.
    reachable: BTreeSet<Inc>,
    store: Store,
    outbox: Outbox,
    waiters: Waiters,
    loads: Loads,
    forwards: Forwards,
    repair: Repair,
    supply_budget: Budget,
    retries: Retries,
    /// Where the search for sessions to end goes on.
    evict_after: Option<(Time, SessionKey)>,
    /// Members that have little room, and when they said so last.
    rooms: BTreeMap<Inc, (Room, Time)>,
    sync: Sync,
    /// Whom this node has to compare itself with before it is synced in a layout (rule V7).
    sources: BTreeSet<Inc>,
    /// True once a view without this process is known.
    removed: bool,
    /// The generation and epoch that the application was told to ask for last, and when.
    behind: Option<((u64, u64), Time)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Node {
    /// The shard of a process that has just started, with the view that it starts from.
    #[must_use]
    pub fn new(options: Options, view: View, now: Time) -> Self {
        let slots = Slot::COUNT / options.shards;
        let first = slots * options.shard;
        let others =
            view.members.iter().map(|m| m.name.clone()).filter(|name| *name != options.name);
        let mut node = Self {
            clock: Clock::new(options.inc),
            clock_fault: false,
            placement: Placement::new(&view, first, slots),
            peers: BTreeSet::new(),
            reachable: BTreeSet::new(),
            store: Store::new(first, slots, options.digest_seed, options.rules),
            outbox: Outbox::new(options.outbox_sessions_max, options.rules),
            waiters: Waiters::new(options.rules),
            loads: Loads::default(),
            forwards: Forwards::default(),
            repair: Repair::new(options.repair_interval_ms, options.noise_seed),
            supply_budget: Budget::new(options.repair_bytes_per_second, now),
            retries: Retries::new(now),
            evict_after: None,
            rooms: BTreeMap::new(),
            sync: Sync::new(now, others, (first, slots), options.rules),
            sources: BTreeSet::new(),
            removed: false,
            behind: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            view: View::fixed([], Copies::All),
            options,
        };
        node.handle_view(view, now);
        node
    }

    // --- getters ---

    /// This process.
    #[must_use]
    pub const fn inc(&self) -> Inc {
        self.options.inc
    }

    /// True if this node has caught up since it started: with everybody who answers under a fixed
    /// view; with all that it owns by some layout under an agreed one. It stays so when it becomes
    /// an owner of more, and serves that by asking others until it has it.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        if self.view.is_fixed() {
            return self.sync_pending() == 0;
        }
        let me = Some(self.options.inc);
        let in_layout = |layout: &Layout| layout.members.iter().any(|member| member.inc == me);
        let settled = self.view.layouts.first().is_some_and(in_layout);
        !self.removed && (settled || self.sync.has_reported())
    }

    /// Members that this node still has to catch up with.
    #[must_use]
    pub fn sync_pending(&self) -> usize {
        if self.view.is_fixed() { self.sync.pending() } else { self.sources.len() }
    }

    /// True if this node owns the slot of `key` and has everything of it.
    #[must_use]
    pub fn speaks_for(&self, key: SessionKey) -> bool {
        self.sync.speaks_for(key.slot()) && !self.removed
    }

    /// What this shard holds.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The view that this shard goes by.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// How far each other process is behind.
    pub fn lags(&self) -> impl Iterator<Item = Lag> + '_ {
        self.outbox.iter().map(|(peer, outbox)| Lag {
            peer,
            sessions: outbox.dirty_count(),
            slots: outbox.slot_count(),
            reachable: self.is_reachable(peer),
        })
    }

    /// True if no other process is known to lack anything.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outbox.iter().all(|(_, outbox)| outbox.is_clean())
    }

    /// Requests that wait for something: for copies, for acknowledgements, for other nodes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize, usize) {
        (self.loads.len(), self.waiters.len(), self.forwards.len())
    }

    /// True if this shard owns the slot of `key`, synced or not.
    #[must_use]
    pub fn owns(&self, key: SessionKey) -> bool {
        self.store.holds(key.slot()) && self.placement.is_owner(key.slot(), self.options.inc)
    }

    /// The owners of the slot of `key`, the most preferred first.
    #[must_use]
    pub fn owners(&self, key: SessionKey) -> Vec<Inc> {
        self.placement.owners(key.slot()).collect()
    }

    /// True if the outbox knows that `peer` may lack something of the session.
    #[must_use]
    pub fn may_lack(&self, peer: Inc, key: SessionKey) -> bool {
        self.outbox.peer(peer).is_some_and(|outbox| outbox.may_lack(key))
    }

    /// The store, to drain its journal; for checkers.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    // --- what arrives ---

    /// The view changed, or another process of a member is known. Views that are not later than
    /// the present one are ignored (rule V1).
    pub fn handle_view(&mut self, view: View, now: Time) {
        self.adopt(view, now);
    }

    /// A process answers, or is suspected. What was in flight to it may be lost.
    pub fn handle_reachable(&mut self, peer: Inc, reachable: bool, now: Time) {
        if reachable {
            self.reachable.insert(peer);
        } else {
            self.reachable.remove(&peer);
        }
        if !self.peers.contains(&peer) {
            return;
        }
        if let Some(outbox) = self.outbox.peer_mut(peer) {
            outbox.set_reachable(reachable, now);
        }
        if !reachable {
            self.repair.stop(peer);
            // What it had told only some of the others, they now find out among themselves.
            self.repair.hasten_all(now);
        } else if self.shares_with(peer) {
            self.repair.hasten(peer, now);
        }
        self.handle_tick(now);
    }

    /// This node's clock is found to be wrong, or right again: while wrong it stamps nothing.
    // Rule H3.
    pub fn handle_clock_fault(&mut self, fault: bool) {
        self.clock_fault = fault;
    }

    /// A message arrived over the connection of the process `from`.
    pub fn handle_message(&mut self, from: Inc, envelope: Envelope, now: Time) {
        if envelope.from != from {
            return self.breach(from, Violation::WrongSender);
        }
        let epoch = envelope.epoch;
        if self.view.is_fixed() && envelope.generation == 0 && epoch != self.view.epoch {
            return self.breach(from, Violation::WrongEpoch);
        }
        self.note_later(envelope.generation, epoch, now);
        if envelope.to != self.options.inc
            || envelope.shard != self.options.shard
            || envelope.generation != self.view.generation
            || !self.peers.contains(&from)
        {
            self.counters.strangers += 1;
            return;
        }
        self.note_room(from, envelope.room, now);
        match envelope.message {
            Message::Deltas(batch) => self.handle_deltas(from, batch, now),
            Message::Ack { batch, refused } => self.handle_ack(from, epoch, batch, refused, now),
            Message::Fetch { request, key } => self.handle_fetch(from, request, key, now),
            Message::Fetched { request, synced, delta } => {
                self.handle_fetched((from, epoch), request, synced, delta, now);
            }
            Message::Forward { request, deadline, commit } => {
                self.handle_forward(from, request, deadline, commit, now);
            }
            Message::Forwarded { request, outcome } => {
                self.handle_forwarded(from, request, outcome, now);
            }
            Message::Root { round, root } => self.handle_root(from, epoch, round, root, now),
            Message::Same { round } => self.handle_same(from, epoch, round, now),
            Message::Digests { round, slots } => {
                self.handle_digests(from, epoch, round, &slots, now);
            }
            Message::Compare { round, slot, after } => {
                self.handle_compare(from, round, slot, after);
            }
            Message::List { round, slot, after, entries, more } => {
                self.handle_list((from, epoch), round, (slot, after), &entries, more, now);
            }
            Message::Need { request, wants } => self.handle_need(from, request, wants, now),
            Message::Supplied { request, supply } => {
                self.handle_supplied(from, request, supply, now);
            }
            Message::Compared { round } => self.handle_compared(from, round),
            Message::Pull => self.repair.hasten(from, now),
        }
    }

    /// Time passed.
    pub fn handle_tick(&mut self, now: Time) {
        self.tick_transition(now);
        self.tick_outbox(now);
        self.tick_repair(now);
        self.tick_loads(now);
        self.tick_forwards(now);
        self.tick_waiters(now);
        self.tick_sweep(now);
        self.tick_evict(now);
    }

    // --- commands ---

    /// Opens the session under `key` for a request that has seen `token`; answered by
    /// [`Event::Opened`], at once or by `deadline`.
    pub fn open(
        &mut self,
        ticket: Ticket,
        key: SessionKey,
        token: Option<Token>,
        deadline: Time,
        now: Time,
    ) {
        self.start_open(ticket, key, token, deadline, now);
    }

    /// Executes the edits of one request, here or at another owner; answered by
    /// [`Event::Committed`], at once or by `deadline`.
    pub fn commit(&mut self, ticket: Ticket, commit: Commit, deadline: Time, now: Time) {
        self.start_commit(ticket, commit, deadline, now);
    }

    /// A stamp for the core of a session that is about to be created.
    pub fn stamp(&mut self, now: Time) -> session::Stamp {
        self.clock.stamp(now)
    }

    // --- what goes out ---

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next message for a peer: first answers and questions, then deltas for whoever can take
    /// a batch.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if let Some(transmit) = self.transmits.pop_front() {
            return Some(transmit);
        }
        self.poll_batch(now)
    }

    // --- what the parts share ---

    fn slots(&self) -> (u16, u16) {
        let slots = Slot::COUNT / self.options.shards;
        (slots * self.options.shard, slots)
    }

    fn is_reachable(&self, peer: Inc) -> bool {
        self.peers.contains(&peer) && self.is_connected(peer)
    }

    fn is_connected(&self, peer: Inc) -> bool {
        self.reachable.contains(&peer)
    }

    /// Only an owner that has caught up and whose clock is right may stamp, and not what it may
    /// have forgotten.
    fn may_stamp(&self, key: SessionKey) -> bool {
        self.speaks_for(key) && !self.clock_fault && !self.store.is_retired(key)
    }

    fn send(&mut self, to: Inc, lane: Lane, message: Message) {
        if self.transmits.len() >= ANSWERS_MAX {
            self.counters.answers_dropped += 1;
            return;
        }
        let envelope = self.address(to, message);
        self.transmits.push_back(Transmit { to, lane, envelope });
    }

    fn address(&self, to: Inc, message: Message) -> Envelope {
        let (generation, epoch) = (self.view.generation, self.view.epoch);
        let (from, shard) = (self.options.inc, self.options.shard);
        Envelope { generation, epoch, from, to, shard, room: self.room(), message }
    }

    fn breach(&mut self, peer: Inc, violation: Violation) {
        self.counters.violations += 1;
        self.events.push_back(Event::Violation(peer, violation));
    }

    /// Takes a delta into the store, and what follows from it outside of the store: counters, and
    /// the answers to commits whose session it ends.
    fn take(&mut self, delta: Delta, now: Time) -> Verdict {
        let key = delta.key;
        if let session::Body::Change(change) = &delta.body
            && !Clock::is_skewed(change.newest(), now)
        {
            self.clock.observe(&change.hi);
        }
        let verdict = self.store.apply(delta, now);
        match &verdict {
            Verdict::Merged(effect) => self.note(*effect, key),
            Verdict::Need(_) => self.counters.gaps += 1,
            Verdict::Ended(_) => {}
            Verdict::Skew => self.counters.skew_refused += 1,
            Verdict::Dead => self.counters.dead_on_arrival += 1,
        }
        verdict
    }

    fn note(&mut self, effect: Effect, key: SessionKey) {
        match effect {
            Effect::None => return,
            Effect::Created | Effect::Updated => {}
            Effect::Ended => {
                self.counters.ended += 1;
                if let Some(State::Ended(tombstone)) = self.store.get(key) {
                    self.loads.end(key, *tombstone);
                    let quorum = commit::quorum(&self.placement, &self.view, &self.options);
                    let gone = self.waiters.end(key, tombstone.reason, quorum);
                    self.answer_all(gone);
                }
            }
        }
        self.counters.deltas_applied += 1;
    }

    /// True if the delta could come from a correct peer; else the peer is reported.
    fn accepts(&mut self, from: Inc, delta: &Delta, now: Time) -> bool {
        if !self.store.holds(delta.key.slot()) {
            self.breach(from, Violation::WrongShard);
            return false;
        }
        if !is_well_formed(delta, now) {
            self.breach(from, Violation::MalformedDelta);
            return false;
        }
        true
    }

    fn tick_sweep(&mut self, now: Time) {
        // Rule H3: what is over by a wrong clock may not be.
        if self.clock_fault {
            return;
        }
        let swept = self.store.sweep(now, SWEEP_PER_TICK_MAX);
        self.counters.expired += swept.expired.len() as u64;
    }
}
