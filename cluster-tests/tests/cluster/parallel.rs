//! Requests of one session at the same time on different nodes: P4.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cluster_tests::client::{Client, Jar};
use cluster_tests::cluster::Cluster;
use cluster_tests::wait::wait_until;

use super::service;

/// Requests at once, and how many each sends one after another.
const AT_ONCE: usize = 8;
const EACH: usize = 25;

/// Sends requests of one session, eight at a time; `path` gets the number of the sender and that of
/// its request.
fn at_once(cluster: &Cluster, jar: &Jar, path: impl Fn(usize, usize) -> String + Sync) {
    let send = |sender: usize| {
        let mut client = Client::with_jar(jar.clone());
        for nth in 0..EACH {
            let node = cluster.http((sender + nth) % cluster.len());
            let answer = client.get(node, &path(sender, nth)).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    std::thread::scope(|scope| {
        let send = &send;
        for sender in 0..AT_ONCE {
            scope.spawn(move || send(sender));
        }
    });
}

fn logged_in(cluster: &Cluster) -> Client {
    let mut client = Client::new();
    assert_eq!(client.get(cluster.http(0), "/login?user=ada").unwrap().status, 200);
    client
}

#[test]
fn additions_on_three_nodes_at_once_all_count() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let mut client = logged_in(&cluster);
    at_once(&cluster, &client.jar, |_, _| "/incr".to_owned());
    let total = (AT_ONCE * EACH).to_string();
    for node in 0..cluster.len() {
        wait_until("the counter is exact", || {
            client.get(cluster.http(node), "/count").unwrap().body == total
        })
        .unwrap();
    }
    // Nothing is counted twice when it arrives again.
    cluster.settled().unwrap();
    for node in 0..cluster.len() {
        assert_eq!(client.get(cluster.http(node), "/count").unwrap().body, total);
    }
}

#[test]
fn attributes_and_elements_written_at_once_are_all_there_on_every_node() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let mut client = logged_in(&cluster);
    at_once(&cluster, &client.jar, |sender, nth| {
        format!("/set?k=a{sender}x{nth}&v={sender}-{nth}")
    });
    at_once(&cluster, &client.jar, |sender, nth| format!("/add?k=cart&v={sender}-{nth}"));
    cluster.settled().unwrap();
    let all: BTreeSet<String> = (0..AT_ONCE)
        .flat_map(|sender| (0..EACH).map(move |nth| format!("{sender}-{nth}")))
        .collect();
    for node in 0..cluster.len() {
        let http = cluster.http(node);
        for sender in 0..AT_ONCE {
            for nth in 0..EACH {
                let answer = client.get(http, &format!("/get?k=a{sender}x{nth}")).unwrap();
                assert_eq!(answer.body, format!("{sender}-{nth}"));
            }
        }
        let items = client.get(http, "/items?k=cart").unwrap().body;
        assert_eq!(items.lines().map(str::to_owned).collect::<BTreeSet<_>>(), all);
    }
}

/// What one tab of a browser sends; the jar is shared by all, as in a browser.
fn tab(cluster: &Cluster, jar: &Mutex<Jar>, number: usize, csrf: &str) -> u16 {
    let http = cluster.http(number % cluster.len());
    let mut client = Client::with_jar(jar.lock().unwrap().clone());
    let form = |fields: &str| format!("csrf={csrf}{fields}");
    let mut client = client_that_wants_json(&mut client);
    let answer = match number {
        LOGIN => client.post(http, "/shop/login", &form("&user=grace")),
        _ if number.is_multiple_of(2) => client.get(http, "/shop/state"),
        _ => client.post(http, "/shop/visit", &form("")),
    };
    let answer = answer.unwrap();
    let mut jar = jar.lock().unwrap();
    answer.cookies().for_each(|cookie| jar.take(cookie));
    answer.status
}

fn client_that_wants_json(client: &mut Client) -> Client {
    Client::with_jar(std::mem::take(&mut client.jar))
        .with_headers(&[("Accept", "application/json")])
}

/// The number of the tab that logs in, among so many.
const LOGIN: usize = 10;
const TABS: usize = 21;

/// Promise P5.
#[test]
fn a_login_among_twenty_requests_leaves_the_browser_logged_in() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let jar = logged_in(&cluster).jar;
    let state = client_that_wants_json(&mut Client::with_jar(jar.clone()))
        .get(cluster.http(0), "/shop/state")
        .unwrap();
    let shop: serde_json::Value = serde_json::from_str(&state.body).unwrap();
    let csrf = shop["csrf"].as_str().unwrap();
    let jar = Mutex::new(jar);
    std::thread::scope(|scope| {
        let (jar, cluster) = (&jar, &cluster);
        for number in 0..TABS {
            scope.spawn(move || tab(cluster, jar, number, csrf));
        }
    });
    for node in 0..cluster.len() {
        let answer = client_that_wants_json(&mut Client::with_jar(jar.lock().unwrap().clone()))
            .get(cluster.http(node), "/shop/state")
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let shop: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(shop["user"], "grace");
    }
}
