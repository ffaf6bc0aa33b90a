//! What a cluster is like, in words, for when it is not as it should be.

use crate::cluster::{Cluster, members, name};

/// What each node says of the cluster, a line each.
#[must_use]
pub fn pictures(cluster: &Cluster) -> String {
    let picture = |node: usize| {
        let status = cluster.status(node).unwrap_or_default();
        let peers = status["peers"].as_array().into_iter().flatten().map(|peer| {
            format!(
                "{} reachable={} slots={} sessions={} {}",
                peer["name"],
                peer["reachable"],
                peer["lag_slots"],
                peer["lag_sessions"],
                peer["error"]
            )
        });
        format!(
            "{}: {} epoch={} transition={} members={:?} voters={} leader={} peers: {}",
            name(node),
            status["health"],
            status["epoch"],
            status["is_in_transition"],
            members(&status),
            status["voters"],
            status["leader"],
            peers.collect::<Vec<_>>().join("; ")
        )
    };
    cluster.running().into_iter().map(picture).collect::<Vec<_>>().join("\n")
}
