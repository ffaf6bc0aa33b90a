//! One request's way to its session: opened when it is first asked for, committed when the
//! response is about to leave.

use std::sync::Arc;

use axum::http::header::{CACHE_CONTROL, HOST, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use session::SessionId;
use tokio::sync::OnceCell;

use super::cookies::{self, Presented};
use crate::error::{CommitError, Error, OpenError};
use crate::replica::Replica;
use crate::session::{IdChange, Session};

/// How far a write was acknowledged: `got/asked`.
const ACK: HeaderName = HeaderName::from_static("replica-ack");

/// What the layer puts into a request for the extractor to find.
#[derive(Clone)]
pub(super) struct Visit(Arc<Inner>);

struct Inner {
    replica: Replica,
    presented: Presented,
    /// True if a `Secure` cookie would leave over what looks like plain HTTP.
    is_exposed: bool,
    session: OnceCell<Session>,
}

impl Visit {
    pub(super) fn new(replica: &Replica, headers: &HeaderMap) -> Self {
        let section = &replica.config().session().cookie;
        let presented = Presented::of(headers, section);
        let is_exposed = section.secure && looks_plain(headers);
        let (replica, session) = (replica.clone(), OnceCell::new());
        Self(Arc::new(Inner { replica, presented, is_exposed, session }))
    }

    /// The session of this request; opened by the first call.
    pub(super) async fn session(&self) -> Result<Session, OpenError> {
        self.0.session.get_or_try_init(|| self.open()).await.cloned()
    }

    async fn open(&self) -> Result<Session, OpenError> {
        let Inner { replica, presented, .. } = &*self.0;
        let Some(text) = &presented.id else {
            return Ok(replica.new_session());
        };
        let Ok(id) = text.parse::<SessionId>() else {
            replica.shared.driver.meters.ids_refused.count();
            return Ok(replica.new_session());
        };
        replica.open(id, presented.token.as_deref()).await
    }

    /// Commits what the handler has edited, and makes the response say so; or replaces it.
    pub(super) async fn finish(&self, mut response: Response) -> Response {
        let Some(session) = self.0.session.get() else {
            return response;
        };
        let committed = session.commit().await;
        session.0.state.lock().is_answered = true;
        if let Err(error) = committed {
            session.discard();
            let mut response = Error::from(error.clone()).into_response();
            self.carry_saved(session, &error, response.headers_mut());
            return response;
        }
        self.carry(session, response.headers_mut());
        response
    }

    /// What the handler has saved before stands, although the last commit failed: a client that
    /// was signed in must learn its id, or it is left with one that is refused.
    fn carry_saved(&self, session: &Session, error: &CommitError, headers: &mut HeaderMap) {
        let (is_saved, is_changed) = {
            let state = session.0.state.lock();
            (state.report.is_some(), state.id_change.is_some())
        };
        // A request that finds its session gone leaves alone what its browser has got meanwhile.
        let is_gone = matches!(error, CommitError::Gone(_));
        if is_saved && (is_changed || !is_gone) {
            self.carry(session, headers);
            // It is said of writes that succeed.
            headers.remove(ACK);
        }
    }

    /// Writes what the client is to know into the headers of its response.
    fn carry(&self, session: &Session, headers: &mut HeaderMap) {
        let replica = &self.0.replica;
        let section = &replica.config().session().cookie;
        let (id_change, token, report) = {
            let mut state = session.0.state.lock();
            let token = state.token();
            let news = token.filter(|token| state.presented.as_ref() != Some(token));
            let key = state.working.id.key();
            let token = news.map(|token| replica.shared.keys.read().sign(key, &token));
            (state.id_change.take(), token, state.report)
        };
        if let Some(report) = report {
            let text = format!("{}/{}", report.got, report.asked);
            headers.insert(ACK, HeaderValue::try_from(text).expect("digits"));
        }
        let mut set: Vec<HeaderValue> = Vec::new();
        match &id_change {
            Some(IdChange::Set(id)) => {
                set.push(cookies::set(section, &section.name, &id.to_cookie()));
            }
            Some(IdChange::Clear) => {
                set.push(cookies::clear(section, &section.name));
                set.push(cookies::clear(section, &section.token_name));
            }
            None => {}
        }
        if let Some(token) = token {
            set.push(cookies::set(section, &section.token_name, &token));
        }
        if set.is_empty() {
            return;
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for cookie in set {
            headers.append(SET_COOKIE, cookie);
        }
        if self.0.is_exposed {
            replica.shared.warn_of_plain_http();
        }
    }
}

/// True if nothing says that the client came over TLS, and it is not on this machine.
fn looks_plain(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-proto").is_some_and(|proto| proto.starts_with("https"))
        || text("forwarded").is_some_and(|text| text.to_ascii_lowercase().contains("proto=https"));
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    !forwarded && host.is_some_and(|host| !is_loopback(host))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    let address = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    address || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_another_machine_looks_plain() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect::<HeaderMap>()
        };
        for local in ["localhost:8080", "127.0.0.1:1", "[::1]:80", "::1", "a.localhost"] {
            assert!(!looks_plain(&headers(&[("host", local)])) || local == "::1", "{local}");
        }
        assert!(looks_plain(&headers(&[("host", "shop.example")])));
        let tls = [("host", "shop.example"), ("x-forwarded-proto", "https")];
        assert!(!looks_plain(&headers(&tls)));
        let tls = [("host", "shop.example"), ("forwarded", "for=1.2.3.4;Proto=https")];
        assert!(!looks_plain(&headers(&tls)));
    }
}
