//! What no correct peer says of views and slots: it is reported or ignored, and changes no copy.

use protocol::{Ack, Batch, Commit, Digest, Envelope, Life, Message, Outcome, Refusal, Supply};
use protocol::{Violation, limits};
use session::{Body, Delta, SessionKey, Slot, Version};

use super::hostile::{is_ignored, state, tomb, violates};
use crate::support::{Net, envelope, is_deltas, is_repair, key, key_in, set};

/// Three members by agreement, two of which hold each session; `b` misbehaves towards `a`. The keys
/// are one of both and one that `a` does not own.
fn three() -> (Net, SessionKey, SessionKey) {
    let mut net = Net::agreed(3, 2, 0);
    let (of_both, foreign) = (net.key_owned_by(&[0, 1]), net.key_owned_by(&[1, 2]));
    net.create(0, of_both);
    net.create(1, foreign);
    net.settle();
    net.hold_views();
    net.lose(|e| is_deltas(e) || is_repair(e));
    net.log.clear();
    (net, of_both, foreign)
}

/// What `b` would say in a view of that generation and epoch.
fn said(net: &Net, view: (u64, u64), message: Message) -> Envelope {
    envelope(view, net.inc(1), net.inc(0), message)
}

fn ending(net: &Net, key: SessionKey) -> Message {
    let deltas = vec![tomb(key, net.now.plus(1_000))];
    Message::Deltas(Batch { number: 1, deltas })
}

/// Tests rule V1: of another generation nothing is taken, and of a later one the driver is told.
#[test]
fn messages_of_another_generation_change_nothing() {
    let (mut net, key, _) = three();
    let (before, b, epoch) = (state(&net), net.inc(1), net.view().epoch);
    for generation in [0, 2, u64::MAX] {
        let envelope = said(&net, (generation, epoch), ending(&net, key));
        net.handle(0, b, envelope);
        assert_eq!(state(&net), before, "generation {generation}");
    }
    assert_eq!(net.node(0).counters().strangers, 3);
    assert_eq!(net.hosts[0].behind.len(), 2, "of the later ones it is told");
}

/// Tests rule V1: who names an epoch that there is not, keeps nobody from hearing of the next one.
#[test]
fn bound_behind_ms() {
    let (mut net, _, _) = three();
    let (b, epoch) = (net.inc(1), net.view().epoch);
    let hear = |net: &mut Net, epoch| {
        let envelope = said(net, (1, epoch), Message::Pull);
        net.handle(0, b, envelope);
        std::mem::take(&mut net.hosts[0].behind)
    };
    assert_eq!(hear(&mut net, u64::MAX), [u64::MAX]);
    assert_eq!(hear(&mut net, u64::MAX), []);
    assert_eq!(hear(&mut net, epoch + 1), [], "a moment ago it was told to ask");
    net.now = net.now.plus(limits::BEHIND_MS - 1);
    assert_eq!(hear(&mut net, epoch + 1), []);
    net.now = net.now.plus(1);
    assert_eq!(hear(&mut net, epoch + 1), [epoch + 1]);
}

/// Tests rule V10: a view that the configuration fixes has one epoch.
#[test]
fn another_epoch_under_a_fixed_view_is_a_violation() {
    let mut net = Net::synced(2);
    net.create_everywhere(0, key(1));
    let (before, b) = (state(&net), net.inc(1));
    for epoch in [0, 2, u64::MAX] {
        let envelope = said(&net, (0, epoch), ending(&net, key(1)));
        net.handle(0, b, envelope);
        assert_eq!(std::mem::take(&mut net.hosts[0].violations), [(b, Violation::WrongEpoch)]);
        assert_eq!(state(&net), before, "epoch {epoch}");
    }
}

