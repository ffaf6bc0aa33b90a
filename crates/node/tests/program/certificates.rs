//! `cert`: what it writes is complete, private where it must be, and never overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::support::{Cluster, done, program, refused};

fn permissions(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_for_their_owner_alone_and_the_rest_for_all() {
    let cluster = Cluster::new(2);
    for secret in ["ca/ca.key", "ca/token.keys", "n1/node.key", "n1/token.keys"] {
        assert_eq!(permissions(&cluster.path(secret)), 0o600, "{secret}");
    }
    for public in ["ca/ca.pem", "n1/ca.pem", "n1/node.pem", "n1/node.toml"] {
        assert_eq!(permissions(&cluster.path(public)) & 0o444, 0o444, "{public}");
    }
    let keys = |node: &str| fs::read(cluster.path(node).join("token.keys")).unwrap();
    assert_eq!(keys("n1"), keys("n2"));
}

#[test]
fn a_node_can_start_with_what_was_written() {
    let cluster = Cluster::new(3);
    for node in ["n1", "n2", "n3"] {
        let said = done(["check", "--config", cluster.config(node).to_str().unwrap()]);
        assert!(said.contains(&format!("node {node} of the cluster test")), "{said}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let cluster = Cluster::new(1);
    let (ca, n1) = (cluster.path("ca"), cluster.path("n1"));
    let before = fs::read(n1.join("node.key")).unwrap();
    let (ca, n1_out) = (ca.to_str().unwrap(), n1.to_str().unwrap());
    let again = ["cert", "ca", "--cluster", "test", "--out", ca];
    assert!(refused(&mut program(again)).contains("never overwritten"));
    let again = ["cert", "node", "n1", "--ca", ca, "--out", n1_out];
    assert!(refused(&mut program(again)).contains("never overwritten"));
    assert_eq!(fs::read(n1.join("node.key")).unwrap(), before);
}

#[test]
fn an_operator_gets_a_certificate_that_no_node_can_use() {
    let cluster = Cluster::new(1);
    let (ca, out) = (cluster.path("ca"), cluster.path("people"));
    let (ca, out_text) = (ca.to_str().unwrap(), out.to_str().unwrap());
    let said = done(["cert", "operator", "ann", "--ca", ca, "--out", out_text]);
    let help = done(["cert", "operator", "--help"]);
    for (text, part) in [(&said, "replica-node status --node"), (&help, "mode and drain")] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(permissions(&out.join("ann.key")), 0o600);
    let mut node = cluster.node("n1");
    node.env("REPLICA__TLS__CERT", out.join("ann.pem"));
    node.env("REPLICA__TLS__KEY", out.join("ann.key"));
    assert!(refused(&mut node).contains("not a node's"));
}

#[test]
fn what_does_not_fit_together_is_said_before_anything_is_written() {
    let cluster = Cluster::new(1);
    let ca = cluster.path("ca");
    let out = cluster.path("new");
    let base = ["cert", "node", "n4", "--ca", ca.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let cases: [(&[&str], &str); 5] = [
        (&["--cluster", "prod"], "is for the cluster test"),
        (&["--member", "n1=127.0.0.1:7001"], "add --member n4=HOST:PORT"),
        (&["--member", "n4=127.0.0.1:1", "--member", "n4=127.0.0.1:2"], "given twice"),
        (&["--member", "n4=127.0.0.1"], "must be \"host:port\""),
        (&["--listen", "0.0.0.0:7001"], "add --member n4=HOST:PORT"),
    ];
    for (args, expected) in cases {
        let said = refused(&mut program(base.iter().chain(args)));
        assert!(said.contains(expected), "{said}");
        assert!(!out.exists());
    }
}
