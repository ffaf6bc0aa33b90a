//! Laws of `State::join`: sessions, tombstones and sessions that are not the same form one lattice.

use proptest::prelude::*;
use session::{EndReason, Session, State, Time, Tombstone};

use crate::history::{History, Step, config, core, steps};

/// Chooses a state: one of the session's, one of another session under the same key, an end.
#[derive(Clone, Debug)]
enum Pick {
    Ours(usize),
    Theirs(usize),
    Ended(Tombstone),
}

fn pick() -> impl Strategy<Value = Pick> {
    let reason = prop::sample::select(vec![
        EndReason::Conflict,
        EndReason::Logout,
        EndReason::Forced,
        EndReason::Expired,
    ]);
    // Around the deadline of the sessions, so that either side's is the later.
    let deadline = (0_u64..4).prop_map(|ms| core(0).hard_deadline.plus(ms));
    prop_oneof![
        6 => any::<usize>().prop_map(Pick::Ours),
        2 => any::<usize>().prop_map(Pick::Theirs),
        1 => (deadline, reason)
            .prop_map(|(deadline, reason)| Pick::Ended(Tombstone { deadline, reason })),
    ]
}

/// Two histories, and three states that can be reached in them.
fn triple() -> impl Strategy<Value = (Vec<Step>, Vec<Step>, [Pick; 3])> {
    (steps(), steps(), [pick(), pick(), pick()])
}

fn states(ours: &[Step], theirs: &[Step], picks: [Pick; 3]) -> [State; 3] {
    let ours = History::of(ours);
    let theirs = History::under(&core(2), theirs);
    picks.map(|pick| match pick {
        Pick::Ours(number) => alive(ours.state(number)),
        Pick::Theirs(number) => alive(theirs.state(number)),
        Pick::Ended(end) => State::Ended(end),
    })
}

fn alive(session: &Session) -> State {
    State::Alive(Box::new(session.clone()))
}

fn join(a: &State, b: &State) -> State {
    a.clone().join(b.clone())
}

proptest! {
    #![proptest_config(config())]

    /// Tests rule A2.
    #[test]
    fn copies_meet_in_one_state_whatever_the_order_number_and_grouping(
        (ours, theirs, picks) in triple()
    ) {
        let [a, b, c] = states(&ours, &theirs, picks);
        prop_assert_eq!(join(&a, &b), join(&b, &a), "commutative");
        prop_assert_eq!(join(&a, &join(&b, &c)), join(&join(&a, &b), &c), "associative");
        prop_assert_eq!(join(&a, &a), a, "idempotent");
    }

    /// An end is never undone, and never forgotten earlier.
    #[test]
    fn joining_takes_nothing_back((ours, theirs, picks) in triple()) {
        let [a, b, _] = states(&ours, &theirs, picks);
        let both = join(&a, &b);
        prop_assert_eq!(join(&a, &both), both.clone(), "above the one");
        prop_assert_eq!(join(&both, &b), both.clone(), "above the other");
        match (&a, &both) {
            (State::Alive(before), State::Alive(after)) => {
                prop_assert!(after.version.covers_all(&before.version));
                prop_assert!(after.last_access >= before.last_access);
                prop_assert_eq!(&after.core, &before.core);
            }
            (_, State::Ended(end)) => prop_assert!(end.deadline >= deadline(&a)),
            (State::Ended(_), State::Alive(_)) => prop_assert!(false, "it came back"),
        }
    }

    /// Tests rule R2: what a copy that lacks everything is sent.
    #[test]
    fn a_whole_delta_is_the_session(ours in steps(), number: usize) {
        let history = History::of(&ours);
        let session = history.state(number);
        let delta = alive(session).to_delta(crate::history::KEY);
        let change = crate::history::change_of(delta);
        prop_assert!(change.is_well_formed());
        prop_assert_eq!(change.into_session(), Some(session.clone()));
    }
}

fn deadline(state: &State) -> Time {
    match state {
        State::Alive(session) => session.core.hard_deadline,
        State::Ended(end) => end.deadline,
    }
}
