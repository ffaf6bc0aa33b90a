//! The life of a node: ready, healthy, drained, ended.

use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use super::support::{Client, Cluster, Running, done, field, program, wait_until};

#[test]
fn the_version_names_the_wire() {
    let version = done(["--version"]);
    assert!(version.starts_with("replica-node ") && version.contains("(wire "), "{version}");
}

#[test]
fn a_node_is_ready_healthy_and_ends_with_status_0() {
    let cluster = Cluster::new(1);
    let mut node = Running::start(&mut cluster.node("n1"));
    let line = node.line_with("ready ");
    assert_eq!(field(&line, "name"), "n1");
    let quic = field(&line, "quic");
    let text = std::fs::read_to_string(cluster.config("n1")).unwrap();
    assert!(text.contains(&format!("listen = \"{quic}\"")), "{quic} in {text}");
    let http = field(&line, "http");
    assert_eq!(done(["health", "--http", &http]), "ok\n");
    node.signal(Signal::TERM);
    assert_eq!(node.ended().code(), Some(0));
    let down = program(["health", "--http", &http]).output().unwrap();
    assert_eq!(down.status.code(), Some(1));
}

#[test]
fn ctrl_c_drains_as_well() {
    let cluster = Cluster::new(1);
    let (mut node, _) = Running::node(&mut cluster.node("n1"));
    node.signal(Signal::INT);
    assert_eq!(node.ended().code(), Some(0));
}

#[test]
fn while_it_drains_it_serves_and_says_so_and_a_second_signal_cuts_it_short() {
    let cluster = Cluster::new(1);
    let mut command = cluster.node("n1");
    command.env("REPLICA__NODE__DRAIN_GRACE", "5m");
    let (mut node, http) = Running::node(&mut command);
    let mut client = Client::default();
    assert_eq!(client.get(http, "/login?user=u").status, 200);
    node.signal(Signal::TERM);
    wait_until("draining", || client.get(http, "/health").status == 503);
    assert_eq!(client.get(http, "/health").body, "draining");
    assert_eq!(client.get(http, "/incr").body, "1");
    node.signal(Signal::TERM);
    assert_eq!(node.ended().code(), Some(3));
}

#[test]
fn a_node_that_was_started_by_a_program_does_not_outlive_it() {
    let cluster = Cluster::new(1);
    let mut command = cluster.node("n1");
    command.arg("--end-with-stdin").stdin(Stdio::piped());
    let (mut node, http) = Running::node(&mut command);
    drop(node.take_stdin());
    assert_eq!(node.ended().code(), Some(4));
    assert!(TcpStream::connect(http).is_err());
}

#[test]
fn log_lines_can_be_json() {
    let cluster = Cluster::new(1);
    let mut command = cluster.node("n1");
    command.args(["--log", "json"]);
    let (mut node, _) = Running::node(&mut command);
    node.signal(Signal::TERM);
    assert!(node.ended().success());
    let lines = node.error_lines();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
    }
}

#[test]
fn two_folders_make_a_cluster_that_shares_a_session() {
    let cluster = Cluster::new(2);
    let starting =
        [Running::start(&mut cluster.node("n1")), Running::start(&mut cluster.node("n2"))];
    let [n1, n2] = starting.each_ref().map(|node| {
        field(&node.line_with("ready "), "http").parse::<std::net::SocketAddr>().unwrap()
    });
    let mut client = Client::default();
    assert_eq!(client.get(n1, "/login?user=u&colour=blue").status, 200);
    assert_eq!(client.get(n2, "/get?k=colour").body, "blue");
    let written = client.get(n2, "/incr");
    assert_eq!((written.body.as_str(), written.header("replica-ack")), ("1", Some("1/1")));
    assert_eq!(client.get(n1, "/count").body, "1");
    assert_eq!(client.get(n1, "/logout").status, 200);
    assert_eq!(client.get(n2, "/get?k=colour").status, 401);
}
