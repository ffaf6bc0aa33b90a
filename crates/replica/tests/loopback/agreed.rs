//! Nodes that agree at run time on who is a member: in one process, over real QUIC, with Raft on
//! real disks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use axum::Router;
use replica::{Config, Replica};
use tempfile::TempDir;

use super::support::{Browser, app, issue_for, until};

/// Nodes of one cluster, by name; those that run.
struct Cluster {
    folder: TempDir,
    seeds: Vec<String>,
    extra: String,
    nodes: BTreeMap<String, Replica>,
    apps: BTreeMap<String, Router>,
}

impl Cluster {
    /// Certificates for so many nodes, none of which runs.
    fn new(count: usize, extra: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let names: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
        issue_for(folder.path(), &names);
        let (nodes, apps) = (BTreeMap::new(), BTreeMap::new());
        let seeds = super::support::free_ports(count)
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        Self { folder, seeds, extra: extra.to_owned(), nodes, apps }
    }

    /// So many nodes that have found each other and caught up.
    async fn of(count: usize, extra: &str) -> Self {
        let mut cluster = Self::new(count, extra);
        for number in 1..=count {
            cluster.start(number).await;
        }
        cluster.ready().await;
        cluster
    }

    fn address(&self, number: usize) -> &str {
        &self.seeds[number - 1]
    }

    async fn start(&mut self, number: usize) {
        let name = format!("n{number}");
        let node = self.started(&name, self.address(number), &format!("data-{name}")).await;
        self.apps.insert(name.clone(), app(&node));
        self.nodes.insert(name, node);
    }

    /// Another process with the certificate of a node that runs: its files were copied.
    async fn start_twin(&self, number: usize) -> Replica {
        self.started(&format!("n{number}"), "127.0.0.1:0", "data-twin").await
    }

    async fn started(&self, name: &str, listen: &str, data_dir: &str) -> Replica {
        let seeds: Vec<String> = self.seeds.iter().map(|seed| format!("{seed:?}")).collect();
        let text = format!(
            "node = {{ listen = \"{listen}\", data_dir = \"{data_dir}\", drain_grace = \"10ms\" }}\n\
             cluster = {{ name = \"shop\", seeds = [{}], expect = {} }}\n\
             tls = {{ ca = \"ca.pem\", cert = \"{name}.pem\", key = \"{name}.key\" }}\n{}",
            seeds.join(", "),
            seeds.len(),
            self.extra,
        );
        let config = Config::from_toml(&text, self.folder.path()).unwrap();
        Replica::start(config).await.unwrap()
    }

    /// Waits until all nodes that run serve, and know each other.
    async fn ready(&self) {
        for node in self.nodes.values() {
            until(&format!("{} is ready", node.name()), || node.health().to_string() == "ok").await;
            let others = self.nodes.len() - 1;
            let knows = || {
                let status = node.status();
                let answering = status.peers.iter().filter(|peer| peer.reachable).count();
                answering == others
                    && status.members.len() == self.nodes.len()
                    && status.voters.len() == if others < 2 { 1 } else { 3 }
                    && !status.is_in_transition
            };
            until(&format!("{} knows all", node.name()), knows).await;
        }
    }

    async fn stop(&mut self, number: usize) {
        let name = format!("n{number}");
        self.apps.remove(&name);
        let node = self.nodes.remove(&name).unwrap();
        node.stop().await.unwrap();
    }

    fn app(&self, number: usize) -> &Router {
        &self.apps[&format!("n{number}")]
    }

    fn node(&self, number: usize) -> &Replica {
        &self.nodes[&format!("n{number}")]
    }

