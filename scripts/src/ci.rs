//! `cargo x ci`, everything that is checked without running a test, and `cargo x fix`, its
//! counterpart that edits. A step that could not be done is said so and never counted as passed.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::tidy;
use crate::workspace::{Workspace, is_strict, status};

/// How one step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// Not done, and why.
    NotChecked(&'static str),
}

struct Step {
    name: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
}

struct Report {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

const STEPS: [Step; 6] = [
    Step { name: "fmt", run: format },
    Step { name: "clippy", run: clippy },
    Step { name: "tidy", run: tidy },
    Step { name: "docs", run: docs },
    Step { name: "licences", run: licences },
    Step { name: "advisories", run: advisories },
];

/// Runs every step, also after one has failed, and prints a table of the outcomes.
///
/// # Errors
/// A tool that every Rust installation has could not be started.
pub(crate) fn check(workspace: &Workspace) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for step in STEPS {
        println!("--- {}", step.name);
        let started = Instant::now();
        let outcome = (step.run)(workspace)?;
        if let Outcome::NotChecked(reason) = outcome {
            println!("{} NOT checked\n  {reason}", step.name);
        }
        reports.push(Report { name: step.name, outcome, took: started.elapsed() });
    }
    print!("\n{}", table(&reports));
    let failed = reports.iter().any(|report| report.outcome == Outcome::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Formats, and lets clippy apply what it can.
///
/// # Errors
/// cargo could not be started.
pub(crate) fn fix(workspace: &Workspace) -> Result<ExitCode> {
    let clippy =
        ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"];
    let fixed = cargo(workspace, &clippy)?;
    let formatted = cargo(workspace, &["fmt", "--all"])?;
    let passed = [fixed, formatted].iter().all(|outcome| *outcome == Outcome::Passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn format(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["fmt", "--all", "--check"])
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn tidy(workspace: &Workspace) -> Result<Outcome> {
    Ok(passed_if(tidy::run(workspace)? == ExitCode::SUCCESS))
}

fn docs(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.command("cargo", &["doc", "--workspace", "--no-deps"]);
    Ok(passed_if(status(command.env("RUSTDOCFLAGS", "-D warnings"))?.success()))
}

fn licences(workspace: &Workspace) -> Result<Outcome> {
    if !has_cargo_deny(workspace) {
        return Ok(without_cargo_deny());
    }
    cargo(workspace, &["deny", "check", "licenses", "bans", "sources"])
}

/// Never fetches the database: what a run reports depends on what lies on the machine, and says so.
fn advisories(workspace: &Workspace) -> Result<Outcome> {
    if !has_cargo_deny(workspace) {
        return Ok(without_cargo_deny());
    }
    if !has_advisory_database() {
        return Ok(Outcome::NotChecked("no advisory database here; `cargo deny fetch db` gets it"));
    }
    cargo(workspace, &["deny", "--offline", "check", "advisories"])
}

fn has_cargo_deny(workspace: &Workspace) -> bool {
    workspace.answers("cargo", &["deny", "--version"])
}

/// A missing tool is no excuse where the result decides.
fn without_cargo_deny() -> Outcome {
    if is_strict() {
        println!("cargo-deny is not installed, which CI=true demands");
        return Outcome::Failed;
    }
    Outcome::NotChecked("cargo-deny is not installed: `cargo install --locked cargo-deny`")
}

/// Whether cargo-deny has a database where it looks by default. A failed fetch leaves an empty
/// folder behind, so the folder of the advisories themselves is asked for.
fn has_advisory_database() -> bool {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(home) = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo"))) else {
        return false;
    };
    let databases = fs::read_dir(home.join("advisory-dbs"));
    databases.is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.path().join("crates").is_dir()))
    })
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<Outcome> {
    Ok(passed_if(status(&mut workspace.command("cargo", arguments))?.success()))
}

fn passed_if(passed: bool) -> Outcome {
    if passed { Outcome::Passed } else { Outcome::Failed }
}

fn table(reports: &[Report]) -> String {
    let mut text = format!("{:<12}{:<13}{:>8}\n", "step", "result", "seconds");
    for report in reports {
        let result = match report.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::NotChecked(_) => "not checked",
        };
        text += &format!("{:<12}{result:<13}{:>8.1}\n", report.name, report.took.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_not_checked_from_passed() {
        let report = |name, outcome| Report { name, outcome, took: Duration::from_millis(1_250) };
        let reports = [
            report("fmt", Outcome::Passed),
            report("docs", Outcome::Failed),
            report("advisories", Outcome::NotChecked("no database")),
        ];
        let text = table(&reports);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "fmt         ok                1.2");
        assert_eq!(lines[2], "docs        FAILED            1.2");
        assert_eq!(lines[3], "advisories  not checked       1.2");
    }
}
