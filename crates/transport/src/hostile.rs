//! A client that breaks the rules on purpose: any certificate or none, any bytes on a lane. And a
//! server that does.
//! For tests only (feature `hostile-testing`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Incoming, ReadError, ReadToEndError, RecvStream, SendStream,
    ServerConfig, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::credentials::provider;
use crate::error::AttemptError;
use crate::event::Close;
use crate::exchange::Unanswered;
use crate::frame::{Decoder, HEADER_BYTES};
use crate::issue::CertAndKey;
use crate::lane::{self, Lane};
use crate::limits::{Limits, OPERATOR_ANSWER_BYTES_MAX, READ_CHUNK_BYTES};
use crate::preface::{self, Preface};
use crate::random;
use crate::tls::Purpose;

/// Frames that have been heard and not taken.
const HEARD_MAX: usize = 64;

/// What went wrong for the one who does wrong.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct HostileError(String);

fn failed(error: impl std::fmt::Display) -> HostileError {
    HostileError(error.to_string())
}

/// One connection to a node, with nothing said on it yet.
#[derive(Debug)]
pub struct HostileConnection {
    /// Kept, because the connection ends with it.
    _endpoint: quinn::Endpoint,
    connection: Connection,
}

impl HostileConnection {
    /// Connects with any certificate, or none; takes whoever answers. With TLS 1.3 this succeeds
    /// before the node has looked at the certificate: see [`closed`](Self::closed).
    ///
    /// # Errors
    /// The node does not answer, or turns the connection away at once.
    pub async fn connect(
        node: SocketAddr,
        credentials: Option<&CertAndKey>,
    ) -> Result<Self, HostileError> {
        Self::connect_with(node, credentials, Purpose::Lanes.alpn()).await
    }

    /// The same with any application protocol.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(
        node: SocketAddr,
        credentials: Option<&CertAndKey>,
        protocol: &[u8],
    ) -> Result<Self, HostileError> {
        let from: IpAddr =
            if node.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let endpoint = quinn::Endpoint::client((from, 0).into()).map_err(failed)?;
        let config = client_config(credentials, protocol)?;
        let connecting =
            endpoint.connect_with(config, node, "anyone.replica.internal").map_err(failed)?;
        let connection = connecting.await.map_err(failed)?;
        Ok(Self { _endpoint: endpoint, connection })
    }

    /// Waits until the node ends the connection; how it did.
    pub async fn closed(&self) -> String {
        self.connection.closed().await.to_string()
    }

    /// Opens a stream and sends any bytes on it. The stream stays open as long as it is held.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open(&self, bytes: &[u8]) -> Result<HostileStream, HostileError> {
        let mut stream = self.connection.open_uni().await.map_err(failed)?;
        stream.write_all(bytes).await.map_err(failed)?;
        Ok(HostileStream(stream))
    }

    /// Opens a stream as for a request of an operator, once the node allows it, and sends any
    /// bytes on it.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn ask(&self, bytes: &[u8]) -> Result<HostileRequest, HostileError> {
        let (mut send, receive) = self.connection.open_bi().await.map_err(failed)?;
        send.write_all(bytes).await.map_err(failed)?;
        Ok(HostileRequest { stream: HostileStream(send), answer: receive })
    }
}

/// A request that need not be one.
#[derive(Debug)]
pub struct HostileRequest {
    /// The way towards the node.
    pub stream: HostileStream,
    answer: RecvStream,
}

impl HostileRequest {
    /// What comes back until the stream ends, or why nothing does.
    pub async fn outcome(&mut self) -> Result<Vec<u8>, Option<Unanswered>> {
        let bytes_max = OPERATOR_ANSWER_BYTES_MAX + HEADER_BYTES;
        self.answer.read_to_end(bytes_max).await.map_err(|error| match error {
            ReadToEndError::Read(ReadError::Reset(code)) => Unanswered::of(code),
            ReadToEndError::Read(_) | ReadToEndError::TooLong => None,
        })
    }
}

