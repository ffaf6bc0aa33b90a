//! Opening a session: from this copy if it will do, else with what the other owners hold.

use session::{
    Body, Clock, Delta, EndReason, Hlc, Inc, Session, SessionKey, Slot, State, Time, Token, Version,
};

use super::Node;
use crate::event::{Event, Opened, Outcome, Ticket};
use crate::limits::{HOPELESS_MS, LOAD_WIDEN_MS, NEWCOMER_MS};
use crate::loads::{Load, Purpose};
use crate::message::{Lane, Message};
use crate::rules::Rule;
use crate::store::Verdict;

/// What a waiting request comes to.
enum Answer {
    /// The copy here will do; `lost` is what no owner has any more.
    Serve { lost: Version },
    /// All owners agree that it has been idle too long.
    Expire,
    /// There is a final answer.
    Final(Opened),
}

impl Node {
    pub(super) fn start_open(
        &mut self,
        ticket: Ticket,
        key: SessionKey,
        token: Option<Token>,
        deadline: Time,
        now: Time,
    ) {
        if !self.store.holds(key.slot()) {
            return self.opened(ticket, Opened::NotFound);
        }
        let may_expire = token.as_ref().map(|token| token.may_expire);
        let want = token.map(|token| token.version).unwrap_or_default();
        self.observe(&want, now);
        if let Some(opened) = self.open_here(key, &want, may_expire, now) {
            let opened = self.as_far_as_known(opened, may_expire);
            return self.opened(ticket, opened);
        }
        let purpose = Purpose::Open(ticket);
        self.start_load(Load::new(key, purpose, want, may_expire, now, deadline), now);
    }

    /// Amendment 5: what a client has seen happened before what it does next.
    pub(super) fn observe(&mut self, version: &Version, now: Time) {
        if !session::Clock::is_skewed(version.newest().time(), now) {
            self.clock.observe(version);
        }
    }

    /// The answer from this copy alone, if it is good enough.
    // Rules K2, E1, N1.
    fn open_here(
        &self,
        key: SessionKey,
        want: &Version,
        may_expire: Option<Time>,
        now: Time,
    ) -> Option<Opened> {
        let speaks = self.speaks_for(key) && !self.may_be_over(key.slot());
        match self.store.get(key) {
            // An end holds whoever tells of it.
            Some(State::Ended(tombstone)) => Some(Opened::Ended(*tombstone)),
            Some(State::Alive(session)) if session.is_dead(now) => Some(Opened::NotFound),
            Some(State::Alive(session)) => {
                let good = speaks && self.covers(session, want) && !session.is_idle(now);
                good.then(|| Opened::Session { session: session.clone(), lost: Version::new() })
            }
            None => {
                let nothing_to_ask = may_expire.is_none_or(|time| time < now);
                let may_deny = speaks || self.options.rules.off(Rule::OnlySpeakersDeny);
                (may_deny && nothing_to_ask).then_some(Opened::NotFound)
            }
        }
    }

    /// True if the copy is not older than what the client has seen (rule K2).
    pub(super) fn covers(&self, session: &Session, want: &Version) -> bool {
        if self.options.rules.off(Rule::VectorToken) {
            return session.version.newest() >= want.newest();
        }
        session.version.covers_all(want)
    }

    pub(super) fn start_load(&mut self, mut load: Load, now: Time) {
        self.counters.loads += 1;
        self.retries.earn();
        if !self.owns(load.key) {
            // What was this node's own until a moment ago, and is perhaps on its way to the owners.
            load.scratch = self.store.get(load.key).cloned();
        }
        match self.loads.add(load) {
            Ok(number) => self.advance_load(number, now),
            Err(load) => self.finish_load(*load, Answer::Final(Opened::Unavailable), now),
        }
    }

    pub(super) fn tick_loads(&mut self, now: Time) {
        for number in self.loads.numbers() {
            self.advance_load(number, now);
        }
    }

    /// Answers the request if it can be answered, else asks whom it has not asked.
    fn advance_load(&mut self, number: u64, now: Time) {
        let Some(load) = self.loads.get(number) else {
            return;
        };
        if let Some(answer) = self.judge(load, now) {
            if let Some(load) = self.loads.remove(number) {
                self.finish_load(load, answer, now);
            }
            return;
        }
        let targets = self.targets(load, now);
        let key = load.key;
        let (retries, repeated) = (&mut self.retries, &mut self.counters.fetches_repeated);
        let Some(load) = self.loads.get_mut(number) else {
            return;
        };
        load.widened = load.widened || load.is_quiet() || now.since(load.started) >= LOAD_WIDEN_MS;
        let mut may_repeat = || {
            let may = retries.spend(now);
            *repeated += u64::from(may);
            may
        };
        let asked: Vec<Inc> =
            targets.into_iter().filter(|peer| load.ask(*peer, now, &mut may_repeat)).collect();
        for peer in asked {
            self.send(peer, Lane::Live, Message::Fetch { request: number, key });
        }
    }

