//! Commits that wait until enough owners have them.

use std::collections::BTreeMap;

use session::{EndReason, Inc, SessionKey, Stamp, Time, Version};

use crate::event::{Ack, Acked, Outcome, Report, Ticket};
use crate::limits::WAITERS_MAX;
use crate::quorum::Quorum;
use crate::rules::{Rule, Rules};

/// Who is told what became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// A request of this process.
    Local(Ticket),
    /// A request of another node, forwarded under this number.
    Peer(Inc, u64),
}

/// What the owners must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Everything up to this stamp of this writer.
    Write(Stamp),
    /// The end of the session, which was told for this reason.
    End(EndReason),
}

/// A commit that has taken effect here and waits for others.
#[derive(Clone, Hash)]
pub(crate) struct Waiter {
    pub(crate) asker: Asker,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) level: Ack,
    pub(crate) deadline: Time,
    /// Who has it, and the epoch in which it said so.
    got: Vec<(Inc, u64)>,
}

impl Waiter {
    pub(crate) const fn new(
        asker: Asker,
        target: Target,
        version: Version,
        level: Ack,
        deadline: Time,
    ) -> Self {
        Self { asker, target, version, level, deadline, got: Vec::new() }
    }

    fn outcome(self, report: Report) -> (Asker, Outcome) {
        (self.asker, Outcome::Done(Acked { version: self.version, report }))
    }

    fn is_reached_by(&self, hi: Option<&Version>) -> bool {
        match (self.target, hi) {
            // A tombstone has everything that the session ever had, and says so.
            (Target::End(_), None) => true,
            (Target::Write(stamp), Some(hi)) => hi.covers(stamp),
            (Target::End(_), Some(_)) | (Target::Write(_), None) => false,
        }
    }
}

