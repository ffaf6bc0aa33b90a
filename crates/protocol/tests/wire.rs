//! Frames as bytes: what is written is read, and nothing else is.

#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "support/values.rs"]
mod values;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{Frame, Hello, WIRE_VERSION, WIRE_VERSION_MIN, WireError, versions};
use protocol::{
    Ack, Acked, Batch, Commit, Digest, Envelope, Heartbeat, Life, Message, Outcome, Refusal,
    Report, Room, Supply,
};
use session::{
    Body, Clock, Core, Delta, Edit, EndReason, Hlc, Inc, LIMITS_DEFAULT, Name, Session, SessionKey,
    Slot, Stamp, Time, Tombstone, User, Value, Version,
};

use values::{NOW, frames, hellos};

/// An envelope around the message whose bytes are `message`, of generation 0 and epoch 1, from
/// process 1 to 2.
fn envelope(message: &[u8]) -> Vec<u8> {
    [&[WIRE_VERSION, 1, 0, 1, 1, 2, 0, 0][..], message].concat()
}

/// `number` as bincode writes it: with a mark and eight bytes, unless it is small.
fn varint(number: u64) -> Vec<u8> {
    match u8::try_from(number) {
        Ok(small) if small < 251 => vec![small],
        _ => [&[253][..], &number.to_le_bytes()].concat(),
    }
}

// --- what is written is read ---

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![Just(Time(0)), Just(NOW), any::<u64>().prop_map(Time)]
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), 0_u64..5).prop_map(|(hlc, inc)| Stamp { hlc: Hlc(hlc), inc: Inc(inc) })
}

fn version() -> impl Strategy<Value = Version> {
    vec((any::<u64>().prop_map(Inc), any::<u64>().prop_map(Hlc)), 0..5)
        .prop_map(|entries| entries.into_iter().collect())
}

fn key() -> impl Strategy<Value = SessionKey> {
    any::<[u8; 16]>().prop_map(SessionKey)
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z€]{1,9}".prop_map(|text| Name::new(text).expect("a name"))
}

fn value() -> impl Strategy<Value = Value> {
    vec(any::<u8>(), 0..40).prop_map(Value::from)
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (name(), value()).prop_map(|(name, value)| Edit::Set(name, value)),
        (name(), value(), option::of(stamp())).prop_map(|(name, value, expected)| Edit::SetIf {
            name,
            value,
            expected
        }),
        name().prop_map(Edit::Remove),
        (name(), any::<i32>()).prop_map(|(name, amount)| Edit::Add(name, amount.into())),
        name().prop_map(Edit::Reset),
        (name(), value()).prop_map(|(name, value)| Edit::Insert(name, value)),
        (name(), value()).prop_map(|(name, value)| Edit::Withdraw(name, value)),
    ]
}

fn core() -> impl Strategy<Value = Core> {
    (stamp(), time(), any::<u64>(), option::of("[a-z]{1,9}")).prop_map(
        |(created, hard_deadline, idle_ms, user)| {
            let user = user.map(|user| User::new(user).expect("a user"));
            Core { created, hard_deadline, idle_ms, user }
        },
    )
}

/// A copy of a session after some edits of two writers, and what it lacks at some version.
fn delta() -> impl Strategy<Value = Delta> {
    let living = (key(), core(), vec(vec(edit(), 1..4), 0..4), version()).prop_map(
        |(key, mut core, commits, lo)| {
            core.created.hlc = Hlc(core.created.hlc.0 >> 8);
            let mut session = Session::new(core);
            for (commit, inc) in commits.into_iter().zip([7, 8, 7, 8]) {
                let mut clock = Clock::new(Inc(inc));
                clock.observe(&session.version);
                let (at, stamp) = (session.version.clone(), clock.stamp(NOW));
                let delta = session.stamp(key, &commit, &at, stamp, &LIMITS_DEFAULT);
                if let Ok(Some(Delta { body: Body::Change(change), .. })) = delta {
                    session.merge(&change).expect("no gap");
                }
            }
            session.extract(key, &lo)
        },
    );
    let ended = (key(), tombstone()).prop_map(|(key, end)| Delta { key, body: Body::End(end) });
    prop_oneof![4 => living, 1 => ended]
}

fn reason() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        Just(EndReason::Logout),
        Just(EndReason::Evicted),
        Just(EndReason::Expired),
        Just(EndReason::Conflict),
    ]
}

fn tombstone() -> impl Strategy<Value = Tombstone> {
    (time(), reason()).prop_map(|(deadline, reason)| Tombstone { deadline, reason })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        version().prop_map(Refusal::Need),
        tombstone().prop_map(Refusal::Tomb),
        Just(Refusal::Skew),
        Just(Refusal::Dead),
        Just(Refusal::NotOwner),
    ]
}

