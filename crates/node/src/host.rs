//! Whether a request was meant for an address on loopback.
//!
//! A page of any site can make a browser connect to loopback, under a name of that site which it
//! then resolves to 127.0.0.1. Such a request carries that name in `Host`.

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Answers 421 to a request whose `Host` is neither `localhost` nor an address on loopback.
pub(crate) async fn only_loopback(request: Request<Body>, next: Next) -> Response {
    if names_loopback(request.headers()) {
        return next.run(request).await;
    }
    let refusal = "this address answers to Host: localhost, 127.0.0.1 and [::1] only\n";
    (StatusCode::MISDIRECTED_REQUEST, refusal).into_response()
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    // A request of HTTP/1.0 need not have one, and no browser sends such requests.
    let Some(host) = hosts.next() else { return true };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| hosts.next().is_none() && is_loopback(authority.host()))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(hosts: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, axum::http::HeaderValue::from_static(host));
        }
        names_loopback(&headers)
    }

    #[test]
    fn only_names_that_nobody_can_point_elsewhere_are_taken() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"] {
            assert!(is_taken(&[host]), "{host}");
        }
        for host in [
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "a b",
        ] {
            assert!(!is_taken(&[host]), "{host}");
        }
        assert!(is_taken(&[]));
        assert!(!is_taken(&["localhost", "evil.example"]));
    }
}
