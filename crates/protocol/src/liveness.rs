//! Which peers answer, and whose clock is off: once per process, beside its shards.
//!
//! In a cluster of a few everybody exchanges heartbeats with all. In a large one that would be what
//! an idle node does most, so a process exchanges them with its *neighbours*, and asks a *distant*
//! peer whether it is there when it was sent something and nothing came back: who expects nothing
//! of a peer need not know (traffic-based dead peer detection, RFC 3706).
//!
//! ```text
//! health  how well this process is itself
//! offset  how far the clocks of others are ahead
//! ring    who is whose neighbour
//! ```
//!
//! A process that is slow itself hears others late, and would suspect those that are well. So it
//! judges itself first, as Lifeguard does (Dadgar, Phillips, Currey 2018): the worse its *local
//! health*, the more silence it takes to suspect somebody.

mod health;
mod offset;
mod ring;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use session::{Inc, Time};

use crate::limits::{HEARTBEAT_MS, SUSPECT_MS, TICK_MS};
use crate::view::MemberName;
use health::Health;
use offset::{Offset, offset};
pub use ring::neighbours;

/// Measured offsets older than this say nothing any more, in milliseconds.
const OFFSET_AGE_MS_MAX: u64 = 5_000;

/// So many peers have to fall silent at once, and more than half of those that were heard, to be
/// taken for trouble of this process. Fewer may well have crashed together.
const QUIET_PEERS_MIN: usize = 3;

/// A heartbeat after a longer pause shows that one was lost, in milliseconds: both of its
/// neighbours may be off by a tick.
const BEAT_LATE_MS: u64 = 2 * (HEARTBEAT_MS - TICK_MS);

/// The silence of a peer whose heartbeats come irregularly is borne up to so many times as long: of
/// twelve heartbeats one arrives, if one in five is lost.
const PATIENCE_MAX: u64 = 3;

/// Each such time of regular heartbeats takes one off that, in milliseconds: longer than it takes
/// for one in five to miss.
const STEADY_MS: u64 = 30_000;

/// «I am here, and this is my clock.»
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The sender's clock when it sent this.
    pub sent: Time,
    /// The receiver's last heartbeat: what its clock said, and how long ago it arrived, in
    /// milliseconds. `None` before the first, and from who has heard nothing for a while: whoever
    /// takes the sender for distant answers that.
    pub echo: Option<(Time, u64)>,
}

/// What the driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LivenessEvent {
    /// Send this to that member.
    Send(MemberName, Heartbeat),
    /// That process of that member answers.
    Reachable(MemberName, Inc),
    /// It is suspected: its connection is down, or it has been silent for too long.
    Suspected(MemberName, Inc),
    /// This node's own clock is off (true) or fits the others' again (false).
    ClockFault(bool),
}

#[derive(Debug)]
struct Peer {
    inc: Inc,
    /// True if heartbeats go between it and this process all the time.
    is_near: bool,
    /// Of a distant peer: since when something is expected of it, and when it is asked next whether
    /// it is there.
    expected: Option<(Time, Time)>,
    heard: Time,
    /// Since when it is suspected.
    suspected: Option<Time>,
    /// How many times as long as usual its silence is borne, from 1 on.
    patience: u64,
    /// Since when its heartbeats have come regularly, or `patience` has not changed.
    steady: Time,
    /// Its last heartbeat: its clock, and ours when it arrived.
    last: Option<(Time, Time)>,
    /// By how much its clock is ahead, and when that was measured.
    offset: Option<(Offset, Time)>,
}

impl Peer {
    const fn new(inc: Inc, is_near: bool, now: Time) -> Self {
        Self {
            inc,
            is_near,
            expected: None,
            heard: now,
            suspected: None,
            patience: 1,
            steady: now,
            last: None,
            offset: None,
        }
    }

    /// A heartbeat of a neighbour.
    fn note_beat(&mut self, now: Time) {
        // That it was gone for so long that it was suspected says nothing of its heartbeats.
        if self.suspected.is_none() && now.since(self.heard) > BEAT_LATE_MS {
            self.patience = (self.patience + 1).min(PATIENCE_MAX);
            self.steady = now;
        } else if now.since(self.steady) >= STEADY_MS {
            self.patience = (self.patience - 1).max(1);
            self.steady = now;
        }
        self.heard = now;
    }