    fn members(&self, number: usize) -> Vec<String> {
        self.node(number).status().members.iter().map(|member| member.name.clone()).collect()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A session has one backup.
const BACKUPS: &str = "replication = { mode = \"primary-backup\", backups = 1 }\n";

/// Visitors, and what each of them has counted.
type Visitors = Vec<(Browser, u64)>;

/// So many visitors who have just logged in.
async fn visitors(cluster: &Cluster, count: usize) -> Visitors {
    let mut visitors = vec![(Browser::default(), 0); count];
    for (visitor, _) in &mut visitors {
        visitor.ok(cluster.app(1), "/login?user=ada").await;
    }
    visitors
}

/// Each of them goes from node to node.
async fn all_shop(cluster: &Cluster, visitors: &mut Visitors) {
    for (visitor, count) in visitors {
        shops(cluster, visitor, count).await;
    }
}

/// A visitor goes from node to node.
async fn shops(cluster: &Cluster, visitor: &mut Browser, count: &mut u64) {
    for name in cluster.apps.keys() {
        *count += 1;
        let number = visitor.ok(&cluster.apps[name], "/incr").await;
        assert_eq!(number, count.to_string(), "on {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_find_each_other_and_serve_every_session() {
    let cluster = Cluster::of(3, "").await;
    let (mut visitor, mut count) = (Browser::default(), 0);
    visitor.ok(cluster.app(2), "/login?user=ada").await;
    for _ in 0..3 {
        shops(&cluster, &mut visitor, &mut count).await;
    }
    let groups: Vec<_> = [1, 2, 3].map(|number| cluster.node(number).status().group).into();
    assert!(groups[0].is_some() && groups.iter().all(|group| *group == groups[0]), "{groups:?}");
}

/// The first node is there before the others: it waits, and says for what.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_others_says_so() {
    let mut cluster = Cluster::new(3, "");
    cluster.start(3).await;
    let health = || cluster.node(3).health().to_string();
    until("it waits", || health().contains("1 of 3 are there")).await;
    let mut visitor = Browser::default();
    let answer = visitor.get(cluster.app(3), "/incr").await;
    assert_eq!(answer.status, 503, "no session is made by a node that is no member");
    cluster.start(1).await;
    cluster.start(2).await;
    cluster.ready().await;
}

/// One node holds a session, with one backup; any node serves it.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_live_on_two_of_four_nodes_and_are_served_by_all() {
    let cluster = Cluster::of(4, BACKUPS).await;
    let mut visitors = visitors(&cluster, 20).await;
    for _ in 0..3 {
        all_shop(&cluster, &mut visitors).await;
    }
    let held = || cluster.nodes.values().map(|node| node.status().sessions).sum::<usize>();
    until("there are two copies of each", || held() == 2 * visitors.len()).await;
    let is_over = |node: &Replica| !node.status().is_in_transition;
    assert!(cluster.nodes.values().all(is_over), "nothing else is under way");
    let layouts = |node: &Replica| node.status().layouts.len();
    assert!(cluster.nodes.values().all(|node| layouts(node) == 1), "one layout is in force");
}

/// A node goes without a farewell, and comes back with an empty memory and its directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_removed_and_comes_back() {
    let mut cluster = Cluster::of(3, BACKUPS).await;
    let mut visitors = visitors(&cluster, 10).await;
    all_shop(&cluster, &mut visitors).await;
    cluster.apps.remove("n2");
    drop(cluster.nodes.remove("n2"));
    all_shop(&cluster, &mut visitors).await;
    until("n2 is removed", || cluster.members(1) == ["n1", "n3"]).await;
    cluster.ready().await;
    cluster.start(2).await;
    cluster.ready().await;
    all_shop(&cluster, &mut visitors).await;
}

/// Two processes do not take each other's place for ever: the later one is the member.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_one_name_supersedes_the_first() {
    let mut cluster = Cluster::of(4, BACKUPS).await;
    let mut visitors = visitors(&cluster, 10).await;
    all_shop(&cluster, &mut visitors).await;
    let twin = cluster.start_twin(2).await;
    let first = cluster.nodes.remove("n2").unwrap();
    cluster.apps.remove("n2");
    let reason = first.failed().await;
    assert!(reason.contains("another process has become a member as n2"), "{reason}");
    drop(first);
    cluster.apps.insert("n2".to_owned(), app(&twin));
    cluster.nodes.insert("n2".to_owned(), twin);
    cluster.ready().await;
    assert_eq!(cluster.members(1), ["n1", "n2", "n3", "n4"]);
    all_shop(&cluster, &mut visitors).await;
}

/// Nodes are stopped and started one after the other; each hands over before it goes.
#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_are_restarted_one_after_the_other() {
    let mut cluster = Cluster::of(3, BACKUPS).await;
    let mut visitors = visitors(&cluster, 10).await;
    all_shop(&cluster, &mut visitors).await;
    for number in [1, 2, 3] {
        cluster.stop(number).await;
        cluster.ready().await;
        all_shop(&cluster, &mut visitors).await;
        cluster.start(number).await;
        cluster.ready().await;
    }
    all_shop(&cluster, &mut visitors).await;
    assert!(fs::exists(cluster.folder().join("data-n1")).unwrap());
}

/// A whole service is stopped: nobody waits for others that go as well.
#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_are_stopped_at_once() {
    let mut cluster = Cluster::of(3, "").await;
    let mut visitor = Browser::default();
    visitor.ok(cluster.app(1), "/login?user=ada").await;
    let nodes: Vec<Replica> = std::mem::take(&mut cluster.nodes).into_values().collect();
    let stops = nodes.iter().map(|node| {
        let node = node.clone();
        tokio::spawn(async move { node.stop().await })
    });
    for stopped in stops.collect::<Vec<_>>() {
        // Shorter than `node.drain_timeout`, after which it would be an error.
        stopped.await.unwrap().unwrap();
    }
}
