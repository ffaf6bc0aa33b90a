//! Files that make no identity: one clear line with file, problem and remedy.

// What fails in a helper fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use support::{Cluster, node_name, replace};
use transport::issue::Validity;
use transport::{Identity, IdentityError, OperatorIdentity, TlsFile, TlsPaths};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the files make no identity; it must tell which of them, and its message the file and a
/// remedy.
fn refused(cluster: &Cluster, paths: &TlsPaths, file: &Path) -> IdentityError {
    let error = Identity::load(paths, cluster.ca.cluster()).expect_err("it must be refused");
    says(&error, file);
    let told = match error.file() {
        TlsFile::Ca => &paths.ca,
        TlsFile::Cert => &paths.cert,
        TlsFile::Key => &paths.key,
    };
    assert_eq!(told, file, "{error}");
    error
}

fn says(error: &IdentityError, file: &Path) {
    let text = error.to_string();
    assert!(text.contains(&file.display().to_string()), "{text}");
    let remedy = text.split_once(';').map_or("", |(_, remedy)| remedy);
    assert!(!remedy.is_empty() && !text.contains('\n'), "no remedy, or not one line: {text}");
}

#[test]
fn a_missing_file() {
    let cluster = Cluster::new("c1");
    let good = cluster.paths("n1");
    for at in 0..3 {
        let mut paths = good.clone();
        let missing = cluster.path("missing.pem");
        *[&mut paths.ca, &mut paths.cert, &mut paths.key][at] = missing.clone();
        let error = refused(&cluster, &paths, &missing);
        assert!(matches!(error, IdentityError::Read { .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_not_pem() {
    let cluster = Cluster::new("c1");
    let good = cluster.paths("n1");
    let junk = cluster.path("junk.pem");
    replace(&junk, "no PEM at all");
    for at in 0..3 {
        let mut paths = good.clone();
        *[&mut paths.ca, &mut paths.cert, &mut paths.key][at] = junk.clone();
        let error = refused(&cluster, &paths, &junk);
        assert!(matches!(error, IdentityError::NotPem { .. }), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::new("c1");
    let paths = cluster.paths("n1");
    for bits in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&paths.key, std::fs::Permissions::from_mode(bits)).unwrap();
        let error = refused(&cluster, &paths, &paths.key);
        assert!(matches!(error, IdentityError::Exposed { permissions, .. } if permissions == bits));
    }
}

#[test]
fn a_key_of_another_certificate() {
    let cluster = Cluster::new("c1");
    let mut paths = cluster.paths("n1");
    paths.key = cluster.paths("n2").key;
    let error = refused(&cluster, &paths, &paths.key);
    assert!(matches!(error, IdentityError::KeyMismatch { .. }), "{error}");
}

#[test]
fn a_certificate_outside_its_validity() {
    let cluster = Cluster::new("c1");
    let now = SystemTime::now();
    let past = Validity { from: now - 3 * DAY, until: now - DAY };
    let paths = cluster.write("n3", &cluster.ca.node(&node_name("n3"), past).unwrap());
    let error = refused(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::Expired { .. }), "{error}");

    let future = Validity { from: now + DAY, until: now + 3 * DAY };
    let paths = cluster.write("n4", &cluster.ca.node(&node_name("n4"), future).unwrap());
    let error = refused(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::NotYetValid { .. }), "{error}");
}

#[test]
fn a_certificate_of_another_authority() {
    let cluster = Cluster::new("c1");
    // One with the same name, and one with another name.
    for other in ["c1", "c2"] {
        let other = Cluster::new(other);
        let mut paths = cluster.paths("n1");
        paths.ca = other.path("ca.pem");
        let error = refused(&cluster, &paths, &paths.cert);
        assert!(matches!(error, IdentityError::OtherAuthority { .. }), "{error}");
    }
}

#[test]
fn a_certificate_for_another_cluster() {
    let cluster = Cluster::new("c1");
    let good = cluster.paths("n1");
    let error = Identity::load(&good, &"c2".parse().unwrap()).unwrap_err();
    says(&error, &good.cert);
    assert!(matches!(error, IdentityError::OtherCluster { .. }), "{error}");
}

#[test]
fn a_certificate_that_is_not_a_nodes() {
    let cluster = Cluster::new("c1");
    let operator = cluster.ca.operator(&node_name("ann"), Validity::days(1)).unwrap();
    let paths = cluster.write("ann", &operator);
    let error = refused(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::NotANode { .. }), "{error}");

    let wildcard = cluster.ca.forge(&["*.c1.replica.internal"], Validity::days(1)).unwrap();
    let paths = cluster.write("any", &wildcard);
    let error = refused(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::NoHolder { .. }), "{error}");
}

#[test]
fn an_identity_shows_its_names_and_hides_its_key() {
    let cluster = Cluster::new("c1");
    let identity = cluster.identity("n1");
    assert_eq!(identity.name(), &node_name("n1"));
    let text = format!("{identity:?}");
    assert_eq!(text, "Identity { name: n1, cluster: c1, .. }");
}

/// Why the files make no operator; its message must tell the file and a remedy for operators.
fn refused_operator(cluster: &Cluster, paths: &TlsPaths, file: &Path) -> IdentityError {
    let error = OperatorIdentity::load(paths, cluster.ca.cluster()).expect_err("to be refused");
    says(&error, file);
    assert!(!error.to_string().contains("cert node"), "{error}");
    error
}

fn operator(cluster: &Cluster) -> TlsPaths {
    let issued = cluster.ca.operator(&node_name("ann"), Validity::days(1)).unwrap();
    cluster.write("ann", &issued)
}

#[test]
fn an_operator_has_an_identity_that_hides_its_key() {
    let cluster = Cluster::new("c1");
    let identity = OperatorIdentity::load(&operator(&cluster), cluster.ca.cluster()).unwrap();
    assert_eq!((identity.name(), identity.cluster().as_str()), ("ann", "c1"));
    let text = format!("{identity:?}");
    assert_eq!(text, "OperatorIdentity { name: ann, cluster: c1, .. }");
}

#[test]
fn the_files_of_an_operator_are_checked_like_those_of_a_node() {
    let cluster = Cluster::new("c1");
    let good = operator(&cluster);
    let ann = node_name("ann");
    let missing = cluster.path("missing.pem");
    let error =
        refused_operator(&cluster, &TlsPaths { cert: missing.clone(), ..good.clone() }, &missing);
    assert!(matches!(error, IdentityError::Read { .. }), "{error}");

    let other_key = cluster.paths("n1").key;
    let error = refused_operator(
        &cluster,
        &TlsPaths { key: other_key.clone(), ..good.clone() },
        &other_key,
    );
    assert!(matches!(error, IdentityError::KeyMismatch { .. }), "{error}");

    let other = Cluster::new("c1");
    let foreign = TlsPaths { ca: other.path("ca.pem"), ..good.clone() };
    let error = refused_operator(&cluster, &foreign, &foreign.ca);
    assert!(matches!(error, IdentityError::OtherAuthority { .. }), "{error}");

    let now = SystemTime::now();
    let past = Validity { from: now - 3 * DAY, until: now - DAY };
    let paths = cluster.write("bob", &cluster.ca.operator(&ann, past).unwrap());
    let error = refused_operator(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::Expired { .. }), "{error}");
    let future = Validity { from: now + DAY, until: now + 3 * DAY };
    let paths = cluster.write("bob", &cluster.ca.operator(&ann, future).unwrap());
    let error = refused_operator(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::NotYetValid { .. }), "{error}");

    let error = OperatorIdentity::load(&good, &"c2".parse().unwrap()).unwrap_err();
    says(&error, &good.cert);
    assert!(matches!(error, IdentityError::OtherCluster { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn an_operators_key_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::new("c1");
    let paths = operator(&cluster);
    std::fs::set_permissions(&paths.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused_operator(&cluster, &paths, &paths.key);
    assert!(matches!(error, IdentityError::Exposed { permissions: 0o644, .. }), "{error}");
}

#[test]
fn a_certificate_that_is_not_an_operators() {
    let cluster = Cluster::new("c1");
    let node = cluster.paths("n1");
    let error = refused_operator(&cluster, &node, &node.cert);
    assert!(matches!(error, IdentityError::NotAnOperator { .. }), "{error}");

    let nobody = cluster.ca.forge(&["*.operator.c1.replica.internal"], Validity::days(1)).unwrap();
    let paths = cluster.write("any", &nobody);
    let error = refused_operator(&cluster, &paths, &paths.cert);
    assert!(matches!(error, IdentityError::NoHolder { .. }), "{error}");
}
