//! Commands that only start a program of the workspace with the arguments they were given and
//! end with its status. One table; the programs have their own help.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::against;
use crate::workspace::{Workspace, exit_code, status};

struct Passthrough {
    name: &'static str,
    about: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const TABLE: [Passthrough; 9] = [
    Passthrough {
        name: "sim",
        about: "The simulator: [--mode M] --seeds N | --seed S [--trace] | --coverage | --report",
        program: "cargo",
        arguments: &["run", "--release", "-q", "-p", "sim", "--bin", "sim", "--"],
    },
    Passthrough {
        name: "mutants",
        about: "Switches protocol rules off, one by one; the simulator has to notice each",
        program: "cargo",
        arguments: &[
            "run",
            "--release",
            "-q",
            "-p",
            "sim",
            "--features",
            "mutants",
            "--bin",
            "mutants",
            "--",
        ],
    },
    Passthrough {
        name: "explore",
        about: "Every order of events in small clusters: [--nodes N] [--depth D] [--only PLAN] | --mutants",
        program: "cargo",
        arguments: &[
            "run",
            "--release",
            "-q",
            "-p",
            "sim",
            "--features",
            "mutants",
            "--bin",
            "explore",
            "--",
        ],
    },
    Passthrough {
        name: "growth",
        about: "What a cluster costs by its size: [--members 5,50,200] [--seed S] [--plot FILE]",
        program: "cargo",
        arguments: &["run", "--release", "-q", "-p", "sim", "--bin", "growth", "--"],
    },
    Passthrough {
        name: "browser",
        about: "Drives the demo with the system's browser",
        program: "cargo",
        // As the tests are built, so that after them hardly anything is left to be compiled.
        arguments: &["run", "-q", "-p", "cluster-tests", "--bin", "browser", "--"],
    },
    Passthrough {
        name: "cluster",
        about: "Crashes, joins, bad lines on real processes: [--scenario NAME] [--mode M] [--quick]",
        program: "cargo",
        arguments: &["run", "-q", "-p", "cluster-tests", "--bin", "cluster", "--"],
    },
    Passthrough {
        name: "chaos",
        about: "Random faults on five real nodes, and a report: [--minutes N] [--mode M] [--seed S]",
        program: "cargo",
        arguments: &["run", "-q", "-p", "cluster-tests", "--bin", "chaos", "--"],
    },
    Passthrough {
        name: "compose",
        about: "The same on containers: up [--mode M] | test [--full] [--scenario NAME] | down",
        program: "cargo",
        // As the tests are built, like the programs of its image.
        arguments: &["run", "-q", "-p", "cluster-tests", "--bin", "compose", "--"],
    },
    Passthrough {
        name: "embed",
        about: "Builds and runs the program of the README outside the workspace",
        program: "bash",
        arguments: &["scripts/embed.sh"],
    },
];

/// The part of the help that clap cannot know.
pub(crate) fn help() -> String {
    let lines = TABLE.iter().map(|entry| format!("  {:<9}{}", entry.name, entry.about));
    format!("Programs of the workspace (add --help):\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Runs the program that `words[0]` names with the other words.
pub(crate) fn run(workspace: &Workspace, words: &[OsString]) -> Result<ExitCode> {
    let Some((name, arguments)) = words.split_first() else {
        bail!("no command given");
    };
    let Some(entry) = TABLE.iter().find(|entry| name == entry.name) else {
        bail!("no command `{}`; `cargo x --help` lists them", name.to_string_lossy());
    };
    if entry.name == "sim"
        && let Some((rest, revision)) = against::revision(arguments)
    {
        return against::run(workspace, &rest, &revision);
    }
    let mut command = workspace.command(entry.program, entry.arguments);
    Ok(exit_code(status(command.args(arguments))?))
}
