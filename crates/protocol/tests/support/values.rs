//! One value of everything that can stand in a frame: for the golden bytes and for hostile ones.

use std::num::NonZeroU16;

use protocol::wire::{Frame, Hello, WIRE_VERSION_MIN};
use protocol::{
    Ack, Acked, Batch, Commit, Copies, Digest, Envelope, Heartbeat, Life, Message, Outcome,
    Refusal, Report, Room, Supply,
};
use session::{
    Body, Change, Clock, Core, Delta, Edit, EditError, EndReason, Hlc, Inc, Kind, LIMITS_DEFAULT,
    Name, Session, SessionKey, Slot, Stamp, Time, Tombstone, User, Value, Version,
};

/// The clock of all values: early 2027, so that numbers have their usual length.
pub(crate) const NOW: Time = Time(1_800_000_000_000);

const KEY: SessionKey = SessionKey([0xab; 16]);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn version(entries: &[(u64, u64)]) -> Version {
    entries.iter().map(|&(inc, ms)| (Inc(inc), Hlc::at(NOW.plus(ms)))).collect()
}

fn stamp(inc: u64, ms: u64) -> Stamp {
    Stamp { hlc: Hlc::at(NOW.plus(ms)), inc: Inc(inc) }
}

fn core() -> Core {
    Core {
        created: stamp(1, 0),
        hard_deadline: NOW.plus(86_400_000),
        idle_ms: 1_800_000,
        user: Some(User::new("ann").expect("a user")),
    }
}

/// Every kind of edit.
pub(crate) fn edits() -> Vec<Edit> {
    vec![
        Edit::Set(name("theme"), "dark".into()),
        Edit::SetIf { name: name("cart"), value: "tea".into(), expected: Some(stamp(1, 7)) },
        Edit::SetIf { name: name("seen"), value: Value::from(vec![0, 255]), expected: None },
        Edit::Remove(name("old")),
        Edit::Add(name("visits"), -3),
        Edit::Reset(name("tries")),
        Edit::Insert(name("tags"), "new".into()),
        Edit::Withdraw(name("tags"), "old".into()),
    ]
}

/// A session with every kind of content, one of them absent.
pub(crate) fn session() -> Session {
    let mut session = Session::new(core());
    let mut clock = Clock::new(Inc(2));
    let written = [
        Edit::Set(name("theme"), "dark".into()),
        Edit::Set(name("old"), "x".into()),
        Edit::Remove(name("old")),
        Edit::Add(name("visits"), 5),
        Edit::Add(name("visits"), -2),
        Edit::Insert(name("tags"), "new".into()),
        Edit::Insert(name("tags"), "old".into()),
    ];
    for edit in written {
        clock.observe(&session.version);
        let (at, stamp) = (session.version.clone(), clock.stamp(NOW.plus(5)));
        let delta = session.stamp(KEY, &[edit], &at, stamp, &LIMITS_DEFAULT);
        if let Some(Delta { body: Body::Change(change), .. }) = delta.expect("an edit") {
            session.merge(&change).expect("no gap");
        }
    }
    session
}

fn deltas() -> Vec<Delta> {
    let session = session();
    let end = Tombstone { deadline: NOW.plus(86_400_000), reason: EndReason::Logout };
    vec![
        session.extract(KEY, &Version::new()),
        session.extract(KEY, &core().created.into()),
        session.touch(KEY, NOW.plus(9)),
        Delta { key: KEY, body: Body::End(end) },
    ]
}

/// Every reason for a refusal.
fn refusals() -> Vec<Refusal> {
    let reasons = [
        EndReason::Logout,
        EndReason::Forced,
        EndReason::Rotated,
        EndReason::MaxSessions,
        EndReason::Evicted,
        EndReason::Expired,
        EndReason::Conflict,
    ];
    let tombs = reasons.map(|reason| Refusal::Tomb(Tombstone { deadline: NOW, reason }));
    let mut refusals = vec![
        Refusal::Need(Version::new()),
        Refusal::Need(version(&[(1, 0), (2, 3)])),
        Refusal::Skew,
        Refusal::Dead,
        Refusal::NotOwner,
    ];
    refusals.extend(tombs);
    refusals
}

/// Every outcome of a commit.
fn outcomes() -> Vec<(&'static str, Outcome)> {
    let report = Report { asked: 2, got: 1 };
    let acked = Acked { version: version(&[(1, 0), (2, 3)]), report };
    vec![
        ("done", Outcome::Done(acked)),
        ("gone", Outcome::Gone),
        (
            "kind",
            Outcome::Refused(EditError::Kind {
                name: name("tags"),
                is: Kind::Set,
                wanted: Kind::Counter,
            }),
        ),
        ("changed", Outcome::Refused(EditError::Changed(name("cart")))),
        ("overflow", Outcome::Refused(EditError::Overflow(name("visits")))),
        ("too-many-attributes", Outcome::Refused(EditError::TooManyAttributes { max: 320 })),
        ("too-large", Outcome::Refused(EditError::TooLarge { bytes: 300_000, max: 262_144 })),
        ("full", Outcome::Full),
        ("unavailable", Outcome::Unavailable),
        ("unknown", Outcome::Unknown),
    ]
}

fn commit(life: Life, level: Ack) -> Commit {
    Commit { key: KEY, life, at: version(&[(1, 0), (2, 3)]), edits: edits(), level }
}

