//! One process: its lines, its signals, its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{PATIENCE, wait_for_within, wait_until};

/// Lines of the standard error that are kept: the last ones.
const ERROR_LINES_MAX: usize = 200;

/// A folder in which each process writes its whole standard error into a file of its own, named by
/// its number: what a run of half an hour came to is rarely explained by the last lines.
const LOGS: &str = "CLUSTER_TESTS_LOGS";

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A tick of the times in `/proc`, in milliseconds: Linux counts there in hundredths of a second,
/// however its own clock is set.
const MS_PER_TICK: u64 = 10;

/// A process that goes on until it ends or this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Mutex<Receiver<String>>,
    errors: Arc<Mutex<VecDeque<String>>>,
    panics: Arc<AtomicU64>,
    /// While it is open the process lives, if it was started with `--end-with-stdin`.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("a process cannot be started")?;
        let errors = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            each_line(out, move |line| drop(sender.send(line)));
        }
        let panics = Arc::new(AtomicU64::new(0));
        if let Some(err) = child.stderr.take() {
            let (errors, panics) = (Arc::clone(&errors), Arc::clone(&panics));
            let mut whole = log_file(child.id())?;
            each_line(err, move |line| {
                if let Some(file) = &mut whole {
                    // The test does not fail for its log.
                    let _ = writeln!(file, "{line}");
                }
                // As the standard hook begins its message.
                panics.fetch_add(u64::from(line.contains("panicked at")), Ordering::Relaxed);
                keep(&errors, line);
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { child, lines: Mutex::new(lines), errors, panics, _stdin: stdin })
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of the standard output that contains a text.
    ///
    /// # Errors
    /// There is none in time; with what it wrote to its standard error.
    pub fn line_with(&self, part: &str) -> Result<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let line = lines.recv_timeout(PATIENCE);
            let line = line.map_err(|_| anyhow!("no line {part:?}:\n{}", self.errors()))?;
            if line.contains(part) {
                return Ok(line);
            }
        }
    }

    /// The last lines of its standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        let lines = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// How often a part of it has panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("the process has ended")
    }

    /// Makes it stand still, and waits until all of its threads do: the signal alone may leave one
    /// of them running for a moment, long enough to answer a peer.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let threads = PathBuf::from(format!("/proc/{}/task", self.id()));
        wait_until("the process stands still", || {
            let threads = std::fs::read_dir(&threads).into_iter().flatten().flatten();
            threads.map(|thread| thread.path().join("stat")).all(|stat| stands_still(&stat))
        })
    }

    /// Kills it, as if its machine had failed, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It does not in time; with what it wrote to its standard error.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        self.ended_within(PATIENCE)
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// It does not in time; with what it wrote to its standard error.
    pub fn ended_within(&mut self, patience: Duration) -> Result<ExitStatus> {
        let look = || self.child.try_wait().transpose();
        let ended = wait_for_within("the end of a process", patience, LOOK, look);
        Ok(ended.with_context(|| self.errors())??)
    }

    /// From now on it can write to files up to so many bytes from their beginning, or as far as it
    /// likes. The system sends a signal with each refusal, which ends a process that does not
    /// ignore it.
    ///
    /// # Errors
    /// It has ended, or the system is not Linux.
    #[cfg(target_os = "linux")]
    pub fn limit_files(&self, bytes_max: Option<u64>) -> Result<()> {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: bytes_max.or(maximum), maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit)?;
        Ok(())
    }

    /// Not on this system.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn limit_files(&self, _: Option<u64>) -> Result<()> {
        anyhow::bail!("files of another process can be limited on Linux alone")
    }

    /// Processor time that all of its threads have had so far, of the kernel on its behalf as well.
    ///
    /// # Errors
    /// It has ended, or the system is not Linux.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let ticks = processor_ticks(&stat).context("no times in the stat of the process")?;
        Ok(Duration::from_millis(ticks * MS_PER_TICK))
    }

    /// Memory of it that is in RAM, in bytes.
    ///
    /// # Errors
    /// It has ended, or the system is not Linux.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no VmRSS in the status of the process")?.trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

fn log_file(id: u32) -> Result<Option<File>> {
    let Some(folder) = std::env::var_os(LOGS).map(PathBuf::from) else { return Ok(None) };
    let file = File::create(folder.join(format!("{id}.log")));
    file.map(Some)
        .with_context(|| format!("{LOGS}: nothing can be written to {}", folder.display()))
}

fn keep(errors: &Mutex<VecDeque<String>>, line: String) {
    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
    if errors.len() == ERROR_LINES_MAX {
        errors.pop_front();
    }
    errors.push_back(line);
}

fn each_line(stream: impl Read + Send + 'static, mut take: impl FnMut(String) + Send + 'static) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            take(line);
        }
    });
}

/// Both times of a `stat`, in ticks. They are fields 14 and 15, counted with the number and the name
/// (proc(5)).
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

/// True if the thread of that `stat` is stopped, or gone. Its state follows its name, which stands in
/// parentheses and may contain some itself (proc(5)).
fn stands_still(stat: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(stat) else { return true };
    text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_whatever_name_a_process_has() {
        let stat = "7 (a) b c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 9000 1 2";
        assert_eq!(processor_ticks(stat), Some(300));
        assert_eq!(processor_ticks("7 (a) S 1 7"), None);
    }
}
