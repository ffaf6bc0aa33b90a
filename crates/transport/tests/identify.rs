//! Who answers at an address of which no name is known.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use support::{Cluster, LOOPBACK, Node, node_name};
use transport::hostile::HostileServer;
use transport::issue::{CertAndKey, Validity};
use transport::{IdentifyError, Identity, Refusal};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the name of who answers there is not taken; the message must be one line with the address
/// and a remedy.
async fn refused(node: &Node, address: SocketAddr) -> IdentifyError {
    let error = node.endpoint.identify(address).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && !text.contains('\n'), "{text}");
    assert!(text.split_once("; ").is_some_and(|(_, remedy)| !remedy.is_empty()), "{text}");
    error
}

/// Nothing was counted of which somebody would have to be told.
fn unmoved(node: &Node) {
    let counters = node.endpoint.counters();
    assert_eq!(counters.refused.iter().sum::<u64>(), 0, "{counters:?}");
    assert_eq!(counters.links_up, 0);
    assert!(node.endpoint.status().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_known_by_its_address_and_neither_side_is_troubled() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = (cluster.start("n1"), cluster.start("n2"));
    for _ in 0..10 {
        assert_eq!(a.endpoint.identify(b.endpoint.local_addr()).await.unwrap(), b.name);
    }
    // Neither knows the other, and `b` admits no strangers.
    unmoved(&a);
    unmoved(&b);
    assert_eq!(b.events.try_next(), None);
    // Had one of those connections been refused, it would be counted before a later one.
    let c = cluster.start("n3");
    c.knows(&[&b]);
    b.counted(|counters| counters.refused(Refusal::UnknownName) > 0).await;
    let all: u64 = b.endpoint.counters().refused.iter().sum();
    assert_eq!(all, b.endpoint.counters().refused(Refusal::UnknownName));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_find_itself() {
    let cluster = Cluster::new("c1");
    let a = cluster.start("n1");
    assert_eq!(a.endpoint.identify(a.endpoint.local_addr()).await.unwrap(), a.name);
    unmoved(&a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_known_while_it_is_linked_with() {
    let cluster = Cluster::new("c1");
    let (mut a, mut b) = cluster.pair().await;
    assert_eq!(a.endpoint.identify(b.endpoint.local_addr()).await.unwrap(), b.name);
    a.send(&b, transport::Lane::Live, "as before");
    assert_eq!(b.frame().await.1, "as before");
    b.send(&a, transport::Lane::Live, "as before");
    assert_eq!(a.frame().await.1, "as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.limits.connect_timeout = Duration::from_millis(100);
    let a = Node::start(config);
    // Bound and silent, so that nobody else has this port.
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let error = refused(&a, silent.local_addr().unwrap()).await;
    assert!(matches!(error, IdentifyError::NoAnswer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_another_family_than_the_sockets() {
    let cluster = Cluster::new("c1");
    let a = cluster.start("n1");
    let error = refused(&a, "[::1]:7001".parse().unwrap()).await;
    assert!(matches!(error, IdentifyError::Dial { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_endpoint_asks_nobody() {
    let cluster = Cluster::new("c1");
    let (a, b) = (cluster.start("n1"), cluster.start("n2"));
    a.endpoint.shutdown(support::PATIENCE).await;
    let error = refused(&a, b.endpoint.local_addr()).await;
    assert!(matches!(error, IdentifyError::Dial { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_another_authority_or_cluster_are_refused() {
    let cluster = Cluster::new("c1");
    let a = cluster.start("n1");
    let other = Cluster::new("c1");
    let other_authority = other.start("n2");
    let error = refused(&a, other_authority.endpoint.local_addr()).await;
    let IdentifyError::Refused { refusal: Refusal::OtherAuthority, .. } = error else {
        panic!("{error}");
    };
    // A whole node, of a cluster with the same authority.
    let forged = cluster.ca.forge(&["n2.c2.replica.internal"], Validity::days(1)).unwrap();
    let paths = cluster.write("n2", &forged);
    let mut config = cluster.config("n3");
    config.identity = Identity::load(&paths, &"c2".parse().unwrap()).unwrap();
    let other_cluster = Node::start(config);
    let error = refused(&a, other_cluster.endpoint.local_addr()).await;
    let IdentifyError::Refused { refusal: Refusal::OtherCluster, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(a.endpoint.counters().refused(Refusal::OtherAuthority), 1);
    assert_eq!(a.endpoint.counters().refused(Refusal::OtherCluster), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_node_is_refused() {
    let cluster = Cluster::new("c1");
    let a = cluster.start("n1");
    let (name, day) = (node_name("n2"), Validity::days(1));
    let now = SystemTime::now();
    let past = Validity { from: now - 3 * DAY, until: now - DAY };
    let operator_serves = ["n2.operator.c1.replica.internal"];
    let cases: [(CertAndKey, Refusal); 5] = [
        (cluster.ca.operator(&name, day).unwrap(), Refusal::NotANode),
        (cluster.ca.forge(&operator_serves, day).unwrap(), Refusal::NotANode),
        (cluster.ca.forge(&["c1.replica.internal"], day).unwrap(), Refusal::NotANode),
        (cluster.ca.forge(&["*.c1.replica.internal"], day).unwrap(), Refusal::NotANode),
        (cluster.ca.node(&name, past).unwrap(), Refusal::OutsideValidity),
    ];
    for (credentials, why) in cases {
        let server = HostileServer::start(&credentials).unwrap();
        let error = refused(&a, server.local_addr().unwrap()).await;
        assert!(
            matches!(error, IdentifyError::Refused { refusal, .. } if refusal == why),
            "{error}, not {why:?}"
        );
    }
}
