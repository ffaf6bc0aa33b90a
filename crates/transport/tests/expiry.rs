//! A certificate that expires while a link stands, and one that is changed meanwhile.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use support::{Cluster, Node, introduce, node_name, replace, until};
use transport::issue::Validity;
use transport::{DownReason, Event, Identity, IdentityError, Lane, Refusal, SendError};

/// How long the certificate is valid from now on: long enough for two nodes to start and to find
/// each other, also on a busy machine.
const VALID: Duration = Duration::from_secs(5);

/// Greatest age of a link, which ends between a half of it and all of it: after the certificate.
const AGE_MAX: Duration = Duration::from_secs(20);

/// The link ends by its age and no sooner, nobody is let in by the certificate any more, and a new
/// one is enough to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_outlives_its_certificate_by_its_greatest_age_at_most() {
    let cluster = Cluster::new("c1");
    let mut config = cluster.config("n1");
    config.limits.connection_age_max = AGE_MAX;
    let mut a = Node::start(config);

    let now = SystemTime::now();
    let validity = Validity { from: now - Duration::from_secs(60), until: now + VALID };
    let short = cluster.ca.node(&node_name("n2"), validity).unwrap();
    let mut config = cluster.config("n2");
    let paths = cluster.write("n2", &short);
    let load = || Identity::load(&paths, cluster.ca.cluster());
    config.identity = load().unwrap();
    let mut b = Node::start(config);
    introduce(&a, &b);
    a.up().await;
    b.up().await;

    until(|| matches!(load(), Err(IdentityError::Expired { .. }))).await;
    a.send(&b, Lane::Live, "still");
    assert_eq!(b.frame().await, (Lane::Live, Bytes::from("still")));
    b.send(&a, Lane::Live, "here");
    assert_eq!(a.frame().await, (Lane::Live, Bytes::from("here")));

    assert_eq!(a.down().await, DownReason::Aged);
    assert_eq!(b.down().await, DownReason::Aged);
    a.counted(|counters| counters.refused(Refusal::OutsideValidity) > 1).await;
    until(|| a.endpoint.status()[0].last_error.as_ref().is_some_and(|e| e.contains("expired")))
        .await;
    assert_eq!(a.endpoint.counters().links_up, 1);

    let renewed = cluster.ca.node(&node_name("n2"), Validity::days(1)).unwrap();
    cluster.write("n2", &renewed);
    a.up().await;
    b.up().await;
}

/// Frames are numbered: all that were accepted arrive, once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_certificates_costs_no_frame() {
    let cluster = Cluster::new("c1");
    let (a, mut b) = cluster.pair().await;
    let mut sent = 0_u32;
    for _ in 0..3 {
        let before = a.endpoint.counters().reloads;
        let issued = cluster.ca.node(&node_name("n1"), Validity::days(1)).unwrap();
        // The key first: for a moment the two do not belong together, and the old ones hold.
        replace(&cluster.path("n1.key"), &issued.key_pem);
        replace(&cluster.path("n1.pem"), &issued.cert_pem);
        while a.endpoint.counters().reloads == before {
            match a.endpoint.try_send(&b.name, Lane::Live, sent.to_be_bytes().to_vec().into()) {
                Ok(()) => sent += 1,
                Err(error) => assert_eq!(error, SendError::Full),
            }
            tokio::task::yield_now().await;
        }
    }
    for number in 0..sent {
        let event = b.next().await;
        assert!(
            matches!(&event, Event::Frame { frame, .. } if **frame == number.to_be_bytes()),
            "not {number} but {event:?}"
        );
    }
    assert_eq!(b.endpoint.counters().links_up, 1, "the link has not been touched");
}
