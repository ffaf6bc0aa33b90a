//! Histories with planted violations: each kind is found, and what may be is not objected to.

use super::*;
use crate::history::Trouble;

const FULL: Option<(u32, u32)> = Some((1, 1));

/// Calls one after another, a millisecond each, on node 0.
fn history(calls: Vec<(Op, Outcome)>) -> History {
    let at = Duration::from_millis;
    let calls = (0..).zip(calls).map(|(index, (op, outcome))| Call {
        op,
        node: 0,
        invoked: at(index),
        answered: at(index + 1),
        outcome,
    });
    History { clients: vec![calls.collect()], ..History::default() }
}

fn found(calls: Vec<(Op, Outcome)>) -> Vec<(Kind, u64)> {
    let findings = check(&history(calls));
    findings.violations.iter().map(|found| (found.kind, found.amount)).collect()
}

fn wrote() -> Outcome {
    Outcome::Done { value: None, ack: FULL }
}

fn added(value: u64) -> Outcome {
    Outcome::Done { value: Some(value), ack: FULL }
}

fn told(value: impl Into<Option<u64>>) -> Outcome {
    Outcome::Done { value: value.into(), ack: None }
}

fn unknown() -> Outcome {
    Outcome::Unknown { why: "closed".to_owned() }
}

const LOGIN: Op = Op::Login { value: 1 };
const GET: Op = Op::Get { key: 0 };

fn set(value: u64) -> Op {
    Op::Set { key: 0, value }
}

#[test]
fn an_ordinary_visit_is_in_order() {
    let calls = vec![
        (LOGIN, wrote()),
        (GET, told(1)),
        (Op::Get { key: 1 }, told(None)),
        (set(2), wrote()),
        (GET, told(2)),
        (Op::Incr, added(1)),
        (Op::Login { value: 3 }, wrote()),
        (Op::Ghost, Outcome::NoSession),
        (GET, told(3)),
        (Op::Incr, added(2)),
        (Op::Count, told(2)),
        (Op::FinalCount, told(2)),
        (Op::FinalCount, told(2)),
        (Op::Logout, wrote()),
        (Op::Ghost, Outcome::NoSession),
        (Op::Login { value: 4 }, wrote()),
        (Op::Count, told(0)),
    ];
    assert_eq!(check(&history(calls)), Findings::default());
}

#[test]
fn a_register_that_goes_back_is_stale() {
    let go_back =
        |value: Option<u64>| found(vec![(LOGIN, wrote()), (set(2), wrote()), (GET, told(value))]);
    assert_eq!(go_back(Some(1)), [(Kind::Stale, 1)]);
    assert_eq!(go_back(None), [(Kind::Stale, 1)]);
    assert_eq!(go_back(Some(9)), [(Kind::Phantom, 1)]);
}

#[test]
fn a_counter_that_goes_back_is_stale() {
    let two = vec![(LOGIN, wrote()), (Op::Incr, added(1)), (Op::Incr, added(2))];
    let then = |op, outcome| found([two.clone(), vec![(op, outcome)]].concat());
    assert_eq!(then(Op::Count, told(1)), [(Kind::Stale, 1)]);
    assert_eq!(then(Op::Incr, added(2)), [(Kind::Stale, 1)]);
    assert_eq!(then(Op::Count, told(3)), [(Kind::Phantom, 1)]);
    assert_eq!(then(Op::Incr, added(4)), [(Kind::Phantom, 1)]);
}

#[test]
fn additions_that_are_missing_at_the_end_are_lost() {
    let mut calls = vec![(LOGIN, wrote())];
    calls.extend((1..=5).map(|value| (Op::Incr, added(value))));
    calls.extend([(Op::FinalCount, told(2)), (Op::FinalCount, told(5))]);
    assert_eq!(found(calls), [(Kind::LostIncrements, 3), (Kind::Disagreement, 1)]);
}

#[test]
fn an_unknown_addition_may_count_or_not_and_once_seen_it_stays() {
    for end in [1, 2] {
        let mut history = history(vec![
            (LOGIN, wrote()),
            (Op::Incr, added(1)),
            (Op::Incr, unknown()),
            (Op::FinalCount, told(end)),
        ]);
        let (from, until) = (Duration::ZERO, Duration::from_secs(1));
        history.downs.push(Down { node: 0, from, until });
        let findings = check(&history);
        assert_eq!((findings.violations.as_slice(), findings.failed_in_flight), (&[][..], 1));
    }
    let seen_then_gone =
        vec![(LOGIN, wrote()), (Op::Incr, unknown()), (Op::Count, told(1)), (Op::Count, told(0))];
    assert_eq!(found(seen_then_gone), [(Kind::Error, 1), (Kind::Stale, 1)]);
}

