//! Which peers answer, and whose clock is off: once per process, beside its shards.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use session::{Inc, SKEW_MS_MAX, Time};

use crate::limits::{HEARTBEAT_MS, SUSPECT_MS};
use crate::view::MemberName;

/// Measured offsets older than this say nothing any more, in milliseconds.
const OFFSET_AGE_MS_MAX: u64 = 5_000;

/// An offset beyond two fifths of the tolerated skew counts against the clock (rule H3): two nodes
/// that are each that far off in opposite directions still tolerate each other.
const OFFSET_MS_MAX: u64 = SKEW_MS_MAX * 2 / 5;

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
    /// It is suspected: its connection is down, or it has been silent for two seconds.
    Suspected(MemberName, Inc),
    /// This node's own clock is off (true) or fits the others' again (false).
    ClockFault(bool),
}

#[derive(Debug)]
struct Peer {
    inc: Inc,
    heard: Time,
    suspected: bool,
    /// Its last heartbeat: its clock, and ours when it arrived.
    last: Option<(Time, Time)>,
    /// By how much its clock is ahead, in milliseconds, and when that was measured.
    offset: Option<(i64, Time)>,
}

/// Heartbeats with the members whose connection stands.
// Rules H3, D1.
#[derive(Debug)]
pub struct Liveness {
    inc: Inc,
    peers: BTreeMap<MemberName, Peer>,
    next_beat: Time,
    fault: bool,
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
            events: VecDeque::new(),
        }
    }

    /// A connection with a member stands, and its process introduced itself.
    pub fn handle_up(&mut self, name: &MemberName, inc: Inc, now: Time) {
        let peer = Peer { inc, heard: now, suspected: false, last: None, offset: None };
        if let Some(old) = self.peers.insert(name.clone(), peer)
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
        peer.heard = now;
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
        for (name, peer) in &mut self.peers {
            if !peer.suspected && now.since(peer.heard) > SUSPECT_MS {
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
