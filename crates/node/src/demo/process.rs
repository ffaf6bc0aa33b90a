//! One node of the demonstration: its process, across restarts, and what can be done to it.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::journal::Journal;
use super::setup::{NodeSetup, VARIABLES};
use crate::say;

/// Longest line of a node that is kept, in characters.
const LINE_CHARS_MAX: usize = 300;

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// It has not said yet that it is ready.
    Starting,
    /// It has said that it is ready.
    Up,
    /// It was stopped and can go on.
    Paused,
    /// It was asked to end.
    Ending,
    /// There is no process.
    Dead,
}

/// What a person can do to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Kill,
    Pause,
    Resume,
    Restart,
}

impl Action {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "kill" => Some(Self::Kill),
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "restart" => Some(Self::Restart),
            _ => None,
        }
    }
}

/// A node and its process.
pub(super) struct Process {
    setup: NodeSetup,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// `None` when there is no process.
    pid: Option<Pid>,
    http: Option<SocketAddr>,
    /// While it is open the process lives.
    stdin: Option<ChildStdin>,
    /// The process is started again when it has ended.
    start_again: bool,
    started: Instant,
    /// The last line that it wrote to its standard error.
    last_line: String,
}

/// What is shown of a process.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProcessView {
    pub(super) phase: Phase,
    pub(super) pid: Option<i32>,
    #[serde(skip)]
    pub(super) http: Option<SocketAddr>,
}

impl Process {
    pub(super) fn new(setup: NodeSetup, journal: Arc<Journal>) -> Arc<Self> {
        let state = State {
            phase: Phase::Dead,
            pid: None,
            http: None,
            stdin: None,
            start_again: false,
            started: Instant::now(),
            last_line: String::new(),
        };
        Arc::new(Self { setup, journal, state: Mutex::new(state) })
    }

    pub(super) fn name(&self) -> &str {
        self.setup.name.as_str()
    }

    pub(super) fn view(&self) -> ProcessView {
        let state = self.state.lock();
        let pid = state.pid.map(|pid| pid.as_raw_nonzero().get());
        ProcessView { phase: state.phase, pid, http: state.http }
    }

    /// Starts the process if there is none; a task follows it to its end.
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        if state.pid.is_some() {
            return Ok(());
        }
        let mut child = self.command()?.spawn()?;
        state.pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        state.phase = Phase::Starting;
        state.stdin = child.stdin.take();
        state.started = Instant::now();
        state.start_again = false;
        state.last_line.clear();
        drop(state);
        tokio::spawn(Arc::clone(self).follow(child));
        Ok(())
    }

    fn command(&self) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--config").arg(&self.setup.config).arg("--end-with-stdin");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(VARIABLES) {
                command.env_remove(name);
            }
        }
        command.envs(&self.setup.variables).env("RUST_LOG", "warn");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C in the terminal is for the demonstration, which ends its
        // nodes in order. If the demonstration itself is killed, the nodes see their standard
        // input end, and a paused one is woken by the system because its group is orphaned.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    /// Does what a person asked for; the answer says what was done, or why not.
    pub(super) fn act(self: &Arc<Self>, action: Action) -> Result<&'static str, &'static str> {
        let mut state = self.state.lock();
        let Some(pid) = state.pid else {
            drop(state);
            return match action {
                Action::Restart => {
                    self.journal.add(self.name(), "started again");
                    self.start().map(|()| "started again").map_err(|_| "it cannot be started")
                }
                Action::Kill | Action::Pause | Action::Resume => Err("there is no process"),
            };
        };
        let (signals, said): (&[Signal], _) = match (action, state.phase) {
            (Action::Kill, _) => (&[Signal::KILL], "killed (SIGKILL)"),
            (Action::Pause, Phase::Up) => (&[Signal::STOP], "paused (SIGSTOP)"),
            (Action::Pause, _) => return Err("it is not up"),
            (Action::Resume, Phase::Paused) => (&[Signal::CONT], "resumed (SIGCONT)"),
            (Action::Resume, _) => return Err("it is not paused"),
            (Action::Restart, Phase::Ending) => return Err("it is ending"),
            (Action::Restart, _) => {
                state.start_again = true;
                (&[Signal::CONT, Signal::TERM], "asked to end (SIGTERM), to start again")
            }
        };
        // Before its consequences.
        self.journal.add(self.name(), said);
        for signal in signals {
            kill_process(pid, *signal).map_err(|_| "there is no process any more")?;
        }
        state.phase = match action {
            Action::Kill | Action::Restart => Phase::Ending,
            Action::Pause => Phase::Paused,
            Action::Resume => Phase::Up,
        };
        Ok(said)
    }

    /// Asks the process to end for good.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.start_again = false;
        if let Some(pid) = state.pid {
            state.phase = Phase::Ending;
            // It may have ended by itself; then there is nothing to do.
            let _ = kill_process(pid, Signal::CONT).and_then(|()| kill_process(pid, Signal::TERM));
        }
    }

    async fn follow(self: Arc<Self>, mut child: Child) {
        let lines = (child.stdout.take(), child.stderr.take());
        let (status, (), ()) = tokio::join!(
            child.wait(),
            self.read(lines.0, Self::handle_line),
            self.read(lines.1, Self::handle_log_line)
        );
        let start_again = self.handle_end(status.ok());
        if start_again && let Err(error) = self.start() {
            self.journal.add(self.name(), format!("cannot be started again: {error}"));
        }
    }

    async fn read(&self, stream: Option<impl AsyncRead + Unpin>, handle: fn(&Self, &str)) {
        let Some(stream) = stream else { return };
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            handle(self, &line);
        }
    }

    /// The line `ready http=… quic=… name=…`.
    fn handle_line(&self, line: &str) {
        let Some(fields) = line.strip_prefix("ready ") else { return };
        let http = fields.split(' ').find_map(|field| field.strip_prefix("http="));
        let Some(http) = http.and_then(|http| http.parse().ok()) else { return };
        let mut state = self.state.lock();
        if state.phase == Phase::Starting {
            state.phase = Phase::Up;
        }
        state.http = Some(http);
        let took = state.started.elapsed().as_millis();
        drop(state);
        self.journal.add(self.name(), format!("ready, {took} ms after its start"));
    }

    fn handle_log_line(&self, line: &str) {
        self.state.lock().last_line = line.chars().take(LINE_CHARS_MAX).collect();
    }

    /// Returns whether it is to be started again.
    fn handle_end(&self, status: Option<ExitStatus>) -> bool {
        let mut state = self.state.lock();
        let was_asked = state.phase == Phase::Ending;
        state.phase = Phase::Dead;
        state.pid = None;
        state.http = None;
        state.stdin = None;
        let start_again = std::mem::take(&mut state.start_again);
        let last_line = state.last_line.clone();
        drop(state);
        let how = status.map_or_else(|| "ended".to_owned(), |status| format!("ended: {status}"));
        let why = if was_asked || last_line.is_empty() {
            String::new()
        } else {
            format!("; {last_line}")
        };
        let text = how + &why;
        if !was_asked {
            say(&format!("{} {text}", self.name()));
        }
        self.journal.add(self.name(), text);
        start_again
    }
}
