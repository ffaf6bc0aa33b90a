//! Executing the edits of a request: here, or at the one owner that is asked to.

use session::{
    ABSOLUTE_TIMEOUT_MS_MAX, Body, Change, Clock, Core, Delta, EndReason, Inc, Session, SessionKey,
    Stamp, State, Time, Tombstone, Version,
};

use super::{Node, Options};
use crate::event::{Ack, Event, Opened, Outcome, Ticket};
use crate::loads::{Load, Purpose};
use crate::message::{Commit, Lane, Life, Message, Room};
use crate::outbox::Outbox;
use crate::placement::Placement;
use crate::quorum::Quorum;
use crate::rules::Rule;
use crate::view::View;
use crate::waiters::{Asker, Target, Waiter};

impl Node {
    pub(super) fn start_commit(
        &mut self,
        ticket: Ticket,
        commit: Commit,
        deadline: Time,
        now: Time,
    ) {
        if !self.store.holds(commit.key.slot()) {
            return self.answer(Asker::Local(ticket), Outcome::Gone);
        }
        self.observe(&commit.at, now);
        if self.executor(&commit, |_| true) == Some(self.options.inc) {
            return self.execute(Asker::Local(ticket), commit, deadline, now);
        }
        // Rules D2, D4: that it has ended, whoever knows it may say.
        let is_gone = match commit.life {
            Life::Create(_) | Life::Keep | Life::End(EndReason::Rotated) => true,
            Life::End(_) => false,
        };
        if is_gone && matches!(self.store.get(commit.key), Some(State::Ended(_))) {
            return self.answer(Asker::Local(ticket), Outcome::Gone);
        }
        match self.forwards.add(ticket, commit, deadline, now) {
            Some(number) => {
                self.counters.forwarded += 1;
                self.retries.earn();
                self.advance_forward(number, now);
            }
            None => self.answer(Asker::Local(ticket), Outcome::Unavailable),
        }
    }

    /// Who should execute these edits: this node if it may stamp, else the first owner that
    /// answers and that `may_ask` leaves; owners by the oldest layout come first, because they have
    /// caught up, and those that are leaving last. Edits that depend on what others wrote all go to
    /// the first, whether it is leaving or not: not everybody hears of that at once.
    // Rules N2, V12.
    pub(super) fn executor(&self, commit: &Commit, may_ask: impl Fn(Inc) -> bool) -> Option<Inc> {
        let conditional = commit.edits.iter().any(session::Edit::is_conditional);
        if self.may_stamp(commit.key) && !conditional {
            return Some(self.options.inc);
        }
        let able = |owner: &Inc| match *owner == self.options.inc {
            true => self.may_stamp(commit.key),
            false => self.is_reachable(*owner) && may_ask(*owner),
        };
        let owners = || self.placement.owners(commit.key.slot());
        // Who leaves may be gone before edits have crossed a slow line, and then nobody knows what
        // became of them.
        let stays = |owner: &Inc| !self.view.is_leaving(*owner);
        let staying = || owners().filter(stays).find(able);
        if conditional { None } else { staying() }.or_else(|| owners().find(able))
    }

    /// Executes edits on this copy, once it is new enough.
    pub(super) fn execute(&mut self, asker: Asker, commit: Commit, deadline: Time, now: Time) {
        let covered = match self.store.get(commit.key) {
            // Rule D4: a request that was in flight at logout brings nothing back.
            Some(State::Ended(_)) if !matches!(commit.life, Life::End(_)) => {
                #[cfg(feature = "mutants")]
                if self.options.rules.off(Rule::GoneAfterEnd) {
                    return self.resurrect(asker, &commit, now);
                }
                return self.answer(asker, Outcome::Gone);
            }
            Some(State::Ended(_)) => return self.execute_here(asker, &commit, now),
            Some(State::Alive(session)) => {
                self.covers(session, &commit.at) && !self.may_be_over(commit.key.slot())
            }
            None => matches!(commit.life, Life::Create(_)),
        };
        if covered {
            return self.execute_here(asker, &commit, now);
        }
        self.start_load(commit_load(asker, commit, now, deadline), now);
    }

    /// Goes on with edits that waited for a newer copy.
    pub(super) fn resume_commit(
        &mut self,
        asker: Asker,
        commit: Commit,
        opened: &Opened,
        deadline: Time,
        now: Time,
    ) {
        match (opened, asker) {
            (Opened::Session { .. }, _) if self.may_stamp(commit.key) => {
                self.execute_here(asker, &commit, now);
            }
            // Meanwhile this node lost the right to stamp it: another has it.
            (Opened::Session { .. }, Asker::Local(ticket)) => {
                self.start_commit(ticket, commit, deadline, now);
            }
            // The copy that arrived is one of a session that was forgotten here.
            (Opened::Session { .. }, Asker::Peer(..)) if self.may_recall(commit.key) => {
                self.ask_everyone(asker, commit, deadline, now);
            }
            (Opened::Session { .. }, Asker::Peer(..)) | (Opened::Unavailable, _) => {
                self.answer(asker, Outcome::Unavailable);
            }
            (Opened::Ended(_) | Opened::NotFound, _) => self.answer(asker, Outcome::Gone),
        }
    }

