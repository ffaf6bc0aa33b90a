//! A configuration that cannot be used: one clear line that names file, key, value and remedy.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use transport::issue::{Ca, Validity};

use super::support::{Cluster, edit, program, refused};

/// Every part must be in the line.
fn says(cluster: &Cluster, parts: &[&str]) {
    let said = refused(&mut cluster.node("n1"));
    for part in parts {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "ack =", "akc =");
    says(&cluster, &["node.toml", "replication.akc", "did you mean", "ack"]);
}

#[test]
fn an_unknown_key_of_this_program_is_named_too() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "http =", "htpt =");
    says(&cluster, &["node.toml", "app.htpt", "http"]);
}

#[test]
fn a_wrong_type_is_named_with_what_is_expected() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "ack = \"one\"", "ack = 1");
    says(&cluster, &["node.toml", "replication.ack", "1", "must be"]);
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "http = \"127.0.0.1:0\"", "http = \"localhost\"");
    says(&cluster, &["node.toml", "app.http", "localhost", "must be", "127.0.0.1:8080"]);
}

#[test]
fn a_value_of_the_environment_is_named_with_its_variable() {
    let cluster = Cluster::new(2);
    let mut node = cluster.node("n1");
    node.env("REPLICA__SESSION__IDLE_TIMEOUT", "soon");
    let said = refused(&mut node);
    assert!(said.contains("REPLICA__SESSION__IDLE_TIMEOUT") && said.contains("soon"), "{said}");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let said = refused(&mut program(["run", "--config", "nowhere/node.toml"]));
    assert!(said.contains("nowhere/node.toml"), "{said}");
    for file in ["ca.pem", "node.pem", "node.key", "token.keys"] {
        let cluster = Cluster::new(2);
        fs::remove_file(cluster.path("n1").join(file)).unwrap();
        says(&cluster, &[file, "cert"]);
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    for file in ["token.keys", "node.key"] {
        let cluster = Cluster::new(2);
        let key = cluster.path("n1").join(file);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        says(&cluster, &[file, "0644", "chmod 600"]);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::new(2);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    edit(&cluster.config("n1"), "http = \"127.0.0.1:0\"", &format!("http = \"{address}\""));
    says(&cluster, &["node.toml", "app.http", &address, "in use"]);
}

#[test]
fn a_quic_port_in_use_is_named() {
    let cluster = Cluster::new(2);
    let text = fs::read_to_string(cluster.config("n1")).unwrap();
    let listen = text.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap();
    let listen = listen.trim_matches('"');
    let _holder = UdpSocket::bind(listen).unwrap();
    says(&cluster, &[listen, "in use"]);
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    let cluster = Cluster::new(2);
    let ca = cluster.path("ca");
    let ca = Ca::load(&ca.join("ca.pem"), &ca.join("ca.key")).unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let validity = Validity { from: now - 2 * hour, until: now - hour };
    let expired = ca.node(&"n1".parse().unwrap(), validity).unwrap();
    fs::write(cluster.path("n1").join("node.pem"), expired.cert_pem).unwrap();
    fs::write(cluster.path("n1").join("node.key"), expired.key_pem).unwrap();
    says(&cluster, &["node.pem", "has expired", "cert node"]);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (cluster, other) = (Cluster::new(2), Cluster::new(1));
    fs::copy(other.path("ca/ca.pem"), cluster.path("n1/ca.pem")).unwrap();
    says(&cluster, &["node.pem", "ca.pem", "not issued by"]);
}

#[test]
fn a_certificate_of_another_cluster_is_refused() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "name = \"test\"", "name = \"prod\"");
    says(&cluster, &["node.pem", "test", "prod", "cluster.name"]);
}

#[test]
fn a_certificate_of_another_node_is_refused() {
    let cluster = Cluster::new(2);
    for file in ["node.pem", "node.key"] {
        fs::copy(cluster.path("n2").join(file), cluster.path("n1").join(file)).unwrap();
    }
    says(&cluster, &["node.name", "n1", "n2"]);
}

#[test]
fn copies_on_fewer_nodes_are_refused_until_they_can_be_started() {
    let cluster = Cluster::new(3);
    let mut node = cluster.node("n1");
    node.env("REPLICA__REPLICATION__MODE", "primary-backup");
    let said = refused(&mut node);
    assert!(said.contains("primary-backup") && said.contains("all-to-all"), "{said}");
}

#[test]
fn what_is_checked_before_a_start_is_what_a_start_would_find() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "name = \"test\"", "name = \"prod\"");
    let config = cluster.config("n1");
    let checked = refused(&mut program(["check", "--config", config.to_str().unwrap()]));
    assert_eq!(checked, refused(&mut cluster.node("n1")));
}
