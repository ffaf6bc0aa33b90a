//! The side of an operator: a connection to one node, requests and their answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ClientConfig, Connection, ConnectionError, Side};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::counters::Refusal;
use crate::error::{AttemptError, TlsError, closing_words, refusal_of_alert};
use crate::event::{Close, DownReason, words};
use crate::exchange::{self, Broken, Unanswered};
use crate::identify::{answered, dial};
use crate::identity::OperatorIdentity;
use crate::limits::{
    GOODBYE_WAIT_MAX, Limits, OPERATOR_ADDRESSES_MAX, OPERATOR_ANSWER_BYTES_MAX,
    OPERATOR_REQUEST_BYTES_MAX,
};
use crate::link::joined;
use crate::name::{ClusterName, NodeName};
use crate::operators::WELCOME;
use crate::tls;

/// Why an operator gets no answer. Each message is one line that names the node or the address,
/// the problem and the remedy.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The address means nothing.
    #[error("cannot resolve {address:?}: {source}; give host:port, for example 127.0.0.1:7001")]
    Resolve {
        /// What was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no socket to dial from.
    #[error("cannot open a UDP socket towards {address}: {source}; give another address")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS refuses the operator's own certificate.
    #[error("TLS refuses this certificate: {0}; issue it again with `cert operator`")]
    Tls(#[from] TlsError),
    /// Nobody is there, or no UDP passes.
    #[error("no answer from {address} on UDP: start the node there, or correct the address")]
    NoAnswer {
        /// The address.
        address: SocketAddr,
    },
    /// Who answers is no node of this cluster.
    #[error(
        "who answers at {address} is no node of this cluster: {refusal}; correct the address, or \
         use the certificates of its cluster"
    )]
    NotANode {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// The node does not take the operator's certificate.
    #[error(
        "{address} refuses this certificate: {words}; use one that `cert operator` made with the \
         authority of its cluster"
    )]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What the node said.
        words: String,
    },
    /// The node does not take this connection.
    #[error("{address} takes no connection: {words}; try again later")]
    Busy {
        /// The address.
        address: SocketAddr,
        /// What the node said.
        words: String,
    },
    /// The request is too long to be sent.
    #[error(
        "the request has {bytes} bytes, at most {OPERATOR_REQUEST_BYTES_MAX} are allowed; ask for \
         less at once"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The node does not answer this request.
    #[error("{node} does not answer: {why}")]
    Unanswered {
        /// The node.
        node: NodeName,
        /// Why, and what to do.
        why: Unanswered,
    },
    /// The connection has ended; the request may have been carried out.
    #[error(
        "the connection to {node} has ended: {words}; look whether the request was carried out, \
         and connect again"
    )]
    Lost {
        /// The node.
        node: NodeName,
        /// What is known of the end.
        words: String,
    },
    /// The node breaks the rules of an answer.
    #[error("the answer of {node} is not understood; use the release that it runs")]
    Malformed {
        /// The node.
        node: NodeName,
    },
}

/// A connection of an operator to a node.
#[derive(Debug)]
pub struct Operator {
    endpoint: quinn::Endpoint,
    connection: Connection,
    address: SocketAddr,
    node: NodeName,
    /// Longest wait for an answer.
    patience: Duration,
}

impl Operator {
    /// Connects to whichever node of the operator's cluster is at `host:port`. If a name stands for
    /// several addresses all are tried at once, and the first that answers is taken. Of the limits
    /// those of time hold; finding the addresses and then connecting may each take the
    /// [`Limits::connect_timeout`].
    ///
    /// # Errors
    /// Each [`OperatorError`] names problem and remedy.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled.
    pub async fn connect(
        identity: &OperatorIdentity,
        address: &str,
        limits: &Limits,
    ) -> Result<Self, OperatorError> {
        let config = tls::operator(identity, limits).map_err(TlsError::from)?;
        let mut attempts = JoinSet::new();
        for remote in resolve(address, limits).await? {
            let (config, cluster) = (config.clone(), identity.cluster().clone());
            let limits = limits.clone();
            attempts.spawn(async move { Self::dial(config, remote, &cluster, &limits).await });
        }
        let mut failed = None;
        while let Some(end) = attempts.join_next().await {
            match joined(end) {
                Some(Ok(operator)) => return Ok(operator),
                // Who answers and refuses says more than who does not answer.
                Some(Err(error)) if tells_more(&error, failed.as_ref()) => failed = Some(error),
                Some(Err(_)) | None => {}
            }
        }
        Err(failed.unwrap_or_else(|| no_address(address)))
    }

    async fn dial(
        config: ClientConfig,
        address: SocketAddr,
        cluster: &ClusterName,
        limits: &Limits,
    ) -> Result<Self, OperatorError> {
        let from: IpAddr = if address.is_ipv6() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        let endpoint = quinn::Endpoint::client((from, 0).into())
            .map_err(|source| OperatorError::Socket { address, source })?;
        let attempt = async {
            let (connection, node) = dial(&endpoint, config, address, cluster).await?;
            let mut welcome = connection.accept_uni().await?;
            let mut word = [0; WELCOME.len()];
            welcome.read_exact(&mut word).await?;
            if word == WELCOME { Ok((connection, node)) } else { Err(AttemptError::Preface) }
        };
        let attempt = answered(limits.connect_timeout, address, attempt).await;
        let (connection, node) = attempt.map_err(|error| OperatorError::of(address, error))?;
        // A node that keeps its deadline says so before this one has passed.
        let patience = limits.operator_deadline + limits.operator_deadline / 4;
        Ok(Self { endpoint, connection, address, node, patience })
    }