    fn execute_here(&mut self, asker: Asker, commit: &Commit, now: Time) {
        match &commit.life {
            Life::End(reason) => self.end(asker, commit, *reason, now),
            Life::Create(core) if self.store.get(commit.key).is_none() => {
                self.create(asker, commit, core.clone(), now);
            }
            Life::Create(_) | Life::Keep => self.edit(asker, commit, now),
        }
    }

    // Rule A5: the core was made by whoever drew the id; its creation counts as a write of that
    // node, the edits as one of this. Without edits it is marked all the same: the token has to
    // name a node that has the session.
    fn create(&mut self, asker: Asker, commit: &Commit, core: Core, now: Time) {
        if self.room_for(commit.key.slot(), now) == Room::Full {
            return self.answer(asker, Outcome::Full);
        }
        if !is_plausible(&core, now) {
            return self.answer(asker, Outcome::Unavailable);
        }
        self.clock.observe(&core.created.into());
        let mut session = Session::new(core);
        session.last_access = session.last_access.max(now);
        let stamp = self.clock.stamp(now);
        match session.stamp(commit.key, &commit.edits, &commit.at, stamp, &self.options.limits) {
            Err(error) => return self.answer(asker, Outcome::Refused(error)),
            Ok(None) if session.core.created.inc == self.options.inc => {}
            Ok(None) => session.version.insert(stamp),
            Ok(Some(delta)) => {
                if let Body::Change(change) = &delta.body {
                    session.merge_unchecked(change);
                }
            }
        }
        self.counters.created += 1;
        let last = if session.version.covers(stamp) { stamp } else { session.core.created };
        let delta = session.extract(commit.key, &Version::new());
        self.write(asker, commit, delta, &Version::new(), Target::Write(last), now);
    }

    fn edit(&mut self, asker: Asker, commit: &Commit, now: Time) {
        let (key, rules) = (commit.key, self.options.rules);
        let Some(session) = self.store.session(key) else {
            return self.answer(asker, Outcome::Gone);
        };
        if session.is_dead(now) {
            return self.answer(asker, Outcome::Gone);
        }
        let before = session.version.clone();
        let touch = session.wants_touch(now);
        let at = if rules.off(Rule::EditsCarryAt) { &before } else { &commit.at };
        let stamp = self.clock.stamp(now);
        let Some(session) = self.store.session(key) else {
            return;
        };
        let delta = match session.stamp(key, &commit.edits, at, stamp, &self.options.limits) {
            Err(error) => return self.answer(asker, Outcome::Refused(error)),
            Ok(Some(mut delta)) => {
                if rules.off(Rule::FirstAddition) {
                    open_with_stamp(&mut delta, session, stamp);
                }
                delta
            }
            // Rule E1: a request that changes nothing is at most a touch, and nobody waits for it.
            Ok(None) if !touch => {
                return self.reached(asker, key, before, Target::Write(stamp), Ack::Local, now);
            }
            Ok(None) => {
                let delta = session.touch(key, now);
                self.take(delta, now);
                self.mark_owners(key, &before);
                return self.reached(asker, key, before, Target::Write(stamp), Ack::Local, now);
            }
        };
        let delta = if touch { touched(delta, now) } else { delta };
        self.write(asker, commit, delta, &before, Target::Write(stamp), now);
    }

    // Rule D2: an end is a write that waits for its copies; told by this node, or by another before.
    // But nothing takes the place of a session that has ended: what was made of a copy of it would
    // outlive its logout.
    fn end(&mut self, asker: Asker, commit: &Commit, reason: EndReason, now: Time) {
        let key = commit.key;
        let (before, tombstone) = match self.store.get(key) {
            Some(State::Alive(session)) => (session.version.clone(), session.end(reason)),
            Some(State::Ended(_))
                if reason == EndReason::Rotated
                    && !self.options.rules.off(Rule::RotatedWhileAlive) =>
            {
                return self.answer(asker, Outcome::Gone);
            }
            Some(State::Ended(held)) => (Version::new(), held.join(Tombstone { reason, ..*held })),
            None => return self.answer(asker, Outcome::Gone),
        };
        let delta = Delta { key, body: Body::End(tombstone) };
        self.write(asker, commit, delta, &before, Target::End(reason), now);
    }

    /// A local write: the same way into the store as everything else, then dirty for the others.
    fn write(
        &mut self,
        asker: Asker,
        commit: &Commit,
        delta: Delta,
        before: &Version,
        target: Target,
        now: Time,
    ) {
        let key = commit.key;
        self.take(delta, now);
        self.mark_owners(key, before);
        let version = self.store.version(key);
        self.reached(asker, key, version, target, commit.level, now);
    }