/// Tests rule V2: lanes overtake each other, so an epoch may go back; what is then said of a batch
/// that was sent counts once, and of any other not at all.
#[test]
fn an_epoch_that_goes_back_confirms_nothing_that_was_not_sent() {
    let (mut net, key, _) = three();
    let edits = net.edits(0, key, vec![set("register", "x")]);
    let ticket = net.ask(0, Commit { level: Ack::All, ..edits });
    let (before, b, epoch) = (state(&net), net.inc(1), net.view().epoch);
    for epoch in [epoch, 1, 0, epoch] {
        let ack = Message::Ack { batch: 99, refused: Vec::new() };
        let envelope = said(&net, (1, epoch), ack);
        net.handle(0, b, envelope);
    }
    assert_eq!(state(&net), before);
    assert!(!net.hosts[0].committed.contains_key(&ticket));
}

/// Tests rules V3 and I-ACK: only owners' acks count, and of what they were sent.
#[test]
fn acks_of_who_is_no_owner_or_was_sent_nothing_count_for_nobody() {
    let (mut net, key, _) = three();
    let edits = net.edits(0, key, vec![set("register", "x")]);
    let ticket = net.ask(0, Commit { level: Ack::One, ..edits });
    for batch in 0..20 {
        net.inject(2, 0, Message::Ack { batch, refused: Vec::new() });
    }
    net.run_ms(100);
    assert!(!net.hosts[0].committed.contains_key(&ticket), "c does not own it");
    let Outcome::Done(acked) = net.outcome(0, ticket) else { panic!("it is applied") };
    assert_eq!((acked.report.asked, acked.report.got), (1, 0));
}

/// Tests rules P3 and V10: a list is in order, and goes on after what was asked for.
#[test]
fn pages_out_of_order_are_a_violation() {
    let (mut net, key, _) = three();
    let slot = key.slot();
    let keys = [1, 2, 3].map(|number| key_in(slot.number(), number));
    let entry = |key: SessionKey| (key, 1_u64);
    for (after, order) in [
        (None, vec![keys[1], keys[0]]),
        (None, vec![keys[0], keys[0]]),
        (Some(keys[1]), vec![keys[0]]),
        (Some(keys[1]), vec![keys[1], keys[2]]),
    ] {
        let entries = order.into_iter().map(entry).collect();
        let message = Message::List { round: 1, slot, after, entries, more: true };
        violates(&mut net, message, Violation::TooMuch);
    }
    let entries = vec![entry(keys[0])];
    is_ignored(&mut net, Message::List { round: 1, slot, after: None, entries, more: true });
}

/// Tests rule P3: summaries of what a node does not own make it ask for nothing.
#[test]
fn digests_of_slots_that_a_node_does_not_own_are_ignored() {
    let (mut net, _, foreign) = three();
    net.lose(move |e| is_deltas(e) || matches!(e.message, Message::Same { .. }));
    let (a, b) = (net.inc(0), net.inc(1));
    let asked = move |net: &Net| {
        net.log.iter().find_map(|e| match e.message {
            Message::Root { round, .. } if (e.from, e.to) == (a, b) => Some(round),
            _ => None,
        })
    };
    net.run_until("a compares", |net| asked(net).is_some());
    let round = asked(&net).expect("it does");
    net.log.clear();
    let mut digests = protocol::Store::new(0, Slot::COUNT, 1, protocol::Rules::default());
    digests.apply(tomb(foreign, net.now.plus(1_000)), net.now);
    let slots = vec![(foreign.slot(), digests.root())];
    net.inject(1, 0, Message::Digests { round, slots });
    assert_eq!(net.count(|e| matches!(e.message, Message::Compare { .. })), 0);
    assert_eq!(net.count(|e| e.from == a && matches!(e.message, Message::Compared { .. })), 1);
    let beyond = Slot::new(Slot::COUNT / 2).expect("a slot");
    let message = Message::Digests { round, slots: vec![(beyond, Digest::default())] };
    violates(&mut net, message, Violation::TooMuch);
}

