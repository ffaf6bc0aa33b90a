//! The image of a node: two static programs from this source and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::engine::Engine;

/// As compose.yaml names it.
const IMAGE: &str = "replica-node:compose";

/// Packages and their programs. One at a time, so that no feature of the tests gets into the node.
const PROGRAMS: [(&str, &str); 2] = [("node", "replica-node"), ("cluster-tests", "balancer")];

/// For the linking of the program alone: all that it is linked from is what tests are made of, and
/// is compiled once.
const STATIC: [&str; 5] = ["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"];

/// The owner of what a node writes where its containers are started by root, which it is not.
const OWNER: u32 = 65532;

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of this package, with compose.yaml.
    pub package: PathBuf,
    /// What is made on the way.
    pub target: PathBuf,
}

impl Places {
    /// Of a program that `cargo run` has started.
    ///
    /// # Errors
    /// It was started otherwise.
    pub fn of_this() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set: start this program with `cargo x compose`")?;
        let program = std::env::current_exe().context("where this program is")?;
        let target = program.ancestors().nth(2).context("this program lies nowhere")?;
        Ok(Self { package: package.into(), target: target.to_owned() })
    }

    /// A folder for what is made here.
    pub(super) fn made(&self, name: &str) -> PathBuf {
        self.target.join("compose").join(name)
    }
}

/// The user of the nodes: whoever runs this, because the files with keys are for their owner alone;
/// for root it is another one.
#[must_use]
pub fn owner() -> u32 {
    let own = rustix::process::getuid();
    if own.is_root() { OWNER } else { own.as_raw() }
}

/// Compiles the programs and makes the image.
///
/// # Errors
/// Something does not compile, or the engine refuses.
pub fn build(engine: &Engine, places: &Places) -> Result<()> {
    let context = places.made("image");
    // Empty: all that counts is whose it is.
    std::fs::create_dir_all(context.join("data"))?;
    for (package, program) in PROGRAMS {
        let made = compile(places, package, program)?;
        std::fs::copy(&made, context.join(program))
            .with_context(|| format!("{} cannot be copied", made.display()))?;
    }
    let file = places.package.join("Dockerfile");
    let (file, context) = (text(&file)?, text(&context)?);
    let owner = format!("OWNER={}", owner());
    engine.docker(&["build", "-q", "-t", IMAGE, "--build-arg", &owner, "-f", file, context])?;
    engine.forget_old_images()
}

fn compile(places: &Places, package: &str, program: &str) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["rustc", "-q", "-p", package, "--bin", program]).args(STATIC);
    command.current_dir(&places.package).env("CARGO_TARGET_DIR", &places.target);
    let status = command.status().context("cargo cannot be started")?;
    ensure!(status.success(), "{program} cannot be made as a static program");
    Ok(places.target.join("debug").join(program))
}

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is a strange name", path.display()))
}
