//! The extractor: a handler that takes a [`Session`] opens it; any other request costs nothing.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;

use super::visit::Visit;
use crate::error::{Error, OpenError};
use crate::session::Session;

/// The session of the request; one that is yet to begin if the request belongs to none.
impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let visit = parts.extensions.get::<Visit>().cloned().ok_or(OpenError::NoLayer)?;
        Ok(visit.session().await?)
    }
}

/// The session of the request, if it belongs to an existing one.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Error> {
        let session = <Self as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(session.exists().then_some(session))
    }
}
