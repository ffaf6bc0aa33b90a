//! What a peer may send and must not be believed: sequences out of order, and changes that no
//! history leads to.

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use session::{
    ABSOLUTE_TIMEOUT_MS_MAX, Attribute, Change, Content, Counter, EndReason, Hlc, Inc,
    NAME_BYTES_MAX, Name, SKEW_MS_MAX, Session, Set, Slot, Stamp, Time, Tombstone, User, Value,
    Version,
};

use crate::history::{KEY, change_of, core, name};

// By way of text, whose strings can be read as the bytes of a value.
fn parse<T: DeserializeOwned>(json: &Json) -> serde_json::Result<T> {
    serde_json::from_str(&json.to_string())
}

fn is_read<T: DeserializeOwned>(json: &Json) -> bool {
    parse::<T>(json).is_ok()
}

fn read<T: DeserializeOwned>(json: &Json) -> T {
    parse(json).expect("well-ordered")
}

#[test]
fn a_version_out_of_order_is_not_read() {
    assert!(is_read::<Version>(&json!([[1, 9], [2, 5]])));
    assert!(!is_read::<Version>(&json!([[2, 5], [1, 9]])));
    assert!(!is_read::<Version>(&json!([[1, 9], [1, 10]])));
}

#[test]
fn a_counter_out_of_order_is_not_read() {
    let tally = json!({"hlc": 1, "plus": 2, "minus": 0});
    assert!(is_read::<Counter>(&json!([[1, tally], [2, tally]])));
    assert!(!is_read::<Counter>(&json!([[2, tally], [1, tally]])));
    assert!(!is_read::<Counter>(&json!([[1, tally], [1, tally]])));
}

#[test]
fn a_set_out_of_order_is_not_read() {
    let dot = |hlc: u64| json!({"hlc": hlc, "inc": 1});
    let set = |elements: Json| json!({"elements": elements, "changed": [[1, 2]]});
    let dots = json!([dot(1), dot(2)]);
    assert!(is_read::<Set>(&set(json!([["a", dots], ["b", dots]]))));
    assert!(!is_read::<Set>(&set(json!([["b", dots], ["a", dots]]))));
    assert!(!is_read::<Set>(&set(json!([["a", dots], ["a", dots]]))));
    assert!(!is_read::<Set>(&set(json!([["a", []]]))), "held by nothing");
    assert!(!is_read::<Set>(&set(json!([["a", [dot(2), dot(1)]]]))));
    assert!(!is_read::<Set>(&set(json!([["a", [dot(1), dot(1)]]]))));
}

#[test]
fn a_name_too_long_or_empty_is_not_read() {
    for (bytes, is_name) in
        [(0, false), (1, true), (NAME_BYTES_MAX, true), (NAME_BYTES_MAX + 1, false)]
    {
        let text = json!("n".repeat(bytes));
        assert_eq!(is_read::<Name>(&text), is_name, "{bytes} bytes");
        assert_eq!(is_read::<User>(&text), is_name, "{bytes} bytes");
    }
}

#[test]
fn a_slot_beyond_the_last_is_not_read() {
    assert!(is_read::<Slot>(&json!(4095)));
    assert!(!is_read::<Slot>(&json!(4096)));
}

/// A stamp of the second writer, `number` after the creation.
fn stamp(number: u64) -> Stamp {
    Stamp { hlc: Hlc(core(1).created.hlc.0 + number), inc: Inc(2) }
}

fn attribute(since: Option<Stamp>, content: Content) -> Attribute {
    Attribute { since, content }
}

fn counter(tally: Stamp) -> Content {
    let tally = json!([[tally.inc, {"hlc": tally.hlc, "plus": 1, "minus": 0}]]);
    Content::Counter(read(&tally))
}

fn set(dot: Stamp, changed: Stamp) -> Content {
    let changed = json!([[changed.inc, changed.hlc]]);
    Content::Set(read(&json!({"elements": [["x", [dot]]], "changed": changed})))
}

