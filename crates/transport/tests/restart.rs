//! Peers that are restarted are noticed at once; certificates that change are taken over.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use support::{Cluster, Node, PATIENCE, introduce, node_name, replace, until};
use tokio::runtime::Runtime;
use transport::{DownReason, Endpoint, EndpointConfig, PeerAddress, Refusal};

/// Longer than a test waits, so that silence cannot be what it notices.
fn patient(mut config: EndpointConfig) -> EndpointConfig {
    config.limits.control_idle_timeout = 2 * PATIENCE;
    config.limits.data_idle_timeout = 2 * PATIENCE;
    config
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Ends a node as a crash does: not one packet says goodbye.
fn crash(runtime: Runtime, node: Node) -> SocketAddr {
    let address = node.endpoint.local_addr();
    runtime.shutdown_timeout(PATIENCE);
    drop(node);
    address
}

/// Starts a node on a port that has just become free.
fn restart(runtime: &Runtime, config: &EndpointConfig) -> Node {
    let _in_runtime = runtime.enter();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match Endpoint::start(config.clone()) {
            Ok((endpoint, events)) => {
                return Node { name: config.identity.name().clone(), endpoint, events };
            }
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// One node sees the other one crash and come back. `names`: who stays, who crashes. `peers`:
/// where the new process looks for the one that stayed.
fn crash_and_restart(names: [&str; 2], dials: bool) -> DownReason {
    let cluster = Cluster::new("c1");
    let (stays, crashes) = (runtime(), runtime());
    let mut a = stays.block_on(async { Node::start(patient(cluster.config(names[0]))) });
    let mut config = patient(cluster.config(names[1]));
    let mut b = crashes.block_on(async { Node::start(config.clone()) });
    introduce(&a, &b);
    stays.block_on(a.up());
    crashes.block_on(b.up());

    config.listen = crash(crashes, b);
    config.hello = Bytes::from("another start");
    let address = if dials { a.at().address } else { "127.0.0.1:1".to_owned() };
    config.peers = vec![PeerAddress { name: a.name.clone(), address }];
    let again = runtime();
    let mut b = restart(&again, &config);
    let reason = stays.block_on(a.down());
    assert_eq!(stays.block_on(a.up()), "another start");
    again.block_on(b.up());
    reason
}

#[test]
fn a_restarted_peer_that_does_not_dial_is_noticed_by_its_reset() {
    assert_eq!(crash_and_restart(["n1", "n2"], false), DownReason::Restarted);
    assert_eq!(crash_and_restart(["n2", "n1"], false), DownReason::Restarted);
}

#[test]
fn a_restarted_peer_that_dials_takes_the_place_of_its_former_self() {
    for names in [["n1", "n2"], ["n2", "n1"]] {
        let reason = crash_and_restart(names, true);
        let noticed = matches!(reason, DownReason::Restarted | DownReason::Superseded);
        assert!(noticed, "{reason}");
    }
}

#[test]
fn a_crashed_peer_is_noticed_by_its_silence() {
    let cluster = Cluster::new("c1");
    let (stays, crashes) = (runtime(), runtime());
    let start = |name| {
        let mut config = cluster.config(name);
        config.limits.control_idle_timeout = Duration::from_millis(300);
        Node::start(config)
    };
    let mut a = stays.block_on(async { start("n1") });
    let mut b = crashes.block_on(async { start("n2") });
    introduce(&a, &b);
    stays.block_on(a.up());
    crashes.block_on(b.up());
    crash(crashes, b);
    assert_eq!(stays.block_on(a.down()), DownReason::Silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_certificates_are_taken_over_and_wrong_ones_are_not() {
    let (old, new) = (Cluster::new("c1"), Cluster::new("c1"));
    let (mut a, mut b) = (old.start("n1"), new.start("n2"));
    introduce(&a, &b);
    a.counted(|counters| counters.refused(Refusal::OtherAuthority) > 0).await;

    // A key without its certificate: the old pair holds.
    let issued = new.ca.node(&node_name("n1"), transport::issue::Validity::days(1)).unwrap();
    replace(&old.path("n1.key"), &issued.key_pem);
    a.counted(|counters| counters.reloads_failed == 1).await;

    // The other authority, and a certificate of it: taken over without a restart.
    replace(&old.path("n1.pem"), &issued.cert_pem);
    replace(&old.path("ca.pem"), &new.ca.files().cert_pem);
    a.up().await;
    b.up().await;
    assert!(a.endpoint.counters().reloads >= 1);
    let failed = a.endpoint.counters().reloads_failed;

    // A file that stays wrong is reported once, and the link stands.
    replace(&old.path("n1.pem"), "broken");
    a.counted(|counters| counters.reloads_failed == failed + 1).await;
    std::fs::remove_file(old.path("ca.pem")).unwrap();
    a.counted(|counters| counters.reloads_failed == failed + 2).await;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..5 {
        looks.tick().await;
    }
    assert_eq!(a.endpoint.counters().reloads_failed, failed + 2);
    until(|| a.endpoint.status()[0].up).await;
}
