//! Who answers at an address, where only the address is known: a handshake that expects no
//! particular node, and nothing after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, ConnectError, Connection, ConnectionError, Side};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::time::timeout;

use crate::counters::Refusal;
use crate::credentials::provider;
use crate::endpoint::Shared;
use crate::error::{AttemptError, closing_words};
use crate::event::{Close, words};
use crate::name::{ClusterName, NodeName};
use crate::{subject, tls};

/// Why nobody is known to be at an address. Each message names it, the problem and the remedy.
#[derive(Debug, Error)]
pub enum IdentifyError {
    /// Nothing that speaks QUIC answers.
    #[error("no answer on UDP {address}; start the node there, or correct the address")]
    NoAnswer {
        /// The address.
        address: SocketAddr,
    },
    /// Who answers is no node of this cluster.
    #[error(
        "who answers on UDP {address} is refused: {refusal}; correct the address, or issue the \
         certificate there with this cluster's authority"
    )]
    Refused {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Who answers takes no connection of this node.
    #[error(
        "who answers on UDP {address} refuses: {words}; ask again later, or correct the address"
    )]
    RefusedThere {
        /// The address.
        address: SocketAddr,
        /// What it said.
        words: String,
    },
    /// The address cannot be dialled from this node's socket.
    #[error("UDP {address} cannot be dialled: {source}; correct the address, or `node.listen`")]
    Dial {
        /// The address.
        address: SocketAddr,
        /// What is in the way.
        source: DialError,
    },
}

/// Why an address cannot be dialled: the endpoint has stopped, or the address is of a family that
/// its socket does not have.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct DialError(ConnectError);

/// Asks who answers at an address.
pub(crate) async fn ask(shared: &Shared, remote: SocketAddr) -> Result<NodeName, IdentifyError> {
    let config = shared.settings.read().identify.clone();
    let limit = shared.limits.connect_timeout;
    let dial = dial(&shared.endpoint, config, remote, &shared.cluster);
    let (connection, name) = answered(limit, remote, dial).await.map_err(|error| {
        let error = IdentifyError::of(remote, error);
        if let IdentifyError::Refused { refusal, .. } = &error {
            shared.meters.refuse(*refusal, remote);
        }
        error
    })?;
    connection.close(Close::Abandoned.code(), b"only the name was asked for");
    Ok(name)
}

/// Dials whoever is at an address; it must be a node of this cluster.
pub(crate) async fn dial(
    endpoint: &quinn::Endpoint,
    config: ClientConfig,
    remote: SocketAddr,
    cluster: &ClusterName,
) -> Result<(Connection, NodeName), AttemptError> {
    let server_name = subject::authority_dns_name(cluster);
    let connection = endpoint.connect_with(config, remote, &server_name)?.await?;
    let name = tls::authenticate(&connection, cluster).map_err(AttemptError::Refused)?;
    Ok((connection, name))
}

/// The outcome of an attempt that may take as long as this.
pub(crate) async fn answered<T>(
    limit: Duration,
    remote: SocketAddr,
    attempt: impl Future<Output = Result<T, AttemptError>>,
) -> Result<T, AttemptError> {
    match timeout(limit, attempt).await {
        Ok(Err(AttemptError::Connection(ConnectionError::TimedOut))) | Err(_) => {
            Err(AttemptError::NoAnswer(remote))
        }
        Ok(outcome) => outcome,
    }
}

impl IdentifyError {
    fn of(address: SocketAddr, error: AttemptError) -> Self {
        match error.refusal(Side::Client) {
            // No name is expected, so a certificate that TLS calls bad is wrong in another way.
            Some(Refusal::OtherName) => Self::Refused { address, refusal: Refusal::Handshake },
            Some(refusal) => Self::Refused { address, refusal },
            None => match error {
                AttemptError::Dial(source) => Self::Dial { address, source: DialError(source) },
                AttemptError::Connection(ConnectionError::ApplicationClosed(close)) => {
                    Self::RefusedThere { address, words: words(&close.reason) }
                }
                AttemptError::Connection(ConnectionError::ConnectionClosed(close)) => {
                    Self::RefusedThere { address, words: closing_words(&close) }
                }
                AttemptError::NoAnswer(_)
                | AttemptError::Connection(_)
                | AttemptError::Resolve { .. }
                | AttemptError::NoAddress { .. }
                | AttemptError::Refused(_)
                | AttemptError::Preface
                | AttemptError::Slow
                | AttemptError::Random(_) => Self::NoAnswer { address },
            },
        }
    }
}

/// Takes the certificate of any server that an authority of this cluster has issued and that is
/// in force. Whose it is has to be asked afterwards, as [`dial`] does.
#[derive(Debug)]
pub(crate) struct AnyNode(pub(crate) Arc<RootCertStore>);

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.0,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