/// A whole session of the writers 1 and 2 at `stamp(5)`, with that attribute.
fn whole(attribute: Attribute) -> Change {
    let mut session = Session::new(core(1));
    session.version.insert(stamp(5));
    let mut change = change_of(session.extract(KEY, &Version::new()));
    change.attributes.push((name("a"), attribute));
    change
}

fn register() -> Attribute {
    attribute(Some(stamp(5)), Content::Register(Value::from("text")))
}

/// Tests rule R3: `hi` would claim more, or less, than there is.
#[test]
fn a_change_with_stamps_beyond_its_version_is_malformed() {
    let contents = |last: Stamp| {
        [
            attribute(Some(last), Content::Absent),
            attribute(Some(last), Content::Register(Value::from("text"))),
            attribute(None, counter(last)),
            attribute(None, set(last, last)),
            attribute(None, set(stamp(1), last)),
            attribute(Some(stamp(1)), counter(last)),
        ]
    };
    for (inside, beyond) in contents(stamp(5)).into_iter().zip(contents(stamp(6))) {
        assert!(whole(inside.clone()).is_well_formed(), "{inside:?}");
        assert!(!whole(beyond.clone()).is_well_formed(), "{beyond:?}");
    }
}

#[test]
fn a_change_with_an_attribute_that_nobody_wrote_is_malformed() {
    let nothing: Json = json!({"elements": [], "changed": []});
    for unwritten in [
        attribute(None, Content::Absent),
        attribute(None, Content::Register(Value::from("text"))),
        attribute(None, Content::Counter(Counter::default())),
        attribute(None, Content::Set(read(&nothing))),
        attribute(None, set(stamp(5), stamp(4))),
    ] {
        assert!(!whole(unwritten.clone()).is_well_formed(), "{unwritten:?}");
    }
}

#[test]
fn a_change_with_names_out_of_order_is_malformed() {
    let mut change = whole(register());
    change.attributes.push((name("b"), register()));
    assert!(change.is_well_formed());
    change.attributes.swap(0, 1);
    assert!(!change.is_well_formed());
    change.attributes[0] = change.attributes[1].clone();
    assert!(!change.is_well_formed(), "one name twice");
}

#[test]
fn a_change_from_nothing_has_a_core_that_its_version_covers() {
    let mut change = whole(register());
    change.hi = stamp(5).into();
    assert!(!change.is_well_formed(), "the creation is a write");
    let mut change = whole(register());
    change.core = None;
    assert!(!change.is_well_formed());
    change.lo = core(1).created.into();
    assert!(change.is_well_formed());
}

/// Tests rule T1.
#[test]
fn no_session_and_no_tombstone_lasts_longer_than_thirty_days() {
    let mut change = whole(register());
    let created = core(1).created.hlc.time();
    for (ms, is_well_formed) in [(0, true), (1, false)] {
        let deadline = created.plus(ABSOLUTE_TIMEOUT_MS_MAX + ms);
        change.core = change.core.map(|core| session::Core { hard_deadline: deadline, ..core });
        assert_eq!(change.is_well_formed(), is_well_formed, "{ms} ms more");
        let tombstone = Tombstone { deadline, reason: EndReason::Logout };
        // Its node's clock may be ahead of ours.
        let now = created.minus(SKEW_MS_MAX);
        assert_eq!(tombstone.is_well_formed(now), is_well_formed);
    }
    let forever = Tombstone { deadline: Time(u64::MAX), reason: EndReason::Logout };
    assert!(!forever.is_well_formed(created));
}

/// Tests rule H4: the newest stamp of a change that passed is in its version.
#[test]
fn the_newest_time_of_a_change_is_that_of_its_version_or_last_access() {
    let mut change = whole(register());
    assert_eq!(change.newest(), stamp(5).hlc.time());
    change.last_access = change.newest().plus(1);
    assert_eq!(change.newest(), stamp(5).hlc.time().plus(1));
}
