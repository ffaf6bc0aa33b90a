//! What a user has: the sessions that are signed in under one name, and their end.

use std::time::SystemTime;

use protocol::{Ack, Commit, Life, Report};
use session::{EndReason, SessionKey, State, Time, Version};

use crate::commit::{done, worse};
use crate::error::{CommitError, EndAllError};
use crate::replica::Replica;
use crate::session::system_time;

/// One session of a user, as its user or an operator may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSummary {
    /// When it was signed in.
    pub created: SystemTime,
    /// When a request last used it, to a twentieth of the idle timeout.
    pub last_access: SystemTime,
}

/// What became of the sessions of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedAll {
    /// How many were ended.
    pub ended: usize,
    /// The acknowledgement that lacks most of what it asked for.
    pub report: Report,
}

impl Replica {
    /// The living sessions of a user that this node holds, the latest first.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> Vec<SessionSummary> {
        let now = self.shared.driver.clock.now();
        let mut found: Vec<SessionSummary> = Vec::new();
        self.each_of(user, |_, session| {
            if session.is_idle(now) {
                return;
            }
            found.push(SessionSummary {
                created: system_time(session.core.created.hlc.time()),
                last_access: system_time(session.last_access),
            });
        });
        found.sort_by_key(|summary| std::cmp::Reverse(summary.created));
        found
    }

    /// Ends all sessions of a user that this node holds, on all nodes, those included that look
    /// idle here: another node may know of a later use. A login that is under way on another node
    /// at this very moment may stay.
    ///
    /// # Errors
    /// [`EndAllError::NotReady`] if this node has not caught up with the others, and so does not
    /// know of all sessions; [`EndAllError::Partly`] if some could not be ended. Call it again.
    pub async fn end_all(&self, user: &str) -> Result<EndedAll, EndAllError> {
        let mut is_synced = true;
        self.shared.driver.each(|node| is_synced &= node.is_synced());
        if !is_synced {
            return Err(EndAllError::NotReady);
        }
        let mut found: Vec<(SessionKey, Version)> = Vec::new();
        self.each_of(user, |key, session| found.push((key, session.version.clone())));
        // All are asked to end before the first is waited for: their nodes acknowledge together.
        let ends: Vec<_> = found
            .into_iter()
            .map(|(key, at)| {
                let (life, level) = (Life::End(EndReason::Forced), Ack::All);
                let commit = Commit { key, life, at, edits: Vec::new(), level };
                self.shared.driver.commit(commit)
            })
            .collect();
        let mut ended = Vec::with_capacity(ends.len());
        for end in ends {
            ended.push(done(end.await).map(|acked| acked.report));
        }
        sum(ended)
    }

    fn each_of(&self, user: &str, mut look: impl FnMut(SessionKey, &session::Session)) {
        let now: Time = self.shared.driver.clock.now();
        self.shared.driver.each(|node| {
            for (key, state) in node.store().iter() {
                if let State::Alive(session) = state
                    && session.core.user.as_ref().is_some_and(|held| held.as_str() == user)
                    && !session.is_dead(now)
                {
                    look(key, session);
                }
            }
        });
    }
}

/// What became of all of them together. One that somebody else had ended before does not count.
fn sum(ends: Vec<Result<Report, CommitError>>) -> Result<EndedAll, EndAllError> {
    let mut all = EndedAll::default();
    let mut failed = Vec::new();
    for end in ends {
        match end {
            Ok(report) => {
                all.report = worse(all.report, report);
                all.ended += 1;
            }
            Err(CommitError::Gone(_)) => {}
            Err(error) => failed.push(error),
        }
    }
    let left = failed.len();
    match failed.into_iter().next() {
        None => Ok(all),
        Some(source) => Err(EndAllError::Partly { ended: all.ended, left, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise P12: one that cannot be ended does not hide how many were.
    #[test]
    fn those_that_were_ended_are_counted_whatever_became_of_the_others() {
        let (good, bad) = (Report { asked: 2, got: 2 }, Report { asked: 2, got: 1 });
        let gone = Err(CommitError::Gone(None));
        let all = sum(vec![Ok(good), gone.clone(), Ok(bad), Ok(good)]);
        assert_eq!(all, Ok(EndedAll { ended: 3, report: bad }));
        let (unknown, unavailable) = (CommitError::Unknown, CommitError::Unavailable);
        let partly = sum(vec![Ok(good), Err(unknown), gone, Err(unavailable), Ok(good)]);
        let source = CommitError::Unknown;
        assert_eq!(partly, Err(EndAllError::Partly { ended: 2, left: 2, source }));
        let text = partly.unwrap_err().to_string();
        assert!(text.starts_with("2 sessions were ended, 2 may be left: ask again"), "{text}");
    }
}
