//! What ships in `configs/`: complete, explained, equal to the defaults.

use std::fs;
use std::path::Path;

use protocol::Copies;
use replica::config::Config;

use super::{read, with_cluster};

fn shipped(name: &str) -> String {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    fs::read_to_string(configs.join(name)).unwrap()
}

#[test]
fn node_toml_equals_the_defaults() {
    let written = read(&shipped("node.toml")).unwrap();
    let defaults = with_cluster("").unwrap();
    // Keys without a default, which a node that listens everywhere and founds a cluster needs.
    let mut node = written.node().clone();
    (node.advertise, node.data_dir) = (None, None);
    assert_eq!(node, *defaults.node());
    assert_eq!(written.replication(), defaults.replication());
    assert_eq!(written.session(), defaults.session());
    assert_eq!(written.tls(), defaults.tls());
    assert_eq!(written.limits(), defaults.limits());
}

/// Optional keys without a default stand there as comments without a space.
fn uncommented(text: &str) -> String {
    let is_key = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && *line != "#";
    let lines = text.lines().map(|line| if is_key(&line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn node_toml_has_every_key_and_no_other() {
    let text = uncommented(&shipped("node.toml"));
    let fixed = |line: &&str| !line.starts_with("members = ");
    read(&text.lines().filter(fixed).collect::<Vec<_>>().join("\n")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    for key in Config::keys() {
        let (sections, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let mut sections = sections.split('.').filter(|section| !section.is_empty());
        let section = sections.try_fold(&table, |table, section| table.get(section)?.as_table());
        assert!(section.is_some_and(|section| section.contains_key(name)), "{key}");
    }
}

#[test]
fn every_value_of_node_toml_is_explained() {
    let text = shipped("node.toml");
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let is_key = pair[1].contains(" = ") && !pair[1].starts_with("# ");
        let explained = pair[0].starts_with("# ") || pair[0] == "[app]";
        assert!(!is_key || explained, "{}", pair[1]);
    }
}

#[test]
fn the_two_ways_to_replicate_differ_in_one_line() {
    let (all, primary) = (shipped("all-to-all.toml"), shipped("primary-backup.toml"));
    let differing: Vec<_> = all.lines().zip(primary.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(differing, [("mode = \"all-to-all\"", "mode = \"primary-backup\"")]);
    assert_eq!(all.lines().count(), primary.lines().count());
    assert_eq!(read(&all).unwrap().replication().copies, Copies::All);
    let two = Copies::Count(2.try_into().unwrap());
    assert_eq!(read(&primary).unwrap().replication().copies, two);
}

#[test]
fn so_do_the_files_of_the_containers() {
    let [all, primary] =
        ["all-to-all", "primary-backup"].map(|name| shipped(&format!("compose/{name}.toml")));
    let differing: Vec<_> = all.lines().zip(primary.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(differing, [("mode = \"all-to-all\"", "mode = \"primary-backup\"")]);
    assert_eq!(all.lines().count(), primary.lines().count());
    // Each container names its own address.
    let advertised =
        |text: &str| text.replace("[node]\n", "[node]\nadvertise = \"n1-cluster:7001\"\n");
    assert_eq!(read(&advertised(&all)).unwrap().replication().copies, Copies::All);
    let three = Copies::Count(3.try_into().unwrap());
    assert_eq!(read(&advertised(&primary)).unwrap().replication().copies, three);
}
