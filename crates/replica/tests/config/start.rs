//! What can only be checked with the certificate at hand.

use replica::Config;
use tempfile::TempDir;

use super::{CLUSTER, with_cluster};

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

/// What a start finds in the files is said at the key that names the file.
#[test]
fn a_file_that_is_missing_is_said_at_its_key_whoever_named_it() {
    let folder = TempDir::new().unwrap();
    let shown = folder.path().display();
    let load = |text: &str| Config::from_toml(&format!("{CLUSTER}{text}"), &folder).unwrap();
    assert_eq!(
        load("[tls]\nca = \"our.pem\"\n").identity().unwrap_err().to_string(),
        format!(
            "configuration: tls.ca = \"our.pem\" cannot be used: cannot read CA certificate \
             {shown}/our.pem: No such file or directory (os error 2); make it with `cert`, or \
             correct the path"
        )
    );
    assert_eq!(
        load("").identity().unwrap_err().to_string(),
        format!(
            "configuration: tls.ca = \"{shown}/ca.pem\" (the default) cannot be used: cannot read \
             CA certificate {shown}/ca.pem: No such file or directory (os error 2); make it with \
             `cert`, or correct the path"
        )
    );
    let error = load("[session]\ntoken_keys = \"our.keys\"\n").token_keys().unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration: session.token_keys = \"our.keys\" cannot be read (No such file or \
         directory (os error 2)); correct the path, or make the file with `replica-node cert`"
    );
}

#[test]
fn members_that_are_fixed_hold_every_session() {
    assert_eq!(
        start("[replication]\nmode = \"primary-backup\"\n", "n1").unwrap_err(),
        "configuration: replication.mode = \"primary-backup\" needs members that are agreed at run \
         time; put cluster.seeds and cluster.expect in the place of cluster.members"
    );
}

/// What a node needs so that others can find it, and so that it can found a cluster.
#[test]
fn members_that_are_agreed_on_need_an_address_and_some_of_them_a_disk() {
    let start = |text: &str| {
        let config = Config::from_toml(text, "").unwrap();
        config.check_start(&"n1".parse().unwrap()).map_err(|error| error.to_string())
    };
    let alone = "[cluster]\nname = \"shop\"\nseeds = []\n";
    assert_eq!(
        start(alone).unwrap_err(),
        "configuration: node.advertise is missing; add advertise = \"host:7001\" to [node]: the \
         others need an address of this node, and node.listen names none\n\
         configuration: node.data_dir is missing; add data_dir = \"data\" to [node]: a node without \
         seeds founds a cluster, and keeps there who is a member"
    );
    let node = "[node]\nlisten = \"127.0.0.1:7001\"\ndata_dir = \"data\"\n";
    assert_eq!(start(&format!("{node}{alone}")), Ok(()));
    let seeds = "[node]\nadvertise = \"n1:7001\"\n\
                 [cluster]\nname = \"shop\"\nseeds = [\"n2:7001\"]\nexpect = 2\n\
                 [replication]\nmode = \"primary-backup\"\n";
    assert_eq!(start(seeds), Ok(()), "a node without a disk can be a member");
}
