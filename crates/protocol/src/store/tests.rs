//! One shard's copies: merging, ending, forgetting, and what is counted of them.

use proptest::prelude::*;
use session::{Clock, EndReason, Inc};

use super::*;
use crate::fixtures::{NOW, key, session, store, whole, written};
use crate::limits::{LIST_KEYS_MAX, SWEEP_PER_TICK_MAX};

fn end(deadline: Time) -> Body {
    Body::End(Tombstone { deadline, reason: EndReason::Logout })
}

/// Tests rules R3 and U: what a delta builds on decides, and nothing else changes.
#[test]
fn a_delta_is_merged_only_onto_what_it_builds_on() {
    let (old, new) = (session(1, NOW), written(session(1, NOW), 1, NOW, 5));
    let newer = written(new.clone(), 2, NOW, 5);
    let (fragment, gap) =
        (new.extract(key(0, 0), &old.version), newer.extract(key(0, 0), &new.version));
    let mut store = store();
    assert_eq!(store.apply(fragment.clone(), NOW), Verdict::Need(Version::new()), "unknown");
    assert_eq!(store.apply(whole(&old, key(0, 0)), NOW), Verdict::Merged(Effect::Created));
    let before = store.root();
    assert_eq!(store.apply(gap.clone(), NOW), Verdict::Need(old.version.clone()));
    assert_eq!((store.root(), store.get(key(0, 0))), (before, Some(&State::Alive(old.into()))));
    assert_eq!(store.apply(fragment.clone(), NOW), Verdict::Merged(Effect::Updated));
    assert_eq!(store.apply(fragment, NOW), Verdict::Merged(Effect::None), "again");
    assert_eq!(store.apply(gap, NOW), Verdict::Merged(Effect::Updated));
    assert_eq!(store.session(key(0, 0)), Some(&newer));
}

/// Tests rules T2 and H4.
#[test]
fn what_is_over_or_yet_to_come_is_not_merged() {
    let mut store = store();
    let old = session(1, NOW);
    let deadline = old.core.hard_deadline;
    assert_eq!(store.apply(whole(&old, key(0, 0)), deadline.plus(1)), Verdict::Dead);
    let idle = old.purge_after().plus(1);
    assert_eq!(store.apply(whole(&old, key(0, 0)), idle), Verdict::Dead, "idle for too long");
    let over = Delta { key: key(0, 0), body: end(NOW) };
    assert_eq!(store.apply(over.clone(), NOW.plus(1)), Verdict::Dead);
    let early = whole(&session(1, NOW.plus(SKEW_MS_MAX + 1)), key(0, 0));
    assert_eq!(store.apply(early, NOW), Verdict::Skew);
    assert_eq!(store.iter().count(), 0);
    assert_eq!(store.apply(over, NOW), Verdict::Merged(Effect::Ended));
}

/// Tests rule D4: nothing alive takes the place of an end.
#[test]
fn an_end_stands() {
    let mut store = store();
    let living = session(1, NOW);
    store.apply(whole(&living, key(0, 0)), NOW);
    let tombstone = living.end(EndReason::Logout);
    let ending = Delta { key: key(0, 0), body: Body::End(tombstone) };
    assert_eq!(store.apply(ending.clone(), NOW), Verdict::Merged(Effect::Ended));
    assert_eq!(store.apply(ending, NOW), Verdict::Merged(Effect::None), "again");
    let write = whole(&written(living, 2, NOW, 5), key(0, 0));
    assert_eq!(store.apply(write, NOW), Verdict::Ended(tombstone));
    assert_eq!((store.sessions(), store.tombstones()), (0, 1));
}

/// Tests rule T3: and not a millisecond shorter.
#[test]
fn a_tombstone_outlives_its_session_by_twice_the_skew() {
    let mut store = store();
    store.apply(Delta { key: key(0, 0), body: end(NOW.plus(100)) }, NOW);
    let last = NOW.plus(100 + 2 * SKEW_MS_MAX);
    assert_eq!(store.sweep(last, 10), Swept::default());
    assert_eq!(store.sweep(last.plus(1), 10).tombstones, 1);
    assert_eq!((store.bytes(), store.root()), (0, Digest::default()));
}

/// Tests rule E2: what was used meanwhile stays.
#[test]
fn a_sweep_goes_by_the_last_access() {
    let mut store = store();
    let living = session(1, NOW);
    store.apply(whole(&living, key(0, 0)), NOW);
    store.apply(whole(&living, key(0, 1)), NOW);
    store.apply(living.touch(key(0, 1), NOW.plus(60_000)), NOW.plus(60_000));
    let idle = living.purge_after();
    assert_eq!(store.sweep(idle, 10), Swept::default());
    assert_eq!(store.sweep(idle.plus(1), 10).expired, [key(0, 0)]);
    assert_eq!(store.sweep(idle.plus(60_000), 10), Swept::default());
    assert_eq!(store.sweep(idle.plus(60_001), 10).expired, [key(0, 1)]);
}

