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
    /// This process is no member now.
    NoMember,
    Answered(Answer),
    Waiting(oneshot::Receiver<Answer>),
}

impl Pending {
    /// `None` if the process is no member now, or became another one meanwhile: whoever is asked
    /// next may know.
    pub(super) async fn opened(self) -> Option<Opened> {
        let answer = match self {
            Self::Closed => return Some(Opened::Unavailable),
            Self::NoMember => None,
            Self::Answered(answer) => Some(answer),
            Self::Waiting(answer) => answer.await.ok(),
        };
        match answer? {
            Answer::Opened(opened) => Some(opened),
            Answer::Committed(_) => Some(Opened::Unavailable),
        }
    }

    pub(super) async fn outcome(self) -> Outcome {
        let answer = match self {
            Self::Closed | Self::NoMember => return Outcome::Unavailable,
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
