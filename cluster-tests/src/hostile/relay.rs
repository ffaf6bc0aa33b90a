//! Stands before a node, for attackers: passes on some of the datagrams of each direction.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

/// Longest datagram of UDP.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// How often it is looked whether this is over.
const LOOK: Duration = Duration::from_millis(50);

/// Callers at once; the datagrams of more are dropped.
const CALLERS_MAX: usize = 1_024;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing comes back: what is begun is never ended.
    NothingBack,
    /// Of what goes there, one in three is lost: what arrives has gaps.
    Gaps,
}

/// A relay, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    is_over: AtomicBool,
    passed: AtomicU64,
    dropped: AtomicU64,
}

impl Relay {
    /// Before the node at that address.
    ///
    /// # Errors
    /// The system has no sockets.
    pub fn start(node: SocketAddr, way: Way) -> Result<Self> {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        front.set_read_timeout(Some(LOOK))?;
        let address = front.local_addr()?;
        let counts = Arc::new(Counts::default());
        let told = Arc::clone(&counts);
        let thread = std::thread::spawn(move || pass(&front, node, way, &told));
        Ok(Self { address, counts, thread: Some(thread) })
    }

    /// Where it takes datagrams for the node.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that it passed on, and that it dropped.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.counts.passed), count(&self.counts.dropped))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.counts.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever went wrong in it has been printed.
            let _ = thread.join();
        }
    }
}

/// Passes on what callers send, each from a socket of its own.
fn pass(front: &Arc<UdpSocket>, node: SocketAddr, way: Way, counts: &Arc<Counts>) {
    let mut sides: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut threads = Vec::new();
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    let mut nth = 0_u64;
    while !counts.is_over.load(Ordering::Relaxed) {
        let Ok((length, caller)) = front.recv_from(&mut bytes) else { continue };
        if !sides.contains_key(&caller) {
            let side = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
            let Some(side) = side.ok().filter(|_| sides.len() < CALLERS_MAX) else { continue };
            let side = Arc::new(side);
            sides.insert(caller, Arc::clone(&side));
            if way != Way::NothingBack {
                let (front, counts) = (Arc::clone(front), Arc::clone(counts));
                threads
                    .push(std::thread::spawn(move || bring_back(&side, &front, caller, &counts)));
            }
        }
        nth += 1;
        if way == Way::Gaps && nth.is_multiple_of(3) {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        } else if let Some(side) = sides.get(&caller) {
            // As any line: what cannot be sent is lost.
            let _ = side.send_to(&bytes[..length], node);
            counts.passed.fetch_add(1, Ordering::Relaxed);
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn bring_back(side: &UdpSocket, front: &UdpSocket, caller: SocketAddr, counts: &Counts) {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    if side.set_read_timeout(Some(LOOK)).is_err() {
        return;
    }
    while !counts.is_over.load(Ordering::Relaxed) {
        if let Ok((length, _)) = side.recv_from(&mut bytes) {
            let _ = front.send_to(&bytes[..length], caller);
        }
    }
}
