//! What no correct peer sends: it is reported or ignored, and changes nothing.

use protocol::limits::{
    BATCH_DELTAS_MAX, EDITS_MAX, FRAME_BYTES_MAX, LIST_KEYS_MAX, NEED_KEYS_MAX, SUPPLY_BYTES_MAX,
};
use protocol::{
    Ack, Batch, Commit, Digest, Envelope, Life, Message, Outcome, Refusal, Report, Supply, Ticket,
    Violation,
};
use session::{
    ABSOLUTE_TIMEOUT_MS_MAX, Body, Change, Core, Delta, EndReason, Hlc, Inc, SKEW_MS_MAX,
    SessionKey, Slot, Stamp, Time, Tombstone, Version,
};

use crate::support::{
    FIXED, LIFE_MS, Net, bytes, envelope, is_deltas, is_repair, key, key_in, name, set,
};

/// Two nodes with a session, of which `b` is the one that misbehaves; one more session of `a` is
/// dirty for it, and a commit waits.
fn pair_and_commit() -> (Net, Ticket) {
    let mut net = Net::synced_with(2, |options| options.shards = 4);
    net.create_everywhere(0, key(1));
    net.create_everywhere(0, key(2));
    net.lose(|e| is_deltas(e) || is_repair(e));
    let edits = net.edits(0, key(2), vec![set("register", "dirty")]);
    let ticket = net.ask(0, Commit { level: Ack::One, ..edits });
    net.log.clear();
    (net, ticket)
}

fn pair() -> Net {
    pair_and_commit().0
}

/// Everything that a test can see of `a`.
pub(super) fn state(net: &Net) -> String {
    let node = net.node(0);
    let lags: Vec<_> = node.lags().collect();
    let (waiting, synced) = (node.waiting(), node.is_synced());
    let states: Vec<_> = node.store().iter().collect();
    format!("{:?} {lags:?} {waiting:?} {synced} {states:?}", node.store().root())
}

/// `message` of `b` is this violation, and changes nothing at `a`.
#[track_caller]
pub(super) fn violates(net: &mut Net, message: Message, violation: Violation) {
    let (before, b) = (state(net), net.inc(1));
    net.inject(1, 0, message);
    assert_eq!(std::mem::take(&mut net.hosts[0].violations), [(b, violation)]);
    assert_eq!(state(net), before);
}

/// `message` of `b` is no violation, for it could be late; and changes nothing at `a`.
#[track_caller]
pub(super) fn is_ignored(net: &mut Net, message: Message) {
    let before = state(net);
    net.inject(1, 0, message);
    assert_eq!(std::mem::take(&mut net.hosts[0].violations), []);
    assert_eq!(state(net), before);
}

fn batch(deltas: Vec<Delta>) -> Message {
    Message::Deltas(Batch { number: 1, deltas })
}

pub(super) fn tomb(key: SessionKey, deadline: Time) -> Delta {
    Delta { key, body: Body::End(Tombstone { deadline, reason: EndReason::Logout }) }
}

/// A key of another shard than the first of four.
fn foreign() -> SessionKey {
    key(Slot::COUNT / 4)
}

/// A whole session of `b`, as it would send it.
fn whole(net: &Net, key: SessionKey) -> Change {
    let created = Stamp { hlc: Hlc::at(net.now), inc: net.inc(1) };
    let hard_deadline = net.now.plus(LIFE_MS);
    Change {
        core: Some(Core { created, hard_deadline, idle_ms: 60_000, user: None }),
        lo: Version::new(),
        hi: created.into(),
        attributes: net.session(0, key).map_or_else(Vec::new, |session| {
            session.attributes.iter().map(|(name, a)| (name.clone(), a.clone())).collect()
        }),
        last_access: net.now,
    }
}

fn change(key: SessionKey, change: Change) -> Delta {
    Delta { key, body: Body::Change(change) }
}

