//! The two cookies: the id of the session, and the token of what its client has seen.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite as Same, time::Duration};

use crate::config::{CookieSection, SameSite};

/// Bytes of cookies that are looked at; browsers send less to one host.
const COOKIES_BYTES_MAX: usize = 16 * 1024;

/// What a request brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presented {
    pub(super) id: Option<String>,
    pub(super) token: Option<String>,
}

impl Presented {
    /// The first cookie of each name: of several, browsers send the one of the closest path first.
    pub(super) fn of(headers: &HeaderMap, section: &CookieSection) -> Self {
        let mut presented = Self::default();
        let mut bytes = 0;
        for text in headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            bytes += text.len();
            if bytes > COOKIES_BYTES_MAX {
                break;
            }
            for cookie in Cookie::split_parse(text).filter_map(Result::ok) {
                let slot = if cookie.name() == section.name {
                    &mut presented.id
                } else if cookie.name() == section.token_name {
                    &mut presented.token
                } else {
                    continue;
                };
                slot.get_or_insert_with(|| cookie.value().to_owned());
            }
        }
        presented
    }
}

/// The value of `Set-Cookie` that gives a client a cookie, until it closes its browser.
pub(super) fn set(section: &CookieSection, name: &str, value: &str) -> HeaderValue {
    header(&base(section, name, value))
}

/// The value of `Set-Cookie` that takes a cookie away.
pub(super) fn clear(section: &CookieSection, name: &str) -> HeaderValue {
    let mut cookie = base(section, name, "");
    cookie.set_max_age(Duration::ZERO);
    header(&cookie)
}

fn base<'c>(section: &'c CookieSection, name: &'c str, value: &'c str) -> Cookie<'c> {
    let mut cookie = Cookie::build((name, value))
        .path(section.path.as_str())
        .http_only(true)
        .secure(section.secure)
        .same_site(match section.same_site {
            SameSite::Lax => Same::Lax,
            SameSite::Strict => Same::Strict,
            SameSite::None => Same::None,
        })
        .build();
    if let Some(domain) = &section.domain {
        cookie.set_domain(domain.as_str());
    }
    cookie
}

fn header(cookie: &Cookie<'_>) -> HeaderValue {
    let mut value = HeaderValue::try_from(cookie.to_string())
        .expect("names, paths and domains are checked, and values are base64url");
    value.set_sensitive(true);
    value
}
