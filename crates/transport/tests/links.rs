//! Links and lanes between nodes in order.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use support::{Cluster, LOOPBACK, Node, PATIENCE, introduce, node_name, until};
use tokio::net::UdpSocket;
use transport::{DownReason, Endpoint, Event, Lane, Limits, PeerAddress, Refusal, SendError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_on_each_lane_in_order() {
    const FRAMES: u32 = 500;
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    for number in 0..FRAMES {
        for lane in Lane::ALL {
            a.send(&b, lane, Bytes::copy_from_slice(&number.to_be_bytes()));
        }
    }
    let mut next = BTreeMap::from(Lane::ALL.map(|lane| (lane, 0)));
    for _ in 0..3 * FRAMES {
        let (lane, frame) = b.frame().await;
        let next = next.get_mut(&lane).unwrap();
        assert_eq!(frame, u32::to_be_bytes(*next)[..]);
        *next += 1;
    }
    assert!(next.values().all(|next| *next == FRAMES));
    let (out, arrived) = (a.endpoint.counters(), b.endpoint.counters());
    for lane in Lane::ALL {
        assert_eq!(out.lane(lane).frames_out, u64::from(FRAMES));
        assert_eq!(arrived.lane(lane).bytes_in, u64::from(4 * FRAMES));
    }
    assert!(arrived.datagrams > 0);
    assert_eq!(arrived.datagrams_stray, 0, "all of them belong to the link");
    assert!(out.datagrams_sent > 0);
    let frames = u64::from(FRAMES) * Lane::ALL.len() as u64 * 4;
    assert!(out.bytes_sent > frames && arrived.bytes_received > frames, "{out:?} {arrived:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_dial_at_once_have_one_link() {
    let cluster = Cluster::new("c1");
    for _ in 0..20 {
        let (mut a, mut b) = (cluster.start("n1"), cluster.start("n2"));
        introduce(&a, &b);
        a.up().await;
        b.up().await;
        for (from, to) in [(&a, &b), (&b, &a)] {
            from.send(to, Lane::Live, "over this link");
        }
        assert_eq!(a.frame().await.1, "over this link");
        assert_eq!(b.frame().await.1, "over this link");
        for node in [&a, &b] {
            let counters = node.endpoint.counters();
            assert_eq!((counters.links_up, counters.links_down), (1, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reachable_side_is_enough_whichever_it_is() {
    let cluster = Cluster::new("c1");
    for dialer in ["n1", "n2"] {
        let (mut a, mut b) = (cluster.start("n1"), cluster.start("n2"));
        introduce(&a, &b);
        let (blind, other) = if dialer == "n1" { (&b, &a) } else { (&a, &b) };
        blind.endpoint.set_peers(vec![PeerAddress { address: nowhere(), ..other.at() }]);
        a.up().await;
        b.up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_bulk_lane_stops_neither_control_nor_live() {
    const FRAMES: u64 = 100;
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    // `b` takes nothing, so bulk backs up all the way into the queue of `a`.
    let bulk = fill(&a, &b, Lane::Bulk);
    for _ in 0..FRAMES {
        a.send(&b, Lane::Control, "alive");
        a.send(&b, Lane::Live, "delta");
    }
    b.counted(|counters| {
        let arrived = |lane| counters.lane(lane).frames_in;
        arrived(Lane::Control) == FRAMES && arrived(Lane::Live) == FRAMES
    })
    .await;
    let arrived = b.endpoint.counters().lane(Lane::Bulk).frames_in;
    assert!(arrived < bulk / 2, "{arrived} of {bulk} bulk frames arrived: it was not stopped");
    // And the urgent ones are taken first, whatever waits.
    let mut taken = Vec::new();
    while taken.iter().filter(|lane| **lane == Lane::Control).count() < FRAMES as usize {
        taken.push(b.frame().await.0);
    }
    let bulk_before = taken.iter().filter(|lane| **lane == Lane::Bulk).count();
    assert!(bulk_before < 10, "{bulk_before} bulk frames were taken before control");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_overtakes_flowing_bulk() {
    const ROUNDS: usize = 50;
    let cluster = Cluster::new("c1");
    let (mut a, mut b) = cluster.pair().await;
    let (echo_to, feed, peer) = (a.name.clone(), a.endpoint.clone(), b.name.clone());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let receiver = tokio::spawn(async move {
        while let Some(event) = b.events.next().await {
            if let Event::Frame { lane: Lane::Control, frame, .. } = event {
                b.endpoint.try_send(&echo_to, Lane::Control, frame).unwrap();
            }
        }
    });
    let feeder = tokio::spawn(async move {
        while !*stopped.borrow() {
            // Full is what is wanted: there is always more bulk than the connection takes.
            let _ = feed.try_send(&peer, Lane::Bulk, BULK);
            tokio::task::yield_now().await;
        }
    });
    let full = |counters: &transport::Counters| counters.lane(Lane::Bulk).full > 0;
    a.counted(full).await;
    let before = a.endpoint.counters().lane(Lane::Bulk).bytes_out;
    for _ in 0..ROUNDS {
        a.endpoint.try_send(&node_name("n2"), Lane::Control, "ping".into()).unwrap();
        assert_eq!(a.frame().await.0, Lane::Control);
    }
    let passed = a.endpoint.counters().lane(Lane::Bulk).bytes_out - before;
    stop.send(true).unwrap();
    feeder.await.unwrap();
    receiver.abort();
    // Behind the queue of bulk each round would have let all of it pass.
    let queue = Limits::default().lane_queue_bytes_max as u64;
    assert!(passed < queue / 2 * ROUNDS as u64, "{passed} bytes in {ROUNDS} rounds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so_and_loses_nothing_it_accepted() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    let accepted = fill(&a, &b, Lane::Live);
    let counters = a.endpoint.counters();
    assert!(counters.lane(Lane::Live).full > 0);
    let limits = Limits::default();
    let bound = limits.lane_queue_bytes_max + limits.lane_inbox_bytes_max + (1 << 20);
    assert!(accepted as usize * BULK.len() < bound, "{accepted} frames accepted");
    assert!(a.endpoint.status()[0].queue_bytes[1] > 0);
    let large = Bytes::from(vec![0; limits.frame_bytes_max + 1]);
    assert_eq!(a.endpoint.try_send(&b.name, Lane::Live, large), Err(SendError::TooLarge));
    for _ in 0..accepted {
        assert_eq!(b.frame().await, (Lane::Live, BULK));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_frame_arrives() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    let largest: Vec<u8> =
        (0..Limits::default().frame_bytes_max).map(|at| (at % 251) as u8).collect();
    let largest = Bytes::from(largest);
    for lane in Lane::ALL {
        a.send(&b, lane, largest.clone());
        assert!(b.frame().await == (lane, largest.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_delivers_all_that_was_accepted() {
    const FRAMES: u32 = 1000;
    let cluster = Cluster::new("c1");
    let (mut a, mut b) = cluster.pair().await;
    for number in 0..FRAMES {
        for lane in Lane::ALL {
            a.send(&b, lane, Bytes::from(vec![number as u8; 500]));
        }
    }
    let stopping = a.endpoint.clone();
    let stop = tokio::spawn(async move { stopping.shutdown(PATIENCE).await });
    for _ in 0..3 * FRAMES {
        b.frame().await;
    }
    assert_eq!(b.down().await, DownReason::PeerStopped);
    stop.await.unwrap();
    assert_eq!(a.events.next().await, None);
    assert_eq!(a.endpoint.counters().frames_lost, 0);
    let refused = a.endpoint.try_send(&b.name, Lane::Live, "late".into());
    assert_eq!(refused, Err(SendError::NotConnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_does_not_wait_longer_than_its_deadline() {
    let cluster = Cluster::new("c1");
    // `b` takes nothing, so not all can be delivered.
    let (a, b) = cluster.pair().await;
    let accepted = fill(&a, &b, Lane::Bulk);
    let stop = a.endpoint.shutdown(Duration::from_millis(100));
    tokio::time::timeout(PATIENCE, stop).await.unwrap();
    let lost = a.endpoint.counters().frames_lost;
    assert!(lost > 0 && lost < accepted, "{lost} of {accepted} lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_dropped_stops_and_frees_its_port() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    let address = a.endpoint.local_addr();
    drop(a);
    assert_eq!(b.down().await, DownReason::PeerStopped);
    until(|| std::net::UdpSocket::bind(address).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_disconnected_comes_back() {
    let cluster = Cluster::new("c1");
    let (mut a, mut b) = cluster.pair().await;
    a.endpoint.disconnect(&b.name, "nonsense in a frame");
    assert_eq!(a.down().await, DownReason::Disconnected("nonsense in a frame".into()));
    let reason = b.down().await;
    assert!(reason.to_string().contains("nonsense in a frame"), "{reason}");
    a.up().await;
    b.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_come_and_go_with_the_list() {
    let cluster = Cluster::new("c1");
    let (mut a, mut b) = cluster.pair().await;
    a.knows(&[]);
    assert_eq!(a.down().await, DownReason::Removed);
    b.down().await;
    // Now it is a stranger, with a genuine certificate.
    a.counted(|counters| counters.refused(Refusal::UnknownName) > 0).await;
    let refused = a.endpoint.try_send(&b.name, Lane::Live, "x".into());
    assert_eq!(refused, Err(SendError::NotConnected));
    a.knows(&[&b]);
    a.up().await;
    b.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_link_is_replaced() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.limits.connection_age_max = Duration::from_millis(50);
    let (mut a, mut b) = (Node::start(config), cluster.start("n2"));
    introduce(&a, &b);
    for _ in 0..2 {
        a.up().await;
        b.up().await;
        assert_eq!(a.down().await, DownReason::Aged);
        assert_eq!(b.down().await, DownReason::Aged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_proved_under_load() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.limits.handshakes_before_retry = 0;
    let (mut a, mut b) = (Node::start(config), cluster.start("n2"));
    // Only `b` can make the link.
    a.endpoint.set_peers(vec![PeerAddress { address: nowhere(), ..b.at() }]);
    b.knows(&[&a]);
    a.up().await;
    b.up().await;
    assert!(a.endpoint.counters().retries >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_works_as_well() {
    let cluster = Cluster::new("c1");
    let start = |name| {
        let mut config = cluster.config(name);
        config.listen = "[::1]:0".parse().unwrap();
        Node::start(config)
    };
    let (mut a, mut b) = (start("n1"), start("n2"));
    introduce(&a, &b);
    a.up().await;
    b.up().await;
    b.send(&a, Lane::Bulk, "six");
    assert_eq!(a.frame().await.1, "six");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_answer_is_named_with_its_address() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.limits.connect_timeout = Duration::from_millis(100);
    let a = Node::start(config);
    // Bound and silent, so that nobody else has this port.
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let expected = format!("no answer from n2 on UDP {address}");
    a.endpoint.set_peers(vec![PeerAddress { name: node_name("n2"), address }]);
    until(|| a.endpoint.status()[0].last_error.as_ref() == Some(&expected)).await;
    assert!(!a.endpoint.status()[0].up);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_remedy() {
    let cluster = Cluster::new("c1");
    let a = cluster.start("n1");
    let mut config = cluster.config("n2");
    config.listen = a.endpoint.local_addr();
    let error = Endpoint::start(config).unwrap_err().to_string();
    let address = a.endpoint.local_addr();
    assert!(error.contains(&address.to_string()) && error.contains("node.listen"), "{error}");
}

const BULK: Bytes = Bytes::from_static(&[5; 32 * 1024]);

/// Sends until the queue is full and the connection takes no more. Returns the number of frames.
fn fill(from: &Node, to: &Node, lane: Lane) -> u64 {
    let mut accepted = 0;
    let mut refused_in_a_row = 0;
    while refused_in_a_row < 200 {
        match from.endpoint.try_send(&to.name, lane, BULK) {
            Ok(()) => (accepted, refused_in_a_row) = (accepted + 1, 0),
            Err(SendError::Full) => {
                refused_in_a_row += 1;
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
    accepted
}

/// Passes datagrams on between whoever sends to `front` and a node, from a port of its own.
async fn pass_on(front: &UdpSocket, node: std::net::SocketAddr) {
    let side = UdpSocket::bind(LOOPBACK).await.expect("a free port");
    let (mut out, mut back) = ([0; 2048], [0; 2048]);
    let mut guest = None;
    loop {
        tokio::select! {
            received = front.recv_from(&mut out) => {
                let (count, from) = received.expect("a datagram");
                guest = Some(from);
                side.send_to(&out[..count], node).await.expect("it is sent");
            }
            received = side.recv_from(&mut back) => {
                let (count, _) = received.expect("a datagram");
                if let Some(guest) = guest {
                    front.send_to(&back[..count], guest).await.expect("it is sent");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_seems_to_talk_from_another_port_keeps_its_link() {
    let cluster = Cluster::new("c1");
    let (mut a, mut b) = (cluster.start("n1"), cluster.start("n2"));
    let front = UdpSocket::bind(LOOPBACK).await.unwrap();
    let address = front.local_addr().unwrap().to_string();
    a.endpoint.set_peers(vec![PeerAddress { address, ..b.at() }]);
    b.endpoint.set_peers(vec![PeerAddress { address: nowhere(), ..a.at() }]);
    let node = b.endpoint.local_addr();
    tokio::select! {
        () = pass_on(&front, node) => {}
        () = async { a.up().await; b.up().await; } => {}
    }
    // The port of before is closed with its socket.
    tokio::select! {
        () = pass_on(&front, node) => {}
        () = async {
            for lane in Lane::ALL {
                a.send(&b, lane, "from another port");
                assert_eq!(b.frame().await, (lane, "from another port".into()));
                b.send(&a, lane, "to another port");
                assert_eq!(a.frame().await, (lane, "to another port".into()));
            }
        } => {}
    }
    for node in [&a, &b] {
        let counters = node.endpoint.counters();
        assert_eq!((counters.links_up, counters.links_down), (1, 0));
    }
}

/// An address that leads to no node.
fn nowhere() -> String {
    "127.0.0.1:1".to_owned()
}
