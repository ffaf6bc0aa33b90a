//! A cluster on loopback with certificates of its own.

// Each test file uses a part of this; what fails here fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod operator;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::timeout;
use transport::issue::{Ca, CertAndKey, Readers, Validity, write_new};
use transport::{
    ClusterName, Counters, Endpoint, EndpointConfig, Event, Events, Identity, Lane, Limits,
    NodeName, PeerAddress, TlsPaths,
};

/// Longest time that a test waits for a condition. Reached only when the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An address on which the system chooses a port.
pub const LOOPBACK: &str = "127.0.0.1:0";

pub fn node_name(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// An authority and the files of the nodes that it has named.
pub struct Cluster {
    pub dir: TempDir,
    pub ca: Ca,
}

impl Cluster {
    pub fn new(name: &str) -> Self {
        let name: ClusterName = name.parse().unwrap();
        let ca = Ca::create(&name, Validity::days(10)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write_new(&dir.path().join("ca.pem"), ca.files().cert_pem.as_bytes(), Readers::Public)
            .unwrap();
        Self { dir, ca }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Issues a certificate for a node and writes it.
    pub fn paths(&self, name: &str) -> TlsPaths {
        let issued = self.ca.node(&node_name(name), Validity::days(5)).unwrap();
        self.write(name, &issued)
    }

    pub fn write(&self, name: &str, files: &CertAndKey) -> TlsPaths {
        let paths = TlsPaths {
            ca: self.path("ca.pem"),
            cert: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        replace(&paths.cert, &files.cert_pem);
        replace(&paths.key, &files.key_pem);
        paths
    }

    pub fn identity(&self, name: &str) -> Identity {
        Identity::load(&self.paths(name), self.ca.cluster()).unwrap()
    }

    /// A node that knows no peers yet.
    pub fn config(&self, name: &str) -> EndpointConfig {
        EndpointConfig {
            listen: LOOPBACK.parse().unwrap(),
            identity: self.identity(name),
            hello: Bytes::from(format!("hello of {name}")),
            peers: Vec::new(),
            strangers_max: 0,
            limits: limits(),
            reload_interval: Duration::from_millis(20),
        }
    }

    pub fn start(&self, name: &str) -> Node {
        Node::start(self.config(name))
    }

    /// Two nodes that know each other and are linked.
    pub async fn pair(&self) -> (Node, Node) {
        let (mut a, mut b) = (self.start("n1"), self.start("n2"));
        introduce(&a, &b);
        assert_eq!(a.up().await, "hello of n2");
        assert_eq!(b.up().await, "hello of n1");
        (a, b)
    }
}

/// The limits with shorter times.
pub fn limits() -> Limits {
    Limits {
        control_idle_timeout: Duration::from_secs(2),
        keep_alive_interval: Duration::from_millis(50),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        ..Limits::default()
    }
}

/// Writes a file over another one in one step, so that nobody reads a half of it.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    write_new(&new, text.as_bytes(), Readers::Secret).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A running node.
pub struct Node {
    pub name: NodeName,
    pub endpoint: Endpoint,
    pub events: Events,
}

impl Node {
    pub fn start(config: EndpointConfig) -> Self {
        let name = config.identity.name().clone();
        let (endpoint, events) = Endpoint::start(config).unwrap();
        Self { name, endpoint, events }
    }

    pub fn at(&self) -> PeerAddress {
        PeerAddress { name: self.name.clone(), address: self.endpoint.local_addr().to_string() }
    }

    pub fn knows(&self, peers: &[&Self]) {
        self.endpoint.set_peers(peers.iter().map(|peer| peer.at()).collect());
    }

    pub async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.next()).await.expect("no event").expect("stopped")
    }

    /// The next event, which must be `Up`; the hello that came with it.
    pub async fn up(&mut self) -> String {
        let event = self.next().await;
        let Event::Up { hello, .. } = event else {
            panic!("{}: not up but {event:?}", self.name);
        };
        String::from_utf8(hello.to_vec()).unwrap()
    }

    /// The next event, which must be `Down`.
    pub async fn down(&mut self) -> transport::DownReason {
        let event = self.next().await;
        let Event::Down { reason, .. } = event else {
            panic!("{}: not down but {event:?}", self.name);
        };
        reason
    }

    /// The next event, which must be a frame.
    pub async fn frame(&mut self) -> (Lane, Bytes) {
        let event = self.next().await;
        let Event::Frame { lane, frame, .. } = event else {
            panic!("{}: not frame but {event:?}", self.name);
        };
        (lane, frame)
    }

    pub fn send(&self, to: &Self, lane: Lane, frame: impl Into<Bytes>) {
        self.endpoint.try_send(&to.name, lane, frame.into()).unwrap();
    }

    /// Waits until the counters are as wanted.
    pub async fn counted(&self, wanted: impl Fn(&Counters) -> bool) {
        until(|| wanted(&self.endpoint.counters())).await;
    }
}

/// Tells two nodes of each other.
pub fn introduce(a: &Node, b: &Node) {
    a.knows(&[b]);
    b.knows(&[a]);
}

/// Waits for a condition that no event tells.
pub async fn until(condition: impl Fn() -> bool) {
    let poll = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while !condition() {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, poll).await.expect("the condition does not come true");
}
