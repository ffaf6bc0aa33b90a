//! What can only be checked with the certificate at hand.

use super::with_cluster;

fn start(text: &str, certificate: &str) -> Result<(), String> {
    let name = certificate.parse().unwrap();
    with_cluster(text).unwrap().check_start(&name).map_err(|error| error.to_string())
}

#[test]
fn the_certificate_must_be_that_of_a_member() {
    assert_eq!(start("", "n2"), Ok(()));
    assert_eq!(start("[node]\nname = \"n2\"\n", "n2"), Ok(()));
    assert_eq!(
        start("[tls]\ncert = \"n4.pem\"\n", "n4").unwrap_err(),
        "configuration: tls.cert = \"n4.pem\" names the node n4, which is not in \
         cluster.members (n1, n2, n3); add it there, or correct the name"
    );
    assert_eq!(
        start("[node]\nname = \"n1\"\n", "n2").unwrap_err(),
        "configuration: node.name = \"n1\" does not agree with the certificate, which is for \
         the node n2; correct the name, or give the certificate of that node in tls.cert"
    );
    assert_eq!(
        start("[node]\nadvertise = \"10.0.0.1:7001\"\n", "n2").unwrap_err(),
        "configuration: node.advertise = \"10.0.0.1:7001\" differs from cluster.members.n2 = \
         \"10.0.0.2:7001\"; make the two equal, or remove node.advertise"
    );
}

#[test]
fn backups_are_read_and_not_started_with_yet() {
    assert_eq!(
        start("[replication]\nmode = \"primary-backup\"\n", "n1").unwrap_err(),
        "configuration: replication.mode = \"primary-backup\" cannot be started yet: this \
         release keeps a copy on every member; use replication.mode = \"all-to-all\""
    );
}