/// Tests rule V10.
#[test]
fn keys_of_another_shard_are_a_violation() {
    let mut net = pair();
    let deadline = net.now.plus(1_000);
    let end = tomb(foreign(), deadline);
    let Body::End(tombstone) = end.body else {
        unreachable!("it is one");
    };
    violates(&mut net, batch(vec![end.clone()]), Violation::WrongShard);
    let whole = change(foreign(), whole(&net, foreign()));
    violates(&mut net, batch(vec![whole]), Violation::WrongShard);
    let refused = vec![(foreign(), Refusal::Tomb(tombstone))];
    violates(&mut net, Message::Ack { batch: 1, refused }, Violation::WrongShard);
    let commit = Commit {
        key: foreign(),
        life: Life::Keep,
        at: Version::new(),
        edits: vec![],
        level: Ack::One,
    };
    let message = Message::Forward { request: 1, deadline, commit };
    violates(&mut net, message, Violation::WrongShard);
}

/// Tests rule V10: a question about another shard is answered, with nothing.
#[test]
fn questions_about_another_shard_find_nothing() {
    let mut net = pair();
    let (key, slot) = (foreign(), foreign().slot());
    is_ignored(&mut net, Message::Fetch { request: 7, key });
    is_ignored(&mut net, Message::Need { request: 7, wants: vec![(key, Version::new())] });
    is_ignored(&mut net, Message::Compare { round: 7, slot, after: None });
    let answers: Vec<&Message> = net.log.iter().map(|e| &e.message).collect();
    let supply = Supply { absent: vec![key], ..Supply::default() };
    let expected = [
        Message::Fetched { request: 7, synced: false, delta: None },
        Message::Supplied { request: 7, supply },
        Message::List { round: 7, slot, after: None, entries: Vec::new(), more: false },
    ];
    assert!(expected.iter().all(|message| answers.contains(&message)), "{answers:?}");
}

/// Tests rule V10: merging any of them would break what holds of all copies.
#[test]
fn deltas_that_contradict_themselves_are_a_violation() {
    let mut net = pair();
    net.write(0, key(1), "x");
    let good = whole(&net, key(9));
    let mut with_attribute = whole(&net, key(1));
    let later = Stamp { hlc: Hlc::at(net.now.plus(1)), inc: net.inc(1) };
    let (core, now) = (good.core.clone().expect("it is whole"), net.now);
    let too_long = Core {
        hard_deadline: core.created.hlc.time().plus(ABSOLUTE_TIMEOUT_MS_MAX + 1),
        ..core.clone()
    };
    let unordered = {
        let mut twice = with_attribute.clone();
        twice.hi.join(&net.version(0, key(1)));
        twice.attributes.extend(twice.attributes.clone());
        twice
    };
    with_attribute.attributes.truncate(1);
    let wrong = [
        ("an attribute's stamp is not covered by hi", with_attribute),
        ("an attribute twice", unordered),
        ("the creation is not covered by hi", Change { hi: Version::new(), ..good.clone() }),
        ("a core that lives too long", Change { core: Some(too_long), ..good.clone() }),
        ("from nothing, without a core", Change { core: None, ..good.clone() }),
        (
            "a created stamp that hi does not cover",
            Change { core: Some(Core { created: later, ..core }), ..good },
        ),
    ];
    for (label, wrong) in wrong {
        println!("{label}");
        violates(&mut net, batch(vec![change(key(9), wrong)]), Violation::MalformedDelta);
    }
    let absurd = now.plus(SKEW_MS_MAX + ABSOLUTE_TIMEOUT_MS_MAX + 60_000);
    for deadline in [absurd, Time(u64::MAX)] {
        violates(&mut net, batch(vec![tomb(key(9), deadline)]), Violation::MalformedDelta);
        let tombstone = Tombstone { deadline, reason: EndReason::Logout };
        let refused = vec![(key(1), Refusal::Tomb(tombstone))];
        violates(&mut net, Message::Ack { batch: 99, refused }, Violation::MalformedDelta);
    }
}