fn commit() -> impl Strategy<Value = Commit> {
    let life =
        prop_oneof![Just(Life::Keep), core().prop_map(Life::Create), reason().prop_map(Life::End)];
    let level = prop_oneof![Just(Ack::Local), Just(Ack::One), Just(Ack::Quorum), Just(Ack::All)];
    (key(), life, version(), vec(edit(), 0..6), level)
        .prop_map(|(key, life, at, edits, level)| Commit { key, life, at, edits, level })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (version(), any::<u16>(), any::<u16>()).prop_map(|(version, asked, got)| {
            Outcome::Done(Acked { version, report: Report { asked, got } })
        }),
        Just(Outcome::Gone),
        Just(Outcome::Unknown),
    ]
}

fn digest() -> impl Strategy<Value = Digest> {
    delta().prop_map(|delta| {
        let mut store = protocol::Store::new(0, Slot::COUNT, 1, protocol::Rules::default());
        store.apply(delta, NOW);
        store.root()
    })
}

fn message() -> impl Strategy<Value = Message> {
    let number = any::<u64>;
    let slot = || (0..Slot::COUNT).prop_map(|number| Slot::new(number).expect("a slot"));
    let live = prop_oneof![
        (number(), vec(delta(), 0..5))
            .prop_map(|(number, deltas)| Message::Deltas(Batch { number, deltas })),
        (number(), vec((key(), refusal()), 0..5))
            .prop_map(|(batch, refused)| Message::Ack { batch, refused }),
        (number(), key()).prop_map(|(request, key)| Message::Fetch { request, key }),
        (number(), any::<bool>(), option::of(delta()))
            .prop_map(|(request, synced, delta)| Message::Fetched { request, synced, delta }),
        (number(), time(), commit()).prop_map(|(request, deadline, commit)| Message::Forward {
            request,
            deadline,
            commit
        }),
        (number(), option::of(outcome()))
            .prop_map(|(request, outcome)| Message::Forwarded { request, outcome }),
    ];
    let keys = || vec(key(), 0..5);
    let repair =
        prop_oneof![
            (number(), digest()).prop_map(|(round, root)| Message::Root { round, root }),
            number().prop_map(|round| Message::Same { round }),
            (number(), vec((slot(), digest()), 0..5))
                .prop_map(|(round, slots)| Message::Digests { round, slots }),
            (number(), slot(), option::of(key()))
                .prop_map(|(round, slot, after)| Message::Compare { round, slot, after }),
            (number(), slot(), option::of(key()), vec((key(), number()), 0..5), any::<bool>())
                .prop_map(|(round, slot, after, entries, more)| Message::List {
                    round,
                    slot,
                    after,
                    entries,
                    more
                }),
            (number(), vec((key(), version()), 0..5))
                .prop_map(|(request, wants)| Message::Need { request, wants }),
            (number(), vec(delta(), 0..4), keys(), keys()).prop_map(
                |(request, deltas, absent, deferred)| Message::Supplied {
                    request,
                    supply: Supply { deltas, absent, deferred }
                }
            ),
            number().prop_map(|round| Message::Compared { round }),
            Just(Message::Pull),
        ];
    prop_oneof![live, repair]
}

