//! `cargo x sim --report --against REV`: the figures of this tree beside those of another revision,
//! which is built in a folder of its own with the same toolchain.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, status};

/// The words without `--against REV`, and the revision, if it is there.
pub(crate) fn revision(words: &[OsString]) -> Option<(Vec<OsString>, String)> {
    let place = words.iter().position(|word| word == "--against")?;
    let revision = words.get(place + 1)?.to_string_lossy().into_owned();
    let rest = words[..place].iter().chain(&words[place + 2..]).cloned().collect();
    Some((rest, revision))
}

/// Runs both reports and prints them side by side.
///
/// # Errors
/// The revision does not exist, does not build, or knows no report.
pub(crate) fn run(workspace: &Workspace, words: &[OsString], revision: &str) -> Result<ExitCode> {
    if !words.iter().any(|word| word == "--report") {
        bail!("--against goes with --report");
    }
    let folder = workspace.root().join("target").join("against");
    let tree = folder.join("tree");
    remove(workspace, &tree);
    let tree_text = tree.to_string_lossy().into_owned();
    let add = ["worktree", "add", "--detach", "--force", tree_text.as_str(), revision];
    if !status(&mut workspace.command("git", &add))?.success() {
        bail!("git has no revision `{revision}`");
    }
    let theirs = report(&tree, Some(folder.join("target")), words);
    remove(workspace, &tree);
    let (ours, theirs) = (report(workspace.root(), None, words)?, theirs?);
    println!("{:<34} {:>14} {:>14} {:>8}", "", "here", revision, "ratio");
    for (name, here) in &ours {
        match theirs.iter().find(|(other, _)| other == name) {
            Some((_, there)) if *there != 0.0 => {
                println!("{name:<34} {here:>14.3} {there:>14.3} {:>8.3}", here / there);
            }
            Some((_, there)) => println!("{name:<34} {here:>14.3} {there:>14.3} {:>8}", "-"),
            None => println!("{name:<34} {here:>14.3} {:>14} {:>8}", "-", "-"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The tree of an earlier call may be left over.
fn remove(workspace: &Workspace, tree: &Path) {
    let text = tree.to_string_lossy().into_owned();
    workspace.answers("git", &["worktree", "remove", "--force", text.as_str()]);
    workspace.answers("git", &["worktree", "prune"]);
}

/// The figures of one tree: a name and a number each.
fn report(tree: &Path, target: Option<PathBuf>, words: &[OsString]) -> Result<Vec<(String, f64)>> {
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "-q", "-p", "sim", "--bin", "sim", "--"]);
    command.args(words).current_dir(tree);
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<(String, f64)> = text.lines().filter_map(figure).collect();
    if figures.is_empty() {
        bail!("{} gives no report", tree.display());
    }
    Ok(figures)
}

fn figure(line: &str) -> Option<(String, f64)> {
    let (name, number) = line.rsplit_once(' ')?;
    Some((name.trim().to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_taken_out_of_the_words() {
        let words = ["--report", "--against", "main", "--seeds", "5"].map(OsString::from);
        let (rest, against) = revision(&words).expect("it is there");
        assert_eq!(against, "main");
        assert_eq!(rest, ["--report", "--seeds", "5"].map(OsString::from));
        assert!(revision(&rest).is_none());
    }

    #[test]
    fn a_figure_is_a_name_and_a_number() {
        assert_eq!(figure("bytes/write      12.500"), Some(("bytes/write".to_owned(), 12.5)));
        assert_eq!(figure("nothing"), None);
    }
}