fn digest(key: u8) -> Digest {
    let mut store = protocol::Store::new(0, Slot::COUNT, 1, protocol::Rules::default());
    let delta = session().extract(SessionKey([key; 16]), &Version::new());
    store.apply(delta, NOW.plus(10));
    store.root()
}

fn live_messages() -> Vec<(String, Message)> {
    let key = KEY;
    let refused = refusals().into_iter().map(|refusal| (key, refusal)).collect();
    let delta = session().extract(key, &Version::new());
    let mut messages = vec![
        ("deltas".into(), Message::Deltas(Batch { number: 7, deltas: deltas() })),
        ("ack".into(), Message::Ack { batch: 7, refused }),
        ("fetch".into(), Message::Fetch { request: 300, key }),
        ("fetched".into(), Message::Fetched { request: 300, synced: true, delta: Some(delta) }),
        ("fetched-none".into(), Message::Fetched { request: 300, synced: false, delta: None }),
        ("forwarded-none".into(), Message::Forwarded { request: 9, outcome: None }),
    ];
    for (label, life, level) in [
        ("keep", Life::Keep, Ack::Local),
        ("create", Life::Create(core()), Ack::One),
        ("end", Life::End(EndReason::Rotated), Ack::All),
        ("quorum", Life::Keep, Ack::Quorum),
    ] {
        let commit = commit(life, level);
        let message = Message::Forward { request: 9, deadline: NOW.plus(1_000), commit };
        messages.push((format!("forward-{label}"), message));
    }
    for (label, outcome) in outcomes() {
        let message = Message::Forwarded { request: 9, outcome: Some(outcome) };
        messages.push((format!("forwarded-{label}"), message));
    }
    messages
}

fn repair_messages() -> Vec<(String, Message)> {
    let (round, slot, after) = (3, Slot::new(0xaba).expect("a slot"), Some(KEY));
    let next = Slot::new(0xabb).expect("a slot");
    let entries = vec![(KEY, digest(0xab).short()), (SessionKey([0xac; 16]), 1)];
    let wants = vec![(KEY, Version::new()), (KEY, version(&[(1, 0)]))];
    let other = SessionKey([0xac; 16]);
    let supply = Supply { deltas: deltas(), absent: vec![KEY], deferred: vec![other] };
    [
        ("root", Message::Root { round, root: digest(1) }),
        ("same", Message::Same { round }),
        (
            "digests",
            Message::Digests { round, slots: vec![(slot, digest(1)), (next, Digest::default())] },
        ),
        ("compare", Message::Compare { round, slot, after: None }),
        ("compare-after", Message::Compare { round, slot, after }),
        ("list", Message::List { round, slot, after, entries, more: true }),
        ("need", Message::Need { request: 4, wants }),
        ("supplied", Message::Supplied { request: 4, supply }),
        ("compared", Message::Compared { round }),
        ("pull", Message::Pull),
    ]
    .map(|(label, message)| (label.to_owned(), message))
    .into()
}

/// One frame per message, and heartbeats.
pub(crate) fn frames() -> Vec<(String, Frame)> {
    let messages = live_messages().into_iter().chain(repair_messages());
    let mut frames: Vec<(String, Frame)> = messages
        .map(|(label, message)| {
            let (from, to) = (Inc::of_start(NOW, 0), Inc::of_start(NOW.plus(9), 1));
            (
                label,
                Frame::Envelope(Envelope {
                    generation: 1,
                    epoch: 70,
                    from,
                    to,
                    shard: 15,
                    room: Room::Scarce,
                    message,
                }),
            )
        })
        .collect();
    for (label, echo) in [("first", None), ("answering", Some((NOW, 12)))] {
        let beat = Heartbeat { sent: NOW.plus(500), echo };
        frames.push((format!("heartbeat-{label}"), Frame::Heartbeat(beat)));
    }
    frames.push(("letter".to_owned(), Frame::Letter(b"any bytes".to_vec())));
    frames
}

/// One introduction per kind.
pub(crate) fn hellos() -> Vec<(String, Hello)> {
    let two = NonZeroU16::new(2).expect("two");
    [("all", Copies::All), ("two", Copies::Count(two))]
        .map(|(label, copies)| {
            let (inc, view_hash) = (Inc::of_start(NOW, 0), 0x0123_4567_89ab_cdef);
            let (version, version_min) = (WIRE_VERSION_MIN, WIRE_VERSION_MIN);
            let hello = Hello { version, version_min, inc, shards: 16, copies, view_hash };
            (format!("hello-{label}"), hello)
        })
        .into()
}

/// The number of a message's kind. Who adds one adds it here, and a value of it above.
pub(crate) const fn kind(message: &Message) -> usize {
    match message {
        Message::Deltas(_) => 0,
        Message::Ack { .. } => 1,
        Message::Fetch { .. } => 2,
        Message::Fetched { .. } => 3,
        Message::Forward { .. } => 4,
        Message::Forwarded { .. } => 5,
        Message::Root { .. } => 6,
        Message::Same { .. } => 7,
        Message::Digests { .. } => 8,
        Message::Compare { .. } => 9,
        Message::List { .. } => 10,
        Message::Need { .. } => 11,
        Message::Supplied { .. } => 12,
        Message::Compared { .. } => 13,
        Message::Pull => 14,
    }
}

/// A change of `session` with the attributes as they come, well formed or not.
pub(crate) fn change(session: &Session) -> Change {
    match session.extract(KEY, &Version::new()).body {
        Body::Change(change) => change,
        Body::End(_) => unreachable!("it lives"),
    }
}
