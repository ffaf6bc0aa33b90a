//! One session on three processes: used everywhere, ended everywhere.

use cluster_tests::client::Client;
use cluster_tests::cluster::Cluster;

use super::{is_ended, service};

/// Promises P1, P3, P5.
#[test]
fn a_session_is_used_on_all_nodes_and_ended_on_all_nodes() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let [n1, n2, n3] = [0, 1, 2].map(|node| cluster.http(node));
    let mut client = Client::new();
    for node in [n1, n2, n3] {
        assert_eq!(client.get(node, "/health").unwrap().body, "ok");
        assert_eq!(client.get(node, "/count").unwrap().status, 401);
    }
    assert_eq!(client.get(n1, "/login?user=ada&colour=blue").unwrap().status, 200);
    for (node, count) in [(n2, "1"), (n3, "2"), (n1, "3"), (n2, "4")] {
        assert_eq!(client.get(node, "/get?k=colour").unwrap().body, "blue");
        let added = client.get(node, "/incr").unwrap();
        assert_eq!((added.body.as_str(), added.ack()), (count, Some((1, 1))));
    }
    let before_login = client.jar.clone();
    assert_eq!(client.get(n2, "/login?user=ada").unwrap().ack(), Some((2, 2)));
    for node in [n1, n2, n3] {
        let mut planted = Client::with_jar(before_login.clone());
        assert_eq!(planted.get(node, "/count").unwrap().status, 401, "the id before the login");
        assert_eq!(client.get(node, "/count").unwrap().body, "4");
    }
    let late = client.jar.clone();
    assert_eq!(client.get(n3, "/logout").unwrap().status, 200);
    assert!(client.jar.is_empty());
    assert!(is_ended(&cluster, &late));
}
