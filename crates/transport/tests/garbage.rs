//! Bytes of any kind from anyone on the port: no growth, no harm. Alone in its file, because it
//! measures the memory of the process.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::UdpSocket;

use support::Cluster;
use transport::Lane;

/// Datagrams sent, in bursts that wait until they have been received.
const BURSTS: u64 = 100;
const BURST: u64 = 100;

/// Memory that the process may have gained by then.
const GROWTH_BYTES_MAX: usize = 16 * 1024 * 1024;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_costs_no_memory() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    let socket = UdpSocket::bind(support::LOOPBACK).unwrap();
    socket.connect(a.endpoint.local_addr()).unwrap();
    let mut random = 88_172_645_463_325_252_u64;
    let mut memory = 0;
    for burst in 0..BURSTS {
        let before = a.endpoint.counters().datagrams;
        for nth in 0..BURST {
            socket.send(&datagram(nth, &mut random)).unwrap();
        }
        // Some may be dropped by the system; the next burst waits for most of this one.
        a.counted(|counters| counters.datagrams >= before + BURST / 2).await;
        if burst == BURSTS / 10 {
            memory = resident_bytes();
        }
    }
    let counters = a.endpoint.counters();
    assert!(counters.datagrams_stray >= BURSTS * BURST / 4, "{counters:?}");
    let refused: u64 = counters.refused.iter().sum();
    assert!(refused > 0, "what looks like a first packet is refused: {counters:?}");
    let growth = resident_bytes().saturating_sub(memory);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
    a.send(&b, Lane::Live, "unharmed");
    assert_eq!(b.frame().await.1, "unharmed");
    assert_eq!(a.endpoint.counters().links_down, 0);
}

/// Random bytes, some of which look like the first packet of a connection from outside.
fn datagram(nth: u64, random: &mut u64) -> Vec<u8> {
    let len = if nth.is_multiple_of(3) { 1200 } else { 1 + nth as usize * 7 };
    let mut bytes: Vec<u8> = (0..len).map(|_| next(random)).collect();
    if nth.is_multiple_of(3) {
        // Long header, version 1, two connection ids of 8 bytes, no token, the whole length.
        bytes[0] = 0xc0 | (bytes[0] & 0x0f);
        bytes[1..6].copy_from_slice(&[0, 0, 0, 1, 8]);
        bytes[14] = 8;
        bytes[23] = 0;
        bytes[24..26].copy_from_slice(&(0x4000 | (1200 - 26_u16)).to_be_bytes());
    }
    bytes
}

fn next(random: &mut u64) -> u8 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    (*random >> 32) as u8
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
