//! Who breaks the rules on purpose: datagrams that are none, a member whose process lies, and
//! those who do not even get that far.

mod attack;
mod letters;
mod outsiders;
mod relay;
mod thief;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use transport::hostile::HostileLink;
use transport::issue::CertAndKey;
use transport::{Endpoint, EndpointConfig, Event, Identity, Limits, PeerAddress, TlsPaths};

use crate::cluster::{Cluster, name};
pub use attack::{Attack, Known};
pub use outsiders::{Outsider, Outsiders};
pub use relay::{Relay, Way};
pub use thief::{Raid, Tally, Thief};

/// Length of a datagram that may begin a connection: anything shorter is ignored.
const FIRST_BYTES: usize = 1200;

/// Datagrams are sent in bursts at this interval.
const BURST_INTERVAL: Duration = Duration::from_millis(5);

/// Longest wait for an introduction.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for an endpoint of ours to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A datagram of QUIC as it should not be: one of several kinds by its number.
pub fn bad_datagram(nth: u64, random: &mut fastrand::Rng) -> Vec<u8> {
    let len = match nth % 8 {
        0..=2 => FIRST_BYTES,
        _ => random.usize(1..1400),
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
    match nth % 8 {
        // What looks like the first packet of a connection: version 1, two ids, no token.
        0 | 1 => first_packet(&mut bytes, [0, 0, 0, 1]),
        // The same of a version that nobody speaks.
        2 => first_packet(&mut bytes, [0x0a, 0x0b, 0x0c, 0x0d]),
        // A short header: a connection that nobody has.
        3 => bytes[0] = 0x40 | (bytes[0] & 0x3f),
        // A long header that ends somewhere.
        4 => bytes[0] |= 0xc0,
        // Random bytes.
        _ => {}
    }
    bytes
}

fn first_packet(bytes: &mut [u8], version: [u8; 4]) {
    bytes[0] = 0xc0 | (bytes[0] & 0x0f);
    bytes[1..5].copy_from_slice(&version);
    bytes[5] = 8;
    bytes[14] = 8;
    bytes[23] = 0;
    let length = u16::try_from(FIRST_BYTES - 26).unwrap_or(u16::MAX);
    bytes[24..26].copy_from_slice(&(0x4000 | length).to_be_bytes());
}

/// Bad datagrams that are being sent, until this is stopped or dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Flood {
    /// Sends bad datagrams to a node, at most so many a second.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start(node: SocketAddr, per_second: u32) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || flood(&socket, node, per_second, &told));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops; how many were sent.
    #[must_use]
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn flood(socket: &UdpSocket, node: SocketAddr, per_second: u32, stop: &AtomicBool) -> u64 {
    let mut random = fastrand::Rng::new();
    let started = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = started.elapsed().as_secs_f64() * f64::from(per_second);
        while (sent as f64) < due && !stop.load(Ordering::Relaxed) {
            // One that the system refuses for want of room is one less.
            let _ = socket.send_to(&bad_datagram(sent, &mut random), node);
            sent += 1;
        }
        std::thread::park_timeout(BURST_INTERVAL);
    }
    sent
}

/// The certificate and the key of a node.
///
/// # Errors
/// They cannot be read.
pub fn credentials(cluster: &Cluster, node: usize) -> Result<CertAndKey> {
    let paths = tls_paths(cluster, node);
    let cert_pem = std::fs::read_to_string(paths.cert)?;
    Ok(CertAndKey { cert_pem, key_pem: std::fs::read_to_string(paths.key)? })
}

fn tls_paths(cluster: &Cluster, node: usize) -> TlsPaths {
    let folder = cluster.path(&name(node));
    let [ca, cert, key] = ["ca.pem", "node.pem", "node.key"].map(|file| folder.join(file));
    TlsPaths { ca, cert, key }
}

/// A member that does not run, played by somebody who has its certificate.
pub struct Impostor {
    credentials: CertAndKey,
    victim: SocketAddr,
    /// How the member would introduce itself.
    pub introduction: Bytes,
}

impl Impostor {
    /// Takes the place of a member that does not run and has not run before; `victim` is the first
    /// member. Listens to how the victim introduces itself, to do it in the same way.
    ///
    /// # Errors
    /// The victim does not answer.
    pub async fn new(cluster: &Cluster, place: usize) -> Result<Self> {
        let victim = cluster.quic(0);
        let heard = introduction_of(cluster, 0, place).await?;
        let theirs = cluster.count(0, "inc")?;
        let own = theirs + place as u64;
        let introduction = replaced(&heard, theirs, own).context("no number to replace")?;
        let credentials = credentials(cluster, place)?;
        Ok(Self { credentials, victim, introduction })
    }

    /// A link with the victim, by the rules so far.
    ///
    /// # Errors
    /// The victim refuses.
    pub async fn link(&self, introduction: Bytes) -> Result<HostileLink> {
        let process = fastrand::u64(1..);
        let link = HostileLink::establish(self.victim, &self.credentials, process, introduction);
        Ok(link.await?)
    }
}

/// What a node says when the one in this `place`, which does not run, connects.
async fn introduction_of(cluster: &Cluster, node: usize, place: usize) -> Result<Bytes> {
    let status = cluster.status(node)?;
    let cluster_name = status["cluster"].as_str().context("no name of the cluster")?.parse()?;
    let identity = Identity::load(&tls_paths(cluster, place), &cluster_name)?;
    let (peer, address) = (name(node).parse()?, cluster.quic(node).to_string());
    let (endpoint, mut events) = Endpoint::start(EndpointConfig {
        listen: cluster.quic(place),
        identity,
        hello: Bytes::from_static(b"nobody"),
        peers: vec![PeerAddress { name: peer, address }],
        strangers_max: 0,
        limits: Limits::default(),
        reload_interval: transport::RELOAD_INTERVAL_DEFAULT,
    })?;
    let up = async {
        loop {
            match events.next().await {
                Some(Event::Up { hello, .. }) => return Some(hello),
                Some(Event::Down { .. } | Event::Frame { .. }) => {}
                None => return None,
            }
        }
    };
    let heard = tokio::time::timeout(INTRODUCTION_TIMEOUT, up).await;
    endpoint.shutdown(GOODBYE).await;
    heard.context("the victim does not answer")?.context("the endpoint has stopped")
}

/// The bytes with one number in place of another, which stands in them as little-endian bytes.
fn replaced(bytes: &[u8], from: u64, to: u64) -> Option<Bytes> {
    let at = bytes.windows(8).position(|window| window == from.to_le_bytes())?;
    let mut bytes = bytes.to_vec();
    bytes[at..at + 8].copy_from_slice(&to.to_le_bytes());
    Some(bytes.into())
}

/// A frame on a lane: its length, then its bytes.
#[must_use]
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    // Longer ones are refused whatever length they announce.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_bad_datagrams_can_be_made() {
        let mut random = fastrand::Rng::with_seed(1);
        for nth in 0..1_000 {
            assert!(!bad_datagram(nth, &mut random).is_empty());
        }
    }

    #[test]
    fn a_number_is_replaced_where_it_stands() {
        let bytes = [&[9][..], &7_u64.to_le_bytes(), &[9]].concat();
        assert_eq!(replaced(&bytes, 7, 8).unwrap()[1], 8);
        assert_eq!(replaced(&bytes, 6, 8), None);
    }
}
