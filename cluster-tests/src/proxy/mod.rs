//! Every line between two nodes, in user space and without privileges: loss, delay, jitter, a rate,
//! duplication, reordering, cuts, and ports that change, for each direction by itself.
//!
//! Nodes reach a node at its front, which is what it advertises. A node sends everything from the
//! one socket it listens on, so the sender's address says who it is; the proxy passes its datagrams
//! on from a side, a socket for this pair alone, and what comes back to the side leaves by the front.
//!
//! ```text
//!  n1 ──► front of n2 ──► side n1-n2 ──► n2      n1 has dialed n2
//!  n1 ◄── front of n2 ◄── side n1-n2 ◄── n2
//! ```
//!
//! So each directed pair is one [`Conditions`], whoever has dialed whom. Bits of congestion (ECN) do
//! not pass, and what the system drops when the proxy gets no time to run is not counted here.

mod link;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use link::Link;

use crate::ports::own_ip;
pub use link::{BACKLOG_MAX, Conditions, Counts, WAITING_BYTES_MAX};

/// Longest datagram of UDP.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// When nothing waits, the clock of what waits is looked at so often.
const IDLE: Duration = Duration::from_secs(3600);

/// All lines among some nodes. They end with it.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ip: IpAddr,
}

#[derive(Debug)]
struct Shared {
    /// Where each node really listens, which is also where it sends from.
    nodes: Vec<SocketAddr>,
    fronts: Vec<Arc<UdpSocket>>,
    /// For each sender those to each receiver; that to itself is never used.
    pairs: Vec<Vec<Pair>>,
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
    is_earlier: Condvar,
    order: AtomicU64,
    is_over: AtomicBool,
    strangers: AtomicU64,
}

#[derive(Debug)]
struct Pair {
    link: Mutex<Link>,
    /// Where datagrams of a sender who has dialed come from, for the receiver.
    side: Mutex<Arc<UdpSocket>>,
}

/// The way of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    from: usize,
    to: usize,
    /// The receiver has dialed the sender, so that it expects it from the sender's front.
    is_answer: bool,
}

/// A datagram that is to be sent on later. The first that is due comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    order: u64,
    way: Way,
    bytes: Vec<u8>,
}

impl Proxy {
    /// Lines among nodes that listen at these addresses, all of them good.
    ///
    /// # Errors
    /// The system has no sockets.
    pub fn start(nodes: &[SocketAddr], seed: u64) -> Result<Self> {
        // Another one than the nodes have, so that no port here is one of theirs.
        let ip = own_ip();
        let fronts = (0..nodes.len()).map(|_| Ok(Arc::new(bind(ip)?))).collect::<Result<_>>()?;
        let pair = |from: usize, to: usize| {
            let seed = seed.wrapping_mul(1_000_003) ^ (from as u64) << 16 ^ to as u64;
            anyhow::Ok(Pair {
                link: Mutex::new(Link::new(seed)),
                side: Mutex::new(Arc::new(bind(ip)?)),
            })
        };
        let all = 0..nodes.len();
        let pairs = all.clone().map(|from| all.clone().map(|to| pair(from, to)).collect());
        let shared = Arc::new(Shared {
            nodes: nodes.to_vec(),
            fronts,
            pairs: pairs.collect::<Result<_>>()?,
            waiting: Mutex::default(),
            is_earlier: Condvar::new(),
            order: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            strangers: AtomicU64::new(0),
        });
        let proxy = Self { shared, threads: Mutex::default(), ip };
        for to in all.clone() {
            proxy.spawn(move |shared| shared.serve_front(to));
            for from in all.clone().filter(|from| *from != to) {
                let side = Arc::clone(&lock(&proxy.shared.pairs[from][to].side));
                proxy.spawn(move |shared| shared.serve_side(&side, from, to));
            }
        }
        proxy.spawn(Shared::send_when_due);
        Ok(proxy)
    }

    /// Where the others reach a node.
    ///
    /// # Errors
    /// The system does not say.
    pub fn front(&self, node: usize) -> Result<SocketAddr> {
        self.shared.fronts[node].local_addr().context("a socket without an address")
    }

    /// From now on one direction is like that.
    pub fn set(&self, from: usize, to: usize, conditions: Conditions) {
        lock(&self.shared.pairs[from][to].link).conditions = conditions;
    }

    /// From now on these directions are like that.
    pub fn set_each(&self, pairs: &[(usize, usize)], conditions: Conditions) {
        pairs.iter().for_each(|(from, to)| self.set(*from, *to, conditions));
    }

    /// Nothing passes in these directions from now on, whatever their conditions are.
    pub fn cut(&self, pairs: &[(usize, usize)]) {
        self.set_cut(pairs, true);
    }

    /// They are as their conditions say again.
    pub fn mend(&self, pairs: &[(usize, usize)]) {
        self.set_cut(pairs, false);
    }

    fn set_cut(&self, pairs: &[(usize, usize)], is_cut: bool) {
        for (from, to) in pairs {
            lock(&self.shared.pairs[*from][*to].link).is_cut = is_cut;
        }
    }

