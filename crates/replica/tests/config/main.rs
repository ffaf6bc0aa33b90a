//! The configuration as a user meets it: files, variables of the environment, and what a mistake
//! in either is answered with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod mistakes;
mod shipped_files;
mod start;
#[cfg(unix)]
mod token_keys;
mod values;

use std::fs;
use std::path::PathBuf;

use replica::config::{Config, ConfigError};
use tempfile::TempDir;

const NO_VARIABLES: [(&str, &str); 0] = [];

/// What has no default.
const CLUSTER: &str = "[cluster]\nname = \"shop\"\n\
    members = { n1 = \"10.0.0.1:7001\", n2 = \"10.0.0.2:7001\", n3 = \"10.0.0.3:7001\" }\n";

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, "")
}

fn with_cluster(text: &str) -> Result<Config, ConfigError> {
    read(&format!("{CLUSTER}{text}"))
}

fn with_variables(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "node.toml", CLUSTER);
    Config::load_with(&[path], variables.iter().copied())
}

fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}
