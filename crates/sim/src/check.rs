//! What must hold: for every answer, every batch and every second of a run.

mod calm;
pub(crate) mod transitions;
mod views;

use protocol::limits::{FORWARDS_MAX, LOADS_MAX, WAITERS_MAX};
use protocol::{Envelope, Message, Opened, Outcome, Refusal};
use session::{Body, Content, Session, SessionKey, Stamp, State, Time, Version};

use crate::client::{COUNTER, Purpose, Request, Stage, name};
use crate::fault::FaultKind;
use crate::oracle::{AckedWrite, Dead};
use crate::world::{Violation, World};

impl World {
    /// Hosts whose copy covers `version` and is far from expiry, with the number of their process
    /// and the time at which that copy expires if nobody uses it.
    pub(crate) fn holders_of(
        &mut self,
        key: SessionKey,
        version: &Version,
    ) -> Vec<(usize, u64, Time)> {
        let mut holders = Vec::new();
        for host in 0..self.hosts.len() {
            let later = self.hosts[host].now(self.now_us).plus(1_500);
            let starts = self.hosts[host].starts;
            if !self.counts(host, key) {
                continue;
            }
            let Some(copy) = self.living(host, key) else { continue };
            if copy.version.covers_all(version) && !copy.is_idle(later) {
                holders.push((host, starts, copy.purge_after()));
            }
        }
        holders
    }

    fn living(&self, host: usize, key: SessionKey) -> Option<&Session> {
        self.hosts[host].process.as_ref()?.node.store().session(key)
    }

    pub(crate) fn held(&self, host: usize, key: SessionKey) -> Option<&State> {
        self.hosts[host].process.as_ref()?.node.store().get(key)
    }

    // --- every answer ---

    /// I-RYW, I-MR, I-MW, I-WFR: what is served covers what the client has seen, but for what is
    /// honestly lost. I-NF, K3: who says "not found" or "lost" has asked everybody who held it.
    pub(crate) fn check_opened(
        &mut self,
        host: usize,
        id: u64,
        opened: &Opened,
    ) -> Result<(), Violation> {
        let Some(request) = self.requests.get(&id).cloned() else { return Ok(()) };
        let Some((key, token)) = &request.cookie else { return Ok(()) };
        match opened {
            Opened::Session { session, lost } => {
                self.check_served(host, *key, session)?;
                let missing = session.version.missing_from(&token.version);
                if !lost.covers_all(&missing) {
                    let detail = format!(
                        "{key:?} at n{}: the client has seen {:?} and is served {:?}",
                        host + 1,
                        token.version,
                        session.version
                    );
                    return Err(self.violation("I-RYW", detail));
                }
                if !lost.is_empty() {
                    self.check_nobody_holds(host, *key, &request, "K3")?;
                }
            }
            Opened::NotFound => {
                let now = self.hosts[host].now(self.now_us);
                if token.may_expire >= now {
                    self.check_nobody_holds(host, *key, &request, "I-NF")?;
                }
                self.check_denial(host, *key, &request)?;
            }
            Opened::Ended(_) => {}
            Opened::Unavailable if self.must_serve_since(&request) => {
                let detail = format!("{key:?} at n{} is unavailable in calm", host + 1);
                return Err(self.violation("L-SERVE", detail));
            }
            Opened::Unavailable => {}
        }
        Ok(())
    }

    fn must_serve_since(&self, request: &Request) -> bool {
        self.must_serve() && request.began_us > self.calm_since_us + 8_000_000
    }

    fn check_served(
        &mut self,
        host: usize,
        key: SessionKey,
        session: &Session,
    ) -> Result<(), Violation> {
        let at = || format!("{key:?} at n{}", host + 1);
        let inc = self.hosts[host].process.as_ref().map(|process| process.inc);
        let Some(record) = self.oracle.records.get(&key) else {
            return Err(self.violation("I-PHANTOM", format!("{} was never created", at())));
        };
        if inc.is_some_and(|inc| record.ended_at.contains_key(&inc)) {
            return Err(self.violation("I-TERM", format!("{} is served after its end", at())));
        }
        for (_, content) in session.present() {
            if let Content::Register(value) = content
                && !record.values.contains(value)
            {
                let detail = format!("{} has a value that nobody wrote", at());
                return Err(self.violation("I-PHANTOM", detail));
            }
        }
        Ok(())
    }

