//! Who is refused where operators are served, and what hostile bytes come to: P9.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use support::operator::{
    OPERATORS_MAX, PROTOCOL, ann, ask, connect, next, node, node_with, one_line, unconnected,
};
use support::{Cluster, LOOPBACK, Node, PATIENCE, node_name, replace};
use tokio::time::timeout;
use transport::hostile::{HostileConnection, HostileServer};
use transport::issue::{CertAndKey, Validity};
use transport::{
    Limits, OPERATOR_ANSWER_BYTES_MAX, OPERATOR_REQUEST_BYTES_MAX, Operator, OperatorError,
    OperatorIdentity, Refusal, Unanswered,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a node says first to an operator whom it serves.
const WELCOME: Bytes = Bytes::from_static(&[1]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_few_and_make_room_when_they_go() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let identity = ann(&cluster);
    let mut connected = Vec::new();
    for _ in 0..OPERATORS_MAX {
        connected.push(connect(&node, &identity).await);
    }
    let address = node.at().address;
    let error = unconnected(&identity, &address, "n1 serves 8 operators already").await;
    assert!(matches!(error, OperatorError::Busy { .. }), "{error}");
    assert_eq!(node.endpoint.counters().refused(Refusal::Busy), 1);
    for operator in connected.drain(..) {
        operator.close().await;
    }
    let operator = loop {
        match Operator::connect(&identity, &address, &support::limits()).await {
            Ok(operator) => break operator,
            Err(error) => assert!(matches!(error, OperatorError::Busy { .. }), "{error}"),
        }
    };
    ask(&operator, &mut operators, "status".into(), |_| "well".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_too_many_connections_is_no_refusal_of_a_certificate() {
    let cluster = Cluster::new("c1");
    let (node, _operators) = node_with(&cluster, |limits| limits.connections_max = 0);
    let tells = "there are too many connections at once";
    let error = unconnected(&ann(&cluster), &node.at().address, tells).await;
    assert!(matches!(error, OperatorError::Busy { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_asks_nothing_loses_the_place() {
    let cluster = Cluster::new("c1");
    let idle = |limits: &mut Limits| limits.operator_idle_timeout = Duration::from_millis(50);
    let (node, _operators) = node_with(&cluster, idle);
    let bob = cluster.ca.operator(&node_name("bob"), Validity::days(1)).unwrap();
    let at = node.endpoint.local_addr();
    for _ in 0..OPERATORS_MAX + 1 {
        let idle = HostileConnection::connect_with(at, Some(&bob), PROTOCOL).await.unwrap();
        let words = timeout(PATIENCE, idle.closed()).await.unwrap();
        assert!(words.contains("nothing was asked for a while"), "{words}");
    }
    assert_eq!(node.endpoint.counters().refused(Refusal::Busy), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_are_refused() {
    let cluster = Cluster::new("c1");
    let (node, mut operators) = node(&cluster);
    let bob = cluster.ca.operator(&node_name("bob"), Validity::days(1)).unwrap();
    let at = node.endpoint.local_addr();
    let connection = HostileConnection::connect_with(at, Some(&bob), PROTOCOL).await.unwrap();
    let too_long = (OPERATOR_REQUEST_BYTES_MAX as u32 + 1).to_be_bytes();
    for (bytes, why) in [
        (&[][..], Unanswered::Malformed),
        (&[0, 0, 0], Unanswered::Malformed),
        // What is left of "drain n10" must not drain n1.
        (b"\0\0\0\x09drain n1", Unanswered::Malformed),
        (b"\0\0\0\x02okmore", Unanswered::Malformed),
        (&too_long, Unanswered::TooLong),
        (&[0xff; 2000], Unanswered::TooLong),
    ] {
        let mut request = connection.ask(bytes).await.unwrap();
        request.stream.finish();
        assert_eq!(request.outcome().await, Err(Some(why)), "{bytes:?}");
    }
    // Byte by byte it is a request all the same.
    let mut request = connection.ask(&[]).await.unwrap();
    for byte in *b"\0\0\0\x02ok" {
        request.stream.send(&[byte]).await.unwrap();
    }
    request.stream.finish();
    let got = next(&mut operators).await;
    assert_eq!(got.bytes, "ok");
    got.answer("yes".into());
    assert_eq!(request.outcome().await.unwrap(), b"\0\0\0\x03yes");
    // The lanes are not for operators, whatever is said on them.
    let _stream = connection.open(&[1; 100]).await.unwrap();
    assert!(connection.closed().await.contains("no request"));
    assert!(node.endpoint.status().is_empty());
    connect(&node, &ann(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_operator_of_this_cluster_is_refused_and_counted() {
    let cluster = Cluster::new("c1");
    let (node, _operators) = node(&cluster);
    let (ca, name, day) = (&cluster.ca, node_name("ann"), Validity::days(1));
    let now = SystemTime::now();
    let past = Validity { from: now - 3 * DAY, until: now - DAY };
    let forge = |dns_name: &str| ca.forge(&[dns_name], day).unwrap();
    let cases: [(Option<CertAndKey>, Refusal); 8] = [
        (None, Refusal::NoCertificate),
        (Some(Cluster::new("c1").ca.operator(&name, day).unwrap()), Refusal::OtherAuthority),
        (Some(forge("ann.operator.c2.replica.internal")), Refusal::OtherCluster),
        (Some(ca.operator(&name, past).unwrap()), Refusal::OutsideValidity),
        (Some(ca.node(&node_name("n2"), day).unwrap()), Refusal::NotAnOperator),
        (Some(ca.node(&node_name("n1"), day).unwrap()), Refusal::NotAnOperator),
        (Some(forge("c1.replica.internal")), Refusal::NotAnOperator),
        (Some(forge("*.operator.c1.replica.internal")), Refusal::NotAnOperator),
    ];
    let at = node.endpoint.local_addr();
    for (credentials, why) in cases {
        let before = node.endpoint.counters().refused(why);
        let connected = HostileConnection::connect_with(at, credentials.as_ref(), PROTOCOL).await;
        if let Ok(connection) = connected {
            connection.closed().await;
        }
        node.counted(|counters| counters.refused(why) == before + 1).await;
    }
    assert_eq!(node.endpoint.counters().operator_requests_refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_neither_peer_nor_stranger() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.strangers_max = 8;
    let node = Node::start(config);
    // Not even under the name of a peer.
    let ann = cluster.ca.operator(&node_name("n2"), Validity::days(1)).unwrap();
    let address = "127.0.0.1:1".to_owned();
    let peer = transport::PeerAddress { name: node_name("n2"), address };
    for (peers, times) in [(Vec::new(), 1), (vec![peer], 2)] {
        node.endpoint.set_peers(peers);
        let connection = HostileConnection::connect(node.endpoint.local_addr(), Some(&ann)).await;
        connection.unwrap().closed().await;
        node.counted(|counters| counters.refused(Refusal::NotANode) == times).await;
    }
    assert_eq!(node.endpoint.counters().links_up, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_why_the_certificate_is_refused() {
    let (cluster, other) = (Cluster::new("c1"), Cluster::new("c1"));
    let (node, _operators) = node(&cluster);
    let address = node.at().address;
    // Trusts both authorities, while the node trusts one.
    let issued = other.ca.operator(&node_name("ann"), Validity::days(1)).unwrap();
    let paths = other.write("ann", &issued);
    let both = [cluster.ca.files(), other.ca.files()].map(|files| files.cert_pem.clone());
    replace(&paths.ca, &both.concat());
    let identity = OperatorIdentity::load(&paths, cluster.ca.cluster()).unwrap();
    let tells = format!("{address} refuses this certificate: it was issued by another authority");
    let error = unconnected(&identity, &address, &tells).await;
    assert!(matches!(error, OperatorError::Refused { .. }), "{error}");
    // One that is not a client's at all.
    let forged = cluster.ca.forge(&["ann.operator.c1.replica.internal"], Validity::days(1));
    let paths = cluster.write("bob", &forged.unwrap());
    let identity = OperatorIdentity::load(&paths, cluster.ca.cluster()).unwrap();
    connect(&node, &identity).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_node_of_the_cluster_answers_the_operator_is_told() {
    let cluster = Cluster::new("c1");
    let identity = ann(&cluster);
    // Bound and silent, so that nobody else has this port.
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let impatient = Limits { connect_timeout: Duration::from_millis(100), ..support::limits() };
    let error = Operator::connect(&identity, &address, &impatient).await.unwrap_err();
    one_line(&error, &format!("no answer from {address} on UDP: "));
    assert!(matches!(error, OperatorError::NoAnswer { .. }), "{error}");

    for nonsense in ["nonsense", "127.0.0.1", "a b:1", ""] {
        let error = unconnected(&identity, nonsense, nonsense).await;
        assert!(matches!(error, OperatorError::Resolve { .. }), "{error}");
    }

    let stranger = Cluster::new("c1").start("n1");
    let address = stranger.at().address;
    let error = unconnected(&identity, &address, &address).await;
    assert!(matches!(error, OperatorError::NotANode { .. }), "{error}");

    for (dns_name, refusal) in [
        ("n1.c2.replica.internal", Refusal::OtherCluster),
        ("bob.operator.c1.replica.internal", Refusal::NotANode),
    ] {
        let forged = cluster.ca.forge(&[dns_name], Validity::days(1)).unwrap();
        let server = HostileServer::answering(&forged, WELCOME, Bytes::new()).unwrap();
        let address = server.local_addr().unwrap().to_string();
        let error = unconnected(&identity, &address, &address).await;
        assert!(
            matches!(error, OperatorError::NotANode { refusal: found, .. } if found == refusal),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_breaks_the_rules_is_not_believed() {
    let cluster = Cluster::new("c1");
    let identity = ann(&cluster);
    let n1 = cluster.ca.node(&node_name("n1"), Validity::days(1)).unwrap();
    let server = |welcome, answer| HostileServer::answering(&n1, welcome, answer).unwrap();
    let address = |server: &HostileServer| server.local_addr().unwrap().to_string();

    let unwelcome = server(Bytes::from("?"), Bytes::new());
    let error = unconnected(&identity, &address(&unwelcome), "its first message was wrong").await;
    assert!(matches!(error, OperatorError::NotANode { .. }), "{error}");

    let too_long = (OPERATOR_ANSWER_BYTES_MAX as u32 + 1).to_be_bytes();
    for answer in [&[][..], &[0, 0], b"\0\0\0\x05cut", b"\0\0\0\x01more", &too_long] {
        let server = server(WELCOME, Bytes::copy_from_slice(answer));
        let operator =
            Operator::connect(&identity, &address(&server), &support::limits()).await.unwrap();
        let error = operator.request("status".into()).await.unwrap_err();
        one_line(&error, "the answer of n1 is not understood");
        assert!(matches!(error, OperatorError::Malformed { .. }), "{error}");
    }
}
