//! The contract's mix, checked call by call, on a cluster that is well and on one that is not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster_tests::check::{Findings, check};
use cluster_tests::cluster::Cluster;
use cluster_tests::faults::{End, end_in_turn};
use cluster_tests::history::{History, Outcome};
use cluster_tests::load::{self, Plan, Progress};

use super::service;

/// Requests before, between and after the ends of nodes.
const GAP: u64 = 2_000;

/// Runs a load while nodes end and come back, and checks it.
fn checked(clients: usize, end: End, times: u64) -> (History, Findings) {
    let mut cluster = Cluster::start(&service(), 3).unwrap();
    let (addresses, progress) = (cluster.addresses(), Progress::default());
    let seed = fastrand::u64(..1 << 32);
    let plan = Plan { clients, requests: u64::MAX, seed, pause: Duration::ZERO };
    let (visitors, downs) = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| load::run(&addresses, &plan, &progress));
        let downs = end_in_turn(&mut cluster, end, times, GAP, &progress);
        progress.is_over.store(true, Ordering::Relaxed);
        (visitors.join().unwrap(), downs.unwrap())
    });
    cluster.settled().unwrap();
    let mut history = visitors.finish();
    history.downs = downs;
    let findings = check(&history);
    let shown: Vec<String> = findings.violations.iter().take(10).map(ToString::to_string).collect();
    assert!(shown.is_empty(), "seed {}:\n{}", seed, shown.join("\n"));
    (history, findings)
}

/// Promises P1, P3, P5.
#[test]
fn visitors_who_go_from_node_to_node_notice_nothing() {
    let (history, findings) = checked(16, End::Kill, 0);
    assert_eq!((findings.failed_in_flight, history.tried_elsewhere), (0, 0));
    let answered = history.calls().filter(|call| matches!(call.outcome, Outcome::Done { .. }));
    assert!(answered.count() as u64 >= GAP);
}

/// Promises P1, P2, P3, P7.
#[test]
fn a_node_that_is_killed_and_started_again_loses_nothing() {
    let (history, findings) = checked(16, End::Kill, 2);
    assert_eq!(history.downs.len(), 2);
    assert!(findings.failed_in_flight <= 2 * 2 * 16, "{}", findings.failed_in_flight);
    assert!(history.tried_elsewhere > 0, "nobody met the node that was down");
}

/// Promises P1, P2, P7.
#[test]
fn nodes_that_are_drained_and_started_again_one_after_another_lose_nothing() {
    let (history, _) = checked(8, End::Drain, 3);
    assert_eq!(history.downs.len(), 3);
}
