//! The file of the keys that sign tokens: one key a line, the first signs, all verify, so that a
//! key is replaced by putting another one before it.
//!
//! The keys are secrets of the whole cluster. No message shows a part of them, and a file that
//! others can read is refused.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use session::TokenKeys;
use transport::ClusterName;

use super::error::{ConfigError, Fault, Place, Problem};
use super::source::read_bounded;

/// What names the file.
pub(super) const KEY: &str = "session.token_keys";

/// Length of a new key, in bytes.
const KEY_BYTES: usize = 32;

/// Least length of a key, in bytes: less could be guessed.
const KEY_BYTES_MIN: usize = 16;

/// Keys that are tried; every one makes refusing a forged token dearer.
const KEYS_MAX: usize = 16;

/// Longest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// A new random key as a line for the file, without the line break.
#[must_use]
pub fn generate_token_key() -> String {
    let mut key = [0; KEY_BYTES];
    #[expect(clippy::expect_used, reason = "without randomness nothing can be kept safe")]
    getrandom::fill(&mut key).expect("the system gives random bytes");
    STANDARD.encode(key)
}

/// A file of token keys that is looked at again and again.
pub struct TokenKeyFile {
    path: PathBuf,
    cluster: ClusterName,
    /// What it held when it was read last.
    text: String,
}

impl TokenKeyFile {
    /// Reads the file for the first time; the keys are bound to `cluster`.
    ///
    /// # Errors
    /// The file is missing, can be read by others (on Unix), or holds no key, a line that is none,
    /// or a key of fewer than 16 bytes. The line names the file; that of [`Config::token_keys`]
    /// names also where the file was named.
    ///
    /// [`Config::token_keys`]: super::Config::token_keys
    pub fn open(path: &Path, cluster: &ClusterName) -> Result<(Self, TokenKeys), ConfigError> {
        Self::read(path, cluster).map_err(|fault| about(path, fault))
    }

    pub(super) fn read(path: &Path, cluster: &ClusterName) -> Result<(Self, TokenKeys), Fault> {
        let text = read(path)?;
        let keys = parse(&text, cluster)?;
        Ok((Self { path: path.to_owned(), cluster: cluster.clone(), text }, keys))
    }

    /// The keys, if the file has changed. After an error the keys in use stay in use, and the next
    /// call looks again.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn reload(&mut self) -> Result<Option<TokenKeys>, ConfigError> {
        let about = |fault| about(&self.path, fault);
        let text = read(&self.path).map_err(about)?;
        if text == self.text {
            return Ok(None);
        }
        let keys = parse(&text, &self.cluster).map_err(about)?;
        self.text = text;
        Ok(Some(keys))
    }
}

impl fmt::Debug for TokenKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn about(path: &Path, fault: Fault) -> ConfigError {
    let place = Place::File(path.display().to_string());
    let key = KEY.to_owned();
    Problem { place, key, value: None, fault }.into()
}

fn read(path: &Path) -> Result<String, Fault> {
    let text = read_bounded(path, FILE_BYTES_MAX)?;
    check_permissions(path)?;
    Ok(text)
}

#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;

    /// Reading, writing and executing for the group and for others.
    const OTHERS: u32 = 0o077;

    let metadata = path.metadata().map_err(Fault::Unreadable)?;
    let permissions = metadata.permissions().mode() & 0o7777;
    if permissions & OTHERS == 0 {
        return Ok(());
    }
    Err(Fault::Exposed { path: path.to_owned(), permissions })
}

#[cfg(not(unix))]
fn check_permissions(_: &Path) -> Result<(), Fault> {
    Ok(())
}

fn parse(text: &str, cluster: &ClusterName) -> Result<TokenKeys, Fault> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let key = decode(content).ok_or(Fault::KeyEncoding { line: line_number })?;
        if key.len() < KEY_BYTES_MIN {
            let (bytes, bytes_min) = (key.len(), KEY_BYTES_MIN);
            return Err(Fault::ShortKey { line: line_number, bytes, bytes_min });
        }
        keys.push(key);
    }
    if keys.len() > KEYS_MAX {
        return Err(Fault::TooManyKeys { keys_max: KEYS_MAX });
    }
    TokenKeys::new(keys, cluster.as_str().as_bytes()).ok_or(Fault::NoKey)
}

/// Hexadecimal if it can be read so, else base64 in either alphabet, padded or not.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = text.as_bytes().chunks_exact(2);
        return pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    }
    let standard = text.replace('-', "+").replace('_', "/");
    STANDARD_NO_PAD.decode(standard.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ClusterName {
        "shop".parse().unwrap()
    }

    fn fault(text: &str) -> String {
        parse(text, &cluster()).unwrap_err().to_string()
    }

    #[test]
    fn keys_are_read_in_hexadecimal_and_in_base64() {
        let hexadecimal = "00ff".repeat(16);
        let bytes: Vec<u8> = [0x00, 0xff].repeat(16);
        let padded = STANDARD.encode(&bytes);
        let unpadded = padded.trim_end_matches('=').to_owned();
        let url = unpadded.replace('/', "_").replace('+', "-");
        for text in [&hexadecimal, &hexadecimal.to_uppercase(), &padded, &unpadded, &url] {
            assert_eq!(decode(text).as_ref(), Some(&bytes), "{text}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_passed_over() {
        let key = generate_token_key();
        let text = format!("# made today\n\n  {key} # the new one\r\n{}\n", "ab".repeat(16));
        assert_eq!(format!("{:?}", parse(&text, &cluster()).unwrap()), "TokenKeys(2 keys)");
    }

    #[test]
    fn new_keys_differ_and_are_long_enough() {
        let (one, other) = (generate_token_key(), generate_token_key());
        assert_ne!(one, other);
        assert_eq!(decode(&one).unwrap().len(), KEY_BYTES);
    }

    #[test]
    fn wrong_lines_are_named_and_not_shown() {
        assert_eq!(fault("# none\n\n"), "holds no key; add one line of 32 random bytes in base64");
        assert_eq!(
            fault("# secret\nsecret!\n"),
            "has a line 2 that is neither base64 nor hexadecimal; write one key a line"
        );
        assert_eq!(
            fault(&"ab".repeat(15)),
            "has a key of 15 bytes in line 1; use at least 16 random bytes"
        );
        assert_eq!(
            fault(&format!("{}\n", generate_token_key()).repeat(17)),
            "holds more than 16 keys; remove the oldest, at the end"
        );
    }
}
