//! Large clusters, in which most are distant: who is asked, who answers, who is suspected.

use super::*;

/// A process of a large cluster at 20 s: `b` is a neighbour, `d` is distant.
fn in_a_large_cluster() -> Liveness {
    let mut liveness = Liveness::new(Inc(1));
    liveness.handle_neighbours(Some(["b".into()].into()), Time(0));
    liveness.handle_up(&"b".into(), Inc(2), Time(0));
    liveness.handle_up(&"d".into(), Inc(4), Time(0));
    // Both answer what they were told first.
    for name in ["b", "d"] {
        let beat = Heartbeat { sent: Time(10), echo: Some((Time(0), 0)) };
        liveness.handle_heartbeat(&name.into(), beat, Time(10));
    }
    drain(&mut liveness);
    // Nothing goes to a distant peer of whom nothing is expected.
    assert_eq!(run(&mut liveness, 50..20_000), []);
    liveness
}

/// Ticks until then; the neighbour goes on all the while. What happened with `d`, and when.
fn run(liveness: &mut Liveness, ms: std::ops::Range<u64>) -> Vec<(u64, &'static str)> {
    let mut happened = Vec::new();
    for ms in ms.step_by(TICK_MS as usize) {
        if ms.is_multiple_of(HEARTBEAT_MS) {
            let beat = Heartbeat { sent: Time(ms), echo: None };
            liveness.handle_heartbeat(&"b".into(), beat, Time(ms));
        }
        liveness.handle_tick(Time(ms));
        happened.extend(of_the_distant(liveness).into_iter().map(|what| (ms, what)));
    }
    happened
}

fn of_the_distant(liveness: &mut Liveness) -> Vec<&'static str> {
    let d: MemberName = "d".into();
    let words = drain(liveness).into_iter().filter_map(|event| match event {
        LivenessEvent::Send(name, beat) if name == d => {
            Some(if beat.echo.is_none() { "asked" } else { "answered" })
        }
        LivenessEvent::Suspected(name, Inc(4)) if name == d => Some("suspected"),
        LivenessEvent::Reachable(name, Inc(4)) if name == d => Some("reachable"),
        LivenessEvent::Send(..)
        | LivenessEvent::Suspected(..)
        | LivenessEvent::Reachable(..)
        | LivenessEvent::ClockFault(_) => None,
    });
    words.collect()
}

/// Tests rule D1.
#[test]
fn nothing_goes_to_a_distant_peer_of_whom_nothing_is_expected() {
    let mut liveness = in_a_large_cluster();
    assert_eq!(run(&mut liveness, 20_000..60_000), []);
    assert_eq!(liveness.answering().collect::<Vec<_>>(), [Inc(2), Inc(4)]);
    assert!(liveness.is_near(&"b".into()) && !liveness.is_near(&"d".into()));
}

/// Tests rule D1: who was sent something and says nothing is asked, and suspected as early as a
/// neighbour; and asked on, so that it is known when it is back.
#[test]
fn a_distant_peer_that_owes_an_answer_is_asked_and_suspected() {
    let mut liveness = in_a_large_cluster();
    liveness.handle_asked(&"d".into(), Time(20_000));
    liveness.handle_asked(&"d".into(), Time(20_300));
    let asked = (20_500..=22_000).step_by(HEARTBEAT_MS as usize).map(|ms| (ms, "asked"));
    let mut expected: Vec<_> = asked.collect();
    expected.extend([(22_050, "suspected"), (22_500, "asked"), (23_000, "asked")]);
    assert_eq!(run(&mut liveness, 20_000..23_050), expected);
    let long = |ms| liveness.suspected_for(ms, Time(23_050)).count();
    assert_eq!((long(1_000), long(1_001)), (1, 0), "its link may have to be made anew");
    let answer = Heartbeat { sent: Time(23_060), echo: Some((Time(23_000), 10)) };
    liveness.handle_heartbeat(&"d".into(), answer, Time(23_060));
    assert_eq!(of_the_distant(&mut liveness), ["reachable"], "an answer is not answered");
    assert_eq!(run(&mut liveness, 23_100..60_000), []);
}

/// Tests rule D1: whatever it sends shows that it is there, which of a neighbour it does not.
#[test]
fn whatever_comes_from_a_distant_peer_is_a_sign_of_life() {
    let mut liveness = in_a_large_cluster();
    for ms in (20_000..30_000).step_by(400) {
        liveness.handle_asked(&"d".into(), Time(ms));
        assert_eq!(run(&mut liveness, ms..ms + 400), []);
        liveness.handle_received(&"d".into(), Time(ms + 390));
    }
    run(&mut liveness, 30_000..40_000);
    liveness.handle_asked(&"d".into(), Time(40_000));
    run(&mut liveness, 40_000..43_000);
    liveness.handle_received(&"d".into(), Time(43_000));
    assert_eq!(of_the_distant(&mut liveness), ["reachable"]);
    for ms in (43_000..50_000).step_by(50) {
        liveness.handle_received(&"b".into(), Time(ms));
        liveness.handle_tick(Time(ms));
    }
    assert!(!liveness.answering().any(|inc| inc == Inc(2)), "a neighbour owes heartbeats");
}