    /// What is known of the session of a waiting request: this node's copy if it is an owner, else
    /// what others have told for this request.
    // Rule N3.
    fn held<'a>(&'a self, load: &'a Load) -> Option<&'a State> {
        let own = if self.owns(load.key) { self.store.get(load.key) } else { None };
        own.or(load.scratch.as_ref())
    }

    /// Rule K2: first the primary and the writers that are missing, then every owner.
    fn targets(&self, load: &Load, now: Time) -> Vec<Inc> {
        let (held, idle) = match self.held(load) {
            Some(State::Alive(session)) => (session.version.clone(), session.is_idle(now)),
            Some(State::Ended(_)) | None => (Version::new(), false),
        };
        let missing = held.missing_from(&load.want);
        let needs_word = self.may_be_over(load.key.slot());
        let everybody = load.widened || now.since(load.started) >= LOAD_WIDEN_MS;
        let everybody = everybody && !self.options.rules.off(Rule::AskAll);
        let others = |peer: &Inc| *peer != self.options.inc && self.is_reachable(*peer);
        let mut primary = true;
        let mut targets = Vec::new();
        for owner in self.placement.owners(load.key.slot()).filter(others) {
            let gives_word = needs_word && self.placement.is_newest_owner(load.key.slot(), owner);
            if everybody || idle || primary || gives_word || missing.get(owner).is_some() {
                targets.push(owner);
            }
            primary = false;
        }
        // A writer that was an owner may not have passed on everything yet.
        let writers = missing.iter().map(|(inc, _)| inc).filter(others);
        let former = writers.filter(|inc| !targets.contains(inc)).collect::<Vec<Inc>>();
        targets.extend(former);
        targets
    }

    fn judge(&self, load: &Load, now: Time) -> Option<Answer> {
        let confirmed = self.speaks_for(load.key)
            || load.is_confirmed()
            || self.options.rules.off(Rule::OnlySpeakersDeny);
        let confirmed = confirmed && self.has_word(load);
        let heard_all = self.has_heard_all(load);
        let answer = match self.held(load) {
            Some(State::Ended(tombstone)) => Some(Answer::Final(Opened::Ended(*tombstone))),
            Some(State::Alive(session)) if session.is_dead(now) => {
                Some(Answer::Final(Opened::NotFound))
            }
            Some(State::Alive(session)) if confirmed => {
                self.judge_copy(session, load, heard_all, now)
            }
            None if confirmed && load.may_expire.is_none_or(|t| t < now) => {
                Some(Answer::Final(Opened::NotFound))
            }
            None if confirmed && heard_all => self
                .await_writers(load, &load.want, now)
                .unwrap_or(Some(Opened::NotFound))
                .map(Answer::Final),
            Some(State::Alive(_)) | None => None,
        };
        answer.or_else(|| {
            let over = load.deadline <= now || self.is_hopeless(load, heard_all, now);
            over.then_some(Answer::Final(Opened::Unavailable))
        })
    }

    /// True if others may go by the newest layout alone, by which this node does not own the slot: then
    /// nobody tells it of what ends or begins there. The older layouts are given up once every member
    /// of a later one has said that it has caught up, so not before this one has. Where no newer owner
    /// is in sight it goes by what it has.
    // Rule N4.
    pub(super) fn may_be_over(&self, slot: Slot) -> bool {
        let [_, .., newest] = self.view.layouts.as_slice() else { return false };
        let me = self.options.inc;
        let is_of_newest = || newest.members.iter().any(|member| member.inc == Some(me));
        (self.sync.has_reported() || !is_of_newest())
            && !self.placement.is_newest_owner(slot, me)
            && self.placement.newest_owners(slot).any(|owner| self.is_reachable(owner))
    }

    /// True if an owner by the newest layout has answered, where one has to. It has everything that
    /// has ended, or it has not caught up, and the older layouts are in force still.
    // Rule N4.
    fn has_word(&self, load: &Load) -> bool {
        let slot = load.key.slot();
        !self.may_be_over(slot)
            || self.placement.newest_owners(slot).any(|owner| load.has_answered(owner))
    }

