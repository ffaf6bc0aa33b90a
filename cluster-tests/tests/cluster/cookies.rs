//! Cookies that somebody made up: treated as none, and counted.

use cluster_tests::client::{Client, Jar};
use cluster_tests::cluster::Cluster;

use super::service;

fn is_token(name: &str) -> bool {
    name.ends_with("-token")
}

/// The value with another letter in its middle.
fn tampered(value: &str) -> String {
    let middle = value.len() / 2;
    let other = if value.as_bytes()[middle] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &value[..middle], &value[middle + 1..])
}

fn logged_in(cluster: &Cluster) -> Jar {
    let mut client = Client::new();
    assert_eq!(client.get(cluster.http(0), "/login?user=ada&k=v").unwrap().status, 200);
    client.jar
}

/// What the node answers to cookies changed like this, and how many of them it has counted.
fn answer(cluster: &Cluster, jar: &Jar, change: impl Fn(&str, &str) -> String) -> (u16, u64, u64) {
    let count = |way: &str| cluster.count(0, way).unwrap();
    let before = (count("meters.ids_refused"), count("meters.tokens_refused"));
    let mut client = Client::with_jar(jar.clone());
    client.jar.forge(change);
    let status = client.get(cluster.http(0), "/get?k=k").unwrap().status;
    (status, count("meters.ids_refused") - before.0, count("meters.tokens_refused") - before.1)
}

/// Promises P5, P9.
#[test]
fn forged_truncated_and_foreign_cookies_are_none_and_counted() {
    let cluster = Cluster::start(&service(), 2).unwrap();
    let jar = logged_in(&cluster);
    let id = |change: fn(&str) -> String| {
        answer(
            &cluster,
            &jar,
            |name, value| {
                if is_token(name) { value.to_owned() } else { change(value) }
            },
        )
    };
    let token = |change: fn(&str) -> String| {
        answer(
            &cluster,
            &jar,
            |name, value| {
                if is_token(name) { change(value) } else { value.to_owned() }
            },
        )
    };
    assert_eq!(id(str::to_owned), (200, 0, 0));
    assert_eq!(id(|value| value[..value.len() / 2].to_owned()), (401, 1, 0));
    assert_eq!(id(|_| "~".repeat(43)), (401, 1, 0));
    assert_eq!(id(|_| "a".repeat(4_000)), (401, 1, 0));
    // Of the right make, and nobody's; the token is another session's then.
    assert_eq!(id(tampered), (401, 0, 1));
    // Without its token a session is served as to somebody who has seen nothing of it.
    assert_eq!(token(|value| value[..value.len() / 2].to_owned()), (200, 0, 1));
    assert_eq!(token(tampered), (200, 0, 1));
    assert_eq!(token(|_| "forged".to_owned()), (200, 0, 1));
    let foreign = Cluster::start(&service(), 1).unwrap();
    let foreign = logged_in(&foreign);
    assert_eq!(answer(&cluster, &foreign, |_, value| value.to_owned()), (401, 0, 1));
}
