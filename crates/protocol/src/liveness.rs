//! Which peers answer, and whose clock is off: once per process, beside its shards.
//!
//! A process that is slow itself hears others late, and would suspect those that are well. So it
//! judges itself first, as Lifeguard does (Dadgar, Phillips, Currey 2018): the worse its *local
//! health*, the more silence it takes to suspect somebody.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use session::{Inc, SKEW_MS_MAX, Time};

use crate::limits::{HEARTBEAT_MS, SUSPECT_MS, TICK_MS};
use crate::view::MemberName;

/// Measured offsets older than this say nothing any more, in milliseconds.
const OFFSET_AGE_MS_MAX: u64 = 5_000;

/// An offset beyond two fifths of the tolerated skew counts against the clock (rule H3): two nodes
/// that are each that far off in opposite directions still tolerate each other.
const OFFSET_MS_MAX: u64 = SKEW_MS_MAX * 2 / 5;

/// The local health of a process that is well.
const HEALTH_MIN: u64 = 1;

/// It is never worse than this: a peer that is dead is suspected after 16 s by whoever still runs.
const HEALTH_MAX: u64 = 8;

/// Each such time without trouble makes the local health better by one, in milliseconds.
const HEALTHY_MS: u64 = 10_000;

/// A tick that comes so much later than it should is trouble, in milliseconds: heartbeats of this
/// process are late too.
const TICK_LATE_MS: u64 = HEARTBEAT_MS;

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
    /// milliseconds; `None` before the first.
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
    heard: Time,
    suspected: bool,
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
    const fn new(inc: Inc, now: Time) -> Self {
        let (last, offset) = (None, None);
        Self { inc, heard: now, suspected: false, patience: 1, steady: now, last, offset }
    }

    fn note_heard(&mut self, now: Time) {
        // That it was gone for so long that it was suspected says nothing of its heartbeats.
        if !self.suspected && now.since(self.heard) > BEAT_LATE_MS {
            self.patience = (self.patience + 1).min(PATIENCE_MAX);
            self.steady = now;
        } else if now.since(self.steady) >= STEADY_MS {
            self.patience = (self.patience - 1).max(1);
            self.steady = now;
        }
        self.heard = now;
    }

    /// Nothing has been heard of it for that long, and it is not suspected yet.
    const fn is_silent(&self, ms: u64, now: Time) -> bool {
        !self.suspected && now.since(self.heard) > ms
    }
}

/// How well this process is itself.
#[derive(Debug)]
struct Health {
    /// From [`HEALTH_MIN`] to [`HEALTH_MAX`].
    factor: u64,
    /// Since when nothing has been wrong, or the factor has not changed.
    well: Time,
    /// The latest tick.
    ticked: Option<Time>,
    /// True while too many peers are silent at once. That counts once, or a node that is cut off
    /// would wait for all others longer and longer.
    quiet: bool,
}

impl Health {
    const fn new() -> Self {
        Self { factor: HEALTH_MIN, well: Time(0), ticked: None, quiet: false }
    }

    const fn worsen(&mut self, now: Time) {
        if self.factor < HEALTH_MAX {
            self.factor += 1;
        }
        self.well = now;
    }

    const fn improve(&mut self, now: Time) {
        if self.factor > HEALTH_MIN && now.since(self.well) >= HEALTHY_MS {
            self.factor -= 1;
            self.well = now;
        }
    }

    /// Notes a tick; for how long there has been none if that is too long.
    fn tick(&mut self, now: Time) -> Option<u64> {
        let ticked = self.ticked.replace(now).unwrap_or(now);
        let late = Some(now.since(ticked)).filter(|ms| *ms > TICK_MS + TICK_LATE_MS);
        if late.is_some() {
            self.worsen(now);
        }
        late
    }
}

/// Heartbeats with the members whose connection stands.
// Rules H3, D1.
#[derive(Debug)]
pub struct Liveness {
    inc: Inc,
    peers: BTreeMap<MemberName, Peer>,
    next_beat: Time,
    fault: bool,
    health: Health,
    events: VecDeque<LivenessEvent>,
}

impl Liveness {
    /// The liveness of the process `inc`, which has heard of nobody.
    #[must_use]
    pub const fn new(inc: Inc) -> Self {
        Self {
            inc,
            peers: BTreeMap::new(),
            next_beat: Time(0),
            fault: false,
            health: Health::new(),
            events: VecDeque::new(),
        }
    }

