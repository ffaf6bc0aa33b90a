//! What the demonstration answers to a browser.
//!
//! Three fences keep other sites out: the `Host` has to be this very address, every button needs
//! the token that only the page holds, and no answer allows another origin anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::balancer::Balancer;
use super::fleet::{Fleet, FleetView};
use super::page;
use super::process::Action;
use super::token::Token;

/// Longest form that is passed on, in bytes.
const FORM_BYTES_MAX: usize = 64 << 10;

const TOKEN: HeaderName = HeaderName::from_static("demo-token");

struct Serving {
    fleet: Arc<Fleet>,
    balancer: Balancer,
    token: Token,
    /// The values of `Host` that are meant for the page.
    hosts: [String; 2],
}

/// Goes on until it is dropped.
///
/// # Errors
/// No randomness for the token, or the listener fails for good.
pub(super) async fn serve(
    listener: TcpListener,
    page: SocketAddr,
    fleet: Arc<Fleet>,
) -> io::Result<()> {
    let serving = Arc::new(Serving {
        balancer: Balancer::new(Arc::clone(&fleet)),
        fleet,
        token: Token::new()?,
        hosts: [page.to_string(), format!("localhost:{}", page.port())],
    });
    let router = Router::new()
        .route("/", get(show_page))
        .route("/demo/state", get(show_state))
        .route("/demo/nodes/{name}/{action}", post(act))
        .route("/shop/{*path}", any(forward))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&serving), only_this_host))
        .with_state(serving);
    axum::serve(listener, router).await
}

/// Refuses a name that somebody has made to point at loopback.
async fn only_this_host(
    State(serving): State<Arc<Serving>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_ours = hosts.next().is_some_and(|host| serving.hosts.iter().any(|ours| host == ours));
    if is_ours && hosts.next().is_none() {
        return next.run(request).await;
    }
    let refusal = format!("this page answers to http://{}/ only\n", serving.hosts[0]);
    (StatusCode::MISDIRECTED_REQUEST, refusal).into_response()
}

async fn show_page(State(serving): State<Arc<Serving>>) -> Response {
    page::page(&serving.token)
}

#[derive(Deserialize)]
struct StateQuery {
    /// Number of the last event that the page has.
    #[serde(default)]
    after: u64,
}

async fn show_state(
    State(serving): State<Arc<Serving>>,
    Query(query): Query<StateQuery>,
) -> Json<FleetView> {
    Json(serving.fleet.view(query.after))
}

async fn act(
    State(serving): State<Arc<Serving>>,
    Path((name, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(TOKEN).map_or(&[][..], |token| token.as_bytes());
    if !is_same_origin(&headers) {
        let page = &serving.hosts[0];
        let refusal = format!("a page of another origin may not do this: use http://{page}/\n");
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    if !serving.token.is(token) {
        return (StatusCode::FORBIDDEN, "reload the page: it is of another start\n")
            .into_response();
    }
    let node = serving.fleet.node(&name);
    let (Some(node), Some(action)) = (node, Action::parse(&action)) else {
        return (StatusCode::NOT_FOUND, "there is no such node or action\n").into_response();
    };
    match node.process.act(action) {
        Ok(done) => (StatusCode::OK, format!("{name} {done}\n")).into_response(),
        Err(reason) => (StatusCode::CONFLICT, format!("{name}: {reason}\n")).into_response(),
    }
}

/// A browser says where a request that changes something comes from; other clients need not.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let (Some(origin), Some(host)) = (headers.get(header::ORIGIN), headers.get(header::HOST))
    else {
        return true;
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    origin.is_some_and(|origin| origin == host)
}

async fn forward(State(serving): State<Arc<Serving>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, FORM_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the form is too long\n").into_response();
    };
    let answer = serving.balancer.forward(axum::http::Request::from_parts(head, body)).await;
    answer.map(Body::from).into_response()
}