#[test]
fn an_unknown_write_may_be_read_or_not_and_once_seen_it_stays() {
    let begin = vec![(LOGIN, wrote()), (set(2), unknown())];
    let read = |values: &[u64]| {
        let reads = values.iter().map(|value| (GET, told(*value))).collect();
        found([begin.clone(), reads].concat()).split_off(1)
    };
    assert_eq!(read(&[1, 1, 2, 2]), []);
    assert_eq!(read(&[2, 1]), [(Kind::Stale, 1)]);
}

#[test]
fn a_write_that_nobody_acknowledged_may_be_lost_and_is_counted() {
    let short = Outcome::Done { value: Some(1), ack: Some((0, 1)) };
    let findings =
        check(&history(vec![(LOGIN, wrote()), (Op::Incr, short), (Op::FinalCount, told(0))]));
    assert_eq!((findings.violations.as_slice(), findings.acknowledged_short), (&[][..], 1));
}

#[test]
fn a_session_that_is_gone_without_a_logout_is_lost() {
    let lost = found(vec![(LOGIN, wrote()), (Op::Count, Outcome::NoSession)]);
    assert_eq!(lost, [(Kind::LostSession, 1)]);
}

#[test]
fn after_an_unknown_logout_or_login_nothing_is_expected_of_the_session() {
    for op in [Op::Logout, Op::Login { value: 2 }] {
        let calls = vec![(LOGIN, wrote()), (op, unknown()), (Op::Login { value: 3 }, wrote())];
        let then = vec![(Op::Count, told(0)), (GET, told(3))];
        assert_eq!(found([calls, then].concat()), [(Kind::Error, 1)]);
    }
}

#[test]
fn an_ended_session_that_is_served_is_a_resurrection() {
    let calls = vec![(LOGIN, wrote()), (Op::Logout, wrote()), (Op::Ghost, told(0))];
    assert_eq!(found(calls), [(Kind::Resurrection, 1)]);
    let calls = vec![(LOGIN, wrote()), (Op::Logout, wrote()), (Op::Incr, added(1))];
    assert_eq!(found(calls), [(Kind::Resurrection, 1)]);
}

#[test]
fn a_failure_is_an_error_unless_the_node_was_down() {
    let refused = Outcome::Refused { status: 503, why: String::new() };
    assert_eq!(found(vec![(LOGIN, wrote()), (GET, refused)]), [(Kind::Error, 1)]);
    let mut history = history(vec![(LOGIN, wrote()), (GET, unknown())]);
    let at = Duration::from_millis;
    let mut with_down = |node, from, until| {
        history.downs = vec![Down { node, from: at(from), until: at(until) }];
        check(&history).violations.len()
    };
    assert_eq!(with_down(0, 0, 10), 0);
    assert_eq!(with_down(1, 0, 10), 1);
    assert_eq!(with_down(0, 5, 10), 1);
}

fn in_trouble(calls: Vec<(Op, Outcome)>, nodes: &[usize]) -> Findings {
    let mut history = history(calls);
    let (nodes, until) = (nodes.to_vec(), Duration::from_secs(1));
    history.troubles = vec![Trouble { nodes, from: Duration::ZERO, until }];
    check(&history)
}

#[test]
fn a_node_that_reaches_not_everybody_may_refuse_and_no_other_one() {
    let refused = Outcome::Refused { status: 503, why: String::new() };
    let calls = vec![(LOGIN, wrote()), (GET, refused), (GET, told(1))];
    let findings = in_trouble(calls.clone(), &[0, 1]);
    assert_eq!((findings.violations.as_slice(), findings.refused_in_trouble), (&[][..], 1));
    assert_eq!(in_trouble(calls, &[1, 2]).amount(Kind::Error), 1);
    for outcome in [unknown(), Outcome::Refused { status: 500, why: String::new() }] {
        let calls = vec![(LOGIN, wrote()), (GET, outcome)];
        assert_eq!(in_trouble(calls, &[0]).amount(Kind::Error), 1, "trouble is no excuse");
    }
    let gone = vec![(LOGIN, wrote()), (GET, Outcome::NoSession)];
    assert_eq!(in_trouble(gone, &[0]).amount(Kind::LostSession), 1);
}

#[test]
fn a_node_beyond_a_cut_may_serve_what_has_ended_and_no_other_one() {
    let calls = vec![(LOGIN, wrote()), (Op::Logout, wrote()), (Op::Ghost, told(0))];
    let findings = in_trouble(calls.clone(), &[0]);
    assert_eq!((findings.violations.as_slice(), findings.served_beyond_cut), (&[][..], 1));
    assert_eq!(in_trouble(calls, &[1]).amount(Kind::Resurrection), 1);
}

