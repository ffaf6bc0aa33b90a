//! The messages and the document that describes them change together: the document records a hash
//! of `message.rs`, and whoever changes the file looks at the document before blessing it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use super::tree::Tree;

const MESSAGES: &str = "crates/protocol/src/message.rs";
const DOCUMENT: &str = "docs/protocol.md";
const LABEL: &str = "message.rs hash: ";

/// Digits of the recorded hash.
const DIGITS: usize = 16;

/// Silent as long as one of the two does not exist.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let (Some(messages), Some(document)) = (tree.file(MESSAGES), tree.file(DOCUMENT)) else {
        return Vec::new();
    };
    let present = fnv_1a(messages.text.as_bytes());
    let message = match recorded(&document.text) {
        None => format!("no line `{LABEL}…`; write it with {} zeros and bless it", DIGITS),
        Some(hash) if hash == present => return Vec::new(),
        Some(_) => format!("{MESSAGES} has changed: adapt this text, then `cargo x tidy --bless`"),
    };
    vec![Finding::new(DOCUMENT, 0, message)]
}

/// Writes the present hash into the document.
///
/// # Errors
/// A file cannot be read or written, or the document has no line for the hash.
pub(super) fn bless(root: &Path) -> Result<()> {
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let document = read(DOCUMENT)?;
    let old = recorded(&document).with_context(|| format!("{DOCUMENT} has no line `{LABEL}…`"))?;
    let new = fnv_1a(read(MESSAGES)?.as_bytes());
    let blessed = document.replacen(&format!("{LABEL}{old}"), &format!("{LABEL}{new}"), 1);
    fs::write(root.join(DOCUMENT), blessed).with_context(|| format!("cannot write {DOCUMENT}"))
}

fn recorded(document: &str) -> Option<&str> {
    let start = document.find(LABEL)? + LABEL.len();
    let hash = document.get(start..start + DIGITS)?;
    hash.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(hash)
}

/// FNV-1a, 64 bits: stands for "the same text", not for safety.
fn fnv_1a(bytes: &[u8]) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    format!("{:016x}", bytes.iter().fold(OFFSET, step))
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    #[test]
    fn the_hash_is_the_published_function() {
        assert_eq!(fnv_1a(b""), "cbf29ce484222325");
        assert_eq!(fnv_1a(b"foobar"), "85944171f73967e8");
    }

    #[test]
    fn a_change_on_one_side_is_found() {
        let right = format!("text\n{LABEL}85944171f73967e8\n");
        assert!(check(&planted(&[(MESSAGES, "foobar"), (DOCUMENT, &right)])).is_empty());
        assert_eq!(check(&planted(&[(MESSAGES, "foobaz"), (DOCUMENT, &right)])).len(), 1);
        assert_eq!(check(&planted(&[(MESSAGES, "foobar"), (DOCUMENT, "text\n")])).len(), 1);
        assert!(check(&planted(&[(DOCUMENT, "text\n")])).is_empty());
    }

    #[test]
    fn blessing_makes_it_right() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let full = root.path().join(path);
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, text).unwrap();
        };
        write(MESSAGES, "foobar");
        write(DOCUMENT, &format!("a `{LABEL}0000000000000000` b"));
        bless(root.path()).unwrap();
        let text = fs::read_to_string(root.path().join(DOCUMENT)).unwrap();
        assert_eq!(text, format!("a `{LABEL}85944171f73967e8` b"));
        assert!(check(&Tree::load(root.path()).unwrap()).is_empty());
    }
}
