//! What a browser has seen, in a cookie that only this cluster can have written (rule K1).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::limits::TOKEN_ENTRIES_MAX;
use crate::{Hlc, Inc, SessionKey, Time, Version};

const LAYOUT: u8 = 1;
const HEAD_BYTES: usize = 1 + 6;
const ENTRY_BYTES: usize = 16;
const MAC_BYTES: usize = 16;
const BYTES_MAX: usize = HEAD_BYTES + TOKEN_ENTRIES_MAX * ENTRY_BYTES + MAC_BYTES;

/// A version that a client has seen, and when the session may have idled out since (amendment 7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// What the client has seen: a copy that does not cover it is older than what the client knows.
    pub version: Version,
    /// From then on the session may have expired for idleness, so its absence proves nothing.
    pub may_expire: Time,
}

/// The keys of a cluster's tokens: the first signs, all verify, so that keys can be replaced
/// without logging anybody out.
#[derive(Clone)]
pub struct TokenKeys {
    keys: Vec<Vec<u8>>,
    cluster: Vec<u8>,
}

impl TokenKeys {
    /// Keys of at least 16 bytes each, bound to `cluster`, which names the cluster and its
    /// generation; `None` without a key or with a short one.
    #[must_use]
    pub fn new(keys: Vec<Vec<u8>>, cluster: &[u8]) -> Option<Self> {
        let usable = !keys.is_empty() && keys.iter().all(|key| key.len() >= 16);
        usable.then(|| Self { keys, cluster: cluster.to_vec() })
    }

    /// The cookie text of `token` for the session `key`: at most 128 characters for four writers,
    /// 1.5 kB at the cap of [`TOKEN_ENTRIES_MAX`], beyond which the oldest entries are left out.
    #[must_use]
    pub fn sign(&self, key: SessionKey, token: &Token) -> String {
        let mut version = token.version.clone();
        version.keep_newest(TOKEN_ENTRIES_MAX);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + version.len() * ENTRY_BYTES + MAC_BYTES);
        bytes.push(LAYOUT);
        bytes.extend_from_slice(&token.may_expire.0.min((1 << 48) - 1).to_be_bytes()[2..]);
        for (inc, hlc) in version.iter() {
            bytes.extend_from_slice(&inc.0.to_be_bytes());
            bytes.extend_from_slice(&hlc.0.to_be_bytes());
        }
        let mac = self.mac(&self.keys[0], key, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The token in `text`, if this cluster signed it for the session `key`.
    ///
    /// # Errors
    /// [`TokenError`]: the caller treats the cookie as absent and counts it (rule K4).
    pub fn verify(&self, key: SessionKey, text: &str) -> Result<Token, TokenError> {
        if text.len() > BYTES_MAX.div_ceil(3) * 4 {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
        let body = bytes.len().checked_sub(MAC_BYTES).ok_or(TokenError::Malformed)?;
        let (body, mac) = bytes.split_at(body);
        let verifies = |k: &Vec<u8>| self.mac(k, key, body).verify_truncated_left(mac).is_ok();
        if !self.keys.iter().any(verifies) {
            return Err(TokenError::Forged);
        }
        parse(body)
    }

    fn mac(&self, with: &[u8], key: SessionKey, body: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(with).expect("any length");
        mac.update(&(self.cluster.len() as u64).to_be_bytes());
        mac.update(&self.cluster);
        mac.update(&key.0);
        mac.update(body);
        mac
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({} keys)", self.keys.len())
    }
}

fn parse(body: &[u8]) -> Result<Token, TokenError> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte));
    if body.len() < HEAD_BYTES || body[0] != LAYOUT {
        return Err(TokenError::Layout);
    }
    let (head, entries) = body.split_at(HEAD_BYTES);
    if entries.len() % ENTRY_BYTES != 0 {
        return Err(TokenError::Malformed);
    }
    let entries: Vec<(Inc, Hlc)> = entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| (Inc(number(&entry[..8])), Hlc(number(&entry[8..]))))
        .collect();
    let version = Version::try_from(entries).map_err(|_| TokenError::Malformed)?;
    Ok(Token { version, may_expire: Time(number(&head[1..])) })
}

/// Why a token was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not the text of a token: truncated, too long, not base64url.
    Malformed,
    /// Not signed by this cluster for this session.
    Forged,
    /// Signed, but laid out by another release.
    Layout,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed token",
            Self::Forged => "token not signed by this cluster for this session",
            Self::Layout => "token of another release",
        })
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cluster: &str) -> TokenKeys {
        TokenKeys::new(vec![vec![1; 32]], cluster.as_bytes()).expect("one key")
    }

    fn token(writers: u64) -> Token {
        let version = (0..writers).map(|i| (Inc(i << 50 | 9), Hlc(u64::MAX - i))).collect();
        Token { version, may_expire: Time(1_800_000_000_000) }
    }

    /// Tests rule K1: the sizes that browsers and balancers must carry.
    #[test]
    fn tokens_are_short() {
        let key = SessionKey([3; 16]);
        for (writers, max) in [(1, 64), (4, 128), (64, 1_500), (100, 1_500)] {
            let text = keys("a").sign(key, &token(writers));
            assert!(text.len() <= max, "{writers} writers: {}", text.len());
            let read = keys("a").verify(key, &text).expect("own token");
            assert_eq!(read.version.len() as u64, writers.min(64));
        }
    }

    /// Tests rule K4: whatever was not signed for this session by this cluster is no token.
    #[test]
    fn forged_truncated_and_foreign_tokens_are_refused() {
        let key = SessionKey([3; 16]);
        let text = keys("a").sign(key, &token(2));
        assert_eq!(keys("a").verify(key, &text), Ok(token(2)));
        assert_eq!(keys("b").verify(key, &text), Err(TokenError::Forged));
        assert_eq!(keys("a").verify(SessionKey([4; 16]), &text), Err(TokenError::Forged));
        for end in 0..text.len() {
            assert!(keys("a").verify(key, &text[..end]).is_err(), "{end} characters");
        }
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            // The last character may carry unused bits, which the decoder refuses.
            assert!(keys("a").verify(key, &forged).is_err(), "character {at}");
        }
        assert!(keys("a").verify(key, &"A".repeat(100_000)).is_err());
    }

    /// Tests rule K1: keys are replaced by adding one in front.
    #[test]
    fn the_first_key_signs_and_all_verify() {
        let key = SessionKey([3; 16]);
        let old = keys("a").sign(key, &token(1));
        let both = TokenKeys::new(vec![vec![2; 32], vec![1; 32]], b"a").expect("two keys");
        assert_eq!(both.verify(key, &old), Ok(token(1)));
        assert_eq!(keys("a").verify(key, &both.sign(key, &token(1))), Err(TokenError::Forged));
        assert!(TokenKeys::new(vec![], b"a").is_none());
        assert!(TokenKeys::new(vec![vec![1; 15]], b"a").is_none());
    }
}