/// Tests rule E2: one tick does a bounded amount of it, the following ones the rest.
#[test]
fn bound_sweep_per_tick_max() {
    let mut store = store();
    for number in 0..2_000 {
        store.apply(Delta { key: key(0, number), body: end(NOW) }, NOW);
    }
    let now = NOW.plus(60_000);
    let mut counts = Vec::new();
    while store.tombstones() > 0 {
        counts.push(store.sweep(now, SWEEP_PER_TICK_MAX).tombstones);
    }
    assert_eq!(counts, [512, 512, 512, 464]);
}

/// Tests rule T3: however often an end is told with a later deadline, it is kept once.
#[test]
fn what_is_due_does_not_grow_with_what_is_told_again() {
    let mut store = store();
    for ms in 0..10_000 {
        store.apply(Delta { key: key(0, 0), body: end(NOW.plus(ms)) }, NOW);
    }
    assert_eq!((store.tombstones(), store.due.len()), (1, 1));
    let last = NOW.plus(9_999 + 2 * SKEW_MS_MAX);
    assert_eq!(store.sweep(last, 10), Swept::default());
    assert_eq!(store.sweep(last.plus(1), 10).tombstones, 1);
}

/// Tests rule P3: a list comes in pages, each key once.
#[test]
fn bound_list_keys_max() {
    let mut store = store();
    let count = 2 * u32::try_from(LIST_KEYS_MAX).expect("few") + 7;
    for number in 0..count {
        store.apply(Delta { key: key(5, number), body: end(NOW) }, NOW);
    }
    let slot = key(5, 0).slot();
    let (mut keys, mut after, mut pages) = (Vec::new(), None, Vec::new());
    loop {
        let (page, more) = store.list(slot, after, LIST_KEYS_MAX);
        pages.push(page.len());
        keys.extend(page.iter().map(|(key, _)| *key));
        after = keys.last().copied();
        if !more {
            break;
        }
    }
    assert_eq!(pages, [LIST_KEYS_MAX, LIST_KEYS_MAX, 7]);
    assert!(keys.into_iter().eq((0..count).map(|number| key(5, number))));
}

#[test]
fn a_shard_holds_its_own_slots() {
    let mut store = Store::new(1_024, 1_024, 7, Rules::default());
    for (slot, held) in [(1_023, false), (1_024, true), (2_047, true), (2_048, false)] {
        assert_eq!(store.holds(key(slot, 0).slot()), held);
        let verdict = store.apply(whole(&session(1, NOW), key(slot, 0)), NOW);
        assert_eq!(verdict == Verdict::Merged(Effect::Created), held, "slot {slot}");
        assert_eq!(store.get(key(slot, 0)).is_some(), held);
    }
    let filled = |slot: &u16| !store.is_empty(key(*slot, 0).slot());
    assert_eq!((0..4_096).filter(filled).collect::<Vec<u16>>(), [1_024, 2_047]);
}

/// A copy of one session after some of the writes that three writers made to it, or its end.
fn state() -> impl Strategy<Value = State> {
    let writes = prop::collection::vec((1_u64..4, 0_u64..50, 0_usize..9), 0..5);
    let reason = prop_oneof![Just(EndReason::Logout), Just(EndReason::Expired)];
    (writes, 0_u64..9, prop::option::weighted(0.2, reason)).prop_map(|(writes, used, ended)| {
        let mut copy = session(1, NOW);
        for (inc, ms, bytes) in writes {
            let mut clock = Clock::new(Inc(inc));
            clock.observe(&copy.version);
            copy = written(copy, inc, NOW.plus(ms), bytes);
        }
        copy.last_access = NOW.plus(used);
        match ended {
            Some(reason) => State::Ended(copy.end(reason)),
            None => State::Alive(copy.into()),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Tests rules R3 and R4: taking whole states is joining them, and what is derived from
    /// the states is always what it would be if it were computed anew.
    #[test]
    fn applying_whole_states_is_joining_them(states in prop::collection::vec((0_u32..3, state()), 0..12)) {
        let mut store = store();
        let mut model: BTreeMap<SessionKey, State> = BTreeMap::new();
        for (number, state) in states {
            let key = key(number as u16, number);
            store.apply(state.to_delta(key), NOW.plus(10));
            let joined = match model.remove(&key) {
                Some(held) => held.join(state),
                None => state,
            };
            model.insert(key, joined);
            prop_assert_eq!(store.root(), store.recomputed_root());
            prop_assert_eq!(store.root(), store.root_of((0..Slot::COUNT).filter_map(Slot::new)));
        }
        let alive = model.values().filter(|state| matches!(state, State::Alive(_))).count();
        prop_assert_eq!((store.sessions(), store.tombstones()), (alive, model.len() - alive));
        prop_assert!(store.iter().eq(model.iter().map(|(key, state)| (*key, state))));
        prop_assert!(store.due.len() <= 2 * model.len());
        store.sweep(NOW.plus(4_000_000), 100);
        prop_assert_eq!((store.iter().count(), store.bytes()), (0, 0));
        prop_assert_eq!(store.root(), Digest::default());
    }
}