#[test]
fn a_reader_falls_back_behind_unacknowledged_writes_only_when_their_node_may_be_gone() {
    let short = |value| Outcome::Done { value, ack: Some((0, 1)) };
    let begin = vec![(LOGIN, wrote()), (Op::Incr, added(1)), (set(2), wrote())];
    let written = vec![(Op::Incr, short(Some(2))), (set(3), short(None))];
    let seen = vec![(Op::Count, told(2)), (GET, told(3))];
    let back = vec![(Op::Count, told(1)), (GET, told(2)), (Op::Incr, added(2))];
    let stale = |findings: &Findings| {
        findings.violations.iter().filter(|found| found.kind == Kind::Stale).count()
    };
    let calls = [begin.clone(), written.clone(), seen.clone(), back.clone()].concat();
    let findings = in_trouble(calls.clone(), &[0]);
    assert_eq!((findings.violations.as_slice(), findings.short_lost), (&[][..], 2));
    assert_eq!(stale(&check(&history(calls))), 3, "nobody was gone");
    for too_far in [(Op::Count, told(0)), (GET, told(1))] {
        let calls = [begin.clone(), written.clone(), seen.clone(), vec![too_far]].concat();
        assert_eq!(stale(&in_trouble(calls, &[0])), 1);
    }
    // An acknowledgement is one of everything before it.
    let certain = vec![(Op::Incr, added(3)), (set(4), wrote())];
    let calls = [begin, written, seen, certain, back].concat();
    assert_eq!(stale(&in_trouble(calls, &[0])), 3);
}

/// A long visit without a fault: logins, writes and reads of all kinds, ends that stay ends.
fn long_visit() -> Vec<(Op, Outcome)> {
    let (mut calls, mut count, mut value) = (Vec::new(), 0, 0);
    for round in 0..100_u64 {
        value += 1;
        calls.push((Op::Login { value }, wrote()));
        calls.push((GET, told(value)));
        for _ in 0..round % 7 {
            count += 1;
            calls.push((Op::Incr, added(count)));
            value += 1;
            calls.push((set(value), wrote()));
            calls.push((GET, told(value)));
            calls.push((Op::Count, told(count)));
        }
        if round % 5 == 4 {
            calls.extend([(Op::Logout, wrote()), (Op::Ghost, Outcome::NoSession)]);
            count = 0;
        }
    }
    value += 1;
    calls.extend([(Op::Login { value }, wrote()), (Op::Incr, added(1))]);
    calls.extend([(Op::FinalCount, told(1)), (Op::FinalCount, told(1))]);
    calls
}

#[test]
fn whatever_is_planted_anywhere_in_a_long_visit_is_found() {
    assert_eq!(found(long_visit()), []);
    type Plant = (Kind, fn(&Op) -> bool, fn(&Outcome) -> Outcome);
    let plants: [Plant; 8] = [
        (Kind::Stale, |op| *op == Op::Count, less),
        (Kind::Stale, |op| *op == GET, |_| told(None)),
        (Kind::Phantom, |op| *op == GET, |_| told(u64::MAX)),
        (Kind::Phantom, |op| *op == Op::Count, |_| told(u64::MAX)),
        (Kind::LostSession, |op| *op == Op::Count, |_| Outcome::NoSession),
        (Kind::LostIncrements, |op| *op == Op::FinalCount, less),
        (Kind::Resurrection, |op| *op == Op::Ghost, |_| told(0)),
        (Kind::Error, |op| *op == GET, |_| unknown()),
    ];
    for (kind, concerns, becomes) in plants {
        let visit = long_visit();
        let places: Vec<usize> =
            (0..visit.len()).filter(|index| concerns(&visit[*index].0)).collect();
        assert!(!places.is_empty(), "{kind:?}");
        for place in places {
            let mut planted = visit.clone();
            planted[place].1 = becomes(&planted[place].1);
            if planted[place].1 == visit[place].1 {
                continue;
            }
            let found = found(planted);
            assert!(found.iter().any(|(found, _)| *found == kind), "{kind:?} {place}");
        }
    }
}

/// What a reader is told of a counter that has gone back by one.
fn less(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Done { value: Some(value @ 1..), ack } => {
            Outcome::Done { value: Some(value - 1), ack: *ack }
        }
        Outcome::Done { .. }
        | Outcome::NoSession
        | Outcome::Refused { .. }
        | Outcome::Handed { .. }
        | Outcome::Unknown { .. } => outcome.clone(),
    }
}
