//! Sessions and keys for the tests of single parts.

use session::{
    Body, Clock, Core, Delta, Edit, Hlc, Inc, LIMITS_DEFAULT, Name, Session, SessionKey, Slot,
    Stamp, Time, Value, Version,
};

use crate::rules::Rules;
use crate::store::Store;

/// The time of tests: early 2027.
pub(crate) const NOW: Time = Time(1_800_000_000_000);

/// A key in a slot.
pub(crate) fn key(slot: u16, number: u32) -> SessionKey {
    let mut key = [0; SessionKey::BYTES];
    key[..2].copy_from_slice(&(slot << 4).to_be_bytes());
    key[2..6].copy_from_slice(&number.to_be_bytes());
    SessionKey(key)
}

/// An empty store for all slots.
pub(crate) fn store() -> Store {
    Store::new(0, Slot::COUNT, 7, Rules::default())
}

/// A session that `inc` created at `at` and that idles out after ten minutes of an hour.
pub(crate) fn session(inc: u64, at: Time) -> Session {
    let created = Stamp { hlc: Hlc::at(at), inc: Inc(inc) };
    let hard_deadline = at.plus(3_600_000);
    Session::new(Core { created, hard_deadline, idle_ms: 600_000, user: None })
}

/// Writes a register of `bytes` bytes into the session as `inc`.
pub(crate) fn written(mut session: Session, inc: u64, at: Time, bytes: usize) -> Session {
    let mut clock = Clock::new(Inc(inc));
    clock.observe(&session.version);
    let name = Name::new(format!("of{inc}")).expect("a name");
    let edit = Edit::Set(name, Value::from(vec![7; bytes]));
    let (seen, stamp) = (session.version.clone(), clock.stamp(at));
    let delta = session.stamp(key(0, 0), &[edit], &seen, stamp, &LIMITS_DEFAULT);
    if let Some(Delta { body: Body::Change(change), .. }) = delta.expect("within limits") {
        session.merge(&change).expect("no gap");
    }
    session
}

/// All of a session under a key.
pub(crate) fn whole(session: &Session, key: SessionKey) -> Delta {
    session.extract(key, &Version::new())
}