    // Rules K3 and E1: what is missing is lost only if every owner answered and its writer is
    // gone; what looks idle is expired only if every owner agrees.
    fn judge_copy(
        &self,
        session: &Session,
        load: &Load,
        heard_all: bool,
        now: Time,
    ) -> Option<Answer> {
        let covered = self.covers(session, &load.want);
        let idle = session.is_idle(now);
        if covered && !idle && (heard_all || !load.everyone) {
            return Some(Answer::Serve { lost: Version::new() });
        }
        if !heard_all {
            return None;
        }
        let lost = session.version.missing_from(&load.want);
        if let Some(answer) = self.await_writers(load, &lost, now) {
            return answer.map(Answer::Final);
        }
        if self.options.rules.off(Rule::HonestLoss) {
            return Some(Answer::Serve { lost: Version::new() });
        }
        Some(if idle { Answer::Expire } else { Answer::Serve { lost } })
    }

    /// If a writer of what is missing is still there and has not answered, it may have what it has
    /// not passed on, or be an owner by a later view than this node's: it is waited for, unless none
    /// of them comes into sight. So is one that may have joined by a later view, for the view.
    // Rules K3, N1.
    fn await_writers(&self, load: &Load, missing: &Version, now: Time) -> Option<Option<Opened>> {
        if missing.iter().any(|(inc, hlc)| self.may_have_joined(inc, hlc, now)) {
            return Some(None);
        }
        let may_have = |inc: &Inc| self.view.contains(*inc) && !self.has_answered(load, *inc);
        let writers: Vec<Inc> = missing.iter().map(|(inc, _)| inc).filter(may_have).collect();
        let silent = !writers.iter().any(|inc| self.is_reachable(*inc));
        let hopeless = silent && has_had_a_moment(load, now);
        (!writers.is_empty()).then_some(hopeless.then_some(Opened::Unavailable))
    }

    /// True if the process may be a member by a later view: whoever was one by an earlier view has
    /// the lower number.
    // Rules K3, N1.
    fn may_have_joined(&self, inc: Inc, stamped: Hlc, now: Time) -> bool {
        let later = !self.view.is_fixed() && inc.0 > self.view.epoch;
        later && (self.behind.is_some() || now.since(stamped.time()) < NEWCOMER_MS)
    }

    /// True if what `inc` holds is known to this request.
    fn has_answered(&self, load: &Load, inc: Inc) -> bool {
        inc == self.options.inc || load.has_answered(inc)
    }

    /// True if every owner has answered, reachable or not, heard of or not.
    fn has_heard_all(&self, load: &Load) -> bool {
        let slot = load.key.slot();
        let spared = |rank: usize| rank > 0 && self.options.rules.off(Rule::AskAll);
        self.placement.is_known(slot)
            && self
                .placement
                .owners(slot)
                .enumerate()
                .all(|(rank, owner)| spared(rank) || self.has_answered(load, owner))
    }

    /// True if waiting is of no use: all who can answer have, those who cannot had a moment to come
    /// back, and this node is not about to know more by itself. Who was removed owns nothing any more
    /// and is not waited for.
    fn is_hopeless(&self, load: &Load, heard_all: bool, now: Time) -> bool {
        let silent = |owner: Inc| self.has_answered(load, owner) || !self.is_reachable(owner);
        has_had_a_moment(load, now)
            && !self.is_catching_up_with(load.key)
            && !heard_all
            && self.placement.owners(load.key.slot()).all(silent)
    }

    fn finish_load(&mut self, load: Load, answer: Answer, now: Time) {
        let opened = match answer {
            Answer::Serve { lost } => {
                self.counters.writes_lost += lost.len() as u64;
                match self.held(&load) {
                    Some(State::Alive(session)) => {
                        Opened::Session { session: session.clone(), lost }
                    }
                    Some(State::Ended(_)) | None => Opened::NotFound,
                }
            }
            Answer::Expire if self.clock_fault => Opened::NotFound,
            Answer::Expire => {
                // Who is no owner leaves the end to those who are: each knows it by itself (E2).
                if self.owns(load.key) {
                    self.end_here(load.key, EndReason::Expired, now);
                }
                Opened::NotFound
            }
            Answer::Final(opened) => opened,
        };
        let opened = self.as_far_as_known(opened, load.may_expire);
        let asked_everyone = load.everyone && matches!(opened, Opened::Session { .. });
        let all_confirm = asked_everyone && self.do_all_others_confirm(&load);
        match load.purpose {
            Purpose::Open(ticket) => self.opened(ticket, opened),
            Purpose::Commit(asker, commit) => {
                if asked_everyone {
                    self.store.readmit(load.key);
                }
                // Rule V9: what this process wrote to it later is lost, nobody else stamps it, and
                // its user would be refused for as long as it lives.
                if asked_everyone && self.has_forgotten(load.key) {
                    if all_confirm {
                        self.end_here(load.key, EndReason::Conflict, now);
                    }
                    let outcome = if all_confirm { Outcome::Gone } else { Outcome::Unavailable };
                    return self.answer(asker, outcome);
                }
                self.resume_commit(asker, *commit, &opened, load.deadline, now);
            }
        }
    }