    /// The node at the other end, by its certificate.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The address at which it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks, and waits for the answer, a little longer than the [`Limits::operator_deadline`].
    /// Several requests may be made at once; the node takes a few of them at a time. A request is
    /// never repeated. If this is dropped while it waits, the node may still carry it out.
    ///
    /// # Errors
    /// Each [`OperatorError`] names problem and remedy.
    pub async fn request(&self, bytes: Bytes) -> Result<Bytes, OperatorError> {
        if bytes.len() > OPERATOR_REQUEST_BYTES_MAX {
            return Err(OperatorError::TooLong { bytes: bytes.len() });
        }
        timeout(self.patience, self.exchange(bytes)).await.unwrap_or_else(|_| {
            Err(OperatorError::Unanswered { node: self.node.clone(), why: Unanswered::Late })
        })
    }

    async fn exchange(&self, bytes: Bytes) -> Result<Bytes, OperatorError> {
        let (mut send, mut receive) =
            self.connection.open_bi().await.map_err(|error| self.lost(&error))?;
        match exchange::send(&mut send, bytes).await {
            // Why it does not read on is said where the answer would be.
            Ok(()) | Err(Broken::Stopped(_)) => {}
            Err(broken) => return Err(self.broken(broken)),
        }
        exchange::receive(&mut receive, OPERATOR_ANSWER_BYTES_MAX)
            .await
            .map_err(|broken| self.broken(broken))
    }

    /// Says goodbye, so that the node knows at once that this operator has gone.
    pub async fn close(self) {
        self.connection.close(Close::Abandoned.code(), b"done");
        let _ = timeout(GOODBYE_WAIT_MAX, self.endpoint.wait_idle()).await;
    }

    fn broken(&self, broken: Broken) -> OperatorError {
        let node = self.node.clone();
        match broken {
            Broken::Stopped(Some(why)) => OperatorError::Unanswered { node, why },
            Broken::Lost(error) => self.lost(&error),
            Broken::Stopped(None) | Broken::TooLong | Broken::Malformed => {
                OperatorError::Malformed { node }
            }
        }
    }

    fn lost(&self, error: &ConnectionError) -> OperatorError {
        OperatorError::Lost { node: self.node.clone(), words: DownReason::of(error).to_string() }
    }
}

impl OperatorError {
    fn of(address: SocketAddr, error: AttemptError) -> Self {
        match error.refusal(Side::Client) {
            // No name is expected, so a certificate that TLS calls bad is wrong in another way.
            Some(Refusal::OtherName) => {
                return Self::NotANode { address, refusal: Refusal::Handshake };
            }
            Some(refusal) => return Self::NotANode { address, refusal },
            None => {}
        }
        match error {
            AttemptError::Connection(error) => Self::of_end(address, &error),
            AttemptError::Resolve { .. }
            | AttemptError::NoAddress { .. }
            | AttemptError::NoAnswer(_)
            | AttemptError::Refused(_)
            | AttemptError::Preface
            | AttemptError::Slow
            | AttemptError::Dial(_)
            | AttemptError::Random(_) => Self::NoAnswer { address },
        }
    }

    /// What the end of a connection means that has not been made.
    fn of_end(address: SocketAddr, error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let words = words(&close.reason);
                if Close::of(close.error_code) == Some(Close::Refused) {
                    return Self::Refused { address, words };
                }
                Self::Busy { address, words }
            }
            ConnectionError::ConnectionClosed(close) => {
                match refusal_of_alert(u64::from(close.error_code), Side::Server) {
                    Some(refusal) => {
                        Self::Refused { address, words: refusal.to_holder().to_owned() }
                    }
                    None => Self::Busy { address, words: closing_words(close) },
                }
            }
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Self::NoAnswer { address },
        }
    }
}

fn tells_more(error: &OperatorError, than: Option<&OperatorError>) -> bool {
    let is_silence = |error: &OperatorError| {
        matches!(error, OperatorError::NoAnswer { .. } | OperatorError::Socket { .. })
    };
    than.is_none_or(|than| is_silence(than) && !is_silence(error))
}

async fn resolve(address: &str, limits: &Limits) -> Result<Vec<SocketAddr>, OperatorError> {
    let failed = |source| OperatorError::Resolve { address: address.to_owned(), source };
    // A name server that does not answer must not hold up the operator.
    let found = timeout(limits.connect_timeout, tokio::net::lookup_host(address)).await;
    let found = found.map_err(|elapsed| failed(elapsed.into()))?.map_err(failed)?;
    Ok(to_try(found))
}

/// Those of the addresses that are tried: each once, and not more than so many.
fn to_try(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in found {
        if addresses.len() < OPERATOR_ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn no_address(address: &str) -> OperatorError {
    let source = io::Error::from(io::ErrorKind::NotFound);
    OperatorError::Resolve { address: address.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_addresses_are_tried_and_none_twice() {
        let addresses = (1..=100).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let tried = to_try(addresses.clone().flat_map(|address| [address; 2]));
        assert_eq!(tried, addresses.take(OPERATOR_ADDRESSES_MAX).collect::<Vec<_>>());
    }
}
