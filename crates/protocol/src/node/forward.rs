//! Edits that this node asks another to execute, and those that it is asked to.

use session::{Inc, SessionKey, Time};

use super::Node;
use super::commit::commit_load;
use crate::event::Outcome;
use crate::forwards::Known;
use crate::limits::{ASK_EVERYONE_MS, EDITS_MAX, HOPELESS_MS, REQUEST_MS_MAX};
use crate::message::{Commit, Lane, Message};
use crate::rules::Rule;
use crate::violation::Violation;
use crate::waiters::Asker;

impl Node {
    pub(super) fn tick_forwards(&mut self, now: Time) {
        self.forwards.handle_tick(now);
        for number in self.forwards.numbers() {
            self.advance_forward(number, now);
        }
    }

    /// Sends the edits to an owner, or again to the one that has them, or gives up.
    // Rule F1.
    pub(super) fn advance_forward(&mut self, number: u64, now: Time) {
        let Some(outgoing) = self.forwards.get_mut(number) else {
            return;
        };
        let (deadline, target) = (outgoing.deadline, outgoing.target);
        let late = outgoing.is_late(now);
        if let Some(target) = target {
            if deadline <= now || !self.view.contains(target) {
                self.finish_forward(number, Outcome::Unknown);
            } else if late && self.retries.spend(now) {
                self.counters.forwards_repeated += 1;
                self.send_forward(number, target, now);
            }
            return;
        }
        if deadline <= now {
            return self.finish_forward(number, Outcome::Unavailable);
        }
        let Some(outgoing) = self.forwards.get(number) else {
            return;
        };
        let next = self.executor(&outgoing.commit, |owner| outgoing.may_ask(owner, now));
        match next {
            Some(next) if next == self.options.inc => {
                if let Some(outgoing) = self.forwards.remove(number) {
                    let asker = Asker::Local(outgoing.ticket);
                    self.execute(asker, outgoing.commit, deadline, now);
                }
            }
            Some(next) => self.send_forward(number, next, now),
            None => self.without_executor(number, now),
        }
    }

    /// Nobody may be asked now. Nothing has been executed, so whatever ends the wait is honest.
    fn without_executor(&mut self, number: u64, now: Time) {
        let Some(outgoing) = self.forwards.get(number) else {
            return;
        };
        let (key, deadline) = (outgoing.commit.key, outgoing.deadline);
        let me = self.options.inc;
        let others = || self.placement.owners(key.slot()).filter(|owner| *owner != me);
        let all_refused =
            others().all(|owner| !self.is_reachable(owner) || outgoing.was_refused_by(owner));
        if self.has_forgotten(key) && all_refused {
            if let Some(outgoing) = self.forwards.remove(number) {
                let asker = Asker::Local(outgoing.ticket);
                self.ask_everyone(asker, outgoing.commit, deadline, now);
            }
        } else if !self.is_catching_up_with(key)
            && now.since(outgoing.began) >= HOPELESS_MS
            && !others().any(|owner| self.is_reachable(owner))
        {
            // Only another could stamp it, and none came into sight. Rule N2.
            self.finish_forward(number, Outcome::Unavailable);
        }
    }

    /// True if this node owns the session and has not caught up with it yet: it is about to know more
    /// by itself, whoever else answers.
    pub(super) fn is_catching_up_with(&self, key: SessionKey) -> bool {
        self.owns(key) && !self.speaks_for(key)
    }

    /// True if this node could stamp the session, had it not perhaps stamped and forgotten it.
    // Rule E4.
    pub(super) fn has_forgotten(&self, key: SessionKey) -> bool {
        self.speaks_for(key) && !self.clock_fault && self.store.is_retired(key)
    }

    /// True if so, and all owners together could give it back. Of what was lost after it was given
    /// up nobody can give anything back: another owner is to stamp it.
    // Rules E4, V9.
    pub(super) fn may_recall(&self, key: SessionKey) -> bool {
        self.has_forgotten(key) && !self.store.is_bereft(key)
    }

