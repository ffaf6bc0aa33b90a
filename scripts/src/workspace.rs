//! Where the workspace lies, and how a command is started in it. Knows no command by name.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};

/// The folder that holds the root `Cargo.toml`.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Found through the variable that `cargo run` sets, so that a moved or copied tree is checked
    /// where it is and not where it was built.
    pub(crate) fn locate() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set: start this program with `cargo x`")?;
        let root = Path::new(&manifest)
            .parent()
            .context("the scripts package lies at the top of the file system")?;
        Ok(Self { root: root.to_owned() })
    }

    /// The root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A command that will run in the root folder.
    ///
    /// Programs are taken from the search path: `cargo` as the toolchain manager installs it
    /// understands `+nightly`, the one that cargo itself names in its variables does not.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Whether `program arguments` can be started and ends with status 0; its output is dropped.
    pub(crate) fn answers(&self, program: &str, arguments: &[&str]) -> bool {
        let output = self.command(program, arguments).output();
        output.is_ok_and(|output| output.status.success())
    }
}

/// Runs a command to its end, with its output shown.
///
/// # Errors
/// The program could not be started.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.status().with_context(|| format!("cannot start {program}"))
}

/// The same status for our own process; a child ended by a signal counts as failed.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Whether this is a run of continuous integration, where a missing tool is a failure.
pub(crate) fn is_strict() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}
