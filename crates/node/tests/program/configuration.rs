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

/// The line begins with the file, the key and its value, and has every part.
fn says_at(cluster: &Cluster, key: &str, value: &str, parts: &[&str]) {
    let said = refused(&mut cluster.node("n1"));
    let beginning = format!("error: {}: {key} = {value:?} ", cluster.config("n1").display());
    assert!(said.starts_with(&beginning), "{beginning} in {said}");
    for part in parts {
        assert!(said.contains(part), "{part} in {said}");
    }
}

/// The files that the configuration of a node names.
const FILES: [(&str, &str); 4] = [
    ("tls.ca", "ca.pem"),
    ("tls.cert", "node.pem"),
    ("tls.key", "node.key"),
    ("session.token_keys", "token.keys"),
];

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
    for (key, file) in FILES {
        let cluster = Cluster::new(2);
        fs::remove_file(cluster.path("n1").join(file)).unwrap();
        says_at(&cluster, key, file, &["cannot", "No such file", "cert"]);
    }
}

#[test]
fn a_file_that_is_something_else_is_named() {
    for (key, file) in FILES {
        let cluster = Cluster::new(2);
        // An editor keeps the permissions of a file.
        fs::write(cluster.path("n1").join(file), "what is this?\n").unwrap();
        says_at(&cluster, key, file, &[";"]);
        fs::remove_file(cluster.path("n1").join(file)).unwrap();
        fs::create_dir(cluster.path("n1").join(file)).unwrap();
        says_at(&cluster, key, file, &["directory", "correct the path"]);
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    for (key, file) in [("session.token_keys", "token.keys"), ("tls.key", "node.key")] {
        let cluster = Cluster::new(2);
        let secret = cluster.path("n1").join(file);
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        says_at(&cluster, key, file, &["0644", &format!("chmod 600 {}", secret.display())]);
    }
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let cluster = Cluster::new(2);
    fs::copy(cluster.path("n2/node.key"), cluster.path("n1/node.key")).unwrap();
    says_at(&cluster, "tls.key", "node.key", &["node.pem", "does not belong", "; give"]);
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
    says_at(&cluster, "node.listen", listen, &[&format!("UDP {listen} is in use"), "; stop"]);
}

#[test]
fn a_certificate_outside_its_validity_is_refused() {
    let cluster = Cluster::new(2);
    let ca = cluster.path("ca");
    let ca = Ca::load(&ca.join("ca.pem"), &ca.join("ca.key")).unwrap();
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let past = Validity { from: now - 2 * hour, until: now - hour };
    let future = Validity { from: now + hour, until: now + 2 * hour };
    for (validity, reason) in [(past, "has expired"), (future, "is not valid yet")] {
        let issued = ca.node(&"n1".parse().unwrap(), validity).unwrap();
        fs::write(cluster.path("n1/node.pem"), issued.cert_pem).unwrap();
        fs::write(cluster.path("n1/node.key"), issued.key_pem).unwrap();
        says_at(&cluster, "tls.cert", "node.pem", &[reason, "cert node", "clock"]);
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (cluster, other) = (Cluster::new(2), Cluster::new(1));
    fs::copy(other.path("ca/ca.pem"), cluster.path("n1/ca.pem")).unwrap();
    says_at(&cluster, "tls.cert", "node.pem", &["ca.pem", "not issued by", "; issue"]);
}

#[test]
fn a_certificate_of_another_cluster_is_refused() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "name = \"test\"", "name = \"prod\"");
    says_at(&cluster, "tls.cert", "node.pem", &["test", "prod", "correct `cluster.name`"]);
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
fn copies_on_fewer_nodes_need_members_that_are_agreed_on() {
    let cluster = Cluster::fixed(3);
    let mut node = cluster.node("n1");
    node.env("REPLICA__REPLICATION__MODE", "primary-backup");
    let said = refused(&mut node);
    assert!(said.contains("primary-backup") && said.contains("cluster.seeds"), "{said}");
}

#[test]
fn what_is_checked_before_a_start_is_what_a_start_would_find() {
    let cluster = Cluster::new(2);
    edit(&cluster.config("n1"), "name = \"test\"", "name = \"prod\"");
    let config = cluster.config("n1");
    let checked = refused(&mut program(["check", "--config", config.to_str().unwrap()]));
    assert_eq!(checked, refused(&mut cluster.node("n1")));
}
