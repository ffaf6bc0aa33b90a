//! Who is refused, and that it is counted: P9.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use support::{Cluster, Node, node_name, until};
use transport::hostile::HostileConnection;
use transport::issue::{CertAndKey, Validity};
use transport::{Event, PeerAddress, Refusal};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A node that knows `n2`, and says nothing to it.
async fn node(cluster: &Cluster) -> Node {
    let node = cluster.start("n1");
    let address = "127.0.0.1:1".to_owned();
    node.endpoint.set_peers(vec![PeerAddress { name: node_name("n2"), address }]);
    node
}

/// Connects as somebody; the node must refuse it, for this reason, and stay well.
async fn refused(node: &Node, credentials: Option<&CertAndKey>, why: Refusal) {
    let before = node.endpoint.counters().refused(why);
    // Whether it is refused in the handshake or after it depends on what is wrong.
    if let Ok(connection) =
        HostileConnection::connect(node.endpoint.local_addr(), credentials).await
    {
        connection.closed().await;
    }
    node.counted(|counters| counters.refused(why) == before + 1).await;
    let counters = node.endpoint.counters();
    assert_eq!(counters.links_up, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_node_of_this_cluster_is_refused_and_counted() {
    let cluster = Cluster::new("c1");
    let node = node(&cluster).await;
    let ca = &cluster.ca;
    let (n2, valid) = (node_name("n2"), Validity::days(5));

    refused(&node, None, Refusal::NoCertificate).await;

    let same_name = Cluster::new("c1").ca.node(&n2, valid).unwrap();
    refused(&node, Some(&same_name), Refusal::OtherAuthority).await;
    let other_name = Cluster::new("c2").ca.node(&n2, valid).unwrap();
    refused(&node, Some(&other_name), Refusal::OtherAuthority).await;

    let other_cluster = ca.forge(&["n2.c2.replica.internal"], valid).unwrap();
    refused(&node, Some(&other_cluster), Refusal::OtherCluster).await;

    let now = SystemTime::now();
    let past = Validity { from: now - 3 * DAY, until: now - DAY };
    let expired = ca.node(&n2, past).unwrap();
    refused(&node, Some(&expired), Refusal::OutsideValidity).await;
    let future = Validity { from: now + DAY, until: now + 3 * DAY };
    let not_yet = ca.node(&n2, future).unwrap();
    refused(&node, Some(&not_yet), Refusal::OutsideValidity).await;

    let operator = ca.operator(&n2, valid).unwrap();
    refused(&node, Some(&operator), Refusal::NotANode).await;
    let unknown = ca.node(&node_name("n9"), valid).unwrap();
    refused(&node, Some(&unknown), Refusal::UnknownName).await;
    let own_name = ca.node(&node.name, valid).unwrap();
    refused(&node, Some(&own_name), Refusal::OtherName).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_more_than_one_name_is_nobodys() {
    let cluster = Cluster::new("c1");
    let node = node(&cluster).await;
    let n2 = "n2.c1.replica.internal";
    for names in [&["*.c1.replica.internal"][..], &[n2, "n3.c1.replica.internal"], &["n2"]] {
        let forged = cluster.ca.forge(names, Validity::days(1)).unwrap();
        refused(&node, Some(&forged), Refusal::NotANode).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_refused() {
    let cluster = Cluster::new("c1");
    let node = node(&cluster).await;
    let n2 = cluster.ca.node(&node_name("n2"), Validity::days(5)).unwrap();
    let at = node.endpoint.local_addr();
    HostileConnection::connect_with(at, Some(&n2), b"h3").await.unwrap_err();
    node.counted(|counters| counters.refused(Refusal::Handshake) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_under_another_name_is_refused_by_who_dials() {
    let cluster = Cluster::new("c1");
    let (a, mut c) = (cluster.start("n1"), cluster.start("n3"));
    // The address of n2 leads to n3, whose certificate is genuine.
    a.endpoint.set_peers(vec![PeerAddress { name: node_name("n2"), address: c.at().address }]);
    a.counted(|counters| counters.refused(Refusal::OtherName) > 0).await;
    assert_eq!(a.endpoint.counters().links_up, 0);
    assert_eq!(c.events.try_next(), None);
    until(|| a.endpoint.status()[0].last_error.as_ref().is_some_and(|e| e.contains("n2"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_two_authorities_refuse_each_other_and_say_why() {
    let (ours, theirs) = (Cluster::new("c1"), Cluster::new("c1"));
    let (a, b) = (ours.start("n1"), theirs.start("n2"));
    a.endpoint.set_peers(vec![b.at()]);
    a.counted(|counters| counters.refused(Refusal::OtherAuthority) > 0).await;
    b.endpoint.set_peers(vec![a.at()]);
    b.counted(|counters| counters.refused(Refusal::OtherAuthority) > 0).await;
    until(|| a.endpoint.status()[0].last_error.is_some()).await;
    assert_eq!(a.endpoint.counters().links_up + b.endpoint.counters().links_up, 0);
}

#[tokio::test]
async fn a_hello_over_the_limit_is_not_started_with() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.hello = Bytes::from(vec![0; transport::HELLO_BYTES_MAX + 1]);
    assert!(transport::Endpoint::start(config).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_stranger_does_not_disturb_a_link() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    refuse_many(&a, &cluster).await;
    a.send(&b, transport::Lane::Live, "still here");
    assert!(matches!(b.next().await, Event::Frame { .. }));
    assert_eq!(a.endpoint.counters().links_down, 0);
}

async fn refuse_many(node: &Node, cluster: &Cluster) {
    let unknown = cluster.ca.node(&node_name("n9"), Validity::days(1)).unwrap();
    for _ in 0..10 {
        let at = node.endpoint.local_addr();
        let connection = HostileConnection::connect(at, Some(&unknown)).await.unwrap();
        let words = connection.closed().await;
        assert!(words.contains("no peer"), "{words}");
    }
    node.counted(|counters| counters.refused(Refusal::UnknownName) == 10).await;
}
