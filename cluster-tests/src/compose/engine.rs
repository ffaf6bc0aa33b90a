//! The container engine and Compose, by their command lines. Every command has an end.

use std::fmt;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::wait::wait_for_within;

/// On everything that was made here, for whoever clears it away.
const LABEL: &str = "replica.compose=yes";

/// Longest wait for a command. Only a stop takes long, for as long as a node may drain.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Between two looks whether anything has been made meanwhile.
const SETTLING: Duration = Duration::from_millis(500);

/// Set when this process is told to end: commands that run are given up, and none begins but those
/// that clear away.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// What is missing, and where it comes from.
#[derive(Debug)]
pub enum Missing {
    /// The engine's command is not there.
    Docker,
    /// It is, and the engine does not answer it.
    Engine(String),
    /// Neither of the two commands of Compose is there.
    Compose,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker => f.write_str(
                "there is no container engine here: `docker` is not found; on Debian: \
                 apt-get install docker.io docker-compose",
            ),
            Self::Engine(why) => write!(
                f,
                "the container engine does not answer: {why}; start it (systemctl start docker), \
                 or become a member of its group (usermod -aG docker USER)"
            ),
            Self::Compose => f.write_str(
                "there is no Compose here: neither `docker-compose` nor `docker compose`; on \
                 Debian: apt-get install docker-compose",
            ),
        }
    }
}

impl std::error::Error for Missing {}

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The words that call Compose.
    compose: &'static [&'static str],
    versions: String,
}

/// The first is what has been run.
const COMPOSES: [&[&str]; 2] = [&["docker-compose"], &["docker", "compose"]];

impl Engine {
    /// Looks for an engine and for Compose.
    ///
    /// # Errors
    /// Something is missing.
    pub fn find() -> Result<Self, Missing> {
        if run(["docker", "--version"], &[]).is_err() {
            return Err(Missing::Docker);
        }
        let server = run(["docker", "version", "--format", "{{.Server.Version}}"], &[])
            .map_err(|error| Missing::Engine(format!("{error:#}").replace('\n', " ")))?;
        let found = COMPOSES.into_iter().find_map(|compose| {
            let version = run(compose.iter().copied().chain(["version", "--short"]), &[]);
            Some((compose, version.ok()?))
        });
        let (compose, version) = found.ok_or(Missing::Compose)?;
        let versions = format!("engine {}, Compose {}", server.trim(), version.trim());
        Ok(Self { compose, versions })
    }

    /// Which versions answer.
    #[must_use]
    pub fn versions(&self) -> &str {
        &self.versions
    }

    /// Runs a command of the engine and returns what it says.
    pub(super) fn docker(&self, words: &[&str]) -> Result<String> {
        run(["docker"].into_iter().chain(words.iter().copied()), &[])
    }

    /// The same for a command that says all it has to say, however it ends, on either output.
    pub(super) fn said_by(&self, words: &[&str]) -> String {
        let words: Vec<&str> = ["docker"].into_iter().chain(words.iter().copied()).collect();
        let ended = finish(&words, &[]);
        ended.map_or_else(|error| format!("{error:#}"), |ended| ended.out + &ended.err)
    }

    /// The same with Compose, and with variables for its file.
    pub(super) fn compose(&self, words: &[&str], variables: &[(&str, String)]) -> Result<String> {
        run(self.compose.iter().chain(words).copied(), variables)
    }

    /// Whether limits of memory and of processor time hold here.
    pub(super) fn has_limits(&self) -> Result<bool> {
        let said = self.docker(&["info", "--format", "{{.MemoryLimit}} {{.CPUCfsQuota}}"])?;
        Ok(said.trim() == "true true")
    }

    /// Removes all containers, networks and volumes that were made here, of whatever run, and
    /// returns how many.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn clear(&self) -> Result<usize> {
        self.clear_named("")
    }

    /// Gives up whatever this process has the engine do, and clears away all whose name contains
    /// that: for when it is told to end. What the engine was about to make is waited for.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn give_up(&self, name: &str) -> Result<usize> {
        IS_OVER.store(true, Ordering::Relaxed);
        let (mut removed, mut quiet) = (0, 0);
        while quiet < 2 {
            std::thread::park_timeout(SETTLING);
            // Somebody else may be removing the same: then it is looked again.
            let now = self.clear_named(name).unwrap_or(1);
            removed += now;
            quiet = if now == 0 { quiet + 1 } else { 0 };
        }
        Ok(removed)
    }

    /// True once [`give_up`](Self::give_up) was called.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        IS_OVER.load(Ordering::Relaxed)
    }

    fn clear_named(&self, name: &str) -> Result<usize> {
        let (label, name) = (format!("label={LABEL}"), format!("name={name}"));
        let kinds: [(&[&str], &[&str]); 3] = [
            (&["ps", "-aq"], &["rm", "-f", "-v"]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ];
        let mut removed = 0;
        for (list, remove) in kinds {
            let list = [&["docker"], list, &["--filter", &label, "--filter", &name]].concat();
            let found = done(finish_always(&list, &[], || false)?, &list)?;
            let found: Vec<&str> = found.split_whitespace().collect();
            if !found.is_empty() {
                let remove = [&["docker"], remove, &found].concat();
                done(finish_always(&remove, &[], || false)?, &remove)?;
            }
            removed += found.len();
        }
        Ok(removed)
    }

    /// Removes earlier builds of the image, which have no name any more.
    pub(super) fn forget_old_images(&self) -> Result<()> {
        self.docker(&["image", "prune", "-f", "--filter", &format!("label={LABEL}")]).map(drop)
    }
}

/// Runs a command to its end and returns its standard output.
fn run<'a>(
    words: impl IntoIterator<Item = &'a str>,
    variables: &[(&str, String)],
) -> Result<String> {
    let words: Vec<&str> = words.into_iter().collect();
    done(finish(&words, variables)?, &words)
}

fn done(ended: Ended, words: &[&str]) -> Result<String> {
    let Ended { status, out, err } = ended;
    ensure!(status.success(), "`{}` ended with {status}: {}", words.join(" "), err.trim());
    Ok(out)
}

/// What came of a command.
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

fn finish(words: &[&str], variables: &[(&str, String)]) -> Result<Ended> {
    let is_over = || IS_OVER.load(Ordering::Relaxed);
    ensure!(!is_over(), "this program was told to end");
    finish_always(words, variables, is_over)
}

fn finish_always(
    words: &[&str],
    variables: &[(&str, String)],
    is_over: impl Fn() -> bool,
) -> Result<Ended> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("`{program}` cannot be started"))?;
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let what = format!("the end of `{}`", words.join(" "));
    let ended = wait_for_within(&what, PATIENCE, LOOK, || {
        if is_over() {
            // It may end in this moment.
            let _ = child.kill();
        }
        child.try_wait().transpose()
    });
    if ended.is_err() {
        // It may end in this moment.
        let _ = child.kill();
    }
    let status = ended??;
    let [out, err] = [out, err].map(|text| text.join().unwrap_or_default());
    Ok(Ended { status, out, err })
}

fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is better than nothing.
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
