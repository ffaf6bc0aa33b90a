//! Laws of copies: whatever happened to the messages, a copy is the writes that its version covers.

use proptest::prelude::*;
use session::{Session, Time};

use crate::history::{History, KEY, NAMES, change_of, config, steps};
use crate::oracle::{Oracle, Shown};

proptest! {
    #![proptest_config(config())]

    /// Counters are exact, additions survive what has not seen them, first additions at two nodes
    /// both count, removals delete what their request saw, and of two kinds the greater wins.
    ///
    /// Tests rules A1, A2 and A3.
    #[test]
    fn every_copy_is_the_join_of_the_writes_it_covers(steps in steps()) {
        let history = History::of(&steps);
        let mut oracle = Oracle::default();
        for commit in &history.commits {
            prop_assert_eq!(
                oracle.note(commit).err(),
                commit.result.as_ref().err().cloned(),
                "refused for the reason there is, or not at all"
            );
        }
        for state in &history.states {
            for text in NAMES {
                let held = state.attributes.get(&crate::history::name(text));
                let held = held.map_or((None, Shown::Absent), |a| (a.since, Shown::from(&a.content)));
                prop_assert_eq!(held, oracle.shown(text, &state.version), "{} of {:?}", text, state);
            }
        }
    }

    /// Tests rule R4: over all copies at all times, last access aside.
    #[test]
    fn copies_at_equal_versions_are_equal(steps in steps()) {
        let history = History::of(&steps);
        let mut known: Vec<Session> = Vec::new();
        for state in &history.states {
            let state = Session { last_access: Time(0), ..state.clone() };
            match known.iter().find(|other| other.version == state.version) {
                Some(other) => prop_assert_eq!(other, &state),
                None => known.push(state),
            }
        }
    }

    /// Tests rule H1: of one writer, and of all that it has seen.
    #[test]
    fn a_stamp_comes_after_everything_its_writer_has_seen(steps in steps()) {
        for commit in &History::of(&steps).commits {
            prop_assert!(commit.stamp.hlc > commit.before.version.newest());
            prop_assert!(commit.stamp.hlc > commit.at.newest());
        }
    }

    /// Tests rules R2 and R3: repair needs one delta each way, whatever was lost before.
    #[test]
    fn copies_that_answer_each_other_become_equal(steps in steps()) {
        let mut copies = History::of(&steps).copies;
        for _ in 0..2 {
            for from in 0..copies.len() {
                for to in 0..copies.len() {
                    let lacking = copies[to].version.clone();
                    let change = change_of(copies[from].extract(KEY, &lacking));
                    prop_assert_eq!(copies[to].merge(&change), Ok(()));
                }
            }
        }
        for copy in &copies {
            prop_assert_eq!(copy, &copies[0]);
        }
    }
}
