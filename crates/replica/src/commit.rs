//! Commits the edits of a handle: begins its session, writes to it, replaces it, ends it.

use protocol::limits::EDITS_MAX;
use protocol::{Ack, Acked, Commit, Life, Opened, Outcome, Report};
use session::{Core, Edit, EndReason, SessionId, SessionKey, Time, User, Version};

use crate::driver::{Creation, millis};
use crate::error::{CommitError, Result};
use crate::session::{IdChange, Session, State};
use crate::working::{Plan, Standing};

/// What there is to do, taken out of the handle while nobody else looks.
enum Job {
    Nothing,
    /// Note that the session was used.
    Touch,
    Begin(Vec<Edit>),
    Write(Vec<Edit>),
    Rotate {
        id: SessionId,
        user: Option<User>,
        transcript: Vec<Edit>,
    },
    End,
}

impl Session {
    /// Commits the edits made so far, and goes on from what the session is now. The layer does the
    /// first by itself at the end of a request.
    ///
    /// # Errors
    /// [`CommitError`] says whether the edits may have taken effect. After `Unavailable` and
    /// `Full` they have not, and the next commit tries them again; else they are discarded.
    pub async fn save(&self) -> Result<Report> {
        let report = self.commit().await?;
        let (key, seen) = {
            let state = self.0.state.lock();
            (state.working.id.key(), state.token())
        };
        if seen.is_some() {
            match self.0.replica.driver.open(key, seen).await {
                Opened::Session { session, .. } => {
                    let limits = &self.0.replica.config.session().limits;
                    self.0.state.lock().working.rebase(*session, limits);
                }
                Opened::Ended(tombstone) => {
                    let id = self.0.replica.draw_id();
                    let working = &mut self.0.state.lock().working;
                    // What was planned meanwhile was meant for the session that has ended: the
                    // next commit will be told so.
                    if working.plan == Plan::Keep {
                        working.lose(id, tombstone.reason);
                    }
                }
                // What is held already will do.
                Opened::NotFound | Opened::Unavailable => {}
            }
        }
        Ok(report.unwrap_or_default())
    }

    /// Forgets what there is to commit, because the client is told that it failed.
    #[cfg(feature = "axum")]
    pub(crate) fn discard(&self) {
        self.0.state.lock().working.discard();
    }

    /// Commits what there is to commit; tells how far it was acknowledged, if anything was written.
    pub(crate) async fn commit(&self) -> std::result::Result<Option<Report>, CommitError> {
        let _turn = self.0.turn.lock().await;
        let now = self.0.replica.driver.clock.now();
        let (job, at, key, standing) = {
            let mut state = self.0.state.lock();
            let job = state.next_job(now);
            let working = &state.working;
            (job, working.at.clone(), working.id.key(), working.standing)
        };
        let level = self.0.replica.config.replication().ack;
        let report = match job? {
            Job::Nothing => return Ok(None),
            Job::Touch => {
                self.touch(key, at, now);
                return Ok(None);
            }
            Job::Begin(edits) => self.begin(key, standing, edits, level).await?,
            Job::Write(edits) => self.write(key, at, edits, level, now).await?,
            Job::Rotate { id, user, transcript } => {
                // As in `begin`; a login is another matter, whoever was signed in before.
                if standing == Standing::Ended(EndReason::Rotated) && user.is_none() {
                    return Err(CommitError::Gone(Some(EndReason::Rotated)));
                }
                let old = (standing == Standing::Living).then_some((key, at));
                let rotated = self.rotate(old, &id, user, transcript, level).await;
                // The id of a plan that failed halfway is used up.
                rotated.inspect_err(|_| self.draw_plan_again())?
            }
            Job::End => self.end(key, at).await?,
        };
        let mut state = self.0.state.lock();
        state.report = Some(state.report.map_or(report, |earlier| worse(earlier, report)));
        Ok(Some(report))
    }

    /// Nobody waits for a touch, and a session that has ended meanwhile needs none.
    fn touch(&self, key: SessionKey, at: Version, now: Time) {
        let commit = Commit { key, life: Life::Keep, at, edits: Vec::new(), level: Ack::Local };
        if self.0.replica.driver.commit_at_ease(commit) {
            self.0.state.lock().working.copy.last_access = now;
        }
    }