/// A stream towards a node.
#[derive(Debug)]
pub struct HostileStream(SendStream);

impl HostileStream {
    /// Sends any bytes.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), HostileError> {
        self.0.write_all(bytes).await.map_err(failed)
    }

    /// Ends the stream.
    pub fn finish(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.finish();
    }
}

/// A link made by the rules with a genuine certificate, to break the rules on it afterwards.
///
/// The name in the certificate must be greater than the node's, so that the node chooses.
#[derive(Debug)]
pub struct HostileLink {
    /// The control connection.
    pub control: HostileConnection,
    /// The data connection.
    pub data: HostileConnection,
    /// Our stream of each lane, in the order of [`Lane::ALL`].
    pub lanes: [HostileStream; 3],
    /// The node's streams of the control and the live lane, until somebody hears.
    answers: Option<[RecvStream; 2]>,
}

impl HostileLink {
    /// Makes both connections and waits until the node has chosen this link. `process` stands
    /// for one start of the peer.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn establish(
        node: SocketAddr,
        credentials: &CertAndKey,
        process: u64,
        hello: Bytes,
    ) -> Result<Self, HostileError> {
        let link = random::nonzero().map_err(failed)?;
        let first = Preface { link, instance: process, lost: 0, hello };
        let control = HostileConnection::connect(node, Some(credentials)).await?;
        let data = HostileConnection::connect(node, Some(credentials)).await?;
        let control_send = first.send(&control.connection, Lane::Control).await.map_err(failed)?;
        let second = Preface { hello: Bytes::new(), ..first };
        let live_send = second.send(&data.connection, Lane::Live).await.map_err(failed)?;
        let mut control_answer = answer(&control).await.map_err(failed)?;
        let live_answer = answer(&data).await.map_err(failed)?;
        preface::receive_chosen(&mut control_answer).await.map_err(failed)?;
        let bulk_send = lane::open(&data.connection, Lane::Bulk).await.map_err(failed)?;
        let lanes = [control_send, live_send, bulk_send].map(HostileStream);
        Ok(Self { control, data, lanes, answers: Some([control_answer, live_answer]) })
    }

    /// What the node says on the lanes from now on, each frame with the number of its lane. As long
    /// as this is not called, or its frames are not taken, the node's streams are not read. `None`
    /// from the second call on.
    pub fn hear(&mut self) -> Option<mpsc::Receiver<(usize, Bytes)>> {
        let [control, live] = self.answers.take()?;
        let (heard, frames) = mpsc::channel(HEARD_MAX);
        tokio::spawn(read(control, Lane::Control, heard.clone()));
        tokio::spawn(read(live, Lane::Live, heard.clone()));
        let data = self.data.connection.clone();
        tokio::spawn(async move {
            let mut bulk = data.accept_uni().await.ok()?;
            let mut tag = [0];
            bulk.read_exact(&mut tag).await.ok()?;
            read(bulk, Lane::Bulk, heard).await
        });
        Some(frames)
    }
}

/// Reads frames until the stream ends or nobody takes them.
async fn read(
    mut stream: RecvStream,
    lane: Lane,
    heard: mpsc::Sender<(usize, Bytes)>,
) -> Option<()> {
    let mut decoder = Decoder::new(Limits::default().frame_bytes_max);
    while let Some(chunk) = stream.read_chunk(READ_CHUNK_BYTES, true).await.ok()? {
        let mut bytes = chunk.bytes;
        while let Some(frame) = decoder.decode(&mut bytes).ok()? {
            heard.send((lane.index(), frame)).await.ok()?;
        }
    }
    None
}

/// A server with any certificate, which takes every connection. It ends when it is dropped.
#[derive(Debug)]
pub struct HostileServer(quinn::Endpoint);

