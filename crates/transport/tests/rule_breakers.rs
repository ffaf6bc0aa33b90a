//! Peers with genuine certificates that break the rules: refused, counted, nothing allocated.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use support::{Cluster, Node, PATIENCE, node_name};
use tokio::time::timeout;
use transport::hostile::{HostileConnection, HostileLink, decode_any, preface};
use transport::issue::{CertAndKey, Validity};
use transport::{
    Counters, DownReason, EndpointConfig, FrameViolation, Lane, Limits, PeerAddress, Refusal,
};

/// A node, and the genuine certificate of its only peer.
fn node_and_peer(cluster: &Cluster) -> (Node, CertAndKey) {
    start(cluster.config("n1"), cluster)
}

/// The same, with a node that waits for nobody.
fn impatient_node_and_peer(cluster: &Cluster) -> (Node, CertAndKey) {
    let mut config = cluster.config("n1");
    config.limits.connect_timeout = Duration::from_millis(100);
    start(config, cluster)
}

fn start(config: EndpointConfig, cluster: &Cluster) -> (Node, CertAndKey) {
    let node = Node::start(config);
    let address = "127.0.0.1:1".to_owned();
    node.endpoint.set_peers(vec![PeerAddress { name: node_name("n2"), address }]);
    let peer = cluster.ca.node(&node_name("n2"), Validity::days(5)).unwrap();
    (node, peer)
}

