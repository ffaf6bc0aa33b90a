//! Promises on real processes: several nodes on loopback, started for each test.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod cookies;
mod drain;
mod ending;
mod hostile;
mod load;
mod operators;
mod parallel;
mod scenario;
mod smoke;

use cluster_tests::client::{Client, Jar};
use cluster_tests::cluster::Cluster;
use cluster_tests::service::Service;

fn service() -> Service {
    Service::at(env!("CARGO_BIN_EXE_service"))
}

/// Whether every node says that these cookies name no session.
fn is_ended(cluster: &Cluster, jar: &Jar) -> bool {
    (0..cluster.len()).all(|node| {
        let answer = Client::with_jar(jar.clone()).get(cluster.http(node), "/count").unwrap();
        answer.status == 401
    })
}