    /// All directions.
    #[must_use]
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.shared.nodes.len();
        let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).collect()
    }

    /// From now on all lines are good. What waits still comes when it is due.
    pub fn heal(&self) {
        let all = self.pairs();
        self.set_each(&all, Conditions::GOOD);
        self.mend(&all);
    }

    /// What the receiver hears of the sender comes from another port from now on, and what it sends
    /// to the port of before goes nowhere: as if a router between them had forgotten them. Concerns
    /// the connections that the sender has dialed.
    ///
    /// # Errors
    /// The system has no sockets.
    pub fn rebind(&self, from: usize, to: usize) -> Result<()> {
        let side = Arc::new(bind(self.ip)?);
        let now = Arc::clone(&side);
        let before = std::mem::replace(&mut *lock(&self.shared.pairs[from][to].side), now);
        wake(&before);
        self.spawn(move |shared| shared.serve_side(&side, from, to));
        Ok(())
    }

    /// What became of the datagrams in one direction.
    #[must_use]
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        lock(&self.shared.pairs[from][to].link).counts
    }

    /// What became of those of some directions.
    #[must_use]
    pub fn counts_of(&self, pairs: &[(usize, usize)]) -> Counts {
        let counts = pairs.iter().map(|(from, to)| self.counts(*from, *to));
        counts.fold(Counts::default(), Counts::and)
    }

    /// Datagrams of senders that are no node here. They are dropped.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.shared.strangers.load(Ordering::Relaxed)
    }

    fn spawn(&self, work: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        lock(&self.threads).push(std::thread::spawn(move || work(&shared)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        drop(lock(&self.shared.waiting));
        self.shared.is_earlier.notify_all();
        self.shared.fronts.iter().for_each(|front| wake(front));
        let sides = self.shared.pairs.iter().flatten().map(|pair| Arc::clone(&lock(&pair.side)));
        sides.for_each(|side| wake(&side));
        for thread in lock(&self.threads).drain(..) {
            // Whatever went wrong in it has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Takes what nodes send to a node that they have dialed.
    fn serve_front(&self, to: usize) {
        self.receive(
            &self.fronts[to],
            |_| true,
            |sender, bytes| {
                let Some(from) = self.nodes.iter().position(|node| *node == sender) else {
                    self.strangers.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                self.take(Way { from, to, is_answer: false }, bytes);
            },
        );
    }

    /// Takes what a node answers to one that has dialed it, until the side is replaced. Each side has
    /// one thread, however late that begins: who ends it wakes one.
    fn serve_side(&self, side: &Arc<UdpSocket>, dialer: usize, dialed: usize) {
        let pair = &self.pairs[dialer][dialed];
        let is_current = |side: &Arc<UdpSocket>| Arc::ptr_eq(side, &lock(&pair.side));
        self.receive(side, is_current, |sender, bytes| {
            if sender == self.nodes[dialed] {
                self.take(Way { from: dialed, to: dialer, is_answer: true }, bytes);
            } else {
                self.strangers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn receive(
        &self,
        socket: &Arc<UdpSocket>,
        is_current: impl Fn(&Arc<UdpSocket>) -> bool,
        take: impl Fn(SocketAddr, &[u8]),
    ) {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let received = socket.recv_from(&mut bytes);
            if self.is_over.load(Ordering::Relaxed) || !is_current(socket) {
                return;
            }
            // An empty one only wakes; an error is about what was sent before.
            if let Ok((count @ 1.., sender)) = received {
                take(sender, &bytes[..count]);
            }
        }
    }

    fn take(&self, way: Way, bytes: &[u8]) {
        let now = Instant::now();
        let fate = lock(&self.pairs[way.from][way.to].link).offer(now, bytes.len());
        for due in fate.into_iter().flatten() {
            if due <= now {
                self.send(way, bytes);
            } else {
                self.wait(due, way, bytes.to_vec());
            }
        }
    }

    fn wait(&self, due: Instant, way: Way, bytes: Vec<u8>) {
        let order = self.order.fetch_add(1, Ordering::Relaxed);
        let mut waiting = lock(&self.waiting);
        let is_earlier = waiting.peek().is_none_or(|Reverse(first)| due < first.due);
        waiting.push(Reverse(Waiting { due, order, way, bytes }));
        if is_earlier {
            self.is_earlier.notify_one();
        }
    }

    fn send_when_due(&self) {
        let mut waiting = lock(&self.waiting);
        while !self.is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            let first = waiting.peek().map(|Reverse(first)| first.due);
            match first {
                Some(due) if due <= now => {
                    let Some(Reverse(first)) = waiting.pop() else { continue };
                    drop(waiting);
                    self.send(first.way, &first.bytes);
                    waiting = lock(&self.waiting);
                }
                Some(_) | None => {
                    let left = first.map_or(IDLE, |due| due - now);
                    let woken = self.is_earlier.wait_timeout(waiting, left);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn send(&self, way: Way, bytes: &[u8]) {
        let Way { from, to, is_answer } = way;
        lock(&self.pairs[from][to].link).leave(bytes.len());
        let by = if is_answer {
            Arc::clone(&self.fronts[from])
        } else {
            Arc::clone(&lock(&self.pairs[from][to].side))
        };
        // As any line: what cannot be sent is lost.
        let _ = by.send_to(bytes, self.nodes[to]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(ip: IpAddr) -> Result<UdpSocket> {
    UdpSocket::bind((ip, 0)).context("a socket of the proxy")
}

/// Whoever receives there looks up.
fn wake(socket: &UdpSocket) {
    if let Ok(address) = socket.local_addr() {
        // A full socket wakes as well.
        let _ = socket.send_to(&[], address);
    }
}

#[cfg(test)]
mod tests;