/// Tests rule D1: a question is answered at once, and nothing else is, so that no two go on for ever.
#[test]
fn a_question_of_a_distant_peer_is_answered() {
    let mut liveness = in_a_large_cluster();
    for (echo, words) in [(None, &["answered"][..]), (Some((Time(0), 5)), &[])] {
        let beat = Heartbeat { sent: Time(20_000), echo };
        liveness.handle_heartbeat(&"d".into(), beat, Time(20_000));
        assert_eq!(of_the_distant(&mut liveness), words);
    }
}

/// Tests rule D1: a neighbour by a later view than its own, to which this process is distant, has to
/// be asked.
#[test]
fn a_neighbour_that_is_late_is_asked() {
    let mut liveness = in_a_large_cluster();
    let mut asked = Vec::new();
    for ms in (20_000..=22_000).step_by(TICK_MS as usize) {
        liveness.handle_tick(Time(ms));
        let is_question = |event: &LivenessEvent| matches!(event, LivenessEvent::Send(name, beat) if *name == "b".into() && beat.echo.is_none());
        asked.extend(drain(&mut liveness).iter().filter(|event| is_question(event)).map(|_| ms));
    }
    assert_eq!(asked, [20_550, 21_050, 21_550], "it was heard at 19,500");
}

/// Tests rule D5: the leader asks whom others suspect, and knows after as long as they did.
#[test]
fn whom_others_doubt_is_asked_at_once() {
    let mut liveness = in_a_large_cluster();
    run(&mut liveness, 20_000..20_050);
    liveness.ask(&[Inc(2), Inc(4), Inc(9)].into(), Time(20_010));
    let words = run(&mut liveness, 20_050..22_100);
    assert_eq!(words[0], (20_050, "asked"));
    assert_eq!(words.last(), Some(&(22_050, "suspected")));
    assert_eq!(words.len(), 6);
    assert!(!liveness.is_waiting_for(Inc(4)), "it is known now");
}

/// Tests rule D5: who is well and yet doubted by somebody for long is not asked without end.
#[test]
fn whoever_is_doubted_again_and_again_is_asked_as_often_as_a_neighbour() {
    let mut liveness = in_a_large_cluster();
    let mut asked = Vec::new();
    for ms in (20_000..22_000).step_by(TICK_MS as usize) {
        liveness.ask(&[Inc(4)].into(), Time(ms));
        let words = run(&mut liveness, ms..ms + 1);
        if words.iter().any(|(_, word)| *word == "asked") {
            assert!(liveness.is_waiting_for(Inc(4)));
            asked.push(ms);
            let answer = Heartbeat { sent: Time(ms), echo: Some((Time(ms), 0)) };
            liveness.handle_heartbeat(&"d".into(), answer, Time(ms));
        }
        assert!(!words.iter().any(|(_, word)| *word == "suspected"));
    }
    assert_eq!(asked, [20_000, 20_500, 21_000, 21_500]);
}

/// Tests rule D1: on a line that loses heartbeats, distant peers are borne with as neighbours are.
#[test]
fn the_silence_of_the_distant_is_borne_as_that_of_most_neighbours() {
    let mut liveness = in_a_large_cluster();
    liveness.peers.get_mut(&"b".into()).unwrap().patience = 2;
    liveness.handle_asked(&"d".into(), Time(20_000));
    let suspected = run(&mut liveness, 20_000..30_000).into_iter().find(|(_, w)| *w == "suspected");
    assert_eq!(suspected, Some((20_000 + 2 * SUSPECT_MS + TICK_MS, "suspected")));
}

/// Tests rule D1: a process that was suspended asks everybody: others may have gone on without it.
#[test]
fn after_it_was_suspended_a_process_asks_everybody() {
    let mut liveness = in_a_large_cluster();
    liveness.handle_tick(Time(30_000));
    assert_eq!(of_the_distant(&mut liveness), ["asked"]);
    liveness.handle_tick(Time(30_050));
    assert_eq!(of_the_distant(&mut liveness), [] as [&str; 0], "but does not suspect them at once");
}

/// Tests rule D1: who is suspected stays so when the view moves it, and is asked on.
#[test]
fn a_view_makes_neighbours_distant_and_the_other_way_round() {
    let mut liveness = in_a_large_cluster();
    for ms in (20_000..24_000).step_by(TICK_MS as usize) {
        liveness.handle_tick(Time(ms));
    }
    drain(&mut liveness);
    assert!(!liveness.answering().any(|inc| inc == Inc(2)));
    liveness.handle_neighbours(Some(["d".into()].into()), Time(24_000));
    liveness.handle_tick(Time(24_000));
    let sent: Vec<_> = drain(&mut liveness);
    let to_b = LivenessEvent::Send("b".into(), Heartbeat { sent: Time(24_000), echo: None });
    assert!(sent.contains(&to_b), "{sent:?}");
    // The new neighbour has as much time as any.
    let suspected = (24_000..27_000).step_by(TICK_MS as usize).find(|ms| {
        liveness.handle_tick(Time(*ms));
        of_the_distant(&mut liveness).contains(&"suspected")
    });
    assert_eq!(suspected, Some(24_000 + SUSPECT_MS + TICK_MS));
    liveness.handle_neighbours(None, Time(27_000));
    assert!(liveness.is_near(&"b".into()));
}
