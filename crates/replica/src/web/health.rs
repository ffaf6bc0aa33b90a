//! The route that balancers ask.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::health::Health;
use crate::replica::Replica;

impl Replica {
    /// `/health`: 200 `ok` while this node serves every session, else 503 with the reason. To be
    /// merged after the layer: it has nothing to do with sessions.
    pub fn health_routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let replica = self.clone();
        Router::new().route("/health", get(move || std::future::ready(answer(&replica))))
    }
}

fn answer(replica: &Replica) -> Response {
    let health = replica.health();
    let text = health.to_string();
    let no_store = [(CACHE_CONTROL, "no-store")];
    match health {
        Health::Ready => (no_store, text).into_response(),
        Health::Starting { .. } | Health::Draining => {
            let retry = [(RETRY_AFTER, "1")];
            (StatusCode::SERVICE_UNAVAILABLE, no_store, retry, text).into_response()
        }
    }
}
