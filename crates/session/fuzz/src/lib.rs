//! What the fuzz targets try, as plain functions: `tests/corpus.rs` calls them with the committed
//! inputs, without a fuzzer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use session::{SessionId, SessionKey, TokenError, TokenKeys};
use sha2::Sha256;

const SECRET: [u8; 16] = [1; 16];
const CLUSTER: &[u8] = b"fuzz";
const KEY: SessionKey = SessionKey([3; 16]);

/// Reads `bytes` as all that can stand in a cookie: an id, a token, and, signed as this cluster
/// signs, what a token carries.
///
/// # Panics
/// If something was read that is not written the same way: then two texts mean one thing.
pub fn token(bytes: &[u8]) {
    let keys = TokenKeys::new(vec![SECRET.to_vec()], CLUSTER).expect("a long key");
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(id) = text.parse::<SessionId>() {
            assert_eq!(id.to_cookie(), text);
        }
        if let Ok(token) = keys.verify(KEY, text) {
            assert_eq!(keys.sign(KEY, &token), text);
        }
    }
    let text = signed(bytes);
    match keys.verify(KEY, &text) {
        Ok(token) => assert_eq!(keys.sign(KEY, &token), text),
        Err(error) => assert_ne!(error, TokenError::Forged, "it is signed"),
    }
}

/// A fuzzer would not guess the MAC, so the body alone is its input.
fn signed(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).expect("any length");
    mac.update(&(CLUSTER.len() as u64).to_be_bytes());
    mac.update(CLUSTER);
    mac.update(&KEY.0);
    mac.update(body);
    let mac = mac.finalize().into_bytes();
    URL_SAFE_NO_PAD.encode([body, &mac[..16]].concat())
}