    async fn begin(
        &self,
        key: SessionKey,
        standing: Standing,
        edits: Vec<Edit>,
        level: Ack,
    ) -> std::result::Result<Report, CommitError> {
        // The browser is being given another id by the login that is under way: one of this
        // request would take its place.
        if standing == Standing::Ended(EndReason::Rotated) {
            return Err(CommitError::Gone(Some(EndReason::Rotated)));
        }
        let id = self.0.state.lock().working.id.clone();
        let created = self.create(key, None, edits.clone(), level).await;
        let (core, acked) = created.inspect_err(|error| {
            // Under the same id the next try would meet what this one may have left behind: counters
            // would count twice, or two different sessions be in conflict.
            let fresh = self.0.replica.draw_id();
            self.0.state.lock().working.id = fresh;
            self.restore(error, edits);
        })?;
        let report = acked.report;
        self.0.state.lock().became(id, core, acked);
        Ok(report)
    }

    async fn write(
        &self,
        key: SessionKey,
        at: Version,
        edits: Vec<Edit>,
        level: Ack,
        now: Time,
    ) -> std::result::Result<Report, CommitError> {
        let commit = Commit { key, life: Life::Keep, at, edits: edits.clone(), level };
        let written = done(self.0.replica.driver.commit(commit).await);
        let acked = written.inspect_err(|error| self.restore(error, edits))?;
        let mut state = self.0.state.lock();
        state.working.seen.join(&acked.version);
        if state.working.copy.wants_touch(now) {
            state.working.copy.last_access = now;
        }
        Ok(acked.report)
    }

    /// A login: first the new session, then the end of the old one, at the level `all`. Nobody
    /// leads from the old id to the new one.
    // Rule D2, amendment 16.
    async fn rotate(
        &self,
        old: Option<(SessionKey, Version)>,
        id: &SessionId,
        user: Option<User>,
        transcript: Vec<Edit>,
        level: Ack,
    ) -> std::result::Result<Report, CommitError> {
        let (core, acked) = self.create(id.key(), user, transcript, level).await?;
        let mut report = acked.report;
        if let Some((key, at)) = old {
            match done(self.end_at(key, at, EndReason::Rotated).await) {
                Ok(ended) => report = worse(report, ended.report),
                Err(error) => {
                    // Nobody ever learns the id of the new one. The client keeps its old session;
                    // or has none, if that had been ended by somebody else, perhaps by a logout
                    // which the new one, made of a copy, would have outlived.
                    let _ = self.end_at(id.key(), acked.version, EndReason::Rotated).await;
                    return Err(error);
                }
            }
        }
        self.0.state.lock().became(id.clone(), core, acked);
        Ok(report)
    }

    /// Creates a session; more edits than one commit may have follow in further ones.
    async fn create(
        &self,
        key: SessionKey,
        user: Option<User>,
        mut edits: Vec<Edit>,
        level: Ack,
    ) -> std::result::Result<(Core, Acked), CommitError> {
        let replica = &self.0.replica;
        let section = replica.config.session();
        let absolute_ms = millis(section.absolute_timeout);
        let creation = Creation { user, absolute_ms, idle_ms: millis(section.idle_timeout) };
        let mut rest = edits.split_off(edits.len().min(EDITS_MAX));
        let (core, outcome) = replica.driver.create(key, &creation, edits, level).await;
        let core = core.ok_or(CommitError::Unavailable)?;
        let created = done(outcome);
        let mut acked = created.inspect_err(|error| {
            if *error == CommitError::Unknown {
                self.abandon(key, core.created.into());
            }
        })?;
        while !rest.is_empty() {
            let next = rest.split_off(rest.len().min(EDITS_MAX));
            let (edits, at) = (std::mem::replace(&mut rest, next), acked.version.clone());
            let commit = Commit { key, life: Life::Keep, at, edits, level };
            let further = done(replica.driver.commit(commit).await);
            let further = further.inspect_err(|_| self.abandon(key, acked.version.clone()))?;
            let report = worse(acked.report, further.report);
            acked = Acked { version: further.version, report };
        }
        Ok((core, acked))
    }