async fn establish(node: &mut Node, peer: &CertAndKey) -> HostileLink {
    let at = node.endpoint.local_addr();
    let link = timeout(PATIENCE, HostileLink::establish(at, peer, 1, Bytes::from("evil")));
    let link = link.await.expect("no link").unwrap();
    assert_eq!(node.up().await, "evil");
    link
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversize_length_ends_the_link_on_each_lane() {
    let cluster = Cluster::new("c1");
    let (mut node, peer) = node_and_peer(&cluster);
    let limit = support::limits().frame_bytes_max;
    for (nth, lane) in Lane::ALL.into_iter().enumerate() {
        for announced in [limit + 1, u32::MAX as usize] {
            let before = node.endpoint.counters().frames_refused;
            let mut link = establish(&mut node, &peer).await;
            let header = u32::try_from(announced).unwrap().to_be_bytes();
            link.lanes[nth].send(&header).await.unwrap();
            let violation = FrameViolation::TooLong { announced, limit };
            assert_eq!(node.down().await, DownReason::Violation(violation), "{lane:?}");
            let words = link.control.closed().await;
            assert!(words.contains("was announced"), "{words}");
            assert_eq!(node.endpoint.counters().frames_refused, before + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_before_the_violation_are_delivered_as_sent() {
    let cluster = Cluster::new("c1");
    let (mut node, peer) = node_and_peer(&cluster);
    let mut link = establish(&mut node, &peer).await;
    // Byte by byte: pieces of any size make the same frames.
    for byte in [0, 0, 0, 2, b'o', b'k', 0, 0, 0, 0] {
        link.lanes[1].send(&[byte]).await.unwrap();
    }
    assert_eq!(node.frame().await, (Lane::Live, Bytes::from("ok")));
    assert_eq!(node.frame().await, (Lane::Live, Bytes::new()));
    link.lanes[1].send(&[0, 0, 0, 9, 1]).await.unwrap();
    link.lanes[1].finish();
    let truncated = DownReason::Violation(FrameViolation::Truncated);
    assert_eq!(node.down().await, truncated);
}

/// Whoever sends a thousand wrong frames at once is told of, and costs, one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_disconnect_nothing_more_of_the_link_is_given_out() {
    const FRAMES: u64 = 1_000;
    let cluster = Cluster::new("c1");
    let (mut node, peer) = node_and_peer(&cluster);
    let mut link = establish(&mut node, &peer).await;
    let frames = [0, 0, 0, 1, b'x'].repeat(FRAMES as usize);
    for lane in &mut link.lanes {
        lane.send(&frames).await.unwrap();
    }
    let all =
        |counters: &Counters| Lane::ALL.iter().all(|lane| counters.lane(*lane).frames_in == FRAMES);
    node.counted(all).await;
    assert_eq!(node.frame().await, (Lane::Control, Bytes::from("x")));
    node.endpoint.disconnect(&node_name("n2"), "wrong");
    assert_eq!(node.down().await, DownReason::Disconnected("wrong".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_no_lane_ends_the_link() {
    let cluster = Cluster::new("c1");
    let (mut node, peer) = node_and_peer(&cluster);
    let link = establish(&mut node, &peer).await;
    let _stream = link.control.open(&[9]).await.unwrap();
    assert_eq!(node.down().await, DownReason::Violation(FrameViolation::Stream));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_first_message_is_refused() {
    let cluster = Cluster::new("c1");
    let (node, peer) = node_and_peer(&cluster);
    let mut oversize = preface(7, b"");
    let end = oversize.len();
    oversize[end - 2..].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut other_lane = preface(7, b"");
    other_lane[0] = Lane::ALL.len() as u8;
    for (nth, wrong) in [&[0xff; 200][..], &oversize, &other_lane].into_iter().enumerate() {
        let at = node.endpoint.local_addr();
        let connection = HostileConnection::connect(at, Some(&peer)).await.unwrap();
        let _stream = connection.open(wrong).await.unwrap();
        node.counted(|counters| counters.refused(Refusal::Preface) == nth as u64 + 1).await;
        connection.closed().await;
    }
    assert_eq!(node.endpoint.counters().links_up, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_says_nothing_ends_by_itself() {
    let cluster = Cluster::new("c1");
    let (node, peer) = impatient_node_and_peer(&cluster);
    let connection =
        HostileConnection::connect(node.endpoint.local_addr(), Some(&peer)).await.unwrap();
    timeout(PATIENCE, connection.closed()).await.unwrap();
    node.counted(|counters| counters.refused(Refusal::Slow) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_without_their_other_half_are_few_and_end() {
    let cluster = Cluster::new("c1");
    let (node, peer) = impatient_node_and_peer(&cluster);
    let mut connections = Vec::new();
    for link in 1..=12 {
        let at = node.endpoint.local_addr();
        let connection = HostileConnection::connect(at, Some(&peer)).await.unwrap();
        let stream = connection.open(&preface(link, b"half")).await.unwrap();
        connections.push((connection, stream));
    }
    for (connection, _stream) in connections {
        timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    assert_eq!(node.endpoint.counters().links_up, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_of_a_peer_takes_the_place_of_the_old_one() {
    let cluster = Cluster::new("c1");
    let (mut node, peer) = node_and_peer(&cluster);
    let old = establish(&mut node, &peer).await;
    let at = node.endpoint.local_addr();
    let new = tokio::spawn(async move {
        HostileLink::establish(at, &peer, 2, Bytes::from("a later start")).await.unwrap()
    });
    assert_eq!(node.down().await, DownReason::Superseded);
    assert_eq!(node.up().await, "a later start");
    assert!(old.data.closed().await.contains("newer link"));
    let _new = new.await.unwrap();
    assert!(node.endpoint.status()[0].up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_link_of_the_same_process_is_refused() {
    let cluster = Cluster::new("c1");
    let (mut node, peer) = node_and_peer(&cluster);
    let mut first = establish(&mut node, &peer).await;
    let at = node.endpoint.local_addr();
    let second = HostileLink::establish(at, &peer, 1, Bytes::from("evil")).await;
    assert!(second.unwrap_err().to_string().contains("another link stands"));
    first.lanes[0].send(&[0, 0, 0, 0]).await.unwrap();
    assert_eq!(node.frame().await, (Lane::Control, Bytes::new()));
    assert_eq!(node.endpoint.counters().links_up, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_the_limit_are_refused() {
    let cluster = Cluster::new("c1");
    let limits: [fn(&mut Limits); 2] =
        [|limits| limits.connections_max = 0, |limits| limits.handshakes_max = 0];
    for set in limits {
        let mut config = cluster.config("n1");
        set(&mut config.limits);
        let (node, peer) = start(config, &cluster);
        HostileConnection::connect(node.endpoint.local_addr(), Some(&peer)).await.unwrap_err();
        assert_eq!(node.endpoint.counters().refused(Refusal::Busy), 1);
    }
}

#[test]
fn any_bytes_on_a_lane_are_decoded_or_refused() {
    let mut random = 2_463_534_242_u32;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..64)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                // Many small numbers, so that lengths are often within the limit.
                if random & 1 == 0 { 0 } else { (random >> 8) as u8 % 16 }
            })
            .collect();
        decode_any(&bytes, 1024);
    }
}
