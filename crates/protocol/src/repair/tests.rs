//! Comparisons of copies: when they begin, what they ask, what they may cost.

use super::*;
use crate::fixtures::{NOW, key};

const PEER: Inc = Inc(2);
const INTERVAL_MS: u64 = 10_000;

fn slots(count: u16) -> Vec<Slot> {
    (0..count).filter_map(Slot::new).collect()
}

/// A comparison that has just started, and its number.
fn started() -> (Repair, u64) {
    let mut repair = Repair::new(INTERVAL_MS, 1);
    repair.hasten(PEER, NOW);
    let due = repair.handle_tick(NOW);
    let [(PEER, Due::Start(round))] = due[..] else {
        panic!("{due:?}");
    };
    (repair, round)
}

fn steps(repair: &mut Repair) -> Vec<Step> {
    steps_at(repair, NOW)
}

fn steps_at(repair: &mut Repair, now: Time) -> Vec<Step> {
    std::iter::from_fn(|| repair.next_step(PEER, now)).map(|(_, step)| step).collect()
}

/// Tests rule P3: what is listed as different is asked for, and then it is complete.
#[test]
fn a_comparison_ends_when_everything_listed_has_arrived() {
    let (mut repair, number) = started();
    assert!(steps(&mut repair).is_empty(), "nobody has said what differs");
    repair.round_mut(PEER, number).expect("it runs").differing(slots(1), NOW);
    let slot = key(0, 0).slot();
    assert_eq!(steps(&mut repair), [Step::Compare(slot, None)]);
    let round = repair.round_mut(PEER, number).expect("it runs");
    assert!(round.awaits(slot, None) && !round.awaits(slot, Some(key(0, 1))));
    round.listed(slot, None, [key(0, 1)], Some(key(0, 1)), NOW);
    let expected = [Step::Need(1, vec![key(0, 1)]), Step::Compare(slot, Some(key(0, 1)))];
    assert_eq!(steps(&mut repair), expected);
    let round = repair.round_mut(PEER, number).expect("it runs");
    round.listed(slot, Some(key(0, 1)), [], None, NOW);
    assert!(steps(&mut repair).is_empty(), "a session is still awaited");
    assert!(repair.round_needing(PEER, 7).is_none());
    let round = repair.round_needing(PEER, 1).expect("it is awaited");
    assert!(round.supplied(1, Vec::new(), NOW));
    assert_eq!(steps(&mut repair), [Step::Complete(u64::MAX)]);
    assert!(repair.round_mut(PEER, number).is_none());
}

/// Tests rule P3: nothing differs, nothing is asked for.
#[test]
fn equal_sides_are_done_at_once() {
    let (mut repair, number) = started();
    repair.round_mut(PEER, number).expect("it runs").differing(Vec::new(), NOW);
    assert_eq!(steps(&mut repair), [Step::Complete(u64::MAX)]);
}

/// Tests rule B4: the side that asks decides how fast it goes.
#[test]
fn bound_need_keys_max_and_needs_in_flight_max() {
    let (mut repair, number) = started();
    let round = repair.round_mut(PEER, number).expect("it runs");
    round.differing(slots(1), NOW);
    steps(&mut repair);
    let wanted = (0..1_000).map(|number| key(0, number));
    let round = repair.round_mut(PEER, number).expect("it runs");
    round.listed(key(0, 0).slot(), None, wanted, None, NOW);
    let needs: Vec<usize> = steps(&mut repair)
        .iter()
        .map(|step| if let Step::Need(_, keys) = step { keys.len() } else { 0 })
        .collect();
    assert_eq!(needs, [NEED_KEYS_MAX; NEEDS_IN_FLIGHT_MAX]);
    let round = repair.round_needing(PEER, 1).expect("it is awaited");
    round.supplied(1, Vec::new(), NOW);
    assert_eq!(steps(&mut repair).len(), 1, "one answer, one more question");
}

/// Tests rule B4: lists wait while much is known to differ.
#[test]
fn bound_list_keys_max_and_lists_in_flight_max() {
    let (mut repair, number) = started();
    let all = u16::try_from(2 * LISTS_IN_FLIGHT_MAX).expect("few");
    repair.round_mut(PEER, number).expect("it runs").differing(slots(all), NOW);
    assert_eq!(steps(&mut repair).len(), LISTS_IN_FLIGHT_MAX);
    let much = 2 * u32::try_from(LIST_KEYS_MAX).expect("few");
    let round = repair.round_mut(PEER, number).expect("it runs");
    round.listed(key(0, 0).slot(), None, (0..much).map(|n| key(0, n)), None, NOW);
    let compares = steps(&mut repair);
    assert!(compares.iter().all(|step| matches!(step, Step::Need(..))), "{compares:?}");
}

/// Tests rule B4: what the peer has not to spare now is asked for with the next tick.
#[test]
fn what_is_deferred_is_asked_for_again_and_no_more_than_that() {
    let (mut repair, number) = started();
    repair.round_mut(PEER, number).expect("it runs").differing(slots(1), NOW);
    steps(&mut repair);
    let round = repair.round_mut(PEER, number).expect("it runs");
    round.listed(key(0, 0).slot(), None, [key(0, 1), key(0, 2)], None, NOW);
    steps(&mut repair);
    let round = repair.round_needing(PEER, 1).expect("it is awaited");
    round.supplied(1, vec![key(0, 2), key(9, 9)], NOW);
    assert!(steps(&mut repair).is_empty(), "not at once");
    repair.handle_tick(NOW.plus(50));
    assert_eq!(steps(&mut repair), [Step::Need(2, vec![key(0, 2)])]);
}

