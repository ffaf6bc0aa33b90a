//! What can fail, one enum per operation.

use std::io;
use std::net::SocketAddr;

use quinn::{
    ConnectError, ConnectionClose, ConnectionError, ReadError, ReadExactError, Side,
    TransportErrorCode, WriteError,
};
use thiserror::Error;

use crate::counters::Refusal;
use crate::event::{Close, words};
use crate::limits::HELLO_BYTES_MAX;
use crate::name::NodeName;

/// Why a frame was not accepted for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// There is no link to this peer now. An `Up` event tells when there is.
    #[error("there is no link to this peer")]
    NotConnected,
    /// The peer takes frames more slowly than they are sent. Later there is room again.
    #[error("the queue of this lane is full")]
    Full,
    /// The frame is longer than the limit; it will never be accepted.
    #[error("the frame is longer than the limit")]
    TooLarge,
}

/// Why the endpoint could not be started. Each message names address and remedy.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another process has the port.
    #[error("UDP {address} is in use; stop the other process, or set another `node.listen`")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on UDP {address}: {source}; correct `node.listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The hello is too long.
    #[error("the hello has {bytes} bytes, the limit is {HELLO_BYTES_MAX}")]
    Hello {
        /// Its length.
        bytes: usize,
    },
    /// TLS refuses the identity or the configuration.
    #[error("TLS refuses this node's identity: {0}; issue it again with `cert node`")]
    Tls(#[from] TlsError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct TlsError(#[from] TlsErrorKind);

#[derive(Debug, Error)]
pub(crate) enum TlsErrorKind {
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Suite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    #[error("a timeout is out of bounds: {0}")]
    Timeout(#[from] quinn::VarIntBoundsExceeded),
}

/// Why one attempt to connect failed.
#[derive(Debug, Error)]
pub(crate) enum AttemptError {
    #[error("its address {address:?} cannot be resolved: {source}")]
    Resolve { address: String, source: io::Error },
    #[error("its address {address:?} has no form that this node's socket can reach")]
    NoAddress { address: String },
    #[error("no answer on UDP {0}")]
    NoAnswer(SocketAddr),
    #[error("it was refused: {0}")]
    Refused(Refusal),
    #[error("it was refused: {}", Refusal::Preface)]
    Preface,
    #[error("the handshake was not completed in time")]
    Slow,
    #[error("{}", connection_words(.0))]
    Connection(#[from] ConnectionError),
    #[error("cannot dial: {0}")]
    Dial(#[from] ConnectError),
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl AttemptError {
    /// What the status of a peer says.
    pub(crate) fn describe(&self, peer: &NodeName) -> String {
        if let Self::NoAnswer(address) = self {
            return format!("no answer from {peer} on UDP {address}");
        }
        format!("{peer}: {self}")
    }

    /// Whether the attempt merely lost against another one of the same two nodes.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self, Self::Connection(ConnectionError::ApplicationClosed(close))
            if matches!(Close::of(close.error_code), Some(Close::Superseded | Close::Abandoned)))
    }

    /// The reason under which this side, which dialed or was dialed, counts it as a refusal of
    /// its own; `None` if it is none.
    pub(crate) fn refusal(&self, side: Side) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(*refusal),
            Self::Preface => Some(Refusal::Preface),
            Self::Slow => Some(Refusal::Slow),
            Self::Connection(ConnectionError::TransportError(error)) => {
                let refusal = refusal_of_alert(u64::from(error.code), side);
                Some(refusal.unwrap_or(Refusal::Handshake))
            }
            Self::Connection(_)
            | Self::NoAnswer(_)
            | Self::Resolve { .. }
            | Self::NoAddress { .. }
            | Self::Dial(_)
            | Self::Random(_) => None,
        }
    }
}

/// TLS alerts (RFC 8446 section 6) travel in QUIC as error codes from 0x100 on (RFC 9001
/// section 4.8). `None`: it says nothing of a certificate.
pub(crate) fn refusal_of_alert(code: u64, side: Side) -> Option<Refusal> {
    Some(match code.checked_sub(0x100)? {
        // "Bad certificate": the one who dials checks the name in it.
        42 if side == Side::Client => Refusal::OtherName,
        42 | 44 | 46 => Refusal::Handshake,
        43 => Refusal::NotANode,
        45 => Refusal::OutsideValidity,
        // "Unknown authority", and "wrong signature": an authority of the same name.
        48 | 51 => Refusal::OtherAuthority,
        116 => Refusal::NoCertificate,
        _ => return None,
    })
}

/// What it means that the other side has closed a connection during the handshake, where its own
/// words may not be sent.
pub(crate) fn closing_words(close: &ConnectionClose) -> String {
    match close.error_code {
        TransportErrorCode::CONNECTION_REFUSED => Refusal::Busy.to_string(),
        TransportErrorCode::APPLICATION_ERROR => "it gave the handshake up".to_owned(),
        _ => words(&close.reason),
    }
}

fn connection_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            format!("it refused this node: {}", words(&close.reason))
        }
        ConnectionError::ConnectionClosed(close) => {
            format!("it refused this node: {}", closing_words(close))
        }
        ConnectionError::TransportError(error) => words(error.reason.as_bytes()),
        ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

impl From<WriteError> for AttemptError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Connection(error),
            WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                Self::Preface
            }
        }
    }
}

impl From<ReadExactError> for AttemptError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(ReadError::ConnectionLost(error)) => Self::Connection(error),
            ReadExactError::ReadError(_) | ReadExactError::FinishedEarly(_) => Self::Preface,
        }
    }
}
