//! The balancer as a program: takes connections and hands each to a node whose `/health` is 200.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::addresses::Addresses;
use crate::balancer::Balancer;
use crate::client::connect;

/// Between two questions where the nodes are: one that was started again may be elsewhere.
const RESOLVE: Duration = Duration::from_millis(500);

/// Connections at once. Each takes two threads.
const CONNECTIONS_MAX: usize = 512;

/// How long a connection may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a visitor is told if no node takes the connection.
const NOBODY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Length: 14\r\n\r\nno node serves";

/// Serves until the process ends: nodes are given as `HOST:PORT`.
///
/// # Errors
/// The address is taken.
pub fn serve(listen: SocketAddr, nodes: &[String]) -> Result<()> {
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let addresses = Addresses::nowhere(nodes.len());
    let balancer = Balancer::new(&addresses);
    let never = AtomicBool::new(false);
    let front = Front { turn: AtomicUsize::new(0), open: AtomicUsize::new(0) };
    println!("balancer http={}", listener.local_addr()?);
    std::thread::scope(|scope| {
        let (front, balancer) = (&front, &balancer);
        scope.spawn(|| follow_names(&addresses, nodes));
        scope.spawn(|| balancer.follow(&never));
        for visitor in listener.incoming() {
            // Of an error here the visitor knows already.
            let Ok(visitor) = visitor else { continue };
            let Some(place) = front.enter() else { continue };
            scope.spawn(move || {
                let node = front.choose(balancer);
                // Whoever broke it off knows, and the other one is told by the end.
                let _ = node.map_or_else(|| refuse(&visitor), |node| join(&visitor, &node));
                drop(place);
            });
        }
    });
    Ok(())
}

/// What all connections have in common.
struct Front {
    turn: AtomicUsize,
    open: AtomicUsize,
}

/// One of the connections that there may be.
struct Place<'f>(&'f Front);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Front {
    fn enter(&self) -> Option<Place<'_>> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        (open < CONNECTIONS_MAX).then_some(place)
    }

    /// A connection to the next node that serves, or to the one after it that takes it.
    fn choose(&self, balancer: &Balancer) -> Option<TcpStream> {
        let nodes = balancer.addresses().len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..nodes).find_map(|attempt| {
            let node = balancer.choose(turn.wrapping_add(attempt) % nodes);
            connect(balancer.addresses().of(node)).ok()
        })
    }
}

fn refuse(mut visitor: &TcpStream) -> io::Result<()> {
    visitor.write_all(NOBODY)
}

/// Carries bytes in both directions until one side has ended.
fn join(visitor: &TcpStream, node: &TcpStream) -> io::Result<()> {
    for side in [visitor, node] {
        side.set_read_timeout(Some(SILENCE_MAX))?;
        side.set_write_timeout(Some(SILENCE_MAX))?;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| carry(visitor, node));
        carry(node, visitor);
    });
    Ok(())
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    // How it ends makes no difference: both sides are told.
    let _ = io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Looks again and again where the nodes are. A name that is not known now is nowhere.
fn follow_names(addresses: &Addresses, nodes: &[String]) {
    loop {
        for (node, name) in nodes.iter().enumerate() {
            let found = name.to_socket_addrs().ok().and_then(|mut found| found.next());
            addresses.set(node, found.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()));
        }
        std::thread::park_timeout(RESOLVE);
    }
}
