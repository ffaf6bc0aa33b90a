//! Laws of deltas: a small one does the work of a whole state, or none at all.

use proptest::prelude::*;
use session::{Gap, Hlc, Inc, Session, Version};

use crate::history::{History, KEY, change_of, config, core, steps};

/// For each entry of a version: left out, lowered by up to three stamps' worth, or as it is.
fn cuts() -> impl Strategy<Value = Vec<Option<u64>>> {
    prop::collection::vec(prop::option::weighted(0.8, 0_u64..4), 4)
}

/// Any version that `session` covers, also one that no copy ever had.
fn covered(session: &Session, cuts: &[Option<u64>]) -> Version {
    let entries = session.version.iter().zip(cuts);
    let lowered = |(inc, hlc): (Inc, Hlc), by: u64| match by {
        0 | 1 => (inc, hlc),
        2 => (inc, Hlc(hlc.0 - 1)),
        _ => (inc, Hlc::at(hlc.time().minus(1))),
    };
    entries.filter_map(|(entry, cut)| cut.map(|by| lowered(entry, by))).collect()
}

fn join(a: &Session, b: &Session) -> Session {
    let mut both = a.clone();
    both.join(b).expect("one session");
    both
}

proptest! {
    #![proptest_config(config())]

    /// Tests rules R2 and R3: against any version that the receiver covers.
    #[test]
    fn a_delta_does_the_work_of_the_whole_state(
        steps in steps(),
        numbers: (usize, usize),
        cuts in cuts(),
    ) {
        let history = History::of(&steps);
        let (receiver, sender) = (history.state(numbers.0), history.state(numbers.1));
        let lo = covered(receiver, &cuts);
        prop_assert!(receiver.version.covers_all(&lo));
        let change = change_of(sender.extract(KEY, &lo));
        prop_assert!(change.is_well_formed());
        let mut merged = receiver.clone();
        prop_assert_eq!(merged.merge(&change), Ok(()));
        prop_assert_eq!(merged, join(receiver, sender));
    }

    /// Tests rule R2: an attribute is not sent to who has all of it.
    #[test]
    fn a_delta_to_a_copy_that_lacks_nothing_is_empty(
        steps in steps(),
        numbers: (usize, usize),
    ) {
        let history = History::of(&steps);
        let (receiver, sender) = (history.state(numbers.0), history.state(numbers.1));
        let both = join(receiver, sender);
        let change = change_of(sender.extract(KEY, &both.version));
        prop_assert!(change.attributes.is_empty() && change.core.is_none());
        let change = change_of(both.extract(KEY, &sender.version));
        for (name, attribute) in &change.attributes {
            prop_assert_ne!(sender.attributes.get(name), Some(attribute));
        }
    }

    /// Tests rules R3 and R5: a delta takes effect as a whole, or not at all.
    #[test]
    fn each_delta_is_merged_as_the_state_it_stands_for_or_changes_nothing(steps in steps()) {
        for delivery in &History::of(&steps).deliveries {
            prop_assert!(delivery.change.is_well_formed());
            let builds_on_this = delivery.before.version.covers_all(&delivery.change.lo);
            if builds_on_this {
                prop_assert_eq!(delivery.result, Ok(()));
                let latest = delivery.before.last_access.max(delivery.change.last_access);
                prop_assert_eq!(delivery.after.last_access, latest);
                prop_assert_eq!(&delivery.after, &join(&delivery.before, &delivery.whole));
            } else {
                prop_assert_eq!(delivery.result, Err(Gap));
                prop_assert_eq!(&delivery.after, &delivery.before);
                prop_assert!(!delivery.is_answer, "an answer builds on what the asker had");
            }
        }
    }

    /// Tests rule R3: without it a version hides what is missing, and rule R4 fails.
    #[test]
    fn covering_is_asked_entry_by_entry(
        steps in steps(),
        numbers: (usize, usize),
    ) {
        let history = History::of(&steps);
        let (a, b) = (&history.state(numbers.0).version, &history.state(numbers.1).version);
        let by_entry = b.iter().all(|(inc, hlc)| a.get(inc).is_some_and(|held| held >= hlc));
        prop_assert_eq!(a.covers_all(b), by_entry);
        prop_assert_eq!(a.missing_from(b).is_empty(), by_entry);
        let mut both = a.clone();
        both.join(b);
        prop_assert!(both.covers_all(a) && both.covers_all(b));
        for (inc, hlc) in both.iter() {
            prop_assert!(a.get(inc) == Some(hlc) || b.get(inc) == Some(hlc), "and no more");
        }
    }
}

/// A touch is the one change outside the version: it moves the last access on and nothing else.
#[test]
fn a_touch_is_merged_and_never_goes_back() {
    let mut session = Session::new(core(1));
    let before = session.clone();
    let later = before.last_access.plus(60_000);
    for (now, expected) in [(later, later), (later.minus(1), later)] {
        let touch = change_of(before.touch(KEY, now));
        assert!(touch.is_well_formed());
        assert_eq!(session.merge(&touch), Ok(()));
        assert_eq!(session, Session { last_access: expected, ..before.clone() });
    }
}
