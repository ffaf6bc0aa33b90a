//! `cargo x`: the developer's commands. Parses the command line and dispatches, nothing else;
//! it depends on no crate of the workspace, so that it builds when they do not.

mod against;
mod ci;
mod fuzz;
mod passthrough;
mod tidy;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Developer commands of this workspace.
#[derive(Parser)]
#[command(bin_name = "cargo x", after_help = passthrough::help())]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that is checked without running a test; edits nothing.
    Ci,
    /// Formats, and applies what clippy can fix by itself.
    Fix,
    /// The rules that the compiler cannot check: crate edges, citations, words, file sizes.
    Tidy {
        /// Writes the hash of message.rs into docs/protocol.md instead of comparing it.
        #[arg(long)]
        bless: bool,
    },
    /// Runs the fuzz targets of `crates/*/fuzz`, one after the other.
    Fuzz {
        /// Minutes for each target.
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// The only target to run.
        #[arg(long)]
        target: Option<String>,
    },
    #[command(external_subcommand)]
    Passthrough(Vec<OsString>),
}

fn main() -> ExitCode {
    run(&Arguments::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(task: &Task) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match task {
        Task::Ci => ci::check(&workspace),
        Task::Fix => ci::fix(&workspace),
        Task::Tidy { bless } => {
            if *bless {
                tidy::bless(&workspace)?;
            }
            tidy::run(&workspace)
        }
        Task::Fuzz { minutes, target } => fuzz::run(&workspace, *minutes, target.as_deref()),
        Task::Passthrough(words) => passthrough::run(&workspace, words),
    }
}
