//! What operators do to a running cluster: look, change the number of copies, drain, make
//! membership anew.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::client::Client;
use cluster_tests::cluster::{Cluster, name};
use cluster_tests::wait::wait_until;

use super::service;

/// A cluster and an operator of it.
struct Operated {
    cluster: Cluster,
    operator: PathBuf,
}

impl Operated {
    fn start(nodes: usize) -> Self {
        let cluster = Cluster::start(&service(), nodes).unwrap();
        let (ca, operator) = (cluster.path("ca"), cluster.path("operator"));
        let (ca, out) = (ca.to_str().unwrap(), operator.to_str().unwrap());
        service().run(["cert", "operator", "ann", "--ca", ca, "--out", out]).unwrap();
        Self { cluster, operator }
    }

    /// Runs a command of the operator against a node.
    fn ask(&self, node: usize, words: &[&str]) -> anyhow::Result<String> {
        let (address, operator) = (self.cluster.quic(node).to_string(), self.operator.to_str());
        let mut args = words.to_vec();
        args.extend(["--node", &address, "--as", operator.unwrap()]);
        service().run(args)
    }

    fn held(&self) -> u64 {
        (0..self.cluster.len()).map(|node| self.cluster.count(node, "sessions").unwrap()).sum()
    }
}

fn sessions(cluster: &Cluster, count: usize) -> Vec<Client> {
    let client = |number: usize| {
        let mut client = Client::new();
        let path = format!("/login?user=u{number}");
        assert_eq!(client.get(cluster.http(number % cluster.len()), &path).unwrap().status, 200);
        client
    };
    (0..count).map(client).collect()
}

#[test]
fn the_number_of_copies_of_a_running_cluster_is_changed_and_nothing_is_lost() {
    let operated = Operated::start(3);
    let cluster = &operated.cluster;
    let mut clients = sessions(cluster, 30);
    let mut counts = vec![0; clients.len()];
    let mut all_serve = |clients: &mut [Client]| {
        for (client, count) in clients.iter_mut().zip(&mut counts) {
            for node in 0..3 {
                *count += 1;
                let answer = client.get(cluster.http(node), "/incr").unwrap();
                assert_eq!(answer.body, count.to_string(), "on {}", name(node));
            }
        }
    };
    all_serve(&mut clients);
    assert_eq!(operated.held(), 90);
    let said = operated.ask(1, &["mode", "primary-backup", "--backups", "1"]).unwrap();
    assert!(said.contains("mode = \"primary-backup\", backups = 1"), "{said}");
    wait_until("non-owners hold nothing", || operated.held() == 60).unwrap();
    all_serve(&mut clients);
    operated.ask(2, &["mode", "all-to-all"]).unwrap();
    wait_until("all hold everything again", || operated.held() == 90).unwrap();
    all_serve(&mut clients);
    let status = operated.ask(0, &["status"]).unwrap();
    assert!(status.contains("n3") && status.contains("voters") && status.contains("30 sessions"));
}

/// A node that hung or was cut off for a few seconds is removed and comes back by itself. Between
/// the two it is no member and has no shards, and that lasts a fraction of a second.
#[test]
fn a_node_that_is_removed_though_it_lives_answers_on_its_way_back() {
    let operated = Operated::start(3);
    let cluster = &operated.cluster;
    let own_inc = || {
        let answer = Client::new().get(cluster.http(2), "/status.json").unwrap();
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()["inc"].as_u64()
    };
    let (clients, before) = (sessions(cluster, 6), own_inc());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut client in clients {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.get(cluster.http(2), "/count").unwrap();
                    assert_eq!((answer.status, answer.body.as_str()), (200, "0"));
                    let new = Client::new().get(cluster.http(2), "/login?user=new").unwrap();
                    // What waited for copies at that moment nobody can know.
                    let is_unknown = new.body.starts_with("it is not known");
                    assert!(new.status == 200 || is_unknown, "{} {}", new.status, new.body);
                }
            });
        }
        operated.ask(0, &["members", "remove", "n3"]).unwrap();
        let is_back =
            wait_until("n3 is a member anew", || own_inc().is_some_and(|inc| Some(inc) > before));
        is_over.store(true, Ordering::Relaxed);
        is_back.unwrap();
    });
}

#[test]
fn a_node_is_drained_by_an_operator_and_ends() {
    let operated = Operated::start(3);
    let mut clients = sessions(&operated.cluster, 10);
    let said = operated.ask(0, &["drain"]).unwrap();
    assert!(said.contains("n1 is gone"), "{said}");
    let members = operated.ask(1, &["members"]).unwrap();
    assert!(!members.contains("n1") && members.contains("n3"), "{members}");
    for client in &mut clients {
        assert_eq!(client.get(operated.cluster.http(1), "/incr").unwrap().body, "1");
    }
}

/// Two of three are lost for good; the third goes on alone, and others join it.
#[test]
fn membership_is_made_anew_from_one_survivor() {
    let mut operated = Operated::start(3);
    let mut clients = sessions(&operated.cluster, 10);
    operated.cluster.kill(0).unwrap();
    operated.cluster.kill(1).unwrap();
    for client in &mut clients {
        let answer = client.get(operated.cluster.http(2), "/incr").unwrap();
        assert_eq!(answer.body, "1", "sessions need no majority");
    }
    assert!(operated.ask(2, &["members", "recover"]).is_err(), "it is not done by mistake");
    let said = operated.ask(2, &["members", "recover", "--yes"]).unwrap();
    assert!(said.contains("members now: n3"), "{said}");
    for client in &mut clients {
        assert_eq!(client.get(operated.cluster.http(2), "/incr").unwrap().body, "2");
    }
    // What was lost comes back: it takes no part with its old directory.
    let refused = operated.cluster.start_node(0).unwrap_err().to_string();
    assert!(refused.contains("move the directory away"), "{refused}");
    for node in [0, 1] {
        let data = operated.cluster.path(&name(node)).join("data");
        std::fs::rename(&data, data.with_extension("old")).unwrap();
    }
    operated.cluster.start_nodes(&[0, 1]).unwrap();
    operated.cluster.whole().unwrap();
    for client in &mut clients {
        for (node, count) in [(0, "3"), (1, "4"), (2, "5")] {
            let answer = client.get(operated.cluster.http(node), "/incr").unwrap();
            assert_eq!(answer.body, count, "on {}", name(node));
        }
    }
}