    /// Since when it is silent although something should have been heard of it.
    const fn silent_since(&self) -> Option<Time> {
        match (self.is_near, self.expected) {
            (true, _) => Some(self.heard),
            (false, Some((since, _))) => Some(since),
            (false, None) => None,
        }
    }

    /// Nothing has been heard of it for that long, and it is not suspected yet.
    fn is_silent(&self, ms: u64, now: Time) -> bool {
        self.suspected.is_none() && self.silent_since().is_some_and(|since| now.since(since) > ms)
    }

    /// Something is expected of it from now on, and if it does not come by `ask_at`, it is asked.
    fn expect(&mut self, now: Time, ask_at: Time) {
        if !self.is_near && self.expected.is_none() {
            self.expected = Some((now, ask_at));
        }
    }

    /// It is a neighbour from now on, or distant.
    fn move_to(&mut self, is_near: bool, now: Time) {
        if self.is_near == is_near {
            return;
        }
        self.is_near = is_near;
        self.expected = None;
        // As it was not listened to until now, its silence begins now; and whoever is suspected has
        // to be asked whether it still is silent.
        self.heard = now;
        if self.suspected.is_some() {
            self.expect(now, now);
        }
    }
}

/// Heartbeats with the members whose connection stands.
// Rules H3, D1.
#[derive(Debug)]
pub struct Liveness {
    inc: Inc,
    peers: BTreeMap<MemberName, Peer>,
    /// Members that are near, whether their connection stands or not; `None` if all are.
    near: Option<BTreeSet<MemberName>>,
    next_beat: Time,
    fault: bool,
    health: Health,
    events: VecDeque<LivenessEvent>,
}

impl Liveness {
    /// The liveness of the process `inc`, which has heard of nobody, and takes everybody for near.
    #[must_use]
    pub const fn new(inc: Inc) -> Self {
        Self {
            inc,
            peers: BTreeMap::new(),
            near: None,
            next_beat: Time(0),
            fault: false,
            health: Health::new(),
            events: VecDeque::new(),
        }
    }

    /// The [`neighbours`] of this process are these from now on; all if `None`.
    pub fn handle_neighbours(&mut self, near: Option<BTreeSet<MemberName>>, now: Time) {
        for (name, peer) in &mut self.peers {
            peer.move_to(near.as_ref().is_none_or(|near| near.contains(name)), now);
        }
        self.near = near;
    }

    /// A connection with a member stands, and its process introduced itself.
    pub fn handle_up(&mut self, name: &MemberName, inc: Inc, now: Time) {
        let is_near = self.is_near(name);
        if let Some(old) = self.peers.insert(name.clone(), Peer::new(inc, is_near, now))
            && old.inc != inc
            && old.suspected.is_none()
        {
            self.events.push_back(LivenessEvent::Suspected(name.clone(), old.inc));
        }
        self.events.push_back(LivenessEvent::Reachable(name.clone(), inc));
        self.beat(name, now);
        self.handle_asked(name, now);
    }

    /// Its connection is down.
    pub fn handle_down(&mut self, name: &MemberName) {
        if let Some(peer) = self.peers.remove(name)
            && peer.suspected.is_none()
        {
            self.events.push_back(LivenessEvent::Suspected(name.clone(), peer.inc));
        }
    }

    /// A heartbeat arrived over a standing connection.
    pub fn handle_heartbeat(&mut self, name: &MemberName, beat: Heartbeat, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if peer.is_near {
            peer.note_beat(now);
        }
        peer.last = Some((beat.sent, now));
        if let Some((mine, held_ms)) = beat.echo {
            peer.offset = offset(mine, beat.sent.minus(held_ms), beat.sent, now).map(|o| (o, now));
        }
        // An answer names what it answers and is not answered: so no two go on for ever.
        let answers = !peer.is_near && beat.echo.is_none();
        self.note_alive(name, now);
        if answers {
            self.beat(name, now);
        }
    }

    /// Something else arrived from that member. Of a neighbour that says nothing: it owes heartbeats.
    pub fn handle_received(&mut self, name: &MemberName, now: Time) {
        if self.peers.get(name).is_some_and(|peer| !peer.is_near) {
            self.note_alive(name, now);
        }
    }

