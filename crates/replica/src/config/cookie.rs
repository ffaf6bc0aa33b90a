//! Checks `session.cookie`: names, scope, and the prefix that browsers enforce.

use std::net::IpAddr;

use super::check::Checker;
use super::error::Fault;
use super::raw;
use super::section::{CookieSection, SameSite};

/// Longest name of a cookie, in bytes, without the prefix.
const NAME_BYTES_MAX: usize = 64;

/// Longest path and longest domain of a cookie, in bytes.
const SCOPE_BYTES_MAX: usize = 255;

/// A browser takes a cookie of such a name only from its own host, for all paths, over TLS, so
/// that no other host of the same domain can plant one.
const HOST_PREFIX: &str = "__Host-";

/// What the name of the token's cookie adds to the other one by default.
const TOKEN_SUFFIX: &str = "-token";

/// `None` after something was refused.
pub(super) fn check(checker: &mut Checker<'_>, raw: &raw::Cookie) -> Option<CookieSection> {
    let before = checker.problem_count();
    let default = format!("{}{TOKEN_SUFFIX}", raw.name);
    let token_name = raw.token_name.as_ref().unwrap_or(&default);
    check_name(checker, "session.cookie.name", &raw.name);
    if raw.token_name.is_some() {
        check_name(checker, "session.cookie.token_name", token_name);
    }
    if *token_name == raw.name {
        checker.contradict(
            ("session.cookie.token_name", &quoted(token_name), "is the same as"),
            ("session.cookie.name", &quoted(&raw.name), "is the same as"),
            "give the two cookies different names",
        );
    }
    check_scope(checker, raw);
    if raw.same_site == raw::SameSite::None && !raw.secure {
        checker.contradict(
            ("session.cookie.same_site", &"\"none\"", "does not go with"),
            ("session.cookie.secure", &false, "does not go with"),
            "browsers take such a cookie only with secure = true",
        );
    }
    let is_bound = raw.host_prefix && raw.secure && raw.path == "/" && raw.domain.is_none();
    let prefix = if is_bound { HOST_PREFIX } else { "" };
    (checker.problem_count() == before).then(|| CookieSection {
        name: format!("{prefix}{}", raw.name),
        token_name: format!("{prefix}{token_name}"),
        domain: raw.domain.clone(),
        path: raw.path.clone(),
        secure: raw.secure,
        same_site: match raw.same_site {
            raw::SameSite::Lax => SameSite::Lax,
            raw::SameSite::Strict => SameSite::Strict,
            raw::SameSite::None => SameSite::None,
        },
    })
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn check_name(checker: &mut Checker<'_>, key: &str, name: &str) {
    // Browsers enforce these prefixes in any case of the letters.
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("__host-") || lower.starts_with("__secure-") {
        let expected = "a name without prefix; \"__Host-\" is put before it where it applies";
        checker.refuse(key, Fault::Type { expected: expected.to_owned() });
    } else if !is_token(name) || name.len() > NAME_BYTES_MAX {
        let expected = "1 to 64 letters, digits, hyphens and underscores, such as \"session\"";
        checker.refuse(key, Fault::Type { expected: expected.to_owned() });
    }
}

/// Less than RFC 6265 allows, and what every proxy carries unchanged.
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

fn check_scope(checker: &mut Checker<'_>, raw: &raw::Cookie) {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    let path = &raw.path;
    if !path.starts_with('/') || path.len() > SCOPE_BYTES_MAX || !path.bytes().all(allowed) {
        let expected = "a path that begins with \"/\", without spaces and \";\"".to_owned();
        checker.refuse("session.cookie.path", Fault::Type { expected });
    }
    if raw.domain.as_deref().is_some_and(|domain| !is_domain(domain)) {
        let expected = "a DNS name without a dot in front, such as \"example.com\"".to_owned();
        checker.refuse("session.cookie.domain", Fault::Type { expected });
    }
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(allowed)
    };
    domain.len() <= SCOPE_BYTES_MAX
        && domain.split('.').all(is_label)
        && domain.parse::<IpAddr>().is_err()
}
