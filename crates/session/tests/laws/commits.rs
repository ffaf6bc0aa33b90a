//! Laws of commits, and the promises to parallel requests one by one, in the smallest story each.

use proptest::prelude::*;
use session::{
    Change, Clock, Content, Edit, EditError, Inc, Kind, LIMITS_DEFAULT, Limits, Session, Time,
    Value, Version,
};

use crate::history::{Commit, History, KEY, change_of, config, core, name, steps};

fn restamped(commit: &Commit, limits: Limits) -> Result<Option<Change>, EditError> {
    commit
        .before
        .stamp(KEY, &commit.edits, &commit.at, commit.stamp, &limits)
        .map(|delta| delta.map(change_of))
}

/// The commits that changed something, with the session after each.
fn effective(history: &History) -> impl Iterator<Item = (&Commit, &Change, Session)> {
    history.commits.iter().filter_map(|commit| {
        let change = commit.result.as_ref().ok()?.as_ref()?;
        let mut after = commit.before.clone();
        after.merge(change).expect("it builds on this copy");
        Some((commit, change, after))
    })
}

proptest! {
    #![proptest_config(config())]

    /// Tests rules A4 and R5: its delta is what repair would send of it, whole and under one stamp.
    #[test]
    fn a_commit_is_one_delta_under_one_stamp(steps in steps()) {
        for (commit, change, after) in effective(&History::of(&steps)) {
            let mut version = commit.before.version.clone();
            version.insert(commit.stamp);
            prop_assert_eq!(&after.version, &version);
            prop_assert_eq!(&change_of(after.extract(KEY, &commit.before.version)), change);
            prop_assert!(change.is_well_formed());
        }
    }

    #[test]
    fn the_size_limit_is_exact(steps in steps()) {
        for (commit, change, after) in effective(&History::of(&steps)) {
            let bytes = after.size_bytes();
            let at_most = |session_bytes_max| Limits { session_bytes_max, ..LIMITS_DEFAULT };
            prop_assert_eq!(restamped(commit, at_most(bytes)), Ok(Some(change.clone())));
            let refused = EditError::TooLarge { bytes: bytes as u64, max: bytes as u64 - 1 };
            let expected = if attribute_bytes(&after) > attribute_bytes(&commit.before) {
                Err(refused)
            } else {
                Ok(Some(change.clone()))
            };
            prop_assert_eq!(restamped(commit, at_most(bytes - 1)), expected);
        }
    }

    #[test]
    fn the_limit_of_names_is_exact(steps in steps()) {
        for (commit, change, after) in effective(&History::of(&steps)) {
            let names = after.attributes.len();
            let at_most = |attributes_max| Limits { attributes_max, ..LIMITS_DEFAULT };
            prop_assert_eq!(restamped(commit, at_most(names)), Ok(Some(change.clone())));
            let expected = if names > commit.before.attributes.len() {
                Err(EditError::TooManyAttributes { max: names as u64 - 1 })
            } else {
                Ok(Some(change.clone()))
            };
            prop_assert_eq!(restamped(commit, at_most(names - 1)), expected);
        }
    }
}

/// Bytes of a session that its attributes take.
fn attribute_bytes(session: &Session) -> usize {
    let bare = Session { attributes: std::collections::BTreeMap::new(), ..session.clone() };
    session.size_bytes() - bare.size_bytes()
}

/// A copy and the clock of its writer.
struct Node {
    session: Session,
    clock: Clock,
}

/// Two nodes that hold the same new session.
fn two() -> (Node, Node) {
    let node = |inc| Node { session: Session::new(core(1)), clock: Clock::new(Inc(inc)) };
    (node(1), node(2))
}

impl Node {
    /// Commits for a request that saw all there is here.
    fn commit(&mut self, edits: &[Edit]) -> Result<(), EditError> {
        let at = self.session.version.clone();
        self.commit_at(edits, &at)
    }

    fn commit_at(&mut self, edits: &[Edit], at: &Version) -> Result<(), EditError> {
        self.clock.observe(&self.session.version);
        let stamp = self.clock.stamp(Time(0));
        let delta = self.session.stamp(KEY, edits, at, stamp, &LIMITS_DEFAULT)?;
        if let Some(delta) = delta {
            self.session.merge(&change_of(delta)).expect("its own");
        }
        Ok(())
    }

