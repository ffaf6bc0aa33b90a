//! One attempt to make a link: two connections, authenticated, with prefaces exchanged. Started
//! by dialing, or by the two connections of a peer that dials.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ClientConfig, Connection, RecvStream, SendStream};
use tokio::time::timeout;

use crate::counters::Refusal;
use crate::endpoint::Shared;
use crate::error::AttemptError;
use crate::event::Close;
use crate::identify::answered;
use crate::lane::Lane;
use crate::name::NodeName;
use crate::preface::{self, Preface};
use crate::random;
use crate::tls;

/// One of the two connections of a link to be, with its first streams.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) preface: Preface,
}

/// A connection that a peer has made, authenticated, its preface read and not yet answered.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) connection: Connection,
    pub(crate) lane: Lane,
    pub(crate) receive: RecvStream,
    pub(crate) preface: Preface,
}

impl Offer {
    /// Says why the connection is not wanted, and closes it.
    pub(crate) fn refuse(self, close: Close, words: &str) {
        self.connection.close(close.code(), words.as_bytes());
    }

    async fn answer(self, preface: &Preface) -> Result<Half, AttemptError> {
        let Self { connection, lane, receive, preface: theirs } = self;
        let send = preface.send(&connection, lane).await?;
        Ok(Half { connection, send, receive, preface: theirs })
    }
}

/// A link that could be: everything is in place but the choice.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) control: Half,
    pub(crate) data: Half,
}

impl Candidate {
    /// Says that it was not chosen, and closes it.
    pub(crate) fn refuse(&self) {
        let words = b"another link stands";
        for half in [&self.control, &self.data] {
            half.connection.close(Close::Superseded.code(), words);
        }
    }
}

/// What an attempt needs to know of this node and the peer.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: NodeName,
    /// The last link with this peer that this node knows to have ended.
    pub(crate) lost: u64,
}

impl Attempt {
    /// Whether this node chooses among the attempts of the two nodes.
    fn chooses(&self) -> bool {
        self.shared.chooses(&self.peer)
    }

    fn preface(&self, link: u64, lane: Lane) -> Preface {
        let Shared { instance, ref hello, .. } = *self.shared;
        let hello = if lane == Lane::Control { hello.clone() } else { bytes::Bytes::new() };
        Preface { link, instance, lost: self.lost, hello }
    }

    /// Dials the peer at one of the forms of its address.
    pub(crate) async fn dial(self, address: String, nth: usize) -> Result<Candidate, AttemptError> {
        let limit = self.shared.limits.connect_timeout;
        // A name server that does not answer must not hold up the attempt.
        let remote = match timeout(limit, self.resolve(&address, nth)).await {
            Ok(remote) => remote?,
            Err(elapsed) => {
                return Err(AttemptError::Resolve { address, source: elapsed.into() });
            }
        };
        answered(limit, remote, self.dial_remote(remote)).await
    }

    async fn resolve(&self, address: &str, nth: usize) -> Result<SocketAddr, AttemptError> {
        let found = tokio::net::lookup_host(address)
            .await
            .map_err(|source| AttemptError::Resolve { address: address.to_owned(), source })?;
        let reachable: Vec<_> =
            found.filter(|found| found.is_ipv4() || self.shared.local_addr.is_ipv6()).collect();
        if reachable.is_empty() {
            return Err(AttemptError::NoAddress { address: address.to_owned() });
        }
        Ok(reachable[nth % reachable.len()])
    }

    async fn dial_remote(&self, remote: SocketAddr) -> Result<Candidate, AttemptError> {
        let link = random::nonzero()?;
        let settings = self.shared.settings.read().clone();
        // One after the other: a peer that does not answer is asked once.
        let control = self.dial_half(remote, settings.control, link, Lane::Control).await?;
        let data = self.dial_half(remote, settings.data, link, Lane::Live).await?;
        let control = receive_answer(control, link, Lane::Control).await?;
        let data = receive_answer(data, link, Lane::Live).await?;
        self.finish(Candidate { control, data }).await
    }

    async fn dial_half(
        &self,
        remote: SocketAddr,
        config: ClientConfig,
        link: u64,
        lane: Lane,
    ) -> Result<(Connection, SendStream), AttemptError> {
        let server_name = self.shared.dns_name(&self.peer);
        let connection = self.shared.endpoint.connect_with(config, remote, &server_name)?.await?;
        let name =
            tls::authenticate(&connection, &self.shared.cluster).map_err(AttemptError::Refused)?;
        if name != self.peer {
            return Err(AttemptError::Refused(Refusal::OtherName));
        }
        let send = self.preface(link, lane).send(&connection, lane).await?;
        Ok((connection, send))
    }

    /// Answers the two connections of a peer that dialed.
    pub(crate) async fn answer(
        self,
        control: Offer,
        data: Offer,
    ) -> Result<Candidate, AttemptError> {
        let link = control.preface.link;
        let answers = async {
            let control = control.answer(&self.preface(link, Lane::Control)).await?;
            let data = data.answer(&self.preface(link, Lane::Live)).await?;
            self.finish(Candidate { control, data }).await
        };
        timeout(self.shared.limits.connect_timeout, answers)
            .await
            .unwrap_or(Err(AttemptError::Slow))
    }

    async fn finish(&self, mut candidate: Candidate) -> Result<Candidate, AttemptError> {
        if !self.chooses() {
            preface::receive_chosen(&mut candidate.control.receive).await?;
        }
        Ok(candidate)
    }
}

async fn receive_answer(
    (connection, send): (Connection, SendStream),
    link: u64,
    lane: Lane,
) -> Result<Half, AttemptError> {
    let (found, receive, preface) = Preface::receive(&connection).await?;
    if found != lane || preface.link != link {
        return Err(AttemptError::Preface);
    }
    Ok(Half { connection, send, receive, preface })
}
