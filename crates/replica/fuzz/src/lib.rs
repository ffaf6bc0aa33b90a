//! What the fuzz targets try, as plain functions: `tests/corpus.rs` calls them with the committed
//! inputs, without a fuzzer.

mod service;

use replica::{Config, SessionId};

use service::Service;

/// What has no default.
const NEEDED: &str = "cluster.name = \"shop\"\n\
    cluster.members = { n1 = \"10.0.0.1:7001\", n2 = \"10.0.0.2:7001\" }\n";

/// Bytes of cookies that are looked at.
const COOKIES_BYTES_MAX: usize = 16 * 1024;

/// Reads `bytes` as a configuration, alone and after what has no default.
///
/// # Panics
/// If a refusal says nothing, or not in one line each where it was found or of which key.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    read(&text);
    read(&format!("{NEEDED}{text}"));
}

fn read(text: &str) {
    let error = match Config::from_toml(text, "") {
        Ok(config) => {
            // What was read is shown in logs.
            assert!(!format!("{config:?}").is_empty());
            return;
        }
        Err(error) => error,
    };
    assert!(!error.problems().is_empty(), "refused for no reason");
    for problem in error.problems() {
        let line = problem.to_string();
        let is_placed = ["configuration", "default"].iter().any(|place| line.starts_with(place));
        assert!(
            is_placed && (!problem.key().is_empty() || line.len() > 20),
            "says nothing: {line}"
        );
        assert!(line.contains(problem.key()), "{} is not in: {line}", problem.key());
    }
}

/// Sends `bytes` as the header of cookies; as an id; and as the token of a session that there is.
///
/// # Panics
/// If the answer is an error, if a cookie of it is read another way than it was written, or if
/// what stands in a token keeps the session from being found.
pub fn cookies(bytes: &[u8]) {
    let service = Service::shared();
    service.ask(bytes);
    service.ask(&[service.id_name().as_bytes(), b"=", bytes].concat());
    let (id, count) = service.known();
    let text = [service.id_name(), "=", &id, "; ", service.token_name(), "="].concat();
    let header = [text.as_bytes(), bytes].concat();
    let Some(answer) = service.ask(&header) else {
        return;
    };
    // A header that is longer, or no text, is no cookie at all.
    let is_read = header.len() <= COOKIES_BYTES_MAX && header.is_ascii();
    let due = if is_read { count } else { "0" };
    assert_eq!(answer.body, due, "the session is found whatever the token is");
    if let Some(text) = answer.cookies.get(service.id_name()) {
        let id: SessionId = text.parse().expect("what is sent is an id");
        assert_eq!(id.to_cookie(), *text);
    }
}