/// Tests rule V10: nothing of such a message takes effect, not even what stands before it.
#[test]
fn a_violation_spoils_the_whole_message() {
    let mut net = pair();
    let wrong = tomb(key(9), Time(u64::MAX));
    let good = tomb(key(1), net.now.plus(1_000));
    violates(&mut net, batch(vec![good.clone(), wrong.clone()]), Violation::MalformedDelta);
    let ends = [good, wrong].map(|delta| match delta.body {
        Body::End(tombstone) => (delta.key, Refusal::Tomb(tombstone)),
        Body::Change(_) => unreachable!("both are ends"),
    });
    let message = Message::Ack { batch: 3, refused: ends.into() };
    violates(&mut net, message, Violation::MalformedDelta);
}

/// Tests rule H4: not even an absurd future drags the clock along.
#[test]
fn what_lies_in_the_far_future_is_refused_and_forgotten() {
    let mut net = pair();
    let good = whole(&net, key(9));
    let never = Stamp { hlc: Hlc(u64::MAX), inc: net.inc(1) };
    let mut hi = good.hi.clone();
    hi.insert(never);
    for wrong in [
        Change { hi, ..good.clone() },
        Change { last_access: Time(u64::MAX), ..good.clone() },
        Change { last_access: net.now.plus(SKEW_MS_MAX + 100), ..good },
    ] {
        is_ignored(&mut net, batch(vec![change(key(9), wrong)]));
        let ack = &net.log.last().expect("an answer").message;
        assert!(matches!(ack, Message::Ack { refused, .. } if refused[0].1 == Refusal::Skew));
    }
    let version = net.write(0, key(1), "x").version;
    assert!(version.newest().time() <= net.now);
}

/// Tests rule A5: a core that no correct node makes.
#[test]
fn absurd_cores_create_nothing() {
    let mut net = pair();
    let now = net.now;
    let stamp = |hlc| Stamp { hlc, inc: Inc(5) };
    let good = Core {
        created: stamp(Hlc::at(now)),
        hard_deadline: now.plus(LIFE_MS),
        idle_ms: u64::MAX,
        user: None,
    };
    let absurd = [
        Core { created: stamp(Hlc(u64::MAX)), hard_deadline: Time(u64::MAX), ..good.clone() },
        Core { hard_deadline: Time(u64::MAX), ..good.clone() },
        Core { hard_deadline: Time(0), ..good.clone() },
        Core { created: stamp(Hlc(0)), ..good.clone() },
    ];
    for (core, request) in absurd.into_iter().zip(1..) {
        let life = Life::Create(core);
        let commit =
            Commit { key: key(9), life, at: Version::new(), edits: vec![], level: Ack::All };
        net.inject(1, 0, Message::Forward { request, deadline: Time(u64::MAX), commit });
        assert!(net.session(0, key(9)).is_none());
        let answer = net.log.last().map(|envelope| envelope.message.clone());
        assert_eq!(answer, Some(Message::Forwarded { request, outcome: None }));
    }
    let version = net.write(0, key(1), "x").version;
    assert!(version.newest().time() <= net.now, "no clock was dragged along");
}

/// Tests rule V10.
#[test]
fn messages_beyond_their_bounds_are_a_violation() {
    let mut net = pair();
    let (now, slot) = (net.now, key(1).slot());
    let end = tomb(key(9), now.plus(1_000));
    let many = vec![end.clone(); BATCH_DELTAS_MAX + 1];
    violates(&mut net, batch(many), Violation::TooMuch);
    let refused = vec![(key(1), Refusal::Dead); BATCH_DELTAS_MAX + 1];
    violates(&mut net, Message::Ack { batch: 1, refused }, Violation::TooMuch);
    let wants = vec![(key(1), Version::new()); NEED_KEYS_MAX + 1];
    violates(&mut net, Message::Need { request: 1, wants }, Violation::TooMuch);
    let edits = vec![set("register", "x"); EDITS_MAX + 1];
    let commit = Commit { edits, ..net.edits(0, key(1), vec![]) };
    let message = Message::Forward { request: 1, deadline: now.plus(1_000), commit };
    violates(&mut net, message, Violation::TooMuch);
    let entries = vec![(key(1), 0); LIST_KEYS_MAX + 1];
    let message = Message::List { round: 1, slot, after: None, entries, more: false };
    violates(&mut net, message, Violation::TooMuch);
    let entries = vec![(key(1), 0), (key(2), 0)];
    let message = Message::List { round: 1, slot, after: None, entries, more: false };
    violates(&mut net, message, Violation::TooMuch);
    let digest = |number| (Slot::new(number).expect("a slot"), Digest::default());
    for (label, numbers) in [
        ("a slot twice", vec![3, 3]),
        ("slots out of order", vec![1, 3, 2]),
        ("a slot of another shard", vec![1, Slot::COUNT / 4]),
        ("the last slot there is", vec![Slot::COUNT - 1]),
    ] {
        println!("{label}");
        let slots = numbers.into_iter().map(digest).collect();
        violates(&mut net, Message::Digests { round: 1, slots }, Violation::TooMuch);
    }
}

