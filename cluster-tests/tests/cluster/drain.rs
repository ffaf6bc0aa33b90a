//! SIGTERM: everything that was written is on the other nodes before the process ends.

use cluster_tests::client::Client;
use cluster_tests::cluster::Cluster;

use super::service;

/// Writes, one session each.
const WRITES: usize = 300;

/// Promises P2, P7.
#[test]
fn what_only_the_drained_node_had_is_not_lost() {
    let over = [("REPLICA__REPLICATION__ACK", "local")];
    let mut cluster = Cluster::start_with(&service(), 3, &over).unwrap();
    let first = cluster.http(0);
    let jars: Vec<_> = (0..WRITES)
        .map(|number| {
            let mut client = Client::new();
            let answer = client.get(first, &format!("/login?user=u{number}&k={number}")).unwrap();
            assert_eq!((answer.status, answer.ack()), (200, Some((0, 0))));
            client.jar
        })
        .collect();
    assert_eq!(cluster.terminate(0).unwrap().code(), Some(0));
    for (number, jar) in jars.into_iter().enumerate() {
        for node in [1, 2] {
            let mut client = Client::with_jar(jar.clone());
            let answer = client.get(cluster.http(node), "/get?k=k").unwrap();
            assert_eq!((answer.status, answer.body), (200, number.to_string()));
        }
    }
    cluster.start_node(0).unwrap();
    cluster.settled().unwrap();
    assert_eq!(cluster.count(0, "sessions").unwrap(), WRITES as u64);
}
