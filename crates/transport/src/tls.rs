//! TLS and QUIC settings: 1.3 only, certificates on both sides, nothing resumed, nothing early.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls_pki_types::CertificateDer;

use crate::counters::Refusal;
use crate::credentials::{Credentials, provider};
use crate::error::TlsErrorKind;
use crate::identify::AnyNode;
use crate::identity::{Identity, OperatorIdentity};
use crate::limits::{
    CONNECTION_WINDOW_BYTES, INCOMING_BYTES_MAX, INCOMING_BYTES_TOTAL_MAX, INCOMING_MAX,
    INITIAL_RTT, Limits, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::name::{ClusterName, NodeName};
use crate::subject::Subject;

/// What a connection is for: its application protocol, agreed on in the handshake. A change that
/// older nodes do not understand gets a new name, and both names are offered for one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One half of a link.
    Lanes,
    /// To learn who answers; nothing is said on it.
    Identify,
    /// Requests of an operator.
    Operators,
}

impl Purpose {
    pub(crate) const ALL: [Self; 3] = [Self::Lanes, Self::Identify, Self::Operators];

    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Lanes => b"replica-lanes/1",
            Self::Identify => b"replica-identify/1",
            Self::Operators => b"replica-operators/1",
        }
    }

    /// What a connection is for whose handshake is complete.
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        let agreed = data.protocol?;
        Self::ALL.into_iter().find(|purpose| purpose.alpn() == agreed)
    }
}

/// Settings for new connections; replaced as a whole when the certificate changes.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server: ServerConfig,
    pub(crate) control: ClientConfig,
    pub(crate) data: ClientConfig,
    pub(crate) identify: ClientConfig,
}

impl Settings {
    pub(crate) fn new(identity: &Identity, limits: &Limits) -> Result<Self, TlsErrorKind> {
        let credentials = identity.credentials();
        let roots = Arc::new(roots(credentials)?);
        let one = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build()?;
        let any = Arc::new(AnyNode(roots.clone()));
        let lanes = Arc::new(client_tls(credentials, one, Purpose::Lanes)?);
        let identify = Arc::new(client_tls(credentials, any, Purpose::Identify)?);
        Ok(Self {
            server: server(server_tls(credentials, roots)?, limits)?,
            control: client(&lanes, limits, limits.control_idle_timeout)?,
            data: client(&lanes, limits, limits.data_idle_timeout)?,
            identify: client(&identify, limits, limits.control_idle_timeout)?,
        })
    }
}

/// Settings for the connection of an operator to any node.
pub(crate) fn operator(
    identity: &OperatorIdentity,
    limits: &Limits,
) -> Result<ClientConfig, TlsErrorKind> {
    let credentials = identity.credentials();
    let any = Arc::new(AnyNode(Arc::new(roots(credentials)?)));
    let tls = Arc::new(client_tls(credentials, any, Purpose::Operators)?);
    client(&tls, limits, limits.control_idle_timeout)
}

fn roots(credentials: &Credentials) -> Result<RootCertStore, TlsErrorKind> {
    let mut roots = RootCertStore::empty();
    for authority in &credentials.authorities {
        roots.add(authority.clone())?;
    }
    Ok(roots)
}

fn server_tls(
    credentials: &Credentials,
    roots: Arc<RootCertStore>,
) -> Result<rustls::ServerConfig, TlsErrorKind> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified.clone())));
    tls.alpn_protocols = Purpose::ALL.map(|purpose| purpose.alpn().to_vec()).to_vec();
    // A resumed session would not show its certificate again, early data could be replayed.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls)
}

fn client_tls(
    credentials: &Credentials,
    verifier: Arc<dyn ServerCertVerifier>,
    purpose: Purpose,
) -> Result<rustls::ClientConfig, TlsErrorKind> {
    // "Dangerous" is a verifier other than the library's: ours looks at all but the name.
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified.clone())));
    tls.alpn_protocols = vec![purpose.alpn().to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    Ok(tls)
}

fn client(
    tls: &Arc<rustls::ClientConfig>,
    limits: &Limits,
    idle_timeout: Duration,
) -> Result<ClientConfig, TlsErrorKind> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.clone())?));
    config.transport_config(Arc::new(transport(limits, idle_timeout)?));
    Ok(config)
}

fn server(tls: rustls::ServerConfig, limits: &Limits) -> Result<ServerConfig, TlsErrorKind> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    // Which connection it is to be is known only after the handshake. The dialing side sets the
    // idle timeout then: the shorter one of the two sides holds.
    config.transport_config(Arc::new(transport(limits, limits.data_idle_timeout)?));
    // A peer stays who it is when a router on the way has forgotten its port: it is known by its
    // certificate, and its new address is proved before much is sent there.
    config.migration(true);
    config.max_incoming(INCOMING_MAX);
    config.incoming_buffer_size(INCOMING_BYTES_MAX);
    config.incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Ok(config)
}

fn transport(limits: &Limits, idle_timeout: Duration) -> Result<TransportConfig, TlsErrorKind> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::try_from(idle_timeout)?))
        .keep_alive_interval(Some(limits.keep_alive_interval))
        .initial_rtt(INITIAL_RTT);
    Ok(config)
}

/// The node at the other end of a connection, by its certificate.
///
/// That the certificate is genuine and in force was checked in the handshake; that it is of
/// this cluster and a node's is checked here.
pub(crate) fn authenticate(
    connection: &Connection,
    cluster: &ClusterName,
) -> Result<NodeName, Refusal> {
    match subject(connection)? {
        Some(Subject::Node { name, cluster: found }) => of_cluster(name, &found, cluster),
        Some(Subject::Operator { .. } | Subject::Authority { .. }) | None => Err(Refusal::NotANode),
    }
}

/// The operator at the other end of a connection, in the same way.
pub(crate) fn authenticate_operator(
    connection: &Connection,
    cluster: &ClusterName,
) -> Result<NodeName, Refusal> {
    match subject(connection)? {
        Some(Subject::Operator { name, cluster: found }) => of_cluster(name, &found, cluster),
        Some(Subject::Node { .. } | Subject::Authority { .. }) | None => {
            Err(Refusal::NotAnOperator)
        }
    }
}

/// Whom the certificate at the other end names, if anybody.
fn subject(connection: &Connection) -> Result<Option<Subject>, Refusal> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let Some(certificate) = chain.as_ref().and_then(|chain| chain.first()) else {
        return Err(Refusal::NoCertificate);
    };
    Ok(Subject::read(certificate).ok())
}

fn of_cluster(
    name: NodeName,
    found: &ClusterName,
    expected: &ClusterName,
) -> Result<NodeName, Refusal> {
    if found == expected { Ok(name) } else { Err(Refusal::OtherCluster) }
}
