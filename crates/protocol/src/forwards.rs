//! Edits that one node asks another to stamp: sent to one process, executed at most once.

use std::collections::{BTreeMap, BTreeSet};

use session::{Inc, SKEW_MS_MAX, Time};

use crate::event::{Outcome, Ticket};
use crate::limits::{FORWARD_RETRY_MS, FORWARDS_MAX, FORWARDS_PER_PEER_MAX};
use crate::message::Commit;
use crate::retries::patience_ms;

/// Edits of a request of this process, on their way to an owner.
#[derive(Clone, Hash)]
pub(crate) struct Outgoing {
    pub(crate) ticket: Ticket,
    pub(crate) commit: Commit,
    pub(crate) deadline: Time,
    pub(crate) began: Time,
    /// The one process that has them. It is changed only when it said that it did nothing.
    pub(crate) target: Option<Inc>,
    sent: Time,
    /// How often it was sent to the target.
    tries: u32,
    /// Who said that it may not stamp, and when it may be asked again.
    refused: BTreeMap<Inc, Time>,
}

impl Outgoing {
    /// True if `peer` did not refuse within the last moments.
    pub(crate) fn may_ask(&self, peer: Inc, now: Time) -> bool {
        self.refused.get(&peer).is_none_or(|until| *until <= now)
    }

    /// True if `peer` has refused them.
    pub(crate) fn was_refused_by(&self, peer: Inc) -> bool {
        self.refused.contains_key(&peer)
    }

    /// Notes that it is sent to `peer` now.
    pub(crate) fn sent_to(&mut self, peer: Inc, now: Time) {
        self.tries = if self.target == Some(peer) { self.tries + 1 } else { 1 };
        self.target = Some(peer);
        self.sent = now;
    }

    /// True if the answer is late enough to ask the same process again.
    // Rule B6.
    pub(crate) fn is_late(&self, now: Time) -> bool {
        now.since(self.sent) >= patience_ms(FORWARD_RETRY_MS, self.tries)
    }
}

/// What is known of edits that arrived from a peer.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// They are new; they are being executed from now on.
    New,
    /// They are being executed.
    Running,
    /// They were executed, with this outcome; or refused, if there is none.
    Answered(Option<Outcome>),
    /// Too many are remembered, of this peer or of all; nothing was executed.
    Full,
}

#[derive(Clone, Hash)]
struct Incoming {
    /// `Some` once answered. A refusal is remembered like an outcome: by then the sender may have
    /// asked another node, and a late copy of the same message must not be executed here.
    answer: Option<Option<Outcome>>,
}

/// Forwarded edits of one shard, in both directions; at most [`FORWARDS_MAX`] each, and of those
/// that arrived [`FORWARDS_PER_PEER_MAX`] of each peer.
// Rule F1.
#[derive(Clone, Default, Hash)]
pub(crate) struct Forwards {
    outgoing: BTreeMap<u64, Outgoing>,
    next: u64,
    incoming: BTreeMap<(Inc, u64), Incoming>,
    /// How many of `incoming` each peer has; of those that have any.
    incoming_of: BTreeMap<Inc, usize>,
    deadlines: BTreeSet<(Time, Inc, u64)>,
}

impl Forwards {
    /// `peer` did nothing with the edits under that number: they get a new one, under which
    /// another process, or the same one later, is asked.
    pub(crate) fn refused(&mut self, number: u64, peer: Inc, now: Time) -> Option<u64> {
        let mut outgoing = self.outgoing.remove(&number)?;
        outgoing.target = None;
        outgoing.refused.insert(peer, now.plus(FORWARD_RETRY_MS));
        self.next += 1;
        self.outgoing.insert(self.next, outgoing);
        Some(self.next)
    }

