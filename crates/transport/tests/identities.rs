//! Files that make no identity: one clear line with file, problem and remedy.

mod support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use support::{Cluster, node_name, replace};
use transport::issue::Validity;
use transport::{Identity, IdentityError, TlsFile, TlsPaths};

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
    assert!(matches!(error, IdentityError::NoNode { .. }), "{error}");
}

#[test]
fn an_identity_shows_its_names_and_hides_its_key() {
    let cluster = Cluster::new("c1");
    let identity = cluster.identity("n1");
    assert_eq!(identity.name(), &node_name("n1"));
    let text = format!("{identity:?}");
    assert_eq!(text, "Identity { name: n1, cluster: c1, .. }");
}
