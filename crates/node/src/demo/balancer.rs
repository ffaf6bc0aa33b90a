//! The way of the visitor's requests: one host name, any node behind it.
//!
//! It does what a balancer in front of a real cluster does, and says what it did: it passes over
//! nodes that its checks find unable, and sends a request to the next one only if the first cannot
//! have served it, or if serving it twice does no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
};

use super::fleet::{Fleet, Node};
use crate::client::{self, ClientError};

/// How long a node may take for an answer: longer than it waits for other nodes itself.
const PATIENCE: Duration =
    replica::limits::OPEN_TIMEOUT.saturating_add(replica::limits::COMMIT_TIMEOUT);

/// Which node the visitor asks for: the name of one, or anything else for each in turn.
pub(super) const CHOICE: HeaderName = HeaderName::from_static("demo-node");

/// Which nodes were passed over, and why.
const PASSED: HeaderName = HeaderName::from_static("demo-passed");

/// Headers about one connection, which end here.
const HOP_HEADERS: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE];

/// Sends requests to nodes.
pub(super) struct Balancer {
    fleet: Arc<Fleet>,
    turn: AtomicUsize,
}

impl Balancer {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet, turn: AtomicUsize::new(0) }
    }

    /// The answer of the node that served it, or 502 or 503 if none did.
    pub(super) async fn forward(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        let choice = request.headers_mut().remove(CHOICE);
        remove_hop_headers(request.headers_mut());
        let mut passed = Vec::new();
        let chosen = choice.as_ref().and_then(|choice| choice.to_str().ok());
        for node in self.order(chosen) {
            let name = node.process.name();
            if let Some(reason) = node.is_out() {
                passed.push(format!("{name} {reason}"));
                continue;
            }
            let Some(http) = node.process.view().http else { continue };
            let error = match client::send(http, request.clone(), PATIENCE).await {
                Ok(answer) => return delivered(answer, &passed),
                Err(error) => error,
            };
            passed.push(format!("{name} {error}"));
            if !may_repeat(request.method(), &error) {
                let text = format!("{name} {error}; whether it was served is not known\n");
                return refused(StatusCode::BAD_GATEWAY, text, &passed);
            }
        }
        refused(StatusCode::SERVICE_UNAVAILABLE, "no node can serve now\n".to_owned(), &passed)
    }

    /// All nodes, the one that should serve first.
    fn order(&self, choice: Option<&str>) -> impl Iterator<Item = &Node> {
        let nodes = self.fleet.nodes();
        let chosen = nodes.iter().position(|node| choice == Some(node.process.name()));
        let first = chosen.unwrap_or_else(|| self.next_turn());
        (0..nodes.len()).map(move |offset| &nodes[(first + offset) % nodes.len()])
    }

    /// The next node that can serve, so that one that cannot does not double the load of the one
    /// behind it.
    fn next_turn(&self) -> usize {
        let nodes = self.fleet.nodes();
        for _ in nodes {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len();
            if nodes[turn].is_out().is_none() {
                return turn;
            }
        }
        0
    }
}

fn may_repeat(method: &Method, error: &ClientError) -> bool {
    error.is_unsent() || *method == Method::GET
}

fn delivered(mut answer: Response<Bytes>, passed: &[String]) -> Response<Bytes> {
    remove_hop_headers(answer.headers_mut());
    say_passed(&mut answer, passed);
    answer
}

fn refused(status: StatusCode, text: String, passed: &[String]) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(text));
    *answer.status_mut() = status;
    say_passed(&mut answer, passed);
    answer
}

fn say_passed(answer: &mut Response<Bytes>, passed: &[String]) {
    if let (false, Ok(value)) = (passed.is_empty(), HeaderValue::try_from(passed.join("; "))) {
        answer.headers_mut().insert(PASSED, value);
    }
}

fn remove_hop_headers(headers: &mut HeaderMap) {
    for name in HOP_HEADERS {
        headers.remove(name);
    }
}
