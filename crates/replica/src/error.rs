//! What can fail, one enum per operation, and [`Error`], which a handler returns for all of them.
//!
//! `Debug` prints the message, so that a `main` that returns one of these shows one clear line.

use std::error::Error as StdError;
use std::fmt;

use session::{EndReason, Kind, Name, NameError};
use thiserror::Error;

use crate::config::ConfigError;

/// The result of what a handler does with a session.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a replica could not be started.
#[derive(Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be started with: a value, a file that it names, or the address
    /// that it listens on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The network part cannot be started, whatever the configuration says.
    #[error(transparent)]
    Transport(transport::StartError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Why a session could not be opened.
#[derive(Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// A node that may know more about the session did not answer; come again.
    #[error("the session cannot be read now: a node that may hold it does not answer; try again")]
    Unavailable,
    /// The extractor was used outside of the layer.
    #[error("a handler asks for the session outside of SessionLayer: add the layer to its router")]
    NoLayer,
}

/// Why an edit was refused. It did not take effect; others did.
#[derive(Error)]
#[non_exhaustive]
pub enum EditError {
    /// The attribute is of another kind, the session would be too large, or the like.
    #[error(transparent)]
    Refused(#[from] session::EditError),
    /// The name of an attribute or of a user is empty or too long.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The value cannot be encoded.
    #[error("the value for attribute {name:?} cannot be encoded: {source}")]
    Encode {
        /// Which attribute.
        name: Name,
        /// What its codec said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The session was signed out before in this request.
    #[error("the session was signed out in this request: sign in before editing again")]
    SignedOut,
    /// One request makes more edits than one commit may have.
    #[error("one request makes more than {max} edits: save in between")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// Why an attribute could not be read.
#[derive(Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The attribute is of another kind than the key says.
    #[error("attribute {name:?} is a {is:?}, not a {wanted:?}: use the key of its kind")]
    Kind {
        /// Which attribute.
        name: Name,
        /// What it is.
        is: Kind,
        /// What the key takes it for.
        wanted: Kind,
    },
    /// What is stored is not of the key's type.
    #[error("the value of attribute {name:?} cannot be decoded: {source}")]
    Decode {
        /// Which attribute.
        name: Name,
        /// What its codec said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Why a commit failed.
#[derive(Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitError {
    /// No node that could execute it answered; nothing took effect.
    #[error("the session cannot be written now: no node that may write it answers; try again")]
    Unavailable,
    /// It was handed to a node that did not answer; it may or may not have taken effect.
    #[error("it is not known whether the session was written: the node that does it is silent")]
    Unknown,
    /// There is no room for another session; nothing took effect.
    #[error("there is no room for another session here")]
    Full,
    /// The session ended meanwhile: nothing that was written to it will be seen.
    #[error("the session has ended{}", reason_of(.0.as_ref()))]
    Gone(Option<EndReason>),
    /// The response has left, so that the client cannot be told its new id; nothing took effect.
    #[error("the response has left: a session cannot begin or get another id after it")]
    TooLate,
    /// An edit was refused in the face of what others have written; nothing took effect.
    #[error(transparent)]
    Refused(#[from] session::EditError),
}

/// Why not all sessions of a user were ended.
#[derive(Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndAllError {
    /// This node has not caught up with the others, so that it does not know of all sessions; it
    /// ended none. [`Replica::ready`](crate::Replica::ready) tells when it has.
    #[error(
        "this node has not caught up with the others, and has ended no session: try again, or ask \
         another node"
    )]
    NotReady,
    /// Some could not be ended, or it is not known whether they were. The others were; who asks
    /// again ends the rest.
    #[error("{ended} sessions were ended, {left} may be left: ask again; of one of them, {source}")]
    Partly {
        /// How many were ended.
        ended: usize,
        /// How many were perhaps not.
        left: usize,
        /// What became of the first of those.
        source: CommitError,
    },
}

fn reason_of(reason: Option<&EndReason>) -> &'static str {
    match reason {
        Some(EndReason::Logout) => ": it was signed out",
        Some(EndReason::Forced) => ": it was ended by force",
        Some(EndReason::Rotated) => ": it was replaced by another at sign-in",
        Some(EndReason::MaxSessions) => ": its user has too many",
        Some(EndReason::Evicted) => " to make room",
        Some(EndReason::Expired) => ": it was not used for too long",
        Some(EndReason::Conflict) | None => "",
    }
}

/// Why a replica could not be stopped in good order.
#[derive(Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// Nodes that are reachable still lack something.
    /// Handing over took longer than `node.drain_timeout`.
    #[error(
        "stopped without having handed over {slots} slots and {sessions} sessions: copies are missing \
         until the others have noticed; give it more time by node.drain_timeout"
    )]
    NotHandedOver {
        /// 4096ths of all sessions that this node still was an owner of.
        slots: usize,
        /// Sessions that it held of others.
        sessions: usize,
    },
    /// Others lack something after [`FLUSH_TIMEOUT`](crate::limits::FLUSH_TIMEOUT).
    #[error(
        "stopped while other nodes lacked {sessions} sessions and {slots} slots of this one: \
         their last writes may be lost"
    )]
    NotFlushed {
        /// Sessions that a node lacks something of, over all of them.
        sessions: usize,
        /// 4096ths of all sessions of which a node may lack anything, over all of them.
        slots: usize,
    },
}

/// What can fail in a handler.
#[derive(Error)]
#[non_exhaustive]
pub enum Error {
    /// The session could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An edit was refused.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// An attribute could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Not all sessions of a user were ended.
    #[error(transparent)]
    EndAll(#[from] EndAllError),
    /// The request belongs to no session.
    #[error("there is no session")]
    NoSession,
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    NotSignedIn,
    /// The form was not made by this session.
    #[error("the form does not belong to this session: load the page again")]
    Csrf,
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::Edit(error.into())
    }
}

impl From<session::EditError> for Error {
    fn from(error: session::EditError) -> Self {
        Self::Edit(error.into())
    }
}

macro_rules! debug_is_the_message {
    ($($error:ident),+) => {
        $(impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        })+
    };
}

debug_is_the_message!(
    StartError,
    OpenError,
    EditError,
    ReadError,
    CommitError,
    EndAllError,
    StopError,
    Error
);