    /// Whoever held what the client had seen when the request began, and still lives and holds it,
    /// would have been found by asking.
    fn check_nobody_holds(
        &mut self,
        host: usize,
        key: SessionKey,
        request: &Request,
        rule: &'static str,
    ) -> Result<(), Violation> {
        // Who was removed and has not heard of it speaks of another cluster.
        if !self.is_present(host) {
            return Ok(());
        }
        for &(holder, start, expires) in &request.holders {
            // By the clock that is furthest ahead, since some are wrong.
            let now_us = self.now_us;
            let latest = self.hosts.iter_mut().map(|host| host.now(now_us)).max();
            let later = latest.unwrap_or_default().plus(1_500);
            let holds = self.hosts[holder].starts == start
                && later.plus(1_000) < expires
                && self.counts(holder, key)
                && self.living(holder, key).is_some();
            if holds {
                let detail = format!(
                    "n{} gave up {key:?}, which n{} has held all the time",
                    host + 1,
                    holder + 1
                );
                return Err(self.violation(rule, detail));
            }
        }
        Ok(())
    }

    pub(crate) fn check_committed(
        &mut self,
        id: u64,
        request: &Request,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let calm = self.must_serve_since(request);
        let key = match (request.stage, &request.fresh, &request.cookie) {
            (Stage::Creating, Some((key, _)), _) | (_, _, Some((key, _))) => *key,
            _ => return Ok(()),
        };
        if let Outcome::Done(acked) = outcome {
            self.check_not_fenced(request.host, usize::from(acked.report.got))?;
        }
        match outcome {
            Outcome::Done(_) if request.stage == Stage::Ending && request.is_late => {
                let detail = format!("request {id} takes the place of {key:?}, which had ended");
                return Err(self.violation("D2", detail));
            }
            Outcome::Done(acked) => {
                let ends = match request.stage {
                    Stage::Usual => request.purpose == Purpose::Logout,
                    Stage::Creating => false,
                    Stage::Ending | Stage::Undoing => true,
                };
                let (asked, got) = (acked.report.asked, usize::from(acked.report.got));
                let has = |kind| self.kinds.contains(&kind);
                // A slot in place of sessions, and a session at the end of its life, are not
                // acknowledged, and a slow host not in time.
                let excused = has(FaultKind::SmallOutbox)
                    || has(FaultKind::ShortLives)
                    || has(FaultKind::Slow);
                if calm && got < usize::from(asked) && !excused {
                    let detail = format!("request {id} was acknowledged by {got} of {asked}");
                    return Err(self.violation("L-SERVE", detail));
                }
                let moved = request.given_up != self.oracle.given_up;
                let (host, crashed) = (request.host, request.crashes != self.oracle.crashes);
                if !crashed && !moved {
                    let end = ends && acked.version.is_empty();
                    let since = if end { 0 } else { request.began_us };
                    self.check_ack(key, &acked.version, since, got)?;
                }
                // Who owns it by the newest view has not given it up, unless it got it back since,
                // and then it must not be counted.
                if !crashed && (!moved || self.goes_by_newest(host)) && self.scenario.is_agreed() {
                    self.check_ack_in_layouts(host, key, &acked.version, request, got)?;
                }
                if got > 0 {
                    self.note_acked(key, &acked.version, got);
                }
            }
            Outcome::Unavailable | Outcome::Unknown if calm => {
                let detail = format!("request {id} came to {outcome:?} in calm");
                return Err(self.violation("L-SERVE", detail));
            }
            Outcome::Gone
            | Outcome::Refused(_)
            | Outcome::Full
            | Outcome::Unavailable
            | Outcome::Unknown => {}
        }
        Ok(())
    }

