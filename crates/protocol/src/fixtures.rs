//! Sessions and keys for the tests of single parts.

use session::{
    Body, Clock, Core, Delta, Edit, Hlc, Inc, LIMITS_DEFAULT, Name, Session, SessionKey, Slot,
    Stamp, Time, Value, Version,
};

use crate::rules::Rules;
use crate::store::Store;
use crate::view::{Copies, Layout, Member, View};

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

/// A member of an agreed view: the process of that number, in no zone.
pub(crate) fn member(inc: u64) -> Member {
    let name = format!("n{inc:04}").as_str().into();
    Member { inc: Some(Inc(inc)), start: inc, ..Member::unheard(name) }
}

/// The agreed view of that epoch in which the processes of each layout own every slot, the oldest
/// layout first; all of them are members. The newest layout begins with the view's epoch.
pub(crate) fn agreed(epoch: u64, layouts: &[&[u64]]) -> View {
    let all: std::collections::BTreeSet<u64> = layouts.iter().copied().flatten().copied().collect();
    let first = epoch + 1 - layouts.len() as u64;
    let layout = |(epoch, incs): (u64, &&[u64])| {
        let mut members: Vec<Member> = incs.iter().copied().map(member).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Layout { epoch, copies: Copies::All, members }
    };
    View {
        generation: 1,
        epoch,
        members: all.into_iter().map(member).collect(),
        layouts: (first..).zip(layouts).map(layout).collect(),
        losses: std::collections::BTreeMap::new(),
        protocol: crate::wire::WIRE_VERSION,
    }
}
