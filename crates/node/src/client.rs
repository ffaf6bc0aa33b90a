//! One HTTP request to one node, on a connection of its own, with a bound on time and size.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

/// Longest body of an answer, in bytes. The pages of a node are far below.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody has seen the request.
    #[error("cannot be reached ({0})")]
    Connect(std::io::Error),
    /// The request may have been served.
    #[error("broke the connection off ({0})")]
    Broken(hyper::Error),
    /// The request may have been served.
    #[error("sent an answer that is broken or too long ({0})")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The request may be served yet.
    #[error("did not answer within {0:?}")]
    Slow(Duration),
}

impl ClientError {
    /// True if the request has certainly had no effect.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// Sends a request as it is, `Host` included, and waits for the whole answer.
pub(crate) async fn send(
    node: SocketAddr,
    request: Request<Bytes>,
    patience: Duration,
) -> Result<Response<Bytes>, ClientError> {
    let answer = tokio::time::timeout(patience, exchange(node, request)).await;
    answer.unwrap_or(Err(ClientError::Slow(patience)))
}

async fn exchange(
    node: SocketAddr,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, ClientError> {
    let stream = TcpStream::connect(node).await.map_err(ClientError::Connect)?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(ClientError::Broken)?;
    let exchange = async move {
        let answer = sender.send_request(request.map(Full::new)).await;
        let (head, body) = answer.map_err(ClientError::Broken)?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(ClientError::Body)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(exchange);
    // The connection is driven here and not in a task: it ends with the request.
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(ClientError::Broken(error)),
        },
    }
}

/// A GET of a path.
pub(crate) async fn get(
    node: SocketAddr,
    path: &'static str,
    patience: Duration,
) -> Result<Response<Bytes>, ClientError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = axum::http::Uri::from_static(path);
    if let Ok(host) = node.to_string().parse() {
        request.headers_mut().insert(axum::http::header::HOST, host);
    }
    send(node, request, patience).await
}

/// Where a listener is reached from its own machine.
pub(crate) fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => other,
    };
    (ip, listener.port()).into()
}