    /// Takes edits in and numbers them; `None` if too many are on their way.
    pub(crate) fn add(
        &mut self,
        ticket: Ticket,
        commit: Commit,
        deadline: Time,
        began: Time,
    ) -> Option<u64> {
        if self.outgoing.len() >= FORWARDS_MAX {
            return None;
        }
        self.next += 1;
        let refused = BTreeMap::new();
        let (target, sent, tries) = (None, Time(0), 0);
        let outgoing = Outgoing { ticket, commit, deadline, began, target, sent, tries, refused };
        self.outgoing.insert(self.next, outgoing);
        Some(self.next)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Outgoing> {
        self.outgoing.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Outgoing> {
        self.outgoing.get_mut(&number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Outgoing> {
        self.outgoing.remove(&number)
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.outgoing.keys().copied().collect()
    }

    /// Recognises edits that arrived before.
    pub(crate) fn receive(&mut self, from: Inc, number: u64, deadline: Time) -> Known {
        if let Some(known) = self.incoming.get(&(from, number)) {
            return match &known.answer {
                Some(answer) => Known::Answered(answer.clone()),
                None => Known::Running,
            };
        }
        // Rule F2.
        let own = self.incoming_of.get(&from).copied().unwrap_or(0);
        if own >= FORWARDS_PER_PEER_MAX || self.incoming.len() >= FORWARDS_MAX {
            return Known::Full;
        }
        self.incoming_of.insert(from, own + 1);
        self.incoming.insert((from, number), Incoming { answer: None });
        // The sender repeats itself until the deadline by its clock, which may be behind ours.
        self.deadlines.insert((deadline.plus(2 * SKEW_MS_MAX), from, number));
        Known::New
    }

    /// Keeps the answer for those who ask again.
    pub(crate) fn answer(&mut self, from: Inc, number: u64, answer: &Option<Outcome>) {
        if let Some(known) = self.incoming.get_mut(&(from, number)) {
            known.answer = Some(answer.clone());
        }
    }

    /// Forgets edits whose sender no longer waits.
    pub(crate) fn handle_tick(&mut self, now: Time) {
        while let Some(&(deadline, from, number)) = self.deadlines.first() {
            if deadline >= now {
                break;
            }
            self.deadlines.pop_first();
            self.incoming.remove(&(from, number));
            let left = self.incoming_of.remove(&from).unwrap_or(0).saturating_sub(1);
            if left > 0 {
                self.incoming_of.insert(from, left);
            }
        }
    }

    /// `peer` has ended and will not ask again: a late message of it is nobody's.
    pub(crate) fn forget(&mut self, peer: Inc) {
        self.incoming.retain(|(from, _), _| *from != peer);
        self.deadlines.retain(|(_, from, _)| *from != peer);
        self.incoming_of.remove(&peer);
    }

    pub(crate) fn len(&self) -> usize {
        self.outgoing.len() + self.incoming.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ack;
    use crate::fixtures::{NOW, key};
    use crate::message::Life;

    fn commit() -> Commit {
        let (at, edits) = (session::Version::new(), Vec::new());
        Commit { key: key(0, 0), life: Life::Keep, at, edits, level: Ack::One }
    }

    fn add(forwards: &mut Forwards) -> Option<u64> {
        forwards.add(Ticket(1), commit(), NOW.plus(1_000), NOW)
    }

    /// Tests rule F1: new once; then running; then answered, always alike.
    #[test]
    fn edits_that_arrive_again_are_recognised() {
        let mut forwards = Forwards::default();
        let receive = |forwards: &mut Forwards, from, number| {
            forwards.receive(Inc(from), number, NOW.plus(1_000))
        };
        assert!(matches!(receive(&mut forwards, 2, 1), Known::New));
        assert!(matches!(receive(&mut forwards, 2, 1), Known::Running));
        assert!(matches!(receive(&mut forwards, 3, 1), Known::New), "another sender's number 1");
        forwards.answer(Inc(2), 1, &Some(Outcome::Gone));
        forwards.answer(Inc(3), 1, &None);
        for _ in 0..2 {
            let known = receive(&mut forwards, 2, 1);
            assert!(matches!(known, Known::Answered(Some(Outcome::Gone))));
            assert!(matches!(receive(&mut forwards, 3, 1), Known::Answered(None)), "refused");
        }
    }

    /// Tests rule F1: an answer is kept as long as its sender may repeat itself, and not longer.
    #[test]
    fn answers_are_forgotten_when_nobody_asks_again() {
        let mut forwards = Forwards::default();
        let deadline = NOW.plus(1_000);
        forwards.receive(Inc(2), 1, deadline);
        forwards.handle_tick(deadline.plus(2 * SKEW_MS_MAX));
        assert_eq!(forwards.len(), 1, "by its own clock it may still wait");
        forwards.handle_tick(deadline.plus(2 * SKEW_MS_MAX + 1));
        assert_eq!(forwards.len(), 0);
    }

    /// Tests rule F1: a refusal gives edits a new number, so that the old one stays refused.
    #[test]
    fn refused_edits_go_on_under_another_number() {
        let mut forwards = Forwards::default();
        let first = add(&mut forwards).expect("room");
        forwards.get_mut(first).expect("it waits").sent_to(Inc(2), NOW);
        let second = forwards.refused(first, Inc(2), NOW).expect("it waited");
        assert!(forwards.get(first).is_none() && second != first);
        let outgoing = forwards.get(second).expect("it goes on");
        assert_eq!(outgoing.target, None);
        assert!(!outgoing.may_ask(Inc(2), NOW) && outgoing.may_ask(Inc(3), NOW));
        assert!(outgoing.may_ask(Inc(2), NOW.plus(FORWARD_RETRY_MS)));
    }

    /// Tests rule F1.
    #[test]
    fn bound_forward_retry_ms() {
        let mut forwards = Forwards::default();
        let number = add(&mut forwards).expect("room");
        let outgoing = forwards.get_mut(number).expect("it waits");
        outgoing.sent_to(Inc(2), NOW);
        assert!(!outgoing.is_late(NOW.plus(FORWARD_RETRY_MS - 1)));
        assert!(outgoing.is_late(NOW.plus(FORWARD_RETRY_MS)));
    }

    /// Tests rule F1: in both directions.
    #[test]
    fn bound_forwards_max() {
        let mut forwards = Forwards::default();
        for number in 0..FORWARDS_MAX as u64 {
            assert!(add(&mut forwards).is_some());
            let peer = Inc(number % 5);
            assert!(matches!(forwards.receive(peer, number, NOW), Known::New));
        }
        assert_eq!(add(&mut forwards), None);
        assert!(matches!(forwards.receive(Inc(2), u64::MAX, NOW), Known::Full));
        assert!(matches!(forwards.receive(Inc(1), 1, NOW), Known::Running), "it is known");
        assert_eq!(forwards.len(), 2 * FORWARDS_MAX);
    }

    /// Tests rule F2: who forwards without end uses up its own share.
    #[test]
    fn bound_forwards_per_peer_max() {
        let mut forwards = Forwards::default();
        let fill = |forwards: &mut Forwards, peer, first| {
            let new = |number: &u64| matches!(forwards.receive(peer, *number, NOW), Known::New);
            (first..).take_while(new).count()
        };
        assert_eq!(fill(&mut forwards, Inc(2), 0), FORWARDS_PER_PEER_MAX);
        assert!(matches!(forwards.receive(Inc(2), 1, NOW), Known::Running), "it is known");
        assert_eq!(fill(&mut forwards, Inc(3), 0), FORWARDS_PER_PEER_MAX, "the share of another");
        forwards.forget(Inc(3));
        assert_eq!(forwards.len(), FORWARDS_PER_PEER_MAX);
        assert_eq!(fill(&mut forwards, Inc(4), 0), FORWARDS_PER_PEER_MAX, "what was free is free");
        forwards.handle_tick(NOW.plus(2 * SKEW_MS_MAX + 1));
        assert_eq!(forwards.len(), 0);
        assert_eq!(fill(&mut forwards, Inc(2), 1 << 32), FORWARDS_PER_PEER_MAX, "after a while");
    }
}
