//! Nodes of the cluster that are not in the list of peers and come by themselves.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use support::{Cluster, Node, introduce, node_name, until};
use transport::hostile::{HostileConnection, preface};
use transport::issue::Validity;
use transport::{DownReason, Event, Lane, PeerAddress, PeerStatus, Refusal, SendError};

/// Who is dialled and who dials: either may be the one that chooses the link.
const ORDERS: [[&str; 2]; 2] = [["n1", "n2"], ["n2", "n1"]];

fn host(cluster: &Cluster, name: &str, strangers_max: usize) -> Node {
    let mut config = cluster.config(name);
    config.strangers_max = strangers_max;
    Node::start(config)
}

/// A host, and a stranger that is linked with it.
async fn host_and_guest(cluster: &Cluster, [host_name, guest]: [&str; 2]) -> (Node, Node) {
    let (mut host, mut guest) = (host(cluster, host_name, 1), cluster.start(guest));
    guest.knows(&[&host]);
    assert_eq!(host.up().await, format!("hello of {}", guest.name));
    assert_eq!(guest.up().await, format!("hello of {host_name}"));
    (host, guest)
}

/// The only status there is.
fn status(node: &Node) -> PeerStatus {
    let [status] = <[_; 1]>::try_from(node.endpoint.status()).unwrap();
    status
}

async fn frames_pass(a: &mut Node, b: &mut Node) {
    for lane in Lane::ALL {
        a.send(b, lane, "there");
        assert_eq!(b.frame().await, (lane, Bytes::from("there")));
        b.send(a, lane, "back");
        assert_eq!(a.frame().await, (lane, Bytes::from("back")));
    }
}