    /// Answers when as many owners have it as are asked for.
    fn reached(
        &mut self,
        asker: Asker,
        key: SessionKey,
        version: Version,
        target: Target,
        level: Ack,
        now: Time,
    ) {
        let deadline = now.plus(self.options.ack_timeout_ms);
        let waiter = Waiter::new(asker, target, version, level, deadline);
        let quorum = quorum(&self.placement, &self.view, &self.options);
        if let Some((asker, outcome)) = self.waiters.add(key, waiter, quorum) {
            return self.answer(asker, outcome);
        }
        // Where no other owner answers, as in half of a pair, no write waits for a tick.
        let done = {
            let able = able_to_acknowledge(quorum, &self.outbox);
            self.waiters.give_up(key, quorum, |got| !able(key, got))
        };
        self.answer_all(done);
    }

    /// What rule D4 forbids, for the test that switches it off.
    #[cfg(feature = "mutants")]
    fn resurrect(&mut self, asker: Asker, commit: &Commit, now: Time) {
        let created = self.clock.stamp(now);
        let hard_deadline = now.plus(3_600_000);
        let core = Core { created, hard_deadline, idle_ms: 600_000, user: None };
        let delta = Session::new(core).extract(commit.key, &Version::new());
        self.store.replace(delta, now);
        self.mark_owners(commit.key, &Version::new());
        self.edit(asker, commit, now);
    }

    pub(super) fn answer(&mut self, asker: Asker, outcome: Outcome) {
        match asker {
            Asker::Local(ticket) => self.events.push_back(Event::Committed(ticket, outcome)),
            Asker::Peer(peer, request) => {
                let outcome = Some(outcome).filter(|outcome| *outcome != Outcome::Unavailable);
                self.forwards.answer(peer, request, &outcome);
                self.send(peer, Lane::Live, Message::Forwarded { request, outcome });
            }
        }
    }

    pub(super) fn answer_all(&mut self, answers: Vec<(Asker, Outcome)>) {
        for (asker, outcome) in answers {
            self.answer(asker, outcome);
        }
    }

    /// Rule C1: nobody waits longer than the timeout, nor for owners that cannot answer.
    pub(super) fn tick_waiters(&mut self, now: Time) {
        let quorum = quorum(&self.placement, &self.view, &self.options);
        let done = {
            let able = able_to_acknowledge(quorum, &self.outbox);
            self.waiters.expire(now, quorum, |key, got| !able(key, got))
        };
        self.answer_all(done);
    }
}

/// By what acknowledgements are counted now. A function of parts, because it is asked while others
/// change.
pub(super) const fn quorum<'a>(
    placement: &'a Placement,
    view: &View,
    options: &Options,
) -> Quorum<'a> {
    Quorum { placement, me: options.inc, epoch: view.epoch, rules: options.rules }
}

/// Tells whether anything may still be acknowledged to a commit beyond what it has: by an owner to
/// which the session is on its way, or by one whose answer waits for this node to adopt its view
/// (rule C1: nobody waits for the suspected, nor for a slot that is being compared).
fn able_to_acknowledge<'a>(
    quorum: Quorum<'a>,
    outbox: &'a Outbox,
) -> impl Fn(SessionKey, &[(Inc, u64)]) -> bool + 'a {
    move |key, got| {
        let able = |owner: Inc| outbox.peer(owner).is_some_and(|peer| peer.can_acknowledge(key));
        let has = |owner: Inc| got.iter().any(|(inc, _)| *inc == owner);
        got.iter().any(|(_, at)| *at > quorum.epoch)
            || quorum.placement.owners(key.slot()).any(|o| !has(o) && able(o))
    }
}

/// The request for a copy that is new enough for these edits.
pub(super) fn commit_load(asker: Asker, commit: Commit, now: Time, deadline: Time) -> Load {
    let (key, at, may_expire) = (commit.key, commit.at.clone(), Some(Time(u64::MAX)));
    let purpose = Purpose::Commit(asker, Box::new(commit));
    Load::new(key, purpose, at, may_expire, now, deadline)
}

/// True if a session with this core may begin now: its maker's clock is not ahead of what the
/// cluster tolerates, and its life is neither over nor too long (rules H4, T1 and T2).
fn is_plausible(core: &Core, now: Time) -> bool {
    let created = core.created.hlc.time();
    !Clock::is_skewed(created, now)
        && core.hard_deadline <= created.plus(ABSOLUTE_TIMEOUT_MS_MAX)
        && core.hard_deadline > now
}

/// The delta with `now` as the last access.
fn touched(delta: Delta, now: Time) -> Delta {
    let Delta { key, body } = delta;
    let body = match body {
        Body::Change(change) => {
            Body::Change(Change { last_access: change.last_access.max(now), ..change })
        }
        Body::End(tombstone) => Body::End(tombstone),
    };
    Delta { key, body }
}

/// What rule A1 forbids, for the test that switches it off: the first addition replaces.
fn open_with_stamp(delta: &mut Delta, session: &Session, stamp: Stamp) {
    let Body::Change(change) = &mut delta.body else {
        return;
    };
    for (name, attribute) in &mut change.attributes {
        if attribute.since.is_none() && !session.attributes.contains_key(name) {
            attribute.since = Some(stamp);
        }
    }
}