    /// I-ACK: as many copies have it as the client is told. A tombstone counts if it came after
    /// the request, at `since`: an older one would have refused the write (rule T5).
    fn check_ack(
        &mut self,
        key: SessionKey,
        version: &Version,
        since_us: u64,
        got: usize,
    ) -> Result<(), Violation> {
        let record = self.oracle.records.get(&key);
        let ended_since = |host: usize| {
            let inc = self.hosts[host].process.as_ref().map(|process| process.inc);
            let at = record.zip(inc).and_then(|(record, inc)| record.ended_at.get(&inc));
            at.is_none_or(|at| *at >= since_us)
        };
        let has = |host: &usize| match self.held(*host, key) {
            Some(State::Ended(_)) => ended_since(*host),
            Some(State::Alive(copy)) => since_us > 0 && copy.version.covers_all(version),
            None => false,
        };
        let holders = (0..self.hosts.len()).filter(has).count();
        let now = self.hosts[0].now(self.now_us);
        let over = self
            .oracle
            .records
            .get(&key)
            .and_then(|r| r.core.as_ref())
            .is_none_or(|core| now.plus(5_000) > core.hard_deadline || core.idle_ms < 60_000);
        if got > 0 && holders < got + 1 && !over {
            let detail = format!("{key:?}: {got} others were reported, {holders} hosts have it");
            return Err(self.violation("I-ACK", detail));
        }
        Ok(())
    }

    fn note_acked(&mut self, key: SessionKey, version: &Version, got: usize) {
        // Some of those who have acknowledged may have died before the client was told.
        let has = |host: &usize| match self.held(*host, key) {
            Some(State::Ended(_)) => true,
            Some(State::Alive(copy)) => !version.is_empty() && copy.version.covers_all(version),
            None => false,
        };
        // A stamper that owns the slot no more is about to give its copy up.
        let lasting = |h: &usize| self.is_present(*h) && self.counts(*h, key);
        let holders = (0..self.hosts.len()).filter(lasting).filter(has).count();
        let spare = self.spare_copies(key);
        let had = |dead: &Dead| dead.had(version);
        let goes = self.died_with_newest(key, &|host| has(&host), &had);
        let record = self.oracle.records.entry(key).or_default();
        // An answer may come long after the write: who held it and died in between has died of it.
        let died = record.died.iter().filter(|dead| had(dead)).count();
        let crashed = (got + 1).saturating_sub(holders).max(died);
        let got = got.min(if goes { crashed.saturating_sub(1) } else { crashed + spare });
        if version.is_empty() {
            record.end_acked = Some((got, crashed));
            return;
        }
        record.acked.retain(|old| {
            !(version.covers_all(&old.version) && old.got <= got && old.crashed == 0)
        });
        record.acked.push(AckedWrite { version: version.clone(), got, crashed });
    }

    // --- every batch ---

    /// The sessions that a batch brings alive although they have ended at its receiver.
    pub(crate) fn ended_in(&self, host: usize, envelope: &Envelope) -> Vec<SessionKey> {
        let Message::Deltas(batch) = &envelope.message else { return Vec::new() };
        let brought = batch.deltas.iter().filter(|d| matches!(d.body, Body::Change(_)));
        let keys = brought.map(|delta| delta.key);
        keys.filter(|key| matches!(self.held(host, *key), Some(State::Ended(_)))).collect()
    }

    /// T5: whoever ships a session that has ended is told so.
    pub(crate) fn check_push_back(
        &mut self,
        host: usize,
        envelope: &Envelope,
    ) -> Result<(), Violation> {
        let Message::Ack { refused, .. } = &envelope.message else { return Ok(()) };
        for key in std::mem::take(&mut self.ended_before) {
            let told = refused
                .iter()
                .any(|(refused, why)| *refused == key && !matches!(why, Refusal::Need(_)));
            if !told {
                let detail = format!("n{} takes a write to {key:?}, which has ended", host + 1);
                return Err(self.violation("T5", detail));
            }
        }
        Ok(())
    }

    // --- every second ---

    pub(crate) fn inspect(&mut self) -> Result<(), Violation> {
        self.check_bounds()?;
        self.check_outboxes()?;
        self.check_budget()?;
        self.check_sample()
    }

    /// I-MEM, I-DIGEST.
    fn check_bounds(&self) -> Result<(), Violation> {
        for host in &self.hosts {
            let Some(process) = &host.process else { continue };
            let (loads, waiters, forwards) = process.node.waiting();
            let dirty = process.node.lags().map(|lag| lag.sessions).max().unwrap_or(0);
            let bounded = loads <= LOADS_MAX
                && waiters <= WAITERS_MAX
                && forwards <= 2 * FORWARDS_MAX
                && dirty <= self.settings.outbox_sessions_max;
            if !bounded {
                let detail = format!("{loads} loads, {waiters} waiters, {dirty} dirty");
                return Err(self.violation("I-MEM", detail));
            }
            let store = process.node.store();
            // From scratch is slow: each host every third second.
            let turn = self.now_us / 1_000_000 % 3 == u64::from(host.index) % 3;
            if turn && store.root() != store.recomputed_root() {
                return Err(self.violation("I-DIGEST", format!("n{}", host.index + 1)));
            }
        }
        Ok(())
    }

