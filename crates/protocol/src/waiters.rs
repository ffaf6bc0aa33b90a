//! Commits that wait until enough owners have them.

use std::collections::BTreeMap;

use session::{Inc, SessionKey, Stamp, Time, Version};

use crate::event::{Acked, Outcome, Report, Ticket};
use crate::limits::WAITERS_MAX;
use crate::rules::{Rule, Rules};

/// Who is told what became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A request of this process.
    Local(Ticket),
    /// A request of another node, forwarded under this number.
    Peer(Inc, u64),
}

/// What the owners must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Everything up to this stamp of this writer.
    Write(Stamp),
    /// The end of the session.
    End,
}

/// A commit that has taken effect here and waits for others.
pub(crate) struct Waiter {
    pub(crate) asker: Asker,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) asked: usize,
    pub(crate) deadline: Time,
    got: Vec<Inc>,
}

impl Waiter {
    pub(crate) const fn new(
        asker: Asker,
        target: Target,
        version: Version,
        asked: usize,
        deadline: Time,
    ) -> Self {
        Self { asker, target, version, asked, deadline, got: Vec::new() }
    }

    fn outcome(self) -> (Asker, Outcome) {
        let report = Report {
            asked: u16::try_from(self.asked).unwrap_or(u16::MAX),
            got: u16::try_from(self.got.len()).unwrap_or(u16::MAX),
        };
        (self.asker, Outcome::Done(Acked { version: self.version, report }))
    }

    fn is_reached_by(&self, hi: Option<&Version>) -> bool {
        match (self.target, hi) {
            // A tombstone has everything that the session ever had, and says so.
            (Target::End, None) => true,
            (Target::Write(stamp), Some(hi)) => hi.covers(stamp),
            (Target::End, Some(_)) | (Target::Write(_), None) => false,
        }
    }
}

/// The waiting commits of one shard.
///
/// Invariant: at most [`WAITERS_MAX`]; each leaves at its level, at its deadline, or when nobody
/// is left who could acknowledge it.
pub(crate) struct Waiters {
    by_key: BTreeMap<SessionKey, Vec<Waiter>>,
    count: usize,
    rules: Rules,
}

impl Waiters {
    pub(crate) const fn new(rules: Rules) -> Self {
        Self { by_key: BTreeMap::new(), count: 0, rules }
    }

    /// Waits; or, if nothing is asked for or too many wait already, answers at once, honestly.
    pub(crate) fn add(&mut self, key: SessionKey, waiter: Waiter) -> Option<(Asker, Outcome)> {
        if waiter.asked == 0 || self.count >= WAITERS_MAX {
            return Some(waiter.outcome());
        }
        self.by_key.entry(key).or_default().push(waiter);
        self.count += 1;
        None
    }

    /// `peer` has `hi` of the session, or its end; returns the commits that reach their level.
    // Rule I-ACK.
    pub(crate) fn acknowledge(
        &mut self,
        peer: Inc,
        key: SessionKey,
        hi: Option<&Version>,
    ) -> Vec<(Asker, Outcome)> {
        let distinct = !self.rules.off(Rule::DistinctAcks);
        self.resolve(key, |waiter| {
            if waiter.is_reached_by(hi) && !(distinct && waiter.got.contains(&peer)) {
                waiter.got.push(peer);
            }
            waiter.got.len() >= waiter.asked
        })
    }

    /// The session has ended: waiting writes are gone, waiting ends go on waiting.
    // Rule D4.
    pub(crate) fn end(&mut self, key: SessionKey) -> Vec<(Asker, Outcome)> {
        let gone = self.resolve(key, |waiter| matches!(waiter.target, Target::Write(_)));
        gone.into_iter().map(|(asker, _)| (asker, Outcome::Gone)).collect()
    }

    /// Answers the commits whose time is over, and those that `hopeless` says nobody can
    /// acknowledge any more: it is given the key and who has acknowledged.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        mut hopeless: impl FnMut(SessionKey, &[Inc]) -> bool,
    ) -> Vec<(Asker, Outcome)> {
        let keys: Vec<SessionKey> = self.by_key.keys().copied().collect();
        let mut done = Vec::new();
        for key in keys {
            done.extend(
                self.resolve(key, |waiter| waiter.deadline <= now || hopeless(key, &waiter.got)),
            );
        }
        done
    }

    fn resolve(
        &mut self,
        key: SessionKey,
        mut is_done: impl FnMut(&mut Waiter) -> bool,
    ) -> Vec<(Asker, Outcome)> {
        let Some(waiters) = self.by_key.get_mut(&key) else {
            return Vec::new();
        };
        let done: Vec<Waiter> = waiters.extract_if(.., |waiter| is_done(waiter)).collect();
        self.count -= done.len();
        if waiters.is_empty() {
            self.by_key.remove(&key);
        }
        done.into_iter().map(Waiter::outcome).collect()
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }
}
