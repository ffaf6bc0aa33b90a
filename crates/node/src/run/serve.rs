//! What a node answers over HTTP, and to whom.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{from_fn, map_response_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use replica::{Replica, Status};

use crate::{contract, host, shop};

/// Which node answered.
const NODE: HeaderName = HeaderName::from_static("replica-node");

/// Everything, or `/health` alone if it is not open to whoever reaches the address.
pub(super) fn router(replica: &Replica, http: SocketAddr, is_open: bool) -> Router {
    if !is_open {
        return replica.health_routes();
    }
    let status = Router::new().route("/status.json", get(status)).with_state(replica.clone());
    let router = contract::routes(replica)
        .merge(shop::routes(replica))
        .merge(replica.health_routes())
        .merge(status)
        .layer(map_response_with_state(replica.clone(), say_node));
    match http.ip().is_loopback() {
        true => router.layer(from_fn(host::only_loopback)),
        false => router,
    }
}

/// Says in the log what is served to whom, where that may surprise.
pub(super) fn warn_beyond_loopback(http: SocketAddr, is_open: bool) {
    if is_open {
        tracing::warn!(
            "app.contract = true: endpoints without a password are served on {http}, beyond \
             loopback; for closed networks and measurements only"
        );
    } else {
        tracing::warn!(
            "app.http = \"{http}\" is not on loopback: only /health is served there; \
             app.contract = true serves the pages and endpoints as well, which have no password"
        );
    }
}

async fn status(State(replica): State<Replica>) -> Json<Status> {
    Json(replica.status())
}

async fn say_node(State(replica): State<Replica>, mut response: Response) -> Response {
    if let Ok(name) = HeaderValue::try_from(replica.name()) {
        response.headers_mut().insert(NODE, name);
    }
    response
}
