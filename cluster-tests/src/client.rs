//! A client of the contract: HTTP/1.1 with connections that stay open, and cookies.
//!
//! Bounded in time and size, and careful with one question: whether a request that got no answer
//! may have been served.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};

/// Longest wait for bytes of an answer. A node answers 503 long before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait for a connection on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes: a picture of a page fits.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Connections that a client keeps: more nodes than any cluster here has.
const CONNECTIONS_MAX: usize = 64;

/// What a browser keeps of a site, as the contract says: every cookie is sent back, replaced by
/// name, and dropped when it is emptied or expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar(BTreeMap<String, String>);

impl Jar {
    /// Takes the value of a `Set-Cookie`.
    pub fn take(&mut self, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let Some((name, value)) = pair.split_once('=') else { return };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        if value.is_empty() || attributes.split(';').any(is_expired) {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// True if there is no cookie.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of all cookies.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// Drops all cookies.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Changes the values of cookies as somebody might who tries them out: `change` gets name and
    /// value, and returns the new value.
    pub fn forge(&mut self, change: impl Fn(&str, &str) -> String) {
        for (name, value) in &mut self.0 {
            *value = change(name, value);
        }
    }

    fn header(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("Cookie: {}\r\n", pairs.join("; "))
    }
}

fn is_expired(attribute: &str) -> bool {
    let Some((name, value)) = attribute.trim().split_once('=') else { return false };
    // Our nodes say it with Max-Age only; a date of the past would have to be parsed.
    name.eq_ignore_ascii_case("max-age") && value.trim().parse().is_ok_and(|age: i64| age <= 0)
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of the first header of this name, written in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The values of all `Set-Cookie`.
    pub fn cookies(&self) -> impl Iterator<Item = &str> {
        let cookies = self.headers.iter().filter(|(name, _)| name == "set-cookie");
        cookies.map(|(_, value)| value.as_str())
    }

    /// How many copies acknowledged a write, and how many were asked.
    #[must_use]
    pub fn ack(&self) -> Option<(u32, u32)> {
        let (got, asked) = self.header("replica-ack")?.split_once('/')?;
        Some((got.parse().ok()?, asked.parse().ok()?))
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody has seen the request: it can be sent elsewhere.
    Unsent(String),
    /// It was sent, and may have been served or not.
    Unknown(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(why) => write!(f, "not sent: {why}"),
            Self::Unknown(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// One visitor: a jar of cookies, and a connection to each node.
#[derive(Debug)]
pub struct Client {
    /// The cookies, of all nodes together.
    pub jar: Jar,
    headers: String,
    patience: Duration,
    connections: BTreeMap<SocketAddr, TcpStream>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            jar: Jar::default(),
            headers: String::new(),
            patience: ANSWER_TIMEOUT,
            connections: BTreeMap::new(),
        }
    }
}

impl Client {
    /// A visitor nobody has seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody with these cookies.
    #[must_use]
    pub fn with_jar(jar: Jar) -> Self {
        Self { jar, ..Self::default() }
    }

    /// Sends these headers with every request as well. `Host` is sent by itself otherwise.
    #[must_use]
    pub fn with_headers(mut self, headers: &[(&str, &str)]) -> Self {
        self.headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self
    }

    /// Waits so long for bytes of an answer, and no longer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A GET.
    ///
    /// # Errors
    /// There is no answer; the failure says whether the request may have been served.
    pub fn get(&mut self, node: SocketAddr, path: &str) -> Result<Answer, Failure> {
        self.send(node, "GET", path, None)
    }

    /// A POST of a form.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post(&mut self, node: SocketAddr, path: &str, form: &str) -> Result<Answer, Failure> {
        self.send(node, "POST", path, Some(form))
    }

    /// Any request. Cookies of the answer go into the jar.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn send(
        &mut self,
        node: SocketAddr,
        method: &str,
        path: &str,
        form: Option<&str>,
    ) -> Result<Answer, Failure> {
        let request = self.request(node, method, path, form);
        let mut stream = self.connection(node)?;
        let unknown = |error: std::io::Error| Failure::Unknown(error.to_string());
        stream.write_all(request.as_bytes()).map_err(unknown)?;
        let answer = receive(&mut stream).map_err(|error| Failure::Unknown(error.to_string()))?;
        for cookie in answer.cookies() {
            self.jar.take(cookie);
        }
        if !answer.closes() && self.connections.len() < CONNECTIONS_MAX {
            self.connections.insert(node, stream);
        }
        Ok(answer)
    }

    /// The bytes of a request, for those who send it piece by piece.
    #[must_use]
    pub fn request(
        &self,
        node: SocketAddr,
        method: &str,
        path: &str,
        form: Option<&str>,
    ) -> String {
        let mut request = format!("{method} {path} HTTP/1.1\r\n{}", self.headers);
        if !self.headers.contains("Host: ") {
            request += &format!("Host: {node}\r\n");
        }
        request += &self.jar.header();
        if let Some(form) = form {
            let length = form.len();
            request += &format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n"
            );
        }
        request + "\r\n" + form.unwrap_or_default()
    }

    /// The connection that was used last if it still stands, else a new one.
    fn connection(&mut self, node: SocketAddr) -> Result<TcpStream, Failure> {
        if let Some(stream) = self.connections.remove(&node)
            && is_open(&stream)
        {
            return Ok(stream);
        }
        let stream = connect(node).and_then(|stream| {
            stream.set_read_timeout(Some(self.patience))?;
            Ok(stream)
        });
        stream.map_err(|error| Failure::Unsent(error.to_string()))
    }
}

/// A new connection with the bounds of this client.
///
/// # Errors
/// What the system says.
pub fn connect(node: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&node, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

/// Whether the other side has neither closed an idle connection nor said anything on it.
fn is_open(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0; 1]));
    let is_quiet = looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    is_quiet && stream.set_nonblocking(false).is_ok()
}