    /// Asks all owners for what they hold of a session that was forgotten here: together that is
    /// all there is, and then it may be stamped again. If one of them does not answer it may not.
    // Rule E4.
    pub(super) fn ask_everyone(&mut self, asker: Asker, commit: Commit, deadline: Time, now: Time) {
        let deadline = match asker {
            Asker::Local(_) => deadline,
            // Whoever asked may find another owner that need not ask anybody.
            Asker::Peer(..) => deadline.min(now.plus(ASK_EVERYONE_MS)),
        };
        self.start_load(commit_load(asker, commit, now, deadline).of_everyone(), now);
    }

    fn send_forward(&mut self, number: u64, target: Inc, now: Time) {
        let Some(outgoing) = self.forwards.get_mut(number) else {
            return;
        };
        outgoing.sent_to(target, now);
        let (deadline, commit) = (outgoing.deadline, outgoing.commit.clone());
        let key = commit.key;
        let message = Message::Forward { request: number, deadline, commit };
        if self.options.rules.off(Rule::OneExecutor) {
            let others = self.placement.owners(key.slot()).filter(|o| *o != self.options.inc);
            if let Some(other) = others.filter(|other| *other != target).last() {
                self.send(other, Lane::Live, message.clone());
            }
        }
        self.send(target, Lane::Live, message);
    }

    fn finish_forward(&mut self, number: u64, outcome: Outcome) {
        if let Some(outgoing) = self.forwards.remove(number) {
            self.answer(Asker::Local(outgoing.ticket), outcome);
        }
    }

    pub(super) fn handle_forwarded(
        &mut self,
        from: Inc,
        request: u64,
        outcome: Option<Outcome>,
        now: Time,
    ) {
        let Some(outgoing) = self.forwards.get_mut(request) else {
            return;
        };
        if outgoing.target != Some(from) {
            return;
        }
        match outcome {
            Some(outcome) => self.finish_forward(request, outcome),
            None => {
                self.counters.forwards_refused += 1;
                if let Some(number) = self.forwards.refused(request, from, now) {
                    self.advance_forward(number, now);
                }
            }
        }
    }

    pub(super) fn handle_forward(
        &mut self,
        from: Inc,
        request: u64,
        deadline: Time,
        commit: Commit,
        now: Time,
    ) {
        if commit.edits.len() > EDITS_MAX {
            return self.breach(from, Violation::TooMuch);
        }
        if !self.store.holds(commit.key.slot()) {
            return self.breach(from, Violation::WrongShard);
        }
        let deadline = deadline.min(now.plus(REQUEST_MS_MAX));
        if deadline <= now {
            // Rule B5: too late to be executed; and whether it was, is perhaps forgotten. Saying
            // "no" could make the sender ask another node for the second time.
            return;
        }
        let known = self.forwards.receive(from, request, deadline);
        let known = if self.options.rules.off(Rule::EditsOnce) { Known::New } else { known };
        match known {
            Known::Running => {}
            Known::Answered(outcome) => {
                self.send(from, Lane::Live, Message::Forwarded { request, outcome });
            }
            // Too many are remembered. A refusal that is not remembered could be followed by an
            // execution, so there is none: the sender asks again, or learns nothing.
            Known::Full => self.counters.answers_dropped += 1,
            // Whether anybody else may stamp it, the sender does not know either.
            Known::New if self.may_recall(commit.key) => {
                self.observe(&commit.at, now);
                self.ask_everyone(Asker::Peer(from, request), commit, deadline, now);
            }
            Known::New if !self.may_stamp(commit.key) => {
                self.answer(Asker::Peer(from, request), Outcome::Unavailable);
            }
            Known::New => {
                self.observe(&commit.at, now);
                self.execute(Asker::Peer(from, request), commit, deadline, now);
            }
        }
    }
}
