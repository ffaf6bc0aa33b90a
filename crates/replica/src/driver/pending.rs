//! What a command of the application comes to, now or later.

use protocol::{Opened, Outcome};
use tokio::sync::oneshot;

/// What a request learns.
pub(super) enum Answer {
    Opened(Opened),
    Committed(Outcome),
}

/// The answer to a command, or the place where it will arrive.
pub(super) enum Pending {
    /// No more commands are taken.
    Closed,
    Answered(Answer),
    Waiting(oneshot::Receiver<Answer>),
}

impl Pending {
    pub(super) async fn opened(self) -> Opened {
        let answer = match self {
            Self::Closed => None,
            Self::Answered(answer) => Some(answer),
            Self::Waiting(answer) => answer.await.ok(),
        };
        match answer {
            Some(Answer::Opened(opened)) => opened,
            Some(Answer::Committed(_)) | None => Opened::Unavailable,
        }
    }

    pub(super) async fn outcome(self) -> Outcome {
        let answer = match self {
            Self::Closed => return Outcome::Unavailable,
            Self::Answered(answer) => Some(answer),
            Self::Waiting(answer) => answer.await.ok(),
        };
        match answer {
            Some(Answer::Committed(outcome)) => outcome,
            // This process is being stopped, and may have executed it before.
            Some(Answer::Opened(_)) | None => Outcome::Unknown,
        }
    }
}
