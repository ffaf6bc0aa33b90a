//! The layer: gives every request a way to its session, and commits before the response leaves.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::visit::Visit;
use crate::replica::Replica;

/// Adds sessions to a router.
///
/// After the handler the edits of a request are committed as one, and the response waits for the
/// configured acknowledgements. A commit that fails replaces the response. A handler that panics
/// or a client that goes away discards the edits.
#[derive(Clone, Debug)]
pub struct SessionLayer {
    replica: Replica,
}

impl SessionLayer {
    /// Sessions of this replica.
    #[must_use]
    pub fn new(replica: &Replica) -> Self {
        Self { replica: replica.clone() }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, replica: self.replica.clone() }
    }
}

/// What [`SessionLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    replica: Replica,
}

impl<S> Service<Request> for SessionService<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let visit = Visit::new(&self.replica, request.headers());
        request.extensions_mut().insert(visit.clone());
        // The service that was polled ready is the one to be called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let response = inner.call(request).await?.into_response();
            Ok(visit.finish(response).await)
        })
    }
}