/// What a [`HostileServer`] says on a connection.
#[derive(Debug, Clone)]
struct Says {
    /// First, on a stream of its own.
    welcome: Bytes,
    /// To each request, whatever it is.
    answer: Bytes,
}

impl HostileServer {
    /// Listens on loopback, within a tokio runtime, and says nothing.
    ///
    /// # Errors
    /// The certificate or the key is none.
    pub fn start(credentials: &CertAndKey) -> Result<Self, HostileError> {
        Self::listen(credentials, None)
    }

    /// The same, but it welcomes operators with any bytes, and answers with any bytes.
    ///
    /// # Errors
    /// The certificate or the key is none.
    pub fn answering(
        credentials: &CertAndKey,
        welcome: Bytes,
        answer: Bytes,
    ) -> Result<Self, HostileError> {
        Self::listen(credentials, Some(Says { welcome, answer }))
    }

    fn listen(credentials: &CertAndKey, says: Option<Says>) -> Result<Self, HostileError> {
        let (cert, key) = parse(credentials)?;
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .map_err(failed)?;
        tls.alpn_protocols = Purpose::ALL.map(|purpose| purpose.alpn().to_vec()).to_vec();
        let tls = QuicServerConfig::try_from(tls).map_err(failed)?;
        let config = ServerConfig::with_crypto(Arc::new(tls));
        let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into());
        let endpoint = endpoint.map_err(failed)?;
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(attend(incoming, says.clone()));
            }
        });
        Ok(Self(endpoint))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, HostileError> {
        self.0.local_addr().map_err(failed)
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.0.close(Close::Abandoned.code(), b"");
    }
}

/// Says it, and holds the connection until the other side ends it.
async fn attend(incoming: Incoming, says: Option<Says>) -> Result<(), AttemptError> {
    let connection = incoming.await?;
    if let Some(Says { welcome, answer }) = says {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(8));
        let mut stream = connection.open_uni().await?;
        stream.write_all(&welcome).await?;
        loop {
            let (mut send, _) = connection.accept_bi().await?;
            send.write_all(&answer).await?;
        }
    }
    connection.closed().await;
    Ok(())
}

async fn answer(connection: &HostileConnection) -> Result<RecvStream, AttemptError> {
    Preface::receive(&connection.connection).await.map(|(_, stream, _)| stream)
}

/// Decodes any bytes as a lane would, cut into pieces by themselves: for fuzzing. Panics if more
/// comes out than went in, or if a frame is longer than the limit.
pub fn decode_any(bytes: &[u8], frame_bytes_max: usize) {
    let mut decoder = Decoder::new(frame_bytes_max);
    let (mut rest, mut decoded_bytes) = (bytes, 0);
    while let Some(&first) = rest.first() {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(first) + 1));
        rest = after;
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= frame_bytes_max);
                    decoded_bytes += HEADER_BYTES + frame.len();
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(decoded_bytes <= bytes.len());
}

/// The first bytes on the control stream of a link, by the rules.
pub fn preface(link: u64, hello: &[u8]) -> Vec<u8> {
    let first = Preface { link, instance: link, lost: 0, hello: Bytes::copy_from_slice(hello) };
    let mut bytes = vec![Lane::Control.tag()];
    bytes.extend_from_slice(&first.encode());
    bytes
}

fn client_config(
    credentials: Option<&CertAndKey>,
    protocol: &[u8],
) -> Result<ClientConfig, HostileError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut tls = match credentials {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (cert, key) = parse(files)?;
            builder.with_client_auth_cert(vec![cert], key).map_err(failed)?
        }
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(failed)?)))
}

type Parsed = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn parse(files: &CertAndKey) -> Result<Parsed, HostileError> {
    let cert = CertificateDer::from_pem_slice(files.cert_pem.as_bytes()).map_err(failed)?;
    let key = PrivateKeyDer::from_pem_slice(files.key_pem.as_bytes()).map_err(failed)?;
    Ok((cert, key))
}

/// Takes any certificate of a server.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