/// Reads one answer. It has to say how long it is.
///
/// # Errors
/// The connection breaks, or the answer is malformed or too long.
pub fn receive(stream: &mut TcpStream) -> Result<Answer> {
    let mut bytes = Vec::with_capacity(1024);
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, &mut bytes)?;
    };
    let (status, headers) = parse_head(std::str::from_utf8(&bytes[..head_len])?)?;
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = match (length, status) {
        (Some((_, length)), _) => length.parse()?,
        (None, 100..=199 | 204 | 304) => 0,
        (None, _) => bail!("an answer without its length: {headers:?}"),
    };
    while bytes.len() < head_len + length {
        read_more(stream, &mut bytes)?;
    }
    let body = String::from_utf8_lossy(&bytes[head_len..head_len + length]).into_owned();
    Ok(Answer { status, headers, body })
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    let mut chunk = [0; 4096];
    if bytes.len() > ANSWER_BYTES_MAX {
        bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
    }
    match stream.read(&mut chunk)? {
        0 => bail!("the connection was closed"),
        count => bytes.extend_from_slice(&chunk[..count]),
    }
    Ok(())
}

type Head = (u16, Vec<(String, String)>);

fn parse_head(head: &str) -> Result<Head> {
    let mut lines = head.trim_end().split("\r\n");
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().parse()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok((status, lines.filter_map(header).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_replaced_by_name_and_dropped_when_emptied_or_expired() {
        let mut jar = Jar::default();
        jar.take("a=1; Path=/; HttpOnly");
        jar.take("b=2");
        assert_eq!(jar.header(), "Cookie: a=1; b=2\r\n");
        jar.take("a=3; Max-Age=100");
        assert_eq!(jar.header(), "Cookie: a=3; b=2\r\n");
        jar.take("a=; Path=/");
        jar.take("b=2; Max-Age=0");
        assert!(jar.is_empty());
        assert_eq!(jar.header(), "");
    }

    #[test]
    fn a_head_is_read_whatever_the_case_of_its_names() {
        let head = "HTTP/1.1 503 Service Unavailable\r\nReplica-Ack: 0/1\r\nA:b\r\n\r\n";
        let (status, headers) = parse_head(head).unwrap();
        let answer = Answer { status, headers, body: String::new() };
        assert_eq!(
            (answer.status, answer.ack(), answer.header("a")),
            (503, Some((0, 1)), Some("b"))
        );
        parse_head("nonsense").unwrap_err();
    }

    #[test]
    fn who_does_not_listen_has_not_seen_the_request() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(matches!(Client::new().get(address, "/"), Err(Failure::Unsent(_))));
    }
}