fn frame() -> impl Strategy<Value = Frame> {
    let beat = (time(), option::of((time(), any::<u64>())))
        .prop_map(|(sent, echo)| Frame::Heartbeat(Heartbeat { sent, echo }));
    let view = (any::<u64>(), any::<u64>());
    let address = (any::<u64>().prop_map(Inc), any::<u64>().prop_map(Inc), any::<u16>());
    let room = prop::sample::select(vec![Room::Ample, Room::Scarce, Room::Full]);
    let envelope = (view, address, room, message()).prop_map(|(view, address, room, message)| {
        let ((generation, epoch), (from, to, shard)) = (view, address);
        Frame::Envelope(Envelope { generation, epoch, from, to, shard, room, message })
    });
    let letter = prop::collection::vec(any::<u8>(), 0..40).prop_map(Frame::Letter);
    prop_oneof![1 => beat, 1 => letter, 8 => envelope]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tests rule W1: every frame is read as what was written, and no shorter part of it as any.
    #[test]
    fn what_is_written_is_read(frame in frame(), cut in any::<prop::sample::Index>()) {
        let bytes = frame.encode(WIRE_VERSION);
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
        prop_assert!(Frame::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

// --- and nothing else ---

/// Tests rule W1.
#[test]
fn a_frame_is_refused_at_every_length_but_its_own() {
    for (label, frame) in frames() {
        let mut bytes = frame.encode(WIRE_VERSION);
        for length in 0..bytes.len() {
            let refused = Frame::decode(&bytes[..length]);
            assert_eq!(refused, Err(WireError::Undecodable), "{label} cut to {length} bytes");
        }
        bytes.push(0);
        assert_eq!(Frame::decode(&bytes), Err(WireError::Undecodable), "{label} and a byte");
    }
    for (label, hello) in hellos() {
        let bytes = hello.encode();
        for length in 0..bytes.len() {
            assert!(Hello::decode(&bytes[..length]).is_err(), "{label} cut to {length} bytes");
        }
    }
}

/// Tests rule W1: one wrong byte is refused or means something else, and never breaks the reader.
#[test]
fn any_single_byte_may_be_wrong() {
    for (_, frame) in frames() {
        let bytes = frame.encode(WIRE_VERSION);
        for at in 0..bytes.len().min(400) {
            for wrong in [0, 1, 0x7f, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                if let Ok(read) = Frame::decode(&bytes) {
                    assert_eq!(Frame::decode(&read.encode(WIRE_VERSION)), Ok(read));
                }
            }
        }
    }
}

/// Tests rules W1 and W2: who speaks what this release does not is told which version that was, and
/// every introduction since the third tells which versions there are.
#[test]
fn another_version_of_the_wire_is_named() {
    let (_, frame) = frames().remove(0);
    let (_, hello) = hellos().remove(0);
    for version in 0..=u8::MAX {
        let mut bytes = frame.encode(WIRE_VERSION);
        bytes[0] = version;
        let is_spoken = (WIRE_VERSION_MIN..=WIRE_VERSION).contains(&version);
        let expected = if is_spoken { Ok(frame.clone()) } else { Err(WireError::Version(version)) };
        assert_eq!(Frame::decode(&bytes), expected);
        let mut bytes = hello.encode();
        bytes[0] = version;
        let hello = Hello { version, ..hello.clone() };
        let expected = if version < 3 { Err(WireError::Version(version)) } else { Ok(hello) };
        assert_eq!(Hello::decode(&bytes), expected);
    }
}

/// Tests rule W2: the latest version that both speak is spoken.
#[test]
fn neighbouring_releases_have_a_version_in_common() {
    let (_, hello) = hellos().remove(0);
    let (min, max) = (WIRE_VERSION_MIN, WIRE_VERSION);
    for (version_min, version, common) in [
        (min, max, Some(max)),
        (min, max + 1, Some(max)),
        (max, max + 2, Some(max)),
        (min - 1, min, Some(min)),
        (max + 1, max + 2, None),
        (min - 2, min - 1, None),
        // Nobody speaks such a range, and whoever says so speaks nothing.
        (max, min - 1, None),
    ] {
        let hello = Hello { version_min, version, ..hello.clone() };
        assert_eq!(hello.common_version(), common, "{version_min} to {version}");
    }
}

/// Tests rule W2: the version before is understood, and what it does not have is neither said in it
/// nor understood.
#[cfg(feature = "next")]
#[test]
fn what_a_next_release_brings_is_said_in_its_version_only() {
    let beat = Frame::Heartbeat(Heartbeat { sent: NOW, echo: None });
    for version in [WIRE_VERSION_MIN, WIRE_VERSION] {
        assert_eq!(Frame::decode(&beat.encode(version)), Ok(beat.clone()));
    }
    let (before, after) = (beat.encode(WIRE_VERSION_MIN), beat.encode(WIRE_VERSION));
    assert_eq!(after.len(), before.len() + 1, "a field more");
    let trial = Frame::Trial(7);
    assert_eq!(Frame::decode(&trial.encode(WIRE_VERSION)), Ok(trial.clone()));
    assert_eq!(Frame::decode(&trial.encode(WIRE_VERSION_MIN)), Err(WireError::Kind(5)));
}

/// Tests rule W1.
#[test]
fn an_unknown_kind_of_frame_or_message_is_refused() {
    for kind in [0, 3, 6, u8::MAX] {
        assert_eq!(Frame::decode(&[WIRE_VERSION, kind, 0]), Err(WireError::Kind(kind)));
    }
    assert_eq!(Hello::decode(&[WIRE_VERSION, 1, 0]), Err(WireError::Kind(1)));
    assert!(Frame::decode(&envelope(&[14])).is_ok(), "the last message there is");
    for message in [15, 16, 250] {
        assert_eq!(Frame::decode(&envelope(&[message])), Err(WireError::Undecodable));
    }
    assert_eq!(Frame::decode(&envelope(&varint(1 << 31))), Err(WireError::Undecodable));
}

/// Tests rule W1.
#[test]
fn bound_frame_bytes_max() {
    let longest = vec![WIRE_VERSION; FRAME_BYTES_MAX];
    assert_ne!(Frame::decode(&longest), Err(WireError::TooLong));
    let longer = vec![WIRE_VERSION; FRAME_BYTES_MAX + 1];
    assert_eq!(Frame::decode(&longer), Err(WireError::TooLong));
    assert_eq!(Hello::decode(&longer), Err(WireError::TooLong));
}

/// Tests rule W1: a length is believed only as far as there are bytes.
#[test]
fn a_length_without_the_bytes_is_refused() {
    let tags: [&[u8]; 8] = [
        &[0, 1],        // deltas
        &[1, 1],        // refusals
        &[4, 1, 1],     // a commit, which begins with its key
        &[8, 1],        // digests
        &[10, 1, 1, 0], // a list
        &[11, 1],       // wants
        &[12, 1],       // a supply
        &[3, 1, 1, 1],  // a fetched delta, which begins with its key
    ];
    for tag in tags {
        for length in [251, 1 << 16, 1 << 32, 1 << 40, u64::MAX] {
            for rest in [0, 16, 64, 4_096] {
                let bytes = [tag, &varint(length), &vec![0; rest]].concat();
                let read = Frame::decode(&envelope(&bytes));
                assert_eq!(read, Err(WireError::Undecodable), "{tag:?} {length} {rest}");
            }
        }
    }
}

/// Tests rule W1.
#[test]
fn versions_out_of_order_are_refused() {
    let need = |entries: &[u8]| {
        let wants = [&[11, 1, 1][..], &[9; 16], entries].concat();
        Frame::decode(&envelope(&wants))
    };
    assert!(need(&[2, 1, 5, 2, 5]).is_ok());
    assert_eq!(need(&[2, 2, 5, 1, 5]), Err(WireError::Undecodable), "out of order");
    assert_eq!(need(&[2, 1, 5, 1, 6]), Err(WireError::Undecodable), "a writer twice");
}

/// Tests rule W1.
#[test]
fn a_slot_beyond_the_last_is_refused() {
    let compare = |slot: u16| {
        let slot = [&[251][..], &slot.to_le_bytes()].concat();
        Frame::decode(&envelope(&[&[9, 1][..], &slot, &[0]].concat()))
    };
    assert!(compare(Slot::COUNT - 1).is_ok());
    assert_eq!(compare(Slot::COUNT), Err(WireError::Undecodable));
    assert_eq!(compare(u16::MAX), Err(WireError::Undecodable));
}

/// Tests rule W1: an operator reads why, and which side is the older.
#[test]
fn the_refusals_name_what_is_wrong() {
    let texts =
        [WireError::TooLong, WireError::Version(9), WireError::Kind(8), WireError::Undecodable]
            .map(|error| error.to_string());
    assert!(texts[0].contains(&FRAME_BYTES_MAX.to_string()));
    assert!(texts[1].contains('9') && texts[1].contains(&versions()));
    assert!(texts[2].contains('8'));
    assert!(!texts[3].is_empty());
}

/// Tests rule W1: what bounds hostile frames does not bind a session as large as one may be, of
/// whatever it consists.
#[test]
fn sessions_at_their_limit_fit_a_frame() {
    let text = |i: u32| Value::from(i.to_be_bytes().to_vec());
    let elements = (0..8_000).map(|i| Edit::Insert(values::name("set"), text(i))).collect();
    let large = Edit::Set(values::name("register"), Value::from(vec![7; 250_000]));
    for edits in [elements, vec![large]] {
        let edits: Vec<Edit> = edits;
        let mut session = values::session();
        let (at, mut clock) = (session.version.clone(), Clock::new(Inc(3)));
        clock.observe(&at);
        let stamp = clock.stamp(NOW);
        let key = SessionKey([1; 16]);
        let delta = session.stamp(key, &edits, &at, stamp, &LIMITS_DEFAULT).expect("within limits");
        let Some(Delta { body: Body::Change(change), .. }) = delta else {
            unreachable!("they change something");
        };
        session.merge(&change).expect("no gap");
        assert!(session.size_bytes() > 180_000, "{} bytes", session.size_bytes());
        let deltas = vec![session.extract(key, &Version::new()); 8];
        let message = Message::Deltas(Batch { number: 1, deltas });
        let (from, to) = (Inc(1), Inc(2));
        let frame = Frame::Envelope(Envelope {
            generation: 0,
            epoch: 1,
            from,
            to,
            shard: 0,
            room: Room::Ample,
            message,
        });
        assert!(Frame::decode(&frame.encode(WIRE_VERSION)).is_ok_and(|read| read == frame));
    }
}
