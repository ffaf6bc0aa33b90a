//! The contract's mix, checked call by call, on a cluster that is well and on one that is not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster_tests::balancer::Balancer;
use cluster_tests::check::{Findings, check};
use cluster_tests::cluster::Cluster;
use cluster_tests::faults::{End, end_in_turn};
use cluster_tests::history::{Call, History, Outcome};
use cluster_tests::load::{self, Plan, Progress, Visitors};

use super::service;

/// Requests before, between and after the ends of nodes.
const GAP: u64 = 2_000;

/// Runs a load while nodes end and come back, and checks it.
fn checked(clients: usize, end: End, times: u64) -> (History, Findings) {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let addresses = cluster.addresses();
    checked_on(cluster, clients, end, times, |plan, progress| load::run(&addresses, plan, progress))
}

fn checked_on(
    mut cluster: Cluster,
    clients: usize,
    end: End,
    times: u64,
    run: impl FnOnce(&Plan, &Progress) -> Visitors + Send,
) -> (History, Findings) {
    let progress = Progress::default();
    let seed = fastrand::u64(..1 << 32);
    let plan = Plan { clients, requests: u64::MAX, seed, pause: Duration::ZERO };
    let (visitors, downs) = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| run(&plan, &progress));
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

/// Promise P7: behind a balancer that asks for `/health`, and with a grace longer than it takes to
/// notice, a rolling restart costs no request, not even a second attempt.
#[test]
fn a_rolling_restart_behind_a_balancer_costs_no_request() {
    let over = [("REPLICA__NODE__DRAIN_GRACE", "2s")];
    let cluster = Cluster::start_with(&service(), 3, &over).unwrap();
    let balancer = Balancer::new(&cluster.addresses());
    let run = |plan: &Plan, progress: &Progress| load::run_behind(&balancer, plan, progress);
    let (history, findings) = checked_on(cluster, 8, End::Drain, 3, run);
    assert_eq!(history.downs.len(), 3);
    assert_eq!((findings.failed_in_flight, history.tried_elsewhere), (0, 0));
    for node in 0..3 {
        let down = history.downs[node];
        let meanwhile = |call: &&Call| call.invoked > down.from && call.invoked < down.until;
        let served = history.calls().filter(meanwhile).count();
        assert!(served > 0, "nothing was asked for while {node} was down");
    }
}
