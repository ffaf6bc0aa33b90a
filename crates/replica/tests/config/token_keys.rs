//! The file of the token keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use replica::config::{TokenKeyFile, generate_token_key};
use session::{SessionKey, Token};
use tempfile::TempDir;

use super::file;

fn keys_file(folder: &TempDir, text: &str, permissions: u32) -> PathBuf {
    let path = file(folder, "token.keys", text);
    fs::set_permissions(&path, fs::Permissions::from_mode(permissions)).unwrap();
    path
}

fn load(path: &Path) -> Result<session::TokenKeys, String> {
    let opened = TokenKeyFile::open(path, &"shop".parse().unwrap());
    opened.map(|(_, keys)| keys).map_err(|error| error.to_string())
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_that_helps() {
    let folder = TempDir::new().unwrap();
    let path = keys_file(&folder, &generate_token_key(), 0o640);
    let shown = path.display().to_string();
    assert_eq!(
        load(&path).unwrap_err(),
        format!(
            "{shown}: session.token_keys can be read by others (permissions 0640); run: chmod \
             600 {shown}"
        )
    );
    for permissions in [0o600, 0o400] {
        load(&keys_file(&folder, &generate_token_key(), permissions)).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_missing_file_and_a_short_key_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token.keys");
    assert_eq!(
        load(&path).unwrap_err(),
        format!(
            "{}: session.token_keys cannot be read (No such file or directory (os error 2)); \
             correct the path, or make the file with `replica-node cert`",
            path.display()
        )
    );
    let path = keys_file(&folder, "# ours\nabcdef01\n", 0o600);
    assert_eq!(
        load(&path).unwrap_err(),
        format!(
            "{}: session.token_keys has a key of 4 bytes in line 2; use at least 16 random bytes",
            path.display()
        )
    );
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (generate_token_key(), generate_token_key());
    let path = keys_file(&folder, &old, 0o600);
    let (mut watched, keys) = TokenKeyFile::open(&path, &"shop".parse().unwrap()).unwrap();
    let session = SessionKey([1; 16]);
    let signed = keys.sign(session, &Token::default());
    assert!(watched.reload().unwrap().is_none());
    fs::write(&path, "nonsense!").unwrap();
    assert!(watched.reload().is_err());
    fs::write(&path, format!("{new}\n{old}\n")).unwrap();
    let keys = watched.reload().unwrap().expect("a change");
    assert!(keys.verify(session, &signed).is_ok(), "the old key still verifies");
    assert_ne!(keys.sign(session, &Token::default()), signed, "the new one signs");
    assert!(watched.reload().unwrap().is_none());
    assert!(!format!("{watched:?}").contains(&new));
}