    fn content(&self, text: &str) -> &Content {
        self.session.content(&name(text))
    }

    fn holds(&self, element: &str) -> bool {
        matches!(self.content("set"), Content::Set(set) if set.contains(&element.into()))
    }

    fn count(&self) -> i64 {
        let Content::Counter(counter) = self.content("counter") else {
            panic!("a counter was expected");
        };
        counter.value()
    }
}

/// Both nodes hear of each other; they must come to the same.
fn meet(a: &mut Node, b: &mut Node) {
    let there = b.session.clone();
    b.session.join(&a.session).expect("one session");
    a.session.join(&there).expect("one session");
    assert_eq!(a.session, b.session);
}

fn insert(element: &str) -> Edit {
    Edit::Insert(name("set"), element.into())
}

fn withdraw(element: &str) -> Edit {
    Edit::Withdraw(name("set"), element.into())
}

fn add(amount: i64) -> Edit {
    Edit::Add(name("counter"), amount)
}

/// Tests rule A1: neither addition is the one that opens the attribute.
#[test]
fn first_additions_at_two_nodes_both_count() {
    let (mut a, mut b) = two();
    a.commit(&[add(2), insert("x")]).unwrap();
    b.commit(&[add(3), insert("y")]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(a.count(), 5);
    assert!(a.holds("x") && a.holds("y"));
}

/// Tests rule A1: nor after the attribute was removed.
#[test]
fn additions_after_a_removal_both_count() {
    let (mut a, mut b) = two();
    a.commit(&[add(40), insert("old")]).unwrap();
    a.commit(&[Edit::Remove(name("counter")), Edit::Remove(name("set"))]).unwrap();
    meet(&mut a, &mut b);
    a.commit(&[add(2), insert("x")]).unwrap();
    b.commit(&[add(3), insert("y")]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(a.count(), 5);
    assert!(a.holds("x") && a.holds("y") && !a.holds("old"));
}

/// Tests rule A2.
#[test]
fn of_two_kinds_opened_at_once_the_set_stays() {
    let (mut a, mut b) = two();
    a.commit(&[Edit::Add(name("any"), 1)]).unwrap();
    b.commit(&[Edit::Insert(name("any"), "x".into())]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(a.content("any").kind(), Kind::Set);
}

/// Tests rule A2.
#[test]
fn a_reset_takes_the_additions_that_have_not_seen_it() {
    let (mut a, mut b) = two();
    a.commit(&[add(7)]).unwrap();
    meet(&mut a, &mut b);
    a.commit(&[Edit::Reset(name("counter")), add(1)]).unwrap();
    b.commit(&[add(100)]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(a.count(), 1);
}

/// Tests rule A3: the other node's addition of the same element is not what the remover saw.
#[test]
fn a_concurrent_addition_survives_a_removal() {
    let (mut a, mut b) = two();
    a.commit(&[insert("x"), insert("y")]).unwrap();
    meet(&mut a, &mut b);
    a.commit(&[withdraw("x"), withdraw("y")]).unwrap();
    b.commit(&[insert("x")]).unwrap();
    meet(&mut a, &mut b);
    assert!(a.holds("x") && !a.holds("y"));
}

/// Tests rule A3: nor is what this node got after the request had opened the session.
#[test]
fn a_removal_takes_what_its_request_saw_and_no_more() {
    let (mut a, mut b) = two();
    a.commit(&[insert("x")]).unwrap();
    let opened = a.session.version.clone();
    b.commit(&[insert("x")]).unwrap();
    meet(&mut a, &mut b);
    a.commit_at(&[withdraw("x")], &opened).unwrap();
    assert!(a.holds("x"));
    meet(&mut a, &mut b);
    a.commit(&[withdraw("x")]).unwrap();
    meet(&mut a, &mut b);
    assert!(!b.holds("x"));
}

/// Tests rule A3: the removal takes the addition of its own commit, which must not have taken the
/// unseen one before.
#[test]
fn adding_and_removing_in_one_commit_leaves_what_the_request_had_not_seen() {
    let (mut a, mut b) = two();
    let opened = a.session.version.clone();
    b.commit(&[insert("x")]).unwrap();
    meet(&mut a, &mut b);
    a.commit_at(&[insert("x"), insert("y"), withdraw("x"), withdraw("y")], &opened).unwrap();
    meet(&mut a, &mut b);
    assert!(a.holds("x") && !a.holds("y"));
}

#[test]
fn a_conditional_write_is_refused_after_another_and_not_after_its_own() {
    let (mut a, mut b) = two();
    let text = || name("register");
    let write = |expected| Edit::SetIf { name: text(), value: Value::from("new"), expected };
    let set = Edit::Set(text(), "own".into());
    a.commit(&[write(None), set, write(None)]).unwrap();
    meet(&mut a, &mut b);
    assert_eq!(b.commit(&[write(None)]), Err(EditError::Changed(text())));
    let seen = b.session.attributes[&text()].since;
    b.commit(&[write(seen)]).unwrap();
    assert_eq!(a.commit(&[write(seen)]), Ok(()), "a has not heard of it");
    meet(&mut a, &mut b);
    assert_eq!(a.commit(&[write(seen)]), Err(EditError::Changed(text())));
}

/// Tests rule R5: the edits before the refused one take no effect either.
#[test]
fn one_refused_edit_refuses_the_commit() {
    let (mut a, _) = two();
    a.commit(&[add(1)]).unwrap();
    let before = a.session.clone();
    let wrong = Edit::Set(name("counter"), "text".into());
    let error = a.commit(&[add(1), insert("x"), wrong]).unwrap_err();
    let expected =
        EditError::Kind { name: name("counter"), is: Kind::Counter, wanted: Kind::Register };
    assert_eq!(error, expected);
    assert_eq!(a.session, before);
}

/// An attribute changes its kind by being removed, in the same commit or before.
#[test]
fn a_removed_attribute_is_of_any_kind() {
    let (mut a, _) = two();
    let any = || name("any");
    a.commit(&[Edit::Set(any(), "text".into())]).unwrap();
    a.commit(&[Edit::Remove(any()), Edit::Insert(any(), "x".into())]).unwrap();
    assert_eq!(a.content("any").kind(), Kind::Set);
    a.commit(&[Edit::Remove(any())]).unwrap();
    a.commit(&[Edit::Add(any(), 1)]).unwrap();
    assert_eq!(a.content("any").kind(), Kind::Counter);
}

#[test]
fn edits_that_change_nothing_make_no_delta() {
    let (mut a, _) = two();
    let stamp = a.clock.stamp(a.session.last_access.plus(1));
    let idle = [Edit::Remove(name("any")), withdraw("x")];
    let at = a.session.version.clone();
    let delta = a.session.stamp(KEY, &idle, &at, stamp, &LIMITS_DEFAULT);
    assert_eq!(delta, Ok(None));
}

/// Limits bind stamping and never merging: what a peer holds must be mergeable here.
#[test]
fn a_copy_above_the_limits_is_merged_and_can_shrink() {
    let (mut a, mut b) = two();
    a.commit(&[Edit::Set(name("register"), vec![0; 300].into()), add(1)]).unwrap();
    let tight = Limits { attributes_max: 1, session_bytes_max: 200 };
    meet(&mut a, &mut b);
    let at = b.session.version.clone();
    b.clock.observe(&at);
    let mut stamp = |edit: Edit| {
        let stamp = b.clock.stamp(Time(0));
        b.session.stamp(KEY, &[edit], &at, stamp, &tight)
    };
    assert!(stamp(Edit::Set(name("register"), vec![0; 299].into())).is_ok());
    assert!(stamp(Edit::Remove(name("counter"))).is_ok());
    assert!(matches!(
        stamp(Edit::Set(name("register"), vec![0; 301].into())),
        Err(EditError::TooLarge { max: 200, .. })
    ));
    assert_eq!(stamp(insert("x")), Err(EditError::TooManyAttributes { max: 1 }));
}
