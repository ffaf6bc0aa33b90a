//! Programs, folders, and a client that keeps cookies.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest time that a test waits for a condition. Reached only when the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// The program with arguments, and without the variables of whoever runs the tests.
pub fn program<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replica-node"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REPLICA__") {
            command.env_remove(name);
        }
    }
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to its end and expects it to succeed.
pub fn done<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>) -> String {
    let output = program(args).output().unwrap();
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    text(&output.stdout)
}

/// Runs a command to its end and expects one line on the standard error and status 1.
pub fn refused(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.starts_with("error: "), "{errors}");
    for word in ["panicked", "backtrace"] {
        assert!(!errors.contains(word), "{errors}");
    }
    errors
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits until a look at something says yes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "still not: {what}");
        std::thread::park_timeout(LOOK);
    }
}

/// UDP ports that were free a moment ago, all different.
pub fn udp_ports(count: usize) -> Vec<u16> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

/// A TCP port that was free a moment ago.
pub fn tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Folders of a cluster, written by `cert`: `ca`, `n1`, `n2` ….
pub struct Cluster {
    pub folder: TempDir,
}

impl Cluster {
    pub fn new(nodes: usize) -> Self {
        Self::with(nodes, &[])
    }

    /// With members that the configuration fixes.
    pub fn fixed(nodes: usize) -> Self {
        Self::with(nodes, &["--fixed"])
    }

    fn with(nodes: usize, more: &[&str]) -> Self {
        let cluster = Self { folder: tempfile::tempdir().unwrap() };
        let ca = cluster.path("ca");
        done(["cert", "ca", "--cluster", "test", "--out", ca.to_str().unwrap()]);
        let ports = udp_ports(nodes);
        let members = ports.iter().enumerate().map(|(index, port)| {
            ["--member".to_owned(), format!("n{}=127.0.0.1:{port}", index + 1)]
        });
        let members: Vec<String> = members.flatten().collect();
        for number in 1..=nodes {
            let name = format!("n{number}");
            let out = cluster.path(&name);
            let mut args: Vec<&str> = vec!["cert", "node", &name, "--http", "127.0.0.1:0"];
            args.extend(["--ca", ca.to_str().unwrap(), "--out", out.to_str().unwrap()]);
            args.extend(members.iter().map(String::as_str));
            args.extend(more);
            done(args);
        }
        cluster
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self, node: &str) -> PathBuf {
        self.path(node).join("node.toml")
    }

    /// `run` of a node that drains without waiting for balancers.
    pub fn node(&self, node: &str) -> Command {
        let mut command = program(["run", "--config", self.config(node).to_str().unwrap()]);
        command.env("REPLICA__NODE__DRAIN_GRACE", "0s");
        command
    }
}

/// Changes a text in a file.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// A program that goes on until it is told to end, or the test is over.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let errors = read_lines(child.stderr.take().unwrap());
        Self { child, lines, errors }
    }

    /// A node, and its HTTP address, once it is ready.
    pub fn node(command: &mut Command) -> (Self, SocketAddr) {
        let node = Self::start(command);
        let line = node.line_with("ready ");
        (node, field(&line, "http").parse().unwrap())
    }

    /// The first line of the standard output, from now on, that contains a text.
    pub fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {part:?}: {:?}", self.error_lines()));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What it has written to its standard error since the last call.
    pub fn error_lines(&self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Takes its standard input, if it is a pipe.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn ended(&mut self) -> ExitStatus {
        wait_until("the end of the program", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait().map(drop));
    }
}

fn read_lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// The value of `name=value` in a line.
pub fn field(line: &str, name: &str) -> String {
    let fields = line.split(' ').filter_map(|field| field.split_once('='));
    let found = fields.clone().find(|(key, _)| *key == name);
    found.unwrap_or_else(|| panic!("{name} in {line}")).1.to_owned()
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// A browser without anything: it keeps cookies, and sends them to any node.
#[derive(Default)]
pub struct Client {
    cookies: BTreeMap<String, String>,
    pub headers: Vec<(&'static str, String)>,
}

impl Client {
    /// A client that sends these with every request.
    pub fn with(headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { cookies: BTreeMap::new(), headers }
    }

    pub fn get(&mut self, node: SocketAddr, path: &str) -> Answer {
        self.send(node, "GET", path, "")
    }

    pub fn post(&mut self, node: SocketAddr, path: &str, form: &str) -> Answer {
        self.send(node, "POST", path, form)
    }

    fn send(&mut self, node: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !self.headers.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {node}\r\n");
        }
        for (name, value) in &self.headers {
            request += &format!("{name}: {value}\r\n");
        }
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request += &format!("Cookie: {}\r\n", cookies.join("; "));
        }
        if method == "POST" {
            let length = body.len();
            request += &format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n"
            );
        }
        let answer = exchange(node, &format!("{request}\r\n{body}"));
        for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.take(cookie);
        }
        answer
    }

    fn take(&mut self, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').unwrap();
        if value.is_empty() || attributes.contains("Max-Age=0") {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Somebody else who holds the same cookies.
    pub fn clone_cookies(&self) -> Self {
        Self { cookies: self.cookies.clone(), headers: Vec::new() }
    }

    pub fn has_cookies(&self) -> bool {
        !self.cookies.is_empty()
    }
}

fn exchange(node: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(node).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Answer { status, headers: lines.map(header).collect(), body: body.to_owned() }
}