/// Neither has had another link than the one that stands.
fn one_link(nodes: [&Node; 2]) {
    for node in nodes {
        let counters = node.endpoint.counters();
        assert_eq!((counters.links_up, counters.links_down), (1, 0), "{}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_linked_with_like_a_peer() {
    let cluster = Cluster::new("c1");
    for order in ORDERS {
        let (mut host, mut guest) = host_and_guest(&cluster, order).await;
        frames_pass(&mut host, &mut guest).await;
        let stranger = status(&host);
        assert_eq!(
            (stranger.name, stranger.address, stranger.up),
            (guest.name.clone(), None, true)
        );
        one_link([&host, &guest]);
        host.endpoint.disconnect(&guest.name, "nonsense");
        assert_eq!(host.down().await, DownReason::Disconnected("nonsense".into()));
        guest.down().await;
        // It comes again, as whoever dials does.
        host.up().await;
        guest.up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_strangers_than_the_bound_are_refused_and_told_why() {
    let cluster = Cluster::new("c1");
    let (mut host, guest) = host_and_guest(&cluster, ["n1", "n2"]).await;
    let mut late = cluster.start("n3");
    late.knows(&[&host]);
    host.counted(|counters| counters.refused(Refusal::TooManyStrangers) > 0).await;
    let told = "n1 admits no more nodes that it does not know";
    until(|| status(&late).last_error.is_some_and(|error| error.contains(told))).await;
    assert_eq!(status(&host).name, guest.name);
    one_link([&host, &guest]);
    // When there is room it is admitted, without anybody doing anything.
    drop(guest);
    assert_eq!(host.down().await, DownReason::PeerStopped);
    host.up().await;
    late.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_takes_no_strangers_place() {
    let cluster = Cluster::new("c1");
    let (mut host, guest) = host_and_guest(&cluster, ["n1", "n2"]).await;
    host.knows(&[&guest]);
    let mut next = cluster.start("n3");
    next.knows(&[&host]);
    host.up().await;
    next.up().await;
    assert_eq!(host.endpoint.counters().refused(Refusal::TooManyStrangers), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_becomes_a_peer_keeps_its_link_and_is_dialled_afterwards() {
    let cluster = Cluster::new("c1");
    for [host_name, guest_name] in ORDERS {
        let (mut host, mut guest) =
            (host(&cluster, host_name, 1), self::host(&cluster, guest_name, 1));
        guest.knows(&[&host]);
        host.up().await;
        guest.up().await;
        host.knows(&[&guest]);
        assert_eq!(status(&host).address, Some(guest.at().address));
        frames_pass(&mut host, &mut guest).await;
        one_link([&host, &guest]);
        // The guest drops the host, so that only the host can be the one that dials.
        guest.knows(&[]);
        assert_eq!(guest.down().await, DownReason::Removed);
        host.down().await;
        host.up().await;
        guest.up().await;
        assert_eq!(status(&guest).address, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_dropped_may_come_back_as_a_stranger() {
    let cluster = Cluster::new("c1");
    for order in ORDERS {
        let (mut host, mut guest) = host_and_guest(&cluster, order).await;
        host.knows(&[&guest]);
        host.knows(&[]);
        assert_eq!(host.down().await, DownReason::Removed);
        guest.down().await;
        host.up().await;
        guest.up().await;
        assert_eq!(status(&host).address, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_peers_leaves_strangers_alone() {
    let cluster = Cluster::new("c1");
    let (mut host, mut guest) = host_and_guest(&cluster, ["n1", "n2"]).await;
    host.endpoint.set_peers(vec![PeerAddress { name: node_name("n9"), address: nowhere() }]);
    host.knows(&[]);
    frames_pass(&mut host, &mut guest).await;
    one_link([&host, &guest]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_forgotten_once_its_last_event_is_taken() {
    let cluster = Cluster::new("c1");
    let (mut host, guest) = host_and_guest(&cluster, ["n1", "n2"]).await;
    let name = guest.name.clone();
    drop(guest);
    // Until then it keeps its place: else it could come again and again, and fill the inbox.
    host.counted(|counters| counters.links_down == 1).await;
    let mut late = cluster.start("n3");
    late.knows(&[&host]);
    host.counted(|counters| counters.refused(Refusal::TooManyStrangers) > 0).await;
    assert!(!status(&host).up);
    assert_eq!(host.down().await, DownReason::PeerStopped);
    host.up().await;
    late.up().await;
    assert_eq!(status(&host).name, late.name);
    let sent = host.endpoint.try_send(&name, Lane::Live, "x".into());
    assert_eq!(sent, Err(SendError::NotConnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_link_of_a_stranger_is_forgotten() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.strangers_max = 1;
    config.limits.connect_timeout = Duration::from_millis(100);
    let mut host = Node::start(config);
    let stranger = cluster.ca.node(&node_name("n2"), Validity::days(1)).unwrap();
    let at = host.endpoint.local_addr();
    let half = HostileConnection::connect(at, Some(&stranger)).await.unwrap();
    let _stream = half.open(&preface(7, b"half")).await.unwrap();
    half.closed().await;
    until(|| host.endpoint.status().is_empty()).await;
    assert_eq!(host.events.try_next(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_may_become_a_peer_while_its_link_is_made() {
    let cluster = Cluster::new("c1");
    let mut host = host(&cluster, "n1", 1);
    let stranger = cluster.ca.node(&node_name("n2"), Validity::days(1)).unwrap();
    let at = host.endpoint.local_addr();
    let control = HostileConnection::connect(at, Some(&stranger)).await.unwrap();
    let _control = control.open(&preface(7, b"half way")).await.unwrap();
    until(|| host.endpoint.status().len() == 1).await;
    host.endpoint.set_peers(vec![PeerAddress { name: node_name("n2"), address: nowhere() }]);
    let data = HostileConnection::connect(at, Some(&stranger)).await.unwrap();
    let mut live = preface(7, b"");
    // The tag of the live lane.
    live[0] = 2;
    let _live = data.open(&live).await.unwrap();
    assert_eq!(host.up().await, "half way");
    assert_eq!(status(&host).address, Some(nowhere()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_dial_each_other_at_once_have_one_link_whoever_is_told_first() {
    let cluster = Cluster::new("c1");
    for order in ORDERS {
        for pause in 0..15 {
            let [mut host, mut guest] = order.map(|name| host(&cluster, name, 1));
            guest.knows(&[&host]);
            // A little later each time, so that it meets the handshakes at different points.
            for _ in 0..pause * 40 {
                tokio::task::yield_now().await;
            }
            host.knows(&[&guest]);
            host.up().await;
            guest.up().await;
            frames_pass(&mut host, &mut guest).await;
            one_link([&host, &guest]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_would_admit_strangers_are_peers() {
    let cluster = Cluster::new("c1");
    let [mut a, mut b] = ORDERS[0].map(|name| host(&cluster, name, 1));
    introduce(&a, &b);
    a.up().await;
    b.up().await;
    frames_pass(&mut a, &mut b).await;
    assert!(status(&a).address.is_some() && status(&b).address.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_stops_in_good_order() {
    let cluster = Cluster::new("c1");
    let (host, mut guest) = host_and_guest(&cluster, ["n1", "n2"]).await;
    host.send(&guest, Lane::Bulk, "the last word");
    host.endpoint.shutdown(support::PATIENCE).await;
    assert_eq!(guest.frame().await.1, "the last word");
    assert_eq!(guest.down().await, DownReason::PeerStopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_node_of_this_cluster_is_no_stranger() {
    let cluster = Cluster::new("c1");
    let mut host = host(&cluster, "n1", 8);
    let (n2, valid) = (node_name("n2"), Validity::days(1));
    let other_authority = Cluster::new("c1").ca.node(&n2, valid).unwrap();
    let other_cluster = cluster.ca.forge(&["n2.c2.replica.internal"], valid).unwrap();
    let operator = cluster.ca.operator(&n2, valid).unwrap();
    let own_name = cluster.ca.node(&host.name, valid).unwrap();
    for (credentials, why) in [
        (None, Refusal::NoCertificate),
        (Some(other_authority), Refusal::OtherAuthority),
        (Some(other_cluster), Refusal::OtherCluster),
        (Some(operator), Refusal::NotANode),
        (Some(own_name), Refusal::OtherName),
    ] {
        let at = host.endpoint.local_addr();
        if let Ok(connection) = HostileConnection::connect(at, credentials.as_ref()).await {
            connection.closed().await;
        }
        host.counted(|counters| counters.refused(why) == 1).await;
    }
    assert!(host.endpoint.status().is_empty());
    assert!(!matches!(host.events.try_next(), Some(Event::Up { .. })));
}

/// An address that leads to no node.
fn nowhere() -> String {
    "127.0.0.1:1".to_owned()
}
