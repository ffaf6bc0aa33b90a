//! Bytes and peers that do not belong: refused, counted, and nobody else notices. P9.

use bytes::Bytes;
use cluster_tests::client::Client;
use cluster_tests::cluster::Cluster;
use cluster_tests::hostile::{Flood, Impostor, frame};
use cluster_tests::wait::{PATIENCE, wait_until};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use transport::hostile::HostileConnection;
use transport::issue::{Ca, CertAndKey, Validity};

use super::service;

/// Two nodes of three: the place of the third is free for somebody else.
fn two_of_three() -> Cluster {
    let mut cluster = Cluster::prepare_fixed(&service(), 3).unwrap();
    cluster.start_nodes(&[0, 1]).unwrap();
    cluster
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What is done must add to a count of the first node.
fn is_counted(cluster: &Cluster, way: &str, doing: impl FnOnce()) {
    let before = cluster.count(0, way).unwrap();
    doing();
    wait_until(way, || cluster.count(0, way).unwrap() > before).unwrap();
}

fn goes_on(cluster: &Cluster) {
    let mut client = Client::new();
    assert_eq!(client.get(cluster.http(0), "/login?user=ada").unwrap().ack(), Some((1, 1)));
    assert_eq!(client.get(cluster.http(1), "/incr").unwrap().body, "1");
    assert_eq!(client.get(cluster.http(0), "/incr").unwrap().ack(), Some((1, 1)));
}

#[test]
fn bad_datagrams_are_counted_and_the_node_goes_on() {
    let cluster = two_of_three();
    let flood = Flood::start(cluster.quic(0), 5_000).unwrap();
    is_counted(&cluster, "network.datagrams_stray", || ());
    is_counted(&cluster, "network.refused.handshake", || ());
    goes_on(&cluster);
    let stray = || cluster.count(0, "network.datagrams_stray").unwrap();
    wait_until("thousands have arrived", || stray() > 2_000).unwrap();
    assert!(flood.stop() > 2_000);
    goes_on(&cluster);
    assert_eq!(cluster.count(0, "network.links_down").unwrap(), 0);
}

#[test]
fn a_peer_of_another_cluster_is_refused_and_counted() {
    let cluster = two_of_three();
    let runtime = runtime();
    let connects = |credentials: Option<&CertAndKey>| {
        runtime.block_on(async {
            if let Ok(connection) = HostileConnection::connect(cluster.quic(0), credentials).await {
                connection.closed().await;
            }
        });
    };
    let (n3, valid) = ("n3".parse().unwrap(), Validity::days(1));
    // The same names from another authority; another cluster's name from the same authority.
    let theirs = Ca::create(&"test".parse().unwrap(), valid).unwrap();
    let other_authority = theirs.node(&n3, valid).unwrap();
    let files = ["ca.pem", "ca.key"].map(|file| cluster.path("ca").join(file));
    let ours = Ca::load(&files[0], &files[1]).unwrap();
    let other_cluster = ours.forge(&["n3.other.replica.internal"], valid).unwrap();
    is_counted(&cluster, "network.refused.other_authority", || connects(Some(&other_authority)));
    is_counted(&cluster, "network.refused.other_cluster", || connects(Some(&other_cluster)));
    is_counted(&cluster, "network.refused.no_certificate", || connects(None));
    goes_on(&cluster);
}

#[test]
fn a_member_that_breaks_the_rules_is_shut_out_and_counted() {
    let cluster = two_of_three();
    let runtime = runtime();
    let impostor = runtime.block_on(Impostor::new(&cluster, 2)).unwrap();
    let mut other_version = impostor.introduction.to_vec();
    // The latest and the oldest version that it speaks: none that this release does.
    assert_eq!(other_version[0], replica::WIRE_VERSION);
    other_version[0] += 1;
    other_version[2] = other_version[0];
    let shut_out = |way: &str, introduction: &Bytes, bytes: &[u8]| {
        let before = cluster.count(0, way).unwrap();
        wait_until(way, || {
            runtime.block_on(says(&impostor, introduction.clone(), bytes));
            cluster.count(0, way).unwrap() > before
        })
        .unwrap();
    };
    let genuine = &impostor.introduction;
    shut_out("meters.hellos_refused", &other_version.into(), &[]);
    let other_version = frame(&[replica::WIRE_VERSION + 1, 1, 0, 0]);
    shut_out("meters.frames_undecodable", genuine, &other_version);
    let garbage = frame(b"garbage of the right length");
    shut_out("meters.frames_undecodable", genuine, &garbage);
    shut_out("network.frames_refused", genuine, &[0xff; 8]);
    goes_on(&cluster);
}

/// Makes a link, says something on its live lane, and waits until it is ended. For a moment after a
/// link has ended the node takes no other; then nothing is said.
async fn says(impostor: &Impostor, introduction: Bytes, bytes: &[u8]) {
    if let Ok(mut link) = impostor.link(introduction).await {
        // The link may have been ended for its introduction already.
        let _ = link.lanes[1].send(bytes).await;
        timeout(PATIENCE, link.control.closed()).await.expect("the link is ended");
    }
}
