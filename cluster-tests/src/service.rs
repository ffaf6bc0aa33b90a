//! The program that runs as a node: built together with whoever starts it, never an older one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Set for a program of this package that is to be a node instead.
const AS_NODE: &str = "CLUSTER_TESTS_AS_NODE";

/// Beginning of the variables that a configuration takes. Those of whoever runs the tests are
/// kept from the nodes.
const VARIABLES: &str = "REPLICA__";

/// A program that does what `replica-node` does.
#[derive(Debug, Clone)]
pub struct Service {
    program: PathBuf,
    is_this: bool,
    /// Whether writes that a limit refuses fail, and do not end the process.
    bears_limits: bool,
}

/// Ignores the signal that comes with a refused write, and becomes the program.
const BEARING: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

impl Service {
    /// The program at this path: for tests, which know where theirs was built.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), is_this: false, bears_limits: false }
    }

    /// The running program itself, whose `main` begins with [`main_of_node`].
    ///
    /// # Errors
    /// The system does not say which file it is.
    pub fn this() -> Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        Ok(Self { program, is_this: true, bears_limits: false })
    }

    /// The same release as the trial of a next one, which speaks a later version of the wire as
    /// well. It is built beside the running program if it is not there yet.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn next() -> Result<Self> {
        Self::built("replica-node-next", &["--features", "next"])
    }

    /// The same with the allocator of the system, so that libfaketime can be put before it.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn plain() -> Result<Self> {
        Self::built("replica-node-plain", &["--no-default-features", "--features", "plain"])
    }

    /// The same, for processes whose files will be limited
    /// ([`Process::limit_files`](crate::process::Process::limit_files)).
    #[must_use]
    pub fn that_bears_limits(&self) -> Self {
        Self { bears_limits: true, ..self.clone() }
    }

    fn built(program: &str, features: &[&str]) -> Result<Self> {
        let this = std::env::current_exe().context("where this program is")?;
        let folder = this.parent().context("it lies in a folder")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "node", "--bin", program]).args(features);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().context("cargo cannot be started")?;
        ensure!(status.success(), "{program} cannot be built: {status}");
        Ok(Self::at(folder.join(program)))
    }

    /// The program with arguments, with no input and none of the variables of who runs it.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = if self.bears_limits {
            let mut shell = Command::new("sh");
            shell.args(["-c", BEARING]).arg(&self.program);
            shell
        } else {
            Command::new(&self.program)
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(VARIABLES) {
                command.env_remove(name);
            }
        }
        command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
        if self.is_this {
            command.env(AS_NODE, "1");
        }
        command
    }

    /// Runs a command to its end and returns what it says.
    ///
    /// # Errors
    /// It cannot be started, or ends with another status than 0; with what it wrote.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        let output = self.command(args).output().context("the service cannot be started")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the service ended with {}: {errors}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Does the work of a node and returns its status, if this process was started as one.
#[must_use]
pub fn main_of_node() -> Option<ExitCode> {
    std::env::var_os(AS_NODE).map(|_| node::main())
}

/// All of `main` of a program that may be started as a node: does the work of one, or its own, of
/// which an error is printed.
#[must_use]
pub fn main_or_node(run: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    if let Some(status) = main_of_node() {
        return status;
    }
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