/// Tests rule B1: nothing becomes clean, nobody is told that it is acknowledged.
#[test]
fn acks_of_batches_that_were_never_sent_confirm_nothing() {
    let mut net = pair();
    for batch in [0, 2, 99, u64::MAX] {
        is_ignored(&mut net, Message::Ack { batch, refused: Vec::new() });
        is_ignored(&mut net, Message::Ack { batch, refused: vec![(key(9), Refusal::Skew)] });
        is_ignored(&mut net, Message::Ack { batch, refused: vec![(key(9), Refusal::Dead)] });
        let need = Refusal::Need(Version::new());
        is_ignored(&mut net, Message::Ack { batch, refused: vec![(key(9), need)] });
    }
}

/// Tests rules K2 and P3: an answer counts only where there was a question.
#[test]
fn answers_that_nobody_asked_for_are_ignored() {
    let mut net = pair();
    let (slot, round) = (key(1).slot(), 99);
    let delta = change(key(9), whole(&net, key(9)));
    let answered = net.hosts[0].committed.len() + net.hosts[0].opened.len();
    for request in [0, 1, 99] {
        let delta = Some(delta.clone());
        is_ignored(&mut net, Message::Fetched { request, synced: true, delta });
        let supply = Supply { deltas: vec![tomb(key(1), net.now)], ..Supply::default() };
        is_ignored(&mut net, Message::Supplied { request, supply });
        for outcome in [None, Some(Outcome::Gone)] {
            is_ignored(&mut net, Message::Forwarded { request, outcome });
        }
    }
    let entries = vec![(key(1), 1)];
    is_ignored(&mut net, Message::List { round, slot, after: None, entries, more: true });
    is_ignored(&mut net, Message::Same { round });
    is_ignored(&mut net, Message::Digests { round, slots: vec![(slot, Digest::default())] });
    is_ignored(&mut net, Message::Compared { round });
    assert_eq!(net.hosts[0].committed.len() + net.hosts[0].opened.len(), answered);
}

/// Tests rule V10: a message names its sender, and who it is for.
#[test]
fn an_envelope_with_another_address_is_not_opened() {
    let mut net = pair();
    let (a, b, now, before) = (net.inc(0), net.inc(1), net.now, state(&net));
    let end = batch(vec![tomb(key(1), now.plus(1_000))]);
    let good = envelope(FIXED, b, a, end);
    let mut node_of = |envelope: Envelope, from: Inc| {
        let counted = net.node(0).counters().strangers;
        net.handle(0, from, envelope);
        let strange = net.node(0).counters().strangers - counted;
        assert_eq!(state(&net), before);
        (strange, std::mem::take(&mut net.hosts[0].violations))
    };
    let wrong_sender = vec![(b, Violation::WrongSender)];
    assert_eq!(node_of(Envelope { from: a, ..good.clone() }, b), (0, wrong_sender));
    assert_eq!(node_of(Envelope { to: Inc(1), ..good.clone() }, b), (1, Vec::new()));
    assert_eq!(node_of(Envelope { shard: 1, ..good.clone() }, b), (1, Vec::new()));
    assert_eq!(node_of(Envelope { from: Inc(3), ..good }, Inc(3)), (1, Vec::new()));
}