    /// Whose clock is wrong says of no session that there was that it is over: its time may not be.
    // Rule H3.
    fn as_far_as_known(&self, opened: Opened, may_expire: Option<Time>) -> Opened {
        let may_be_wrong = self.clock_fault && may_expire.is_some();
        if opened == Opened::NotFound && may_be_wrong { Opened::Unavailable } else { opened }
    }

    fn opened(&mut self, ticket: Ticket, opened: Opened) {
        if opened == Opened::Unavailable {
            self.counters.unavailable += 1;
        }
        self.events.push_back(Event::Opened(ticket, opened));
    }

    /// True if every other owner has answered, and has caught up.
    fn do_all_others_confirm(&self, load: &Load) -> bool {
        let me = self.options.inc;
        let mut others = self.placement.owners(load.key.slot()).filter(|owner| *owner != me);
        others.all(|owner| load.is_confirmed_by(owner))
    }

    /// Ends a living session by this node's own decision.
    pub(super) fn end_here(&mut self, key: SessionKey, reason: EndReason, now: Time) {
        let Some(session) = self.store.session(key) else {
            return;
        };
        let (before, end) = (session.version.clone(), session.end(reason));
        self.take(Delta { key, body: Body::End(end) }, now);
        self.mark_owners(key, &before);
    }

    // --- the side that is asked ---

    pub(super) fn handle_fetch(&mut self, from: Inc, request: u64, key: SessionKey, now: Time) {
        let dead = self.store.session(key).is_some_and(|session| session.is_dead(now));
        let delta = if dead { None } else { self.store.extract(key, &Version::new()) };
        let synced = self.speaks_for(key) || self.options.rules.off(Rule::OnlySpeakersDeny);
        self.send(from, Lane::Live, Message::Fetched { request, synced, delta });
    }

    pub(super) fn handle_fetched(
        &mut self,
        (from, epoch): (Inc, u64),
        request: u64,
        synced: bool,
        delta: Option<Delta>,
        now: Time,
    ) {
        let asked_for = self.loads.get(request).map(|load| load.key);
        if asked_for.is_none() || delta.as_ref().is_some_and(|d| Some(d.key) != asked_for) {
            return;
        }
        if let Some(delta) = delta {
            if !self.accepts(from, &delta, now) {
                return;
            }
            if !self.take_fetched(request, delta, now) {
                // Rule K4: what this clock cannot believe yet is no answer, least of all "no".
                return;
            }
        }
        // Rule N1: whoever still goes by a layout that is over for this node may have been an owner
        // long ago, and does not know what came since. It is asked again.
        if self.view.layouts.first().is_some_and(|oldest| epoch < oldest.epoch) {
            return;
        }
        // Nor does one that was an owner then by such a layout, and is one anew: it cannot confirm.
        let synced = asked_for.is_none_or(|key| !self.is_outdated(from, epoch, key)) && synced;
        if self.loads.answer(request, from, synced) {
            self.advance_load(request, now);
        }
    }

    /// Takes a fetched copy: an owner into its store, everybody else for this request alone. False
    /// if it comes from the future.
    // Promise P11: who does not own a session keeps nothing of it.
    fn take_fetched(&mut self, request: u64, delta: Delta, now: Time) -> bool {
        if self.owns(delta.key) {
            return self.take(delta, now) != Verdict::Skew;
        }
        let state = match delta.body {
            Body::End(tombstone) => Some(State::Ended(tombstone)),
            Body::Change(change) if Clock::is_skewed(change.newest(), now) => {
                self.counters.skew_refused += 1;
                return false;
            }
            Body::Change(change) => {
                self.clock.observe(&change.hi);
                change.into_session().map(|session| State::Alive(Box::new(session)))
            }
        };
        let state = state.filter(|state| !is_over(state, now));
        if let (Some(load), Some(state)) = (self.loads.get_mut(request), state) {
            load.join(state);
        }
        true
    }
}

/// True if whoever is out of sight had a moment to come back. On behalf of a peer nobody is given
/// one: it is to ask another owner, which may have what this one lacks, and gives the moment itself.
// Rules K2, N2.
fn has_had_a_moment(load: &Load, now: Time) -> bool {
    load.peer().is_some() || now.since(load.started) >= HOPELESS_MS
}

/// Rules T2 and E2: what is past its time is dead on arrival.
fn is_over(state: &State, now: Time) -> bool {
    match state {
        State::Ended(tombstone) => now > tombstone.deadline,
        State::Alive(session) => session.is_dead(now) || now > session.purge_after(),
    }
}