    /// A connection with a member stands, and its process introduced itself.
    pub fn handle_up(&mut self, name: &MemberName, inc: Inc, now: Time) {
        if let Some(old) = self.peers.insert(name.clone(), Peer::new(inc, now))
            && old.inc != inc
            && !old.suspected
        {
            self.events.push_back(LivenessEvent::Suspected(name.clone(), old.inc));
        }
        self.events.push_back(LivenessEvent::Reachable(name.clone(), inc));
        self.beat(name, now);
    }

    /// Its connection is down.
    pub fn handle_down(&mut self, name: &MemberName) {
        if let Some(peer) = self.peers.remove(name)
            && !peer.suspected
        {
            self.events.push_back(LivenessEvent::Suspected(name.clone(), peer.inc));
        }
    }

    /// A heartbeat arrived over a standing connection.
    pub fn handle_heartbeat(&mut self, name: &MemberName, beat: Heartbeat, now: Time) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.note_heard(now);
        peer.last = Some((beat.sent, now));
        if let Some((mine, held_ms)) = beat.echo {
            peer.offset = offset(mine, beat.sent.minus(held_ms), beat.sent, now).map(|o| (o, now));
        }
        if peer.suspected {
            peer.suspected = false;
            self.events.push_back(LivenessEvent::Reachable(name.clone(), peer.inc));
        }
    }

    /// Sends heartbeats and suspects the silent; to be called every few tens of milliseconds.
    pub fn handle_tick(&mut self, now: Time) {
        if now >= self.next_beat {
            self.next_beat = now.plus(HEARTBEAT_MS);
            let names: Vec<MemberName> = self.peers.keys().cloned().collect();
            for name in names {
                self.beat(&name, now);
            }
        }
        self.look_at_myself(now);
        for (name, peer) in &mut self.peers {
            if peer.is_silent(SUSPECT_MS * peer.patience.max(self.health.factor), now) {
                peer.suspected = true;
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

    /// The processes that answer.
    pub fn answering(&self) -> impl Iterator<Item = Inc> + '_ {
        self.peers.values().filter(|peer| !peer.suspected).map(|peer| peer.inc)
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
            }
        }
        let unsuspected = self.peers.values().filter(|peer| !peer.suspected).count();
        let silent = self.peers.values().filter(|peer| peer.is_silent(SUSPECT_MS, now)).count();
        let quiet = silent >= QUIET_PEERS_MIN && silent * 2 > unsuspected;
        if quiet && !self.health.quiet {
            self.health.worsen(now);
        }
        self.health.quiet = quiet;
        self.health.improve(now);
    }

    fn beat(&mut self, name: &MemberName, now: Time) {
        let echo = self.peers.get(name).and_then(|peer| peer.last);
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

/// How far a clock is ahead, as far as one exchange tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    /// In milliseconds.
    ahead_ms: i64,
    /// By how much that may be wrong, in milliseconds: half of what the exchange took, if one way
    /// took all of it.
    error_ms: u64,
}

impl Offset {
    /// True if it is beyond what counts against the clock even if it was measured as badly as can
    /// be: a process under load is heard late, and its clock is right.
    const fn is_too_far(self) -> bool {
        self.ahead_ms.unsigned_abs() > OFFSET_MS_MAX + self.error_ms
    }
}

/// How far the peer's clock is ahead, from the four readings of one exchange, as NTP does (RFC 5905
/// section 8): `t1` ours at sending, `t2` theirs at arrival, `t3` theirs at answering, `t4` ours at
/// its arrival. `None` if the exchange took longer than a second: then it says little.
fn offset(t1: Time, t2: Time, t3: Time, t4: Time) -> Option<Offset> {
    // A peer may name any numbers; in these bounds no sum of four of them overflows.
    let signed = |time: Time| i64::try_from(time.0).ok().filter(|ms| *ms < 1 << 60);
    let (t1, t2, t3, t4) = (signed(t1)?, signed(t2)?, signed(t3)?, signed(t4)?);
    let round_trip = (t4 - t1) - (t3 - t2);
    let ahead_ms = ((t2 - t1) + (t3 - t4)) / 2;
    let error_ms = round_trip.unsigned_abs().div_ceil(2);
    (0..=1_000).contains(&round_trip).then_some(Offset { ahead_ms, error_ms })
}

#[cfg(test)]
mod tests;
