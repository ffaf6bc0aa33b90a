//! What a user has: the sessions that are signed in under one name, and their end.

use std::time::SystemTime;

use protocol::{Ack, Commit, Life, Report};
use session::{EndReason, SessionKey, State, Time, Version};

use crate::commit::{done, worse};
use crate::error::CommitError;
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
    /// [`CommitError::Unavailable`] if this node has not caught up with the others, and so does
    /// not know of all sessions: ask again, or ask another node. Else a session could not be ended,
    /// and others may have been. Call it again.
    pub async fn end_all(&self, user: &str) -> Result<EndedAll, CommitError> {
        let mut is_synced = true;
        self.shared.driver.each(|node| is_synced &= node.is_synced());
        if !is_synced {
            return Err(CommitError::Unavailable);
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
        let mut all = EndedAll::default();
        for end in ends {
            match done(end.await) {
                Ok(acked) => {
                    all.report = worse(all.report, acked.report);
                    all.ended += 1;
                }
                Err(CommitError::Gone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
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