/// Tests rule P3: a lost question is repeated.
#[test]
fn bound_round_repeat_ms() {
    let (mut repair, number) = started();
    assert!(repair.handle_tick(NOW.plus(ROUND_REPEAT_MS - 1)).is_empty());
    let root = [(PEER, Due::Repeat(number, Step::Root))];
    assert_eq!(repair.handle_tick(NOW.plus(ROUND_REPEAT_MS)), root);
    assert!(repair.handle_tick(NOW.plus(2 * ROUND_REPEAT_MS - 1)).is_empty());
    assert_eq!(repair.handle_tick(NOW.plus(2 * ROUND_REPEAT_MS)), root);
}

/// Tests rule P3: each question by itself, however many others are answered meanwhile.
#[test]
fn a_lost_question_is_repeated_while_others_are_answered() {
    let (mut repair, number) = started();
    let all = u16::try_from(4 * LISTS_IN_FLIGHT_MAX).expect("few");
    repair.round_mut(PEER, number).expect("it runs").differing(slots(all), NOW);
    let mut open = steps(&mut repair);
    let lost = open.remove(1);
    let mut repeated = Vec::new();
    for ms in (50..=ROUND_REPEAT_MS).step_by(50) {
        let now = NOW.plus(ms);
        let Step::Compare(slot, after) = open.remove(0) else { panic!("a list") };
        let round = repair.round_mut(PEER, number).expect("it runs");
        round.listed(slot, after, [], None, now);
        open.extend(steps_at(&mut repair, now));
        repeated.extend(repair.handle_tick(now));
    }
    assert_eq!(repeated, [(PEER, Due::Repeat(number, lost))]);
}

/// Tests rule P3: sessions asked for as well, though all that is answered is lists.
#[test]
fn a_lost_need_is_repeated_while_lists_are_answered() {
    let (mut repair, number) = started();
    let all = u16::try_from(4 * LISTS_IN_FLIGHT_MAX).expect("few");
    repair.round_mut(PEER, number).expect("it runs").differing(slots(all), NOW);
    let mut open = steps(&mut repair);
    let round = repair.round_mut(PEER, number).expect("it runs");
    round.listed(slots(1)[0], None, [key(0, 1)], None, NOW);
    let mut later = steps(&mut repair);
    let lost = later.remove(0);
    assert_eq!(lost, Step::Need(1, vec![key(0, 1)]));
    open.remove(0);
    open.extend(later);
    let mut repeated = Vec::new();
    for ms in (5..=ROUND_REPEAT_MS).step_by(5) {
        let (now, asked) = (NOW.plus(ms), open.remove(0));
        let Step::Compare(slot, after) = asked else { panic!("a list") };
        let round = repair.round_mut(PEER, number).expect("it runs");
        round.listed(slot, after, [], None, now);
        open.extend(steps_at(&mut repair, now));
        repeated.extend(repair.handle_tick(now));
    }
    assert_eq!(repeated, [(PEER, Due::Repeat(number, lost))]);
}

/// Tests rule P3: on a slow line what is on its way is not asked for twice.
#[test]
fn an_answer_that_others_are_before_is_waited_for() {
    let (mut repair, number) = started();
    let all = u16::try_from(LISTS_IN_FLIGHT_MAX).expect("few");
    repair.round_mut(PEER, number).expect("it runs").differing(slots(all), NOW);
    for (index, step) in (1..).zip(steps(&mut repair)) {
        let now = NOW.plus(index * (ROUND_REPEAT_MS - 1));
        assert_eq!(repair.handle_tick(now), [], "{index} of {LISTS_IN_FLIGHT_MAX}");
        let Step::Compare(slot, after) = step else { panic!("a list") };
        let round = repair.round_mut(PEER, number).expect("it runs");
        round.listed(slot, after, [], None, now);
    }
}

/// Tests rule P3: a comparison that stands still is given up and soon started anew.
#[test]
fn bound_round_stall_ms() {
    let (mut repair, number) = started();
    repair.handle_tick(NOW.plus(ROUND_STALL_MS));
    assert!(repair.round_mut(PEER, number).is_some());
    let failed = NOW.plus(ROUND_STALL_MS + 1);
    assert_eq!(repair.handle_tick(failed), [(PEER, Due::Failed)]);
    let due = repair.handle_tick(failed.plus(INTERVAL_MS / 20));
    assert_eq!(due, [(PEER, Due::Start(number + 1))]);
    assert!(repair.round_mut(PEER, number).is_none(), "late answers are nobody's");
}

/// Tests rule P3: give or take a fifth, so that nodes do not compare in step.
#[test]
fn bound_repair_interval_ms() {
    let (mut repair, mut number) = started();
    let mut started = NOW;
    for ms in 1..300_000 {
        repair.round_mut(PEER, number).into_iter().for_each(|r| r.differing(vec![], NOW));
        steps(&mut repair);
        let now = NOW.plus(ms);
        if let [(_, Due::Start(next))] = repair.handle_tick(now)[..] {
            let waited = now.since(started);
            assert!((8_000..12_000).contains(&waited), "{waited} ms");
            (number, started) = (next, now);
        }
    }
    assert!((25..=37).contains(&number), "{number} in five minutes");
}

/// Tests rule D1: a suspected peer is not compared with.
#[test]
fn a_peer_that_is_stopped_has_no_comparison() {
    let (mut repair, number) = started();
    repair.stop(PEER);
    assert!(repair.round_mut(PEER, number).is_none() && repair.peers().is_empty());
    assert!(repair.handle_tick(NOW.plus(60_000)).is_empty());
}
