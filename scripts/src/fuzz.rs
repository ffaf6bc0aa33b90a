//! `cargo x fuzz`: finds the fuzz targets of the workspace and runs each for a given time.
//! The targets themselves are plain functions of their crates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::{Workspace, status};

/// Bounds `--minutes`, so that a slip of the finger does not run for years: one day.
const MINUTES_MAX: u64 = 24 * 60;

struct Target {
    folder: PathBuf,
    name: String,
}

/// Runs every target, or the one named, for `minutes` each.
///
/// # Errors
/// A tool is missing (the message says how to get it), or there is no such target.
pub(crate) fn run(workspace: &Workspace, minutes: u64, only: Option<&str>) -> Result<ExitCode> {
    ensure!((1..=MINUTES_MAX).contains(&minutes), "--minutes takes 1 to {MINUTES_MAX}");
    let mut targets = targets(workspace.root())?;
    targets.retain(|target| only.is_none_or(|name| target.name == name));
    ensure!(!targets.is_empty(), "no such fuzz target in crates/*/fuzz/Cargo.toml");
    demand_tools(workspace)?;
    let mut failed = Vec::new();
    for target in &targets {
        println!("fuzz {}: {minutes} min", target.name);
        if !run_target(workspace, target, minutes)? {
            failed.push(target.name.as_str());
        }
    }
    if failed.is_empty() {
        println!("fuzz: {} targets, {minutes} min each, no finding", targets.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("fuzz: findings in {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn demand_tools(workspace: &Workspace) -> Result<()> {
    if !workspace.answers("cargo", &["+nightly", "--version"]) {
        bail!("fuzzing needs a nightly toolchain: `rustup toolchain install nightly`");
    }
    if !workspace.answers("cargo", &["+nightly", "fuzz", "--version"]) {
        bail!("fuzzing needs cargo-fuzz: `cargo install --locked cargo-fuzz`");
    }
    Ok(())
}

/// New inputs go below `target/`, so that a run leaves the committed corpus as it was; that
/// corpus, where there is one, is the second folder and only read.
fn run_target(workspace: &Workspace, target: &Target, minutes: u64) -> Result<bool> {
    let found = workspace.root().join("target/fuzz-corpus").join(&target.name);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let committed = target.folder.join("corpus").join(&target.name);
    let mut command = workspace.command("cargo", &["+nightly", "fuzz", "run", "--fuzz-dir"]);
    command.arg(&target.folder).arg(&target.name).arg(&found);
    if committed.is_dir() {
        command.arg(&committed);
    }
    command.arg("--").arg(format!("-max_total_time={}", minutes * 60));
    Ok(status(&mut command)?.success())
}

/// Every `[[bin]]` of every `crates/*/fuzz/Cargo.toml`, in the order of the folders.
fn targets(root: &Path) -> Result<Vec<Target>> {
    let crates = root.join("crates");
    let entries =
        fs::read_dir(&crates).with_context(|| format!("cannot list {}", crates.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let folder = entry?.path().join("fuzz");
        if folder.join("Cargo.toml").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    let mut targets = Vec::new();
    for folder in folders {
        let names = target_names(&folder.join("Cargo.toml"))?;
        targets.extend(names.into_iter().map(|name| Target { folder: folder.clone(), name }));
    }
    Ok(targets)
}

fn target_names(manifest: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let table: toml::Table =
        text.parse().with_context(|| format!("cannot parse {}", manifest.display()))?;
    let programs = table.get("bin").and_then(toml::Value::as_array);
    let names = programs.into_iter().flatten().filter_map(|program| program.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_in_every_fuzz_folder() {
        let root = tempfile::tempdir().unwrap();
        for (name, programs) in [("b", "[[bin]]\nname = \"two\""), ("a", "[[bin]]\nname = \"one\"")]
        {
            let folder = root.path().join("crates").join(name).join("fuzz");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("Cargo.toml"), programs).unwrap();
        }
        fs::create_dir_all(root.path().join("crates/plain")).unwrap();
        let found = targets(root.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
    }
}
