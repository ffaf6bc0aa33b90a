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
    /// By how much its clock is ahead, in milliseconds, and when that was measured.
    offset: Option<(i64, Time)>,
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
        self.peers.iter().filter_map(|(name, peer)| Some((name, peer.offset?.0)))
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

    /// Rule H3: off against more than half of the peers; with a single peer, the later start is
    /// taken to be wrong.
    fn is_clock_off(&self, now: Time) -> bool {
        let fresh = self.peers.values().filter_map(|peer| {
            let (offset, at) = peer.offset?;
            (now.since(at) <= OFFSET_AGE_MS_MAX).then_some((peer.inc, offset.unsigned_abs()))
        });
        let mut measured = 0;
        let mut off = 0;
        let mut latest = true;
        for (inc, offset) in fresh {
            measured += 1;
            if offset > OFFSET_MS_MAX {
                off += 1;
                latest &= self.inc > inc;
            }
        }
        off * 2 > measured && (measured > 1 || latest)
    }
}

/// How far the peer's clock is ahead, from the four readings of one exchange, as NTP does (RFC 5905
/// section 8): `t1` ours at sending, `t2` theirs at arrival, `t3` theirs at answering, `t4` ours at
/// its arrival. `None` if the exchange took longer than a second: then it says little.
fn offset(t1: Time, t2: Time, t3: Time, t4: Time) -> Option<i64> {
    // A peer may name any numbers; in these bounds no sum of four of them overflows.
    let signed = |time: Time| i64::try_from(time.0).ok().filter(|ms| *ms < 1 << 60);
    let (t1, t2, t3, t4) = (signed(t1)?, signed(t2)?, signed(t3)?, signed(t4)?);
    let round_trip = (t4 - t1) - (t3 - t2);
    (0..=1_000).contains(&round_trip).then_some(((t2 - t1) + (t3 - t4)) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(liveness: &mut Liveness) -> Vec<LivenessEvent> {
        std::iter::from_fn(|| liveness.poll_event()).collect()
    }

    /// Tests rule D1.
    #[test]
    fn a_silent_peer_is_suspected_and_a_heartbeat_clears_it() {
        let mut liveness = Liveness::new(Inc(1));
        let name: MemberName = "b".into();
        liveness.handle_up(&name, Inc(2), Time(0));
        assert!(drain(&mut liveness).contains(&LivenessEvent::Reachable(name.clone(), Inc(2))));
        liveness.handle_tick(Time(2_000));
        let suspected = LivenessEvent::Suspected(name.clone(), Inc(2));
        assert!(!drain(&mut liveness).contains(&suspected));
        liveness.handle_tick(Time(2_001));
        assert!(drain(&mut liveness).contains(&suspected));
        let beat = Heartbeat { sent: Time(2_100), echo: None };
        liveness.handle_heartbeat(&name, beat, Time(2_100));
        assert_eq!(drain(&mut liveness), [LivenessEvent::Reachable(name.clone(), Inc(2))]);
        liveness.handle_down(&name);
        assert_eq!(drain(&mut liveness), [suspected]);
    }

    /// Tests rule H3: the same three clocks, seen from each of three nodes.
    #[test]
    fn of_three_clocks_the_odd_one_out_is_at_fault() {
        let clocks = [1_000_000i64, 1_000_030, 1_000_400];
        for me in 0..3 {
            let mut liveness = Liveness::new(Inc(me as u64));
            for peer in (0..3).filter(|peer| *peer != me) {
                let name: MemberName = ["a", "b", "c"][peer].into();
                let now = Time(clocks[me].unsigned_abs());
                let theirs = Time(clocks[peer].unsigned_abs());
                liveness.handle_up(&name, Inc(peer as u64), now);
                let beat = Heartbeat { sent: theirs, echo: Some((now, 0)) };
                liveness.handle_heartbeat(&name, beat, now);
            }
            liveness.handle_tick(Time(clocks[me].unsigned_abs()));
            assert_eq!(liveness.has_clock_fault(), me == 2, "seen from node {me}");
        }
    }

    /// Tests rule D1: a heartbeat to each peer in each interval, and at once to a new one.
    #[test]
    fn bound_heartbeat_ms() {
        let mut liveness = Liveness::new(Inc(1));
        liveness.handle_up(&"b".into(), Inc(2), Time(10_000));
        let mut sent = Vec::new();
        for ms in (10_000..13_000).step_by(50) {
            liveness.handle_tick(Time(ms));
            let beats = drain(&mut liveness).into_iter();
            sent.extend(beats.filter(|e| matches!(e, LivenessEvent::Send(..))).map(|_| ms));
        }
        assert_eq!(sent, [10_000, 10_000, 10_500, 11_000, 11_500, 12_000, 12_500]);
    }

    /// Tests rule D1: four heartbeats may be lost, and not a moment more may pass.
    #[test]
    fn bound_suspect_ms() {
        let mut liveness = Liveness::new(Inc(1));
        liveness.handle_up(&"b".into(), Inc(2), Time(0));
        liveness.handle_tick(Time(SUSPECT_MS));
        let suspected = |e: &LivenessEvent| matches!(e, LivenessEvent::Suspected(..));
        assert!(!drain(&mut liveness).iter().any(suspected));
        liveness.handle_tick(Time(SUSPECT_MS + 1));
        assert!(drain(&mut liveness).iter().any(suspected));
        liveness.handle_tick(Time(2 * SUSPECT_MS));
        assert!(!drain(&mut liveness).iter().any(suspected), "once");
    }

    /// A process with peers that it hears regularly, from 10 s on.
    struct Watch {
        liveness: Liveness,
        now: u64,
        suspected: Vec<(u64, Inc)>,
    }

    const PEERS: [&str; 6] = ["b", "c", "d", "e", "f", "g"];

    impl Watch {
        fn of(peers: usize) -> Self {
            let mut liveness = Liveness::new(Inc(1));
            for (peer, inc) in PEERS.iter().take(peers).zip(2..) {
                liveness.handle_up(&(*peer).into(), Inc(inc), Time(10_000));
            }
            Self { liveness, now: 10_000, suspected: Vec::new() }
        }

        /// Ticks for so long; of each heartbeat that is due, `comes` says whether it arrives.
        fn run(&mut self, for_ms: u64, mut comes: impl FnMut(&str) -> bool) {
            let until = self.now + for_ms;
            while self.now < until {
                self.now += TICK_MS;
                if self.now.is_multiple_of(HEARTBEAT_MS) {
                    for peer in PEERS {
                        if comes(peer) {
                            self.hear(peer);
                        }
                    }
                }
                self.tick();
            }
        }

        fn hear(&mut self, peer: &str) {
            let beat = Heartbeat { sent: Time(self.now), echo: None };
            self.liveness.handle_heartbeat(&peer.into(), beat, Time(self.now));
        }

        fn tick(&mut self) {
            self.liveness.handle_tick(Time(self.now));
            for event in drain(&mut self.liveness) {
                if let LivenessEvent::Suspected(_, inc) = event {
                    self.suspected.push((self.now, inc));
                }
            }
        }
    }

    /// Tests rule D1.
    #[test]
    fn a_peer_that_dies_is_suspected_after_two_seconds_and_a_tick() {
        for peers in [1, 2, 6] {
            let mut watch = Watch::of(peers);
            watch.run(60_000, |_| true);
            watch.run(10_000, |peer| peer != "b");
            assert_eq!(watch.suspected, [(70_000 + SUSPECT_MS + TICK_MS, Inc(2))]);
            assert_eq!(watch.liveness.local_health(), HEALTH_MIN);
        }
    }

    /// Tests rule D1: whoever was suspended looks for a while as if all others had been.
    #[test]
    fn a_process_that_was_suspended_suspects_nobody_that_answers_again() {
        for pause_ms in [1_000, 5_000, 30_000, 3_600_000] {
            let mut watch = Watch::of(6);
            watch.run(5_000, |_| true);
            watch.now += pause_ms;
            watch.tick();
            assert_eq!(watch.liveness.local_health(), 2);
            watch.run(5_000, |_| true);
            assert_eq!(watch.suspected, [], "after {pause_ms} ms");
            // Who does not answer is found all the same.
            watch.run(5_000, |peer| peer != "c");
            assert_eq!(watch.suspected.len(), 1);
        }
    }

    /// Tests rule D1: the silence of those that went during the pause is borne for longer.
    #[test]
    fn whoever_died_during_a_pause_is_suspected_in_the_end() {
        let mut watch = Watch::of(6);
        watch.run(5_000, |_| true);
        watch.now += 5_000;
        watch.tick();
        watch.run(5_000, |peer| peer != "c");
        assert_eq!(watch.suspected, [(24_050, Inc(3))]);
    }

    /// Tests rule D1: the more ticks come late the less it trusts itself; and then more again.
    #[test]
    fn bound_health() {
        let mut watch = Watch::of(2);
        watch.run(5_000, |_| true);
        for late in 1..12 {
            watch.now += TICK_MS + TICK_LATE_MS;
            watch.tick();
            watch.now += TICK_MS + TICK_LATE_MS + 1;
            PEERS.iter().for_each(|peer| watch.hear(peer));
            watch.tick();
            assert_eq!(watch.liveness.local_health(), (HEALTH_MIN + late).min(HEALTH_MAX));
        }
        watch.now = watch.now.next_multiple_of(HEARTBEAT_MS);
        watch.run(HEALTHY_MS, |_| true);
        assert_eq!(watch.liveness.local_health(), HEALTH_MAX - 1);
        watch.run(6 * HEALTHY_MS, |_| true);
        assert_eq!(watch.liveness.local_health(), HEALTH_MIN);
        watch.run(6 * HEALTHY_MS, |_| true);
        assert_eq!(watch.liveness.local_health(), HEALTH_MIN);
        assert_eq!(watch.suspected, []);
    }

    /// Tests rule D1: two of many may have crashed; that most are silent says more of oneself.
    #[test]
    fn bound_quiet_peers() {
        for (peers, dead, after_ms) in [
            (2, &["b", "c"][..], SUSPECT_MS),
            (4, &["b", "c"], SUSPECT_MS),
            (6, &["b", "c", "d"], SUSPECT_MS),
            (4, &["b", "c", "d"], 2 * SUSPECT_MS),
            (6, &["b", "c", "d", "e"], 2 * SUSPECT_MS),
            (6, &PEERS, 2 * SUSPECT_MS),
        ] {
            let mut watch = Watch::of(peers);
            watch.run(10_000, |_| true);
            watch.run(60_000, |peer| !dead.contains(&peer));
            let expected = (2..).map(|inc| (20_000 + after_ms + TICK_MS, Inc(inc)));
            let expected: Vec<_> = expected.take(dead.len()).collect();
            assert_eq!(watch.suspected, expected, "{} of {peers}", dead.len());
        }
    }

    /// Tests rule D1: one heartbeat in five is lost, for 10,000 s, of each of six peers.
    #[test]
    fn one_heartbeat_in_five_may_be_lost() {
        let mut watch = Watch::of(6);
        let mut state = 7_u64;
        let mut chance = |below: u64| {
            // A linear congruential generator, by Knuth's numbers.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        watch.run(10_000_000, |_| chance(5) != 0);
        assert_eq!(watch.suspected, []);
        assert_eq!(watch.liveness.local_health(), HEALTH_MIN, "that is not this process");
        watch.run(PATIENCE_MAX * SUSPECT_MS + TICK_MS, |peer| peer != "d" && chance(5) != 0);
        assert_eq!(watch.suspected.len(), 1, "who is dead is found");
    }

    /// Tests rule D1: a network that was cut is no bad one once it is whole again.
    #[test]
    fn whoever_was_away_is_borne_with_as_little_as_before() {
        let mut watch = Watch::of(1);
        watch.run(20_000, |_| false);
        watch.run(1_000, |_| true);
        assert_eq!(watch.liveness.peers[&"b".into()].patience, 1);
    }

    /// Tests rule D1: once its heartbeats are regular, a peer is borne with as little as before.
    #[test]
    fn bound_patience() {
        let mut watch = Watch::of(1);
        for _ in 0..9 {
            watch.run(HEARTBEAT_MS, |_| false);
            watch.run(HEARTBEAT_MS, |_| true);
        }
        assert_eq!(watch.suspected, []);
        assert_eq!(watch.liveness.peers[&"b".into()].patience, PATIENCE_MAX);
        watch.run((PATIENCE_MAX - 1) * STEADY_MS, |_| true);
        assert_eq!(watch.liveness.peers[&"b".into()].patience, 1);
        watch.run(STEADY_MS, |_| true);
        assert_eq!(watch.liveness.peers[&"b".into()].patience, 1);
    }

    /// Tests rule D1: another process of the same member takes the place of the one before.
    #[test]
    fn a_successor_makes_its_predecessor_suspected() {
        let mut liveness = Liveness::new(Inc(1));
        liveness.handle_up(&"b".into(), Inc(2), Time(0));
        drain(&mut liveness);
        liveness.handle_up(&"b".into(), Inc(3), Time(10));
        let events = drain(&mut liveness);
        assert_eq!(events[0], LivenessEvent::Suspected("b".into(), Inc(2)));
        assert_eq!(events[1], LivenessEvent::Reachable("b".into(), Inc(3)));
        liveness.handle_down(&"b".into());
        liveness.handle_down(&"b".into());
        assert_eq!(drain(&mut liveness), [LivenessEvent::Suspected("b".into(), Inc(3))]);
        liveness.handle_heartbeat(&"b".into(), Heartbeat { sent: Time(20), echo: None }, Time(20));
        assert_eq!(drain(&mut liveness), [], "no connection, no heartbeat");
    }

    /// Tests rule H3: numbers that no clock shows say nothing, and break nothing.
    #[test]
    fn absurd_heartbeats_measure_nothing() {
        let numbers = [0, 1, 9_000, 1 << 48, i64::MAX as u64, 1 << 63, u64::MAX];
        for sent in numbers {
            for mine in numbers {
                for held_ms in numbers {
                    let mut liveness = Liveness::new(Inc(9));
                    liveness.handle_up(&"b".into(), Inc(2), Time(9_000));
                    let beat = Heartbeat { sent: Time(sent), echo: Some((Time(mine), held_ms)) };
                    liveness.handle_heartbeat(&"b".into(), beat, Time(9_000));
                    liveness.handle_tick(Time(9_000));
                    let measured: Vec<i64> = liveness.offsets().map(|(_, ms)| ms).collect();
                    assert!(measured.iter().all(|ms| ms.unsigned_abs() <= 1 << 60));
                }
            }
        }
    }

    /// Tests rule H3: an old measurement does not count for ever.
    #[test]
    fn bound_offset_age() {
        let mut liveness = Liveness::new(Inc(2));
        liveness.handle_up(&"p".into(), Inc(1), Time(9_000));
        let beat =
            Heartbeat { sent: Time(9_000 + OFFSET_MS_MAX + 1), echo: Some((Time(9_000), 0)) };
        liveness.handle_heartbeat(&"p".into(), beat, Time(9_000));
        liveness.handle_tick(Time(9_000 + OFFSET_AGE_MS_MAX));
        assert!(liveness.has_clock_fault());
        liveness.handle_tick(Time(9_001 + OFFSET_AGE_MS_MAX));
        assert!(!liveness.has_clock_fault());
    }

    /// Tests rule H3: with one peer the later start yields.
    #[test]
    fn of_two_clocks_the_later_start_is_at_fault() {
        for (me, peer, fault) in [(1, 2, false), (2, 1, true)] {
            let mut liveness = Liveness::new(Inc(me));
            liveness.handle_up(&"p".into(), Inc(peer), Time(9_000));
            let beat = Heartbeat { sent: Time(9_500), echo: Some((Time(9_000), 0)) };
            liveness.handle_heartbeat(&"p".into(), beat, Time(9_000));
            liveness.handle_tick(Time(9_000));
            assert_eq!(liveness.has_clock_fault(), fault);
        }
    }
}
