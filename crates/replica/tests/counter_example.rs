//! The example of the crate's first page, run as its reader would: configured, started, visited,
//! stopped.

#![cfg(all(unix, feature = "axum"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use replica::config::generate_token_key;
use tempfile::TempDir;
use transport::issue::{Ca, Validity};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_example_counts_visits_and_signs_in() {
    let program = build();
    let folder = TempDir::new().unwrap();
    configure(folder.path());
    let address = free_address();
    let mut running = Running(
        Command::new(program)
            .arg(folder.path().join("node.toml"))
            .arg(&address)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap(),
    );
    running.until_healthy(&address);
    let (first, cookies) = ask(&address, "GET / HTTP/1.1", "", "").unwrap();
    assert!(first.ends_with("visit 1, theme "), "{first}");
    let (second, _) = ask(&address, "GET / HTTP/1.1", &cookies, "").unwrap();
    assert!(second.ends_with("visit 2, theme "), "{second}");
    let (login, signed_in) = ask(&address, "POST /login HTTP/1.1", &cookies, "ada").unwrap();
    assert!(login.starts_with("HTTP/1.1 200"), "{login}");
    assert_ne!(cookies, signed_in, "a fresh id");
    let (third, _) = ask(&address, "GET / HTTP/1.1", &signed_in, "").unwrap();
    assert!(third.ends_with("visit 3, theme "), "{third}");
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success(), "stopped in good order");
}

/// Without a configuration there is one clear line.
#[test]
fn the_example_says_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nowhere.toml");
    let output = Command::new(build()).arg(&path).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

/// The program, never an older build of it.
fn build() -> PathBuf {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--package", "replica", "--example", "counter"])
        .status();
    assert!(build.unwrap().success());
    let tests = std::env::current_exe().unwrap();
    // target/PROFILE/deps/THIS
    let target = tests.ancestors().nth(3).unwrap();
    target.join("debug/examples/counter")
}

fn configure(folder: &Path) {
    let ca = Ca::create(&"shop".parse().unwrap(), Validity::days(2)).unwrap();
    let node = ca.node(&"n1".parse().unwrap(), Validity::days(1)).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "node = {{ listen = \"127.0.0.1:{port}\", drain_grace = \"10ms\" }}\n\
         cluster = {{ name = \"shop\", members = {{ n1 = \"127.0.0.1:{port}\" }} }}\n\
         replication = {{ ack = \"local\" }}\n"
    );
    fs::write(folder.join("ca.pem"), &ca.files().cert_pem).unwrap();
    fs::write(folder.join("node.pem"), &node.cert_pem).unwrap();
    for (name, secret) in [("node.key", node.key_pem), ("token.keys", generate_token_key())] {
        fs::write(folder.join(name), secret).unwrap();
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(folder.join("node.toml"), config).unwrap();
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The program; it ends with the test.
struct Running(Child);

impl Running {
    fn until_healthy(&mut self, address: &str) {
        let deadline = Instant::now() + PATIENCE;
        let is_healthy = || {
            let answer = ask(address, "GET /health HTTP/1.1", "", "");
            answer.is_ok_and(|(text, _)| text.starts_with("HTTP/1.1 200"))
        };
        while !is_healthy() {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended");
            assert!(Instant::now() < deadline, "not healthy in {PATIENCE:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request; the whole answer, and the cookies that it sets as a request sends them back.
fn ask(address: &str, line: &str, cookies: &str, body: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{line}\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookies}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let set = answer.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let pairs: Vec<&str> = set.filter_map(|cookie| cookie.split(';').next()).collect();
    let pairs = pairs.join("; ");
    Ok((answer, pairs))
}