/// Tests rule V2: deltas of a slot that the receiver does not own are refused, and not kept.
#[test]
fn deltas_for_a_slot_that_a_node_does_not_own_are_not_kept() {
    let (mut net, _, foreign) = three();
    let whole = net.node(1).store().extract(foreign, &Version::new()).expect("b has it");
    for delta in [whole, tomb(foreign, net.now.plus(1_000))] {
        is_ignored(&mut net, Message::Deltas(Batch { number: 1, deltas: vec![delta] }));
        let answer = net.log.last().map(|envelope| envelope.message.clone());
        let refused = vec![(foreign, Refusal::NotOwner)];
        assert_eq!(answer, Some(Message::Ack { batch: 1, refused }));
    }
    let Body::End(end) = tomb(foreign, net.now.plus(1_000)).body else { unreachable!("it is one") };
    let refused = vec![(foreign, Refusal::Tomb(end))];
    is_ignored(&mut net, Message::Ack { batch: 7, refused });
    assert_eq!(net.node(0).counters().not_owned, 2);
}

/// Tests rule P3: nor are they when they stand in an answer that was asked for.
#[test]
fn supplies_of_a_slot_that_a_node_does_not_own_are_not_kept() {
    let mut net = Net::agreed(3, 2, 0);
    let (of_both, foreign) = (net.key_owned_by(&[1, 0]), net.key_owned_by(&[1, 2]));
    net.lose(|e| is_deltas(e) || matches!(e.message, Message::Supplied { .. }));
    net.create(1, of_both);
    let (a, b) = (net.inc(0), net.inc(1));
    let asked = move |net: &Net| {
        net.log.iter().find_map(|e| match e.message {
            Message::Need { request, .. } if (e.from, e.to) == (a, b) => Some(request),
            _ => None,
        })
    };
    net.run_until("a asks", |net| asked(net).is_some());
    let request = asked(&net).expect("it does");
    let deltas: Vec<Delta> = vec![tomb(foreign, net.now.plus(1_000))];
    let supply = Supply { deltas, ..Supply::default() };
    net.inject(1, 0, Message::Supplied { request, supply });
    assert!(!net.holds(0, foreign));
}

/// Tests rule N2: edits of a slot that the receiver does not own it does not execute.
#[test]
fn edits_for_a_slot_that_a_node_does_not_own_are_refused() {
    let (mut net, _, foreign) = three();
    let deadline = net.now.plus(1_000);
    let core = net.core(1);
    let lives = [Life::Keep, Life::Create(core), Life::End(session::EndReason::Logout)];
    for (life, request) in lives.into_iter().zip(1..) {
        let at = net.version(1, foreign);
        let edits = vec![set("register", "x")];
        let commit = Commit { key: foreign, life, at, edits, level: Ack::Local };
        net.inject(1, 0, Message::Forward { request, deadline, commit });
        let answer = net.log.last().map(|envelope| envelope.message.clone());
        assert_eq!(answer, Some(Message::Forwarded { request, outcome: None }));
        assert!(!net.holds(0, foreign));
    }
}

/// Tests rule B4: whoever asks without end is answered with as much as repair may spend.
#[test]
fn a_flood_of_needs_gets_no_more_than_the_budget() {
    let mut net = Net::agreed(2, 0, 0);
    let large = |number: u16| {
        session::Edit::Set(crate::support::name("large"), {
            crate::support::bytes(10_000 + usize::from(number))
        })
    };
    for number in 0..20 {
        let creation = net.creation(0, key(number), vec![large(number)]);
        net.commit(0, creation);
    }
    net.settle();
    let spent = net.node(0).counters().repair_bytes;
    let before: Vec<Digest> = (0..20).map(|n| net.node(0).store().digest(key(n).slot())).collect();
    for request in 0..5_000 {
        let wants = (0..20).map(|number| (key(number), Version::new())).collect();
        net.inject(1, 0, Message::Need { request, wants });
    }
    let spent = net.node(0).counters().repair_bytes - spent;
    assert!(spent <= limits::REPAIR_BYTES_PER_SECOND + 100_000, "{spent} bytes at once");
    let after = (0..20).map(|n| net.node(0).store().digest(key(n).slot()));
    assert!(after.eq(before));
}
