//! Heartbeats: who is suspected and when, and what their clocks say.

use super::health::{HEALTH_MAX, HEALTH_MIN, HEALTHY_MS, TICK_LATE_MS};
use super::offset::OFFSET_MS_MAX;
use super::*;

mod distant;

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
    let beat = Heartbeat { sent: Time(9_000 + OFFSET_MS_MAX + 1), echo: Some((Time(9_000), 0)) };
    liveness.handle_heartbeat(&"p".into(), beat, Time(9_000));
    liveness.handle_tick(Time(9_000 + OFFSET_AGE_MS_MAX));
    assert!(liveness.has_clock_fault());
    liveness.handle_tick(Time(9_001 + OFFSET_AGE_MS_MAX));
    assert!(!liveness.has_clock_fault());
}

/// Tests rule H3: an answer that took long to come may have spent all that time on one way, as to a
/// process under load; what that leaves open counts against nobody's clock.
#[test]
fn a_slow_exchange_proves_less() {
    for (took_ms, ahead_ms, fault) in [
        (0, 201, true),
        (400, 400, false),
        (400, 401, true),
        (1_000, 700, false),
        (1_000, 701, true),
    ] {
        let mut liveness = Liveness::new(Inc(2));
        liveness.handle_up(&"p".into(), Inc(1), Time(9_000));
        let sent = Time(9_000 + took_ms / 2 + ahead_ms);
        let now = Time(9_000 + took_ms);
        let beat = Heartbeat { sent, echo: Some((Time(9_000), 0)) };
        liveness.handle_heartbeat(&"p".into(), beat, now);
        liveness.handle_tick(now);
        assert_eq!(liveness.offsets().next().map(|(_, ms)| ms), i64::try_from(ahead_ms).ok());
        assert_eq!(liveness.has_clock_fault(), fault, "{ahead_ms} ms in {took_ms} ms");
    }
}

/// Tests rule H2: what more than half of the others say of our clock, as long as it is fresh and the
/// clock was not set meanwhile.
#[test]
fn the_others_are_ahead_by_what_more_than_half_of_them_say() {
    for (ahead, expected) in [
        (&[][..], None),
        (&[700][..], Some(700)),
        (&[0, 700], Some(0)),
        (&[0, 690, 700], Some(690)),
        (&[0, 10, 700, 800], Some(10)),
    ] {
        let mut liveness = Liveness::new(Inc(9));
        for (name, ahead) in ["a", "b", "c", "d"].into_iter().zip(ahead) {
            liveness.handle_up(&name.into(), Inc(1), Time(9_000));
            let beat = Heartbeat { sent: Time(9_000 + ahead), echo: Some((Time(9_000), 0)) };
            liveness.handle_heartbeat(&name.into(), beat, Time(9_000));
        }
        let now = Time(9_000);
        assert_eq!(liveness.median_offset_ms(now), expected, "{ahead:?}");
        assert_eq!(liveness.median_offset_ms(now.plus(OFFSET_AGE_MS_MAX + 1)), None);
        liveness.forget_offsets();
        assert_eq!(liveness.median_offset_ms(now), None);
    }
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
