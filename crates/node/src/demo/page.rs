//! The page of the demonstration: one document without anything from elsewhere.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};

use super::token::Token;

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const PICTURE: &str = include_str!("page/picture.js");
const SCRIPT: &str = include_str!("page/script.js");

const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;

/// The document for the one who holds the token of this start.
pub(super) fn page(token: &Token) -> Response {
    // The token is hexadecimal and new with each start: good as a nonce, and for an attribute.
    let token = token.text();
    let document = DOCUMENT
        .replace("{{token}}", token)
        .replace("/*{{style}}*/", STYLE)
        .replace("/*{{picture}}*/", PICTURE)
        .replace("/*{{script}}*/", SCRIPT);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{token}'; style-src 'nonce-{token}'; \
         connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let mut headers = HeaderMap::new();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(POLICY, policy);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (headers, Html(document)).into_response()
}