/// Tests rule P3: who defers what it was not asked for does not make the asking side remember it.
#[test]
fn a_supply_defers_only_what_was_asked_for() {
    let mut net = Net::synced(2);
    net.lose(|e| is_deltas(e) || matches!(e.message, Message::Supplied { .. }));
    net.create(1, key(3));
    let b = net.inc(1);
    let asked = |net: &Net| {
        net.log.iter().find_map(|e| match &e.message {
            Message::Need { request, .. } if e.to == b => Some(*request),
            _ => None,
        })
    };
    net.run_until("a asks", |net| asked(net).is_some());
    let request = asked(&net).expect("it did");
    net.log.clear();
    let keys = |count| (0..count).map(|number| key_in(9, number)).collect();
    let supply = |deferred: Vec<SessionKey>| Supply { deferred, ..Supply::default() };
    let much = u16::try_from(NEED_KEYS_MAX + 1).expect("few");
    violates(
        &mut net,
        Message::Supplied { request, supply: supply(keys(much)) },
        Violation::TooMuch,
    );
    net.inject(1, 0, Message::Supplied { request, supply: supply(keys(much - 1)) });
    net.run_ms(1_000);
    let wanted: usize = net
        .log
        .iter()
        .map(|e| match &e.message {
            Message::Need { wants, .. } if e.to == b => wants.len(),
            _ => 0,
        })
        .sum();
    assert!(wanted < 20, "{wanted} keys were asked for");
}

/// Tests rule L1: whoever starts comparisons and never ends them stays known to be behind.
#[test]
fn comparisons_that_are_begun_and_not_ended_clean_nothing() {
    let mut net = Net::synced_with(2, |options| options.outbox_sessions_max = 2);
    net.lose(|e| is_repair(e) || is_deltas(e));
    for number in 0..20 {
        net.create(0, key(number));
    }
    let slots = |net: &Net| net.node(0).lags().next().expect("a peer").slots;
    let behind = slots(&net);
    assert!(behind > 10);
    for round in 0..1_000 {
        net.inject(1, 0, Message::Root { round, root: Digest::default() });
        net.inject(1, 0, Message::Compared { round: round + 1 });
        assert_eq!(slots(&net), behind);
    }
}

/// Tests rule B4: an answer is not larger than a frame, whatever was asked for.
#[test]
fn bound_supply_bytes_max() {
    let mut net = Net::synced(2);
    for number in 0..40 {
        let edits = vec![session::Edit::Set(name("large"), bytes(10_000))];
        let creation = net.creation(0, key(number), edits);
        net.commit(0, creation);
    }
    net.run_until_calm();
    net.log.clear();
    let wants = (0..40).map(|number| (key(number), Version::new())).collect();
    net.inject(1, 0, Message::Need { request: 1, wants });
    let supply = net.log.iter().find_map(|e| match &e.message {
        Message::Supplied { supply, .. } => Some(supply.clone()),
        _ => None,
    });
    let supply = supply.expect("an answer");
    let sent: usize = supply.deltas.iter().map(Delta::size_bytes).sum();
    assert!((SUPPLY_BYTES_MAX..SUPPLY_BYTES_MAX + 11_000).contains(&sent), "{sent} bytes");
    assert_eq!(supply.deltas.len() + supply.deferred.len(), 40);
    assert!(supply.absent.is_empty() && sent < FRAME_BYTES_MAX);
}

/// Tests rule I-ACK: an ack of what was sent, but of a node that is no member any more.
#[test]
fn the_acks_of_a_process_that_is_gone_count_for_nobody() {
    let (mut net, ticket) = pair_and_commit();
    let (a, b) = (net.inc(0), net.inc(1));
    let ack = Message::Ack { batch: 3, refused: Vec::new() };
    net.crash(1);
    net.run_ms(10);
    net.start(1);
    net.handle(0, b, envelope(FIXED, b, a, ack));
    assert_eq!(net.node(0).counters().strangers, 1);
    let Outcome::Done(acked) = net.outcome(0, ticket) else {
        panic!("it is applied");
    };
    assert_eq!(acked.report, Report { asked: 1, got: 0 });
}