    /// B1: whatever a host has stamped and a peer lacks, its outbox knows of.
    fn check_outboxes(&self) -> Result<(), Violation> {
        for (a, host) in self.hosts.iter().enumerate() {
            let Some(process) = &host.process else { continue };
            let (node, inc) = (&process.node, process.inc);
            for (b, other) in self.hosts.iter().enumerate().filter(|(b, _)| *b != a) {
                let Some(peer) = &other.process else { continue };
                if !node.view().contains(peer.inc) || !peer.node.view().contains(inc) {
                    continue;
                }
                for (key, state) in node.store().iter() {
                    let State::Alive(session) = state else { continue };
                    // What it does not own it need not have; and it compares itself with this
                    // host before it speaks for what it has become an owner of.
                    let agreed = self.scenario.is_agreed();
                    if agreed && !(self.is_owner_by(a, key, peer.inc) && peer.node.speaks_for(key))
                    {
                        continue;
                    }
                    let Some(hlc) = session.version.get(inc) else { continue };
                    let own = Stamp { hlc, inc };
                    if session.core.created == own {
                        // Perhaps executed, and passed on, by another host.
                        continue;
                    }
                    // What was given up comes back from others, and may be lost to whoever began
                    // with nothing (V8).
                    let record = self.oracle.records.get(&key);
                    if record.and_then(|r| r.given_up.get(&inc)).is_some_and(|last| hlc <= *last) {
                        continue;
                    }
                    let has = match peer.node.store().get(key) {
                        Some(State::Ended(_)) => true,
                        Some(State::Alive(copy)) => copy.version.covers(own),
                        None => false,
                    };
                    // A copy that expired may come back from a peer that lacks the write.
                    let has = has || session.core.idle_ms < 60_000;
                    if !has && !node.may_lack(peer.inc, key) {
                        let detail =
                            format!("n{} takes n{} to have its write of {key:?}", a + 1, b + 1);
                        return Err(self.violation("B1", detail));
                    }
                }
            }
        }
        Ok(())
    }

    /// I-COV, for some sessions.
    fn check_sample(&mut self) -> Result<(), Violation> {
        let keys: Vec<SessionKey> = self.oracle.records.keys().copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        for _ in 0..3 {
            let key = keys[self.rng.usize(0..keys.len())];
            for host in 0..self.hosts.len() {
                self.check_coverage(host, key)?;
            }
        }
        Ok(())
    }

    /// I-COV: a copy is exactly the join of the writes that its version covers; and the counter
    /// is the sum of what they added.
    fn check_coverage(&self, host: usize, key: SessionKey) -> Result<(), Violation> {
        let Some(copy) = self.living(host, key) else { return Ok(()) };
        let at = || format!("{key:?} at n{}, {:?}", host + 1, copy.version);
        let Some(expected) = self.oracle.expected(key, &copy.version) else {
            return Err(self.violation("I-PHANTOM", format!("{} was never created", at())));
        };
        if expected.attributes != copy.attributes {
            let (held, expected) = (&copy.attributes, &expected.attributes);
            let detail = format!("{}: {held:?}, expected {expected:?}", at());
            return Err(self.violation("I-COV", detail));
        }
        let Some(record) = self.oracle.records.get(&key) else { return Ok(()) };
        let covered = record.log.iter().filter(|write| write.is_in(&copy.version));
        let sum: i64 = covered.map(|write| write.added).sum();
        let value = match copy.content(&name(COUNTER)) {
            Content::Counter(counter) => counter.value(),
            Content::Absent | Content::Set(_) | Content::Register(_) => 0,
        };
        if sum != value || sum > record.attempted_additions {
            let detail = format!(
                "{}: the counter is {value}, {sum} were added, {} attempted",
                at(),
                record.attempted_additions
            );
            return Err(self.violation("I-COV counter", detail));
        }
        Ok(())
    }
}