/// The waiting commits of one shard.
///
/// Invariant: at most [`WAITERS_MAX`]; each leaves at its level, at its deadline, or when nobody
/// is left who could acknowledge it.
#[derive(Clone, Hash)]
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
    pub(crate) fn add(
        &mut self,
        key: SessionKey,
        waiter: Waiter,
        quorum: Quorum<'_>,
    ) -> Option<(Asker, Outcome)> {
        let standing = quorum.standing(key, waiter.level, &waiter.got);
        if standing.is_over || self.count >= WAITERS_MAX {
            return Some(waiter.outcome(standing.report));
        }
        self.by_key.entry(key).or_default().push(waiter);
        self.count += 1;
        None
    }

    /// The process has `hi` of the session, or its end, as of that epoch; returns the commits that
    /// reach their level.
    // Rule I-ACK.
    pub(crate) fn acknowledge(
        &mut self,
        (peer, epoch): (Inc, u64),
        key: SessionKey,
        hi: Option<&Version>,
        quorum: Quorum<'_>,
    ) -> Vec<(Asker, Outcome)> {
        let distinct = !self.rules.off(Rule::DistinctAcks);
        self.resolve(key, quorum, |waiter| {
            if !waiter.is_reached_by(hi) {
                return false;
            }
            match waiter.got.iter_mut().find(|(inc, _)| *inc == peer) {
                Some((_, at)) if distinct => *at = epoch.min(*at),
                Some(_) | None => waiter.got.push((peer, epoch)),
            }
            false
        })
    }

    /// The session has ended, or is known to have ended for this reason as well: waiting writes are
    /// gone, and so is a login whose session somebody has logged out or forced out; waiting ends
    /// go on waiting.
    // Rules D2, D4.
    pub(crate) fn end(
        &mut self,
        key: SessionKey,
        reason: EndReason,
        quorum: Quorum<'_>,
    ) -> Vec<(Asker, Outcome)> {
        let gone = self.resolve(key, quorum, |waiter| match waiter.target {
            Target::Write(_) => true,
            Target::End(EndReason::Rotated) => reason != EndReason::Rotated,
            Target::End(_) => false,
        });
        gone.into_iter().map(|(asker, _)| (asker, Outcome::Gone)).collect()
    }

    /// Answers the commits that have reached their level, those whose time is over, and those that
    /// `hopeless` says nobody can acknowledge any more: it is given the key and who has.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        quorum: Quorum<'_>,
        mut hopeless: impl FnMut(SessionKey, &[(Inc, u64)]) -> bool,
    ) -> Vec<(Asker, Outcome)> {
        let keys: Vec<SessionKey> = self.by_key.keys().copied().collect();
        let mut done = Vec::new();
        for key in keys {
            let over = |waiter: &mut Waiter| waiter.deadline <= now || hopeless(key, &waiter.got);
            done.extend(self.resolve(key, quorum, over));
        }
        done
    }

    /// Answers the commits of one session of which `hopeless` says the same.
    pub(crate) fn give_up(
        &mut self,
        key: SessionKey,
        quorum: Quorum<'_>,
        hopeless: impl Fn(&[(Inc, u64)]) -> bool,
    ) -> Vec<(Asker, Outcome)> {
        self.resolve(key, quorum, |waiter| hopeless(&waiter.got))
    }

    /// Answers the commits of a session that have reached their level, or of which `is_done` says
    /// that they are to be answered with what they have.
    fn resolve(
        &mut self,
        key: SessionKey,
        quorum: Quorum<'_>,
        mut is_done: impl FnMut(&mut Waiter) -> bool,
    ) -> Vec<(Asker, Outcome)> {
        let Some(waiters) = self.by_key.get_mut(&key) else {
            return Vec::new();
        };
        let mut done = Vec::new();
        waiters.retain_mut(|waiter| {
            let given_up = is_done(waiter);
            let standing = quorum.standing(key, waiter.level, &waiter.got);
            let answered = given_up || standing.is_over;
            if answered {
                done.push((waiter.asker, waiter.version.clone(), standing.report));
            }
            !answered
        });
        self.count -= done.len();
        if waiters.is_empty() {
            self.by_key.remove(&key);
        }
        let outcome = |(asker, version, report)| (asker, Outcome::Done(Acked { version, report }));
        done.into_iter().map(outcome).collect()
    }

    /// Forgets the acknowledgements, with the epoch of each, that `counts` does not let stand.
    pub(crate) fn retain_acks(&mut self, counts: impl Fn(SessionKey, Inc, u64) -> bool) {
        for (key, waiters) in &mut self.by_key {
            for waiter in waiters {
                waiter.got.retain(|(inc, at)| counts(*key, *inc, *at));
            }
        }
    }

    /// The sessions of which commits wait.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.by_key.keys().copied().collect()
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use session::Hlc;

    use super::*;
    use crate::fixtures::{NOW, agreed, key};
    use crate::placement::Placement;

    const WRITE: Stamp = Stamp { hlc: Hlc(50), inc: Inc(1) };

    fn waiter(ticket: u64, target: Target, level: Ack) -> Waiter {
        Waiter::new(Asker::Local(Ticket(ticket)), target, Version::new(), level, NOW.plus(1_000))
    }

    /// Where the processes of each layout own every slot, the oldest layout first.
    fn placement(layouts: &[&[u64]]) -> Placement {
        Placement::new(&agreed(7, layouts), 0, 1)
    }

    /// How process 1 counts in epoch 7.
    fn quorum(placement: &Placement) -> Quorum<'_> {
        Quorum { placement, me: Inc(1), epoch: 7, rules: Rules::default() }
    }

    fn done(answers: &[(Asker, Outcome)]) -> Vec<(u64, u16)> {
        let got = |(asker, outcome): &(Asker, Outcome)| match (asker, outcome) {
            (Asker::Local(ticket), Outcome::Done(acked)) => Some((ticket.0, acked.report.got)),
            _ => None,
        };
        answers.iter().filter_map(got).collect()
    }

    /// Tests rule C1: an owner counts for a commit if it has this write, whatever else it has.
    #[test]
    fn an_ack_counts_for_the_writes_that_it_covers() {
        let placement = placement(&[&[1, 2, 3]]);
        let quorum = quorum(&placement);
        let mut waiters = Waiters::new(Rules::default());
        let waiting = waiters.add(key(0, 0), waiter(1, Target::Write(WRITE), Ack::All), quorum);
        assert!(waiting.is_none());
        let older = Version::from(Stamp { hlc: Hlc(49), ..WRITE });
        let other = Version::from(Stamp { inc: Inc(9), ..WRITE });
        let newer = Version::from(Stamp { hlc: Hlc(51), ..WRITE });
        let mut acknowledge = |inc: u64, key: SessionKey, hi: Option<&Version>| {
            waiters.acknowledge((Inc(inc), 7), key, hi, quorum)
        };
        for hi in [Some(&older), Some(&other), None] {
            assert!(acknowledge(2, key(0, 0), hi).is_empty(), "{hi:?}");
        }
        assert!(acknowledge(2, key(0, 0), Some(&newer)).is_empty());
        assert!(acknowledge(2, key(0, 0), Some(&newer)).is_empty(), "I-ACK");
        assert!(acknowledge(9, key(0, 0), Some(&newer)).is_empty(), "not an owner");
        assert!(acknowledge(3, key(0, 1), Some(&newer)).is_empty(), "another key");
        let answers = acknowledge(3, key(0, 0), Some(&newer));
        assert_eq!(done(&answers), [(1, 2)]);
        assert_eq!(waiters.len(), 0);
    }

    /// Tests rule D4: an end takes the writes with it and waits for its own acks.
    #[test]
    fn an_end_makes_waiting_writes_gone_and_waits_itself() {
        let placement = placement(&[&[1, 2]]);
        let quorum = quorum(&placement);
        let mut waiters = Waiters::new(Rules::default());
        waiters.add(key(0, 0), waiter(1, Target::Write(WRITE), Ack::One), quorum);
        waiters.add(key(0, 0), waiter(2, Target::End(EndReason::Logout), Ack::One), quorum);
        let gone = waiters.end(key(0, 0), EndReason::Logout, quorum);
        assert_eq!(gone, [(Asker::Local(Ticket(1)), Outcome::Gone)]);
        let answers = waiters.acknowledge((Inc(2), 7), key(0, 0), None, quorum);
        assert_eq!(done(&answers), [(2, 1)]);
    }

    /// Tests rule D2: a login's end goes on waiting when it comes back from another node, and is
    /// gone when its session was logged out elsewhere.
    #[test]
    fn a_waiting_login_is_gone_at_a_logout() {
        let placement = placement(&[&[1, 2]]);
        let quorum = quorum(&placement);
        let mut waiters = Waiters::new(Rules::default());
        waiters.add(key(0, 0), waiter(1, Target::End(EndReason::Rotated), Ack::One), quorum);
        assert_eq!(waiters.end(key(0, 0), EndReason::Rotated, quorum), []);
        let gone = waiters.end(key(0, 0), EndReason::Logout, quorum);
        assert_eq!(gone, [(Asker::Local(Ticket(1)), Outcome::Gone)]);
    }

    /// Tests rule C1.
    #[test]
    fn a_commit_leaves_at_its_deadline_or_when_waiting_is_of_no_use() {
        let placement = placement(&[&[1, 2, 3]]);
        let quorum = quorum(&placement);
        let mut waiters = Waiters::new(Rules::default());
        let has = Version::from(WRITE);
        waiters.add(key(0, 0), waiter(1, Target::Write(WRITE), Ack::All), quorum);
        waiters.add(key(0, 1), waiter(2, Target::Write(WRITE), Ack::All), quorum);
        waiters.acknowledge((Inc(2), 7), key(0, 0), Some(&has), quorum);
        assert!(waiters.expire(NOW.plus(999), quorum, |_, _| false).is_empty());
        let answers = waiters.expire(NOW, quorum, |_, got| got == [(Inc(2), 7)]);
        assert_eq!(done(&answers), [(1, 1)]);
        let answers = waiters.expire(NOW.plus(1_000), quorum, |_, _| false);
        assert_eq!(done(&answers), [(2, 0)]);
    }

    /// Tests rule C1: one too many is answered at once, with what it has got.
    #[test]
    fn bound_waiters_max() {
        let placement = placement(&[&[1, 2]]);
        let quorum = quorum(&placement);
        let mut waiters = Waiters::new(Rules::default());
        let add = |waiters: &mut Waiters, number| {
            waiters.add(key(0, 0), waiter(number, Target::End(EndReason::Logout), Ack::One), quorum)
        };
        for number in 0..WAITERS_MAX as u64 {
            assert!(add(&mut waiters, number).is_none());
        }
        let answer = add(&mut waiters, 99_999);
        assert_eq!(done(&[answer.expect("an answer")]), [(99_999, 0)]);
        assert_eq!(waiters.len(), WAITERS_MAX);
        waiters.acknowledge((Inc(2), 7), key(0, 0), None, quorum);
        assert!(add(&mut waiters, 1).is_none(), "there is room");
    }

    #[test]
    fn who_asks_for_nothing_does_not_wait() {
        let placement = placement(&[&[1, 2]]);
        let mut waiters = Waiters::new(Rules::default());
        let local = waiter(1, Target::Write(WRITE), Ack::Local);
        let answer = waiters.add(key(0, 0), local, quorum(&placement));
        assert_eq!(done(&[answer.expect("an answer")]), [(1, 0)]);
        assert_eq!(waiters.len(), 0);
    }

    /// Tests rules V3 and V5: a commit that waits is counted by the layouts that there are when its
    /// acks arrive, not by those that there were when it began.
    #[test]
    fn a_commit_that_waits_is_counted_by_the_present_layouts() {
        let (before, during) = (placement(&[&[1, 2]]), placement(&[&[1, 2], &[3, 4]]));
        let (has, mut waiters) = (Version::from(WRITE), Waiters::new(Rules::default()));
        waiters.add(key(0, 0), waiter(1, Target::Write(WRITE), Ack::One), quorum(&before));
        let acknowledge = |waiters: &mut Waiters, inc, placement| {
            waiters.acknowledge((Inc(inc), 7), key(0, 0), Some(&has), quorum(placement))
        };
        assert!(acknowledge(&mut waiters, 2, &during).is_empty(), "3 and 4 have nothing of it");
        assert_eq!(done(&acknowledge(&mut waiters, 4, &during)), [(1, 1)]);

        waiters.add(key(0, 0), waiter(2, Target::Write(WRITE), Ack::One), quorum(&during));
        assert!(acknowledge(&mut waiters, 3, &during).is_empty(), "nor is it enough that 3 has it");
        let after = placement(&[&[3, 4]]);
        let answers = waiters.expire(NOW, quorum(&after), |_, _| false);
        assert_eq!(done(&answers), [(2, 1)], "once the earlier layout is over it is");
    }

    /// Tests rule V2: an ack of a later epoch counts when that epoch is adopted.
    #[test]
    fn an_ack_of_a_later_epoch_waits_for_its_view() {
        let placement = placement(&[&[1, 2]]);
        let (has, mut waiters) = (Version::from(WRITE), Waiters::new(Rules::default()));
        waiters.add(key(0, 0), waiter(1, Target::Write(WRITE), Ack::One), quorum(&placement));
        let fenced = waiters.acknowledge((Inc(2), 8), key(0, 0), Some(&has), quorum(&placement));
        assert!(fenced.is_empty());
        assert!(waiters.expire(NOW, quorum(&placement), |_, _| false).is_empty());
        let adopted = Quorum { epoch: 8, ..quorum(&placement) };
        assert_eq!(done(&waiters.expire(NOW, adopted, |_, _| false)), [(1, 1)]);
    }
}