    /// Something was sent to that member that it answers ([`Message::wants_answer`]). If nothing
    /// comes back from a distant one, it is asked whether it is there.
    ///
    /// [`Message::wants_answer`]: crate::Message::wants_answer
    pub fn handle_asked(&mut self, name: &MemberName, now: Time) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.expect(now, now.plus(HEARTBEAT_MS));
        }
    }

    /// Others say that these processes are silent: the distant ones among them are asked.
    // Rule D5.
    pub fn ask(&mut self, doubted: &BTreeSet<Inc>, now: Time) {
        for peer in self.peers.values_mut().filter(|peer| doubted.contains(&peer.inc)) {
            // Whoever doubts it does so for a while: it is not asked more often than a neighbour.
            peer.expect(now, now.max(peer.heard.plus(HEARTBEAT_MS)));
        }
    }

    /// True while it is not known yet whether that process is there, though it was asked.
    #[must_use]
    pub fn is_waiting_for(&self, inc: Inc) -> bool {
        let waits = |peer: &Peer| peer.expected.is_some() && peer.suspected.is_none();
        self.peers.values().any(|peer| peer.inc == inc && waits(peer))
    }

    /// Sends heartbeats and suspects the silent; to be called every few tens of milliseconds.
    pub fn handle_tick(&mut self, now: Time) {
        self.look_at_myself(now);
        self.beat_all(now);
        let patience = self.usual_patience();
        for (name, peer) in &mut self.peers {
            let patience = if peer.is_near { peer.patience } else { patience };
            if peer.is_silent(SUSPECT_MS * patience.max(self.health.factor), now) {
                peer.suspected = Some(now);
                self.events.push_back(LivenessEvent::Suspected(name.clone(), peer.inc));
            }
        }
        let fault = self.is_clock_off(now);
        if fault != self.fault {
            self.fault = fault;
            self.events.push_back(LivenessEvent::ClockFault(fault));
        }
    }

    /// What to do next; call until `None` after every `handle_*`.
    pub fn poll_event(&mut self) -> Option<LivenessEvent> {
        self.events.pop_front()
    }

    /// True if that member is, or would be, a neighbour of this process.
    #[must_use]
    pub fn is_near(&self, name: &MemberName) -> bool {
        self.near.as_ref().is_none_or(|near| near.contains(name))
    }

    /// The processes that answer.
    pub fn answering(&self) -> impl Iterator<Item = Inc> + '_ {
        self.peers.values().filter(|peer| peer.suspected.is_none()).map(|peer| peer.inc)
    }

    /// The members that have been suspected for `ms` milliseconds, though their connection stands.
    pub fn suspected_for(&self, ms: u64, now: Time) -> impl Iterator<Item = &MemberName> {
        let is_long = move |since: Time| now.since(since) >= ms;
        self.peers
            .iter()
            .filter(move |(_, peer)| peer.suspected.is_some_and(is_long))
            .map(|(n, _)| n)
    }

    /// By how much each member's clock is ahead of ours, in milliseconds, as last measured.
    pub fn offsets(&self) -> impl Iterator<Item = (&MemberName, i64)> {
        self.peers.iter().filter_map(|(name, peer)| Some((name, peer.offset?.0.ahead_ms)))
    }

    /// By how much the clocks of the others are ahead of ours, in milliseconds: by so much or more,
    /// say more than half of those that were measured lately. `None` if none was.
    #[must_use]
    pub fn median_offset_ms(&self, now: Time) -> Option<i64> {
        let mut offsets: Vec<i64> =
            self.fresh_offsets(now).map(|(_, offset)| offset.ahead_ms).collect();
        offsets.sort_unstable();
        // Of an even number the lower.
        offsets.get(offsets.len().saturating_sub(1) / 2).copied()
    }

    /// Our clock was set: what was measured with it says nothing any more.
    pub fn forget_offsets(&mut self) {
        for peer in self.peers.values_mut() {
            (peer.offset, peer.last) = (None, None);
        }
    }

    /// True while this node's clock is taken to be wrong.
    #[must_use]
    pub const fn has_clock_fault(&self) -> bool {
        self.fault
    }

    /// How well this process is itself: 1 if it is well, up to 8 if its ticks come late or it hears
    /// hardly anybody. So many times as long as usual the silence of others is borne.
    #[must_use]
    pub const fn local_health(&self) -> u64 {
        self.health.factor
    }

    /// Judges this process by how its ticks come, and by who is silent.
    fn look_at_myself(&mut self, now: Time) {
        if let Some(ms) = self.health.tick(now).filter(|ms| *ms > SUSPECT_MS) {
            // It was suspended. What others have sent meanwhile is still to be taken.
            for peer in self.peers.values_mut() {
                peer.heard = peer.heard.plus(ms).min(now);
                peer.expected = peer.expected.map(|(since, _)| (since.plus(ms).min(now), now));
                // It has to know who still answers, distant or not.
                peer.expect(now, now);
            }
        }
        let near = || self.peers.values().filter(|peer| peer.is_near);
        let unsuspected = near().filter(|peer| peer.suspected.is_none()).count();
        let silent = near().filter(|peer| peer.is_silent(SUSPECT_MS, now)).count();
        let quiet = silent >= QUIET_PEERS_MIN && silent * 2 > unsuspected;
        if quiet && !self.health.quiet {
            self.health.worsen(now);
        }
        self.health.quiet = quiet;
        self.health.improve(now);
    }

    /// That member is there.
    fn note_alive(&mut self, name: &MemberName, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.heard = now;
        peer.expected = None;
        if peer.suspected.take().is_some() {
            self.events.push_back(LivenessEvent::Reachable(name.clone(), peer.inc));
        }
    }

    /// How much longer than usual the silence of a distant peer is borne: as much as that of more
    /// than half of the neighbours, whose lines are no worse.
    fn usual_patience(&self) -> u64 {
        let mut all: Vec<u64> =
            self.peers.values().filter(|peer| peer.is_near).map(|peer| peer.patience).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(1)
    }

    /// Heartbeats to the neighbours, if it is time, and to the distant peers that are to be asked.
    fn beat_all(&mut self, now: Time) {
        let is_time = now >= self.next_beat;
        if is_time {
            self.next_beat = now.plus(HEARTBEAT_MS);
        }
        let mut names = Vec::new();
        for (name, peer) in &mut self.peers {
            let is_due = match &mut peer.expected {
                Some((_, ask_at)) if now >= *ask_at => {
                    *ask_at = now.plus(HEARTBEAT_MS);
                    true
                }
                _ => peer.is_near && is_time,
            };
            if is_due {
                names.push(name.clone());
            }
        }
        for name in names {
            self.beat(&name, now);
        }
    }

    fn beat(&mut self, name: &MemberName, now: Time) {
        let Some(peer) = self.peers.get(name) else {
            return;
        };
        // Without an echo it is a question: to a distant peer, unless this is the answer to what
        // arrived just now; and to a neighbour that is late, as it may go by an earlier view, in
        // which it is none.
        let echo_ms_max = match (&self.near, peer.is_near) {
            (None, _) => u64::MAX,
            (Some(_), true) => BEAT_LATE_MS,
            (Some(_), false) => 0,
        };
        let echo = peer.last.filter(|(_, arrived)| now.since(*arrived) <= echo_ms_max);
        let echo = echo.map(|(theirs, arrived)| (theirs, now.since(arrived)));
        self.events.push_back(LivenessEvent::Send(name.clone(), Heartbeat { sent: now, echo }));
    }

    fn fresh_offsets(&self, now: Time) -> impl Iterator<Item = (Inc, Offset)> + '_ {
        self.peers.values().filter_map(move |peer| {
            let (offset, at) = peer.offset?;
            (now.since(at) <= OFFSET_AGE_MS_MAX).then_some((peer.inc, offset))
        })
    }

    /// Rule H3: off against more than half of the peers; with a single peer, the later start is
    /// taken to be wrong.
    fn is_clock_off(&self, now: Time) -> bool {
        let mut measured = 0;
        let mut off = 0;
        let mut latest = true;
        for (inc, offset) in self.fresh_offsets(now) {
            measured += 1;
            if offset.is_too_far() {
                off += 1;
                latest &= self.inc > inc;
            }
        }
        off * 2 > measured && (measured > 1 || latest)
    }
}

#[cfg(test)]
mod tests;
