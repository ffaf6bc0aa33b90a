//! How errors look to a client: a status, the message, and when to come again. None is kept by
//! caches.

use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::error::{CommitError, EditError, EndAllError, Error, OpenError, ReadError};

impl Error {
    /// The HTTP status that tells a client of this error.
    fn status(&self) -> StatusCode {
        match self {
            Self::Open(OpenError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Open(OpenError::NoLayer) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Edit(error) => edit_status(error),
            Self::Read(ReadError::Kind { .. }) => StatusCode::CONFLICT,
            Self::Read(ReadError::Decode { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Commit(error) | Self::EndAll(EndAllError::Partly { source: error, .. }) => {
                commit_status(error)
            }
            Self::EndAll(EndAllError::NotReady) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSession | Self::NotSignedIn => StatusCode::UNAUTHORIZED,
            Self::Csrf => StatusCode::FORBIDDEN,
        }
    }
}

fn edit_status(error: &EditError) -> StatusCode {
    match error {
        EditError::Refused(error) => refused_status(error),
        EditError::Name(_) => StatusCode::BAD_REQUEST,
        EditError::Encode { .. } | EditError::SignedOut => StatusCode::INTERNAL_SERVER_ERROR,
        EditError::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn commit_status(error: &CommitError) -> StatusCode {
    match error {
        CommitError::Unavailable | CommitError::Unknown | CommitError::Full => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        CommitError::Gone(_) => StatusCode::GONE,
        CommitError::Refused(error) => refused_status(error),
        CommitError::TooLate => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refused_status(error: &session::EditError) -> StatusCode {
    use session::EditError as Refused;
    match error {
        Refused::Kind { .. } | Refused::Changed(_) | Refused::Overflow(_) => StatusCode::CONFLICT,
        Refused::TooManyAttributes { .. } | Refused::TooLarge { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{self}");
        }
        let mut response = (status, self.to_string()).into_response();
        // Browsers keep a 410 for ever, and this one is about the session of one request.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