    /// Ends what a creation may have left behind, whose id nobody will learn. As well as it goes:
    /// nobody waits for it, and what stays after all is never used and expires.
    fn abandon(&self, key: SessionKey, at: Version) {
        drop(self.end_at(key, at, EndReason::Rotated));
    }

    async fn end(&self, key: SessionKey, at: Version) -> std::result::Result<Report, CommitError> {
        let report = match done(self.end_at(key, at, EndReason::Logout).await) {
            Ok(acked) => acked.report,
            // One that is gone for whatever reason is no error here.
            Err(CommitError::Gone(_)) => Report::default(),
            Err(error) => return Err(error),
        };
        let mut state = self.0.state.lock();
        state.working.standing = Standing::Ended(EndReason::Logout);
        state.id_change = Some(IdChange::Clear);
        Ok(report)
    }

    /// Ends a session on all nodes, when this is called; it need not be waited for.
    fn end_at(
        &self,
        key: SessionKey,
        at: Version,
        reason: EndReason,
    ) -> impl Future<Output = Outcome> + use<> {
        let life = Life::End(reason);
        let commit = Commit { key, life, at, edits: Vec::new(), level: Ack::All };
        self.0.replica.driver.commit(commit)
    }

    fn draw_plan_again(&self) {
        let fresh = self.0.replica.draw_id();
        if let Plan::Rotate { id, .. } = &mut self.0.state.lock().working.plan {
            *id = fresh;
        }
    }

    /// Edits that have certainly not taken effect are tried again by the next commit.
    fn restore(&self, error: &CommitError, mut edits: Vec<Edit>) {
        if matches!(error, CommitError::Unavailable | CommitError::Full) {
            let working = &mut self.0.state.lock().working;
            edits.append(&mut working.edits);
            working.edits = edits;
        }
    }
}

impl State {
    fn next_job(&mut self, now: Time) -> std::result::Result<Job, CommitError> {
        let working = &mut self.working;
        let is_living = working.standing == Standing::Living;
        // Nobody could tell the client its new id any more.
        let is_late = self.is_answered && (working.plan.rotates() || !is_living);
        if is_late && working.is_dirty() {
            return Err(CommitError::TooLate);
        }
        Ok(match &working.plan {
            Plan::Rotate { id, user } => {
                let (id, user, transcript) = (id.clone(), user.clone(), working.transcript());
                working.edits.clear();
                Job::Rotate { id, user, transcript }
            }
            Plan::End if is_living => Job::End,
            Plan::End => Job::Nothing,
            Plan::Keep if is_living => {
                let edits = std::mem::take(&mut working.edits);
                match edits.is_empty() {
                    false => Job::Write(edits),
                    true if working.copy.wants_touch(now) => Job::Touch,
                    true => Job::Nothing,
                }
            }
            Plan::Keep if working.is_dirty() => Job::Begin(std::mem::take(&mut working.edits)),
            Plan::Keep => Job::Nothing,
        })
    }

    /// The session is the one under `id` from now on, which has just been created.
    fn became(&mut self, id: SessionId, core: Core, acked: Acked) {
        let working = &mut self.working;
        working.id = id.clone();
        working.standing = Standing::Living;
        working.plan = Plan::Keep;
        working.copy.last_access = core.created.hlc.time();
        working.copy.core = core;
        working.at = acked.version.clone();
        working.seen = acked.version;
        self.presented = None;
        self.id_change = Some(IdChange::Set(id));
    }
}

pub(crate) fn done(outcome: Outcome) -> std::result::Result<Acked, CommitError> {
    match outcome {
        Outcome::Done(acked) => Ok(acked),
        Outcome::Gone => Err(CommitError::Gone(None)),
        Outcome::Refused(error) => Err(CommitError::Refused(error)),
        Outcome::Full => Err(CommitError::Full),
        Outcome::Unavailable => Err(CommitError::Unavailable),
        Outcome::Unknown => Err(CommitError::Unknown),
    }
}

/// The report that lacks more of what it asked for.
pub(crate) fn worse(one: Report, other: Report) -> Report {
    let missing = |report: Report| report.asked.saturating_sub(report.got);
    if (missing(other), other.asked) > (missing(one), one.asked) { other } else { one }
}
