//! What is said arrives: every section, from files and variables, in the right order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{Ack, Copies};
use replica::config::{Config, Memory, SameSite};
use serde::Deserialize;
use tempfile::TempDir;

use super::{CLUSTER, file, with_cluster, with_variables};

#[test]
fn every_section_is_read() {
    let config = with_cluster(
        "[node]\nlisten = \"[::1]:9\"\nname = \"n2\"\nadvertise = \"10.0.0.2:7001\"\n\
         zone = \"eu-1\"\ndrain_grace = \"0s\"\n\
         [replication]\nmode = \"primary-backup\"\nbackups = 2\nack = \"quorum\"\nack_timeout = \"250ms\"\n\
         [session]\nidle_timeout = \"1m\"\nabsolute_timeout = \"1h 30m\"\nattributes_max = 7\n\
         session_bytes_max = 2048\ncookie = { name = \"sid\", same_site = \"strict\", path = \"/shop\" }\n\
         [limits]\nmemory = \"1GiB\"\nrepair_interval = \"500ms\"\nframe_bytes_max = \"1MiB\"\n",
    )
    .unwrap();
    assert_eq!(config.node().listen, "[::1]:9".parse().unwrap());
    assert_eq!(config.node().name, Some("n2".parse().unwrap()));
    assert_eq!(config.node().zone.as_deref(), Some("eu-1"));
    assert_eq!(config.node().drain_grace, Duration::ZERO);
    assert_eq!(config.cluster().name, "shop".parse().unwrap());
    let members: Vec<String> =
        config.cluster().members.iter().map(|(name, at)| format!("{name} {at}")).collect();
    assert_eq!(members, ["n1 10.0.0.1:7001", "n2 10.0.0.2:7001", "n3 10.0.0.3:7001"]);
    assert_eq!(config.replication().copies, Copies::Count(3.try_into().unwrap()));
    assert_eq!(config.replication().ack, Ack::Quorum);
    assert_eq!(config.replication().ack_timeout, Duration::from_millis(250));
    assert_eq!(config.session().idle_timeout, Duration::from_secs(60));
    assert_eq!(config.session().absolute_timeout, Duration::from_secs(5_400));
    assert_eq!(config.session().limits.attributes_max, 7);
    assert_eq!(config.session().limits.session_bytes_max, 2_048);
    assert_eq!(config.session().cookie.same_site, SameSite::Strict);
    assert_eq!(config.limits().memory, Memory::Bytes(1 << 30));
    assert_eq!(config.limits().repair_interval, Duration::from_millis(500));
    assert_eq!(config.limits().frame_bytes_max, 1 << 20);
}

#[test]
fn cookies_carry_the_host_prefix_where_it_applies() {
    let names = |cookie: &str| {
        let config = with_cluster(&format!("[session]\ncookie = {{ {cookie} }}\n")).unwrap();
        let cookie = config.session().cookie.clone();
        (cookie.name, cookie.token_name)
    };
    let pair = |name: &str, token: &str| (name.to_owned(), token.to_owned());
    assert_eq!(names(""), pair("__Host-session", "__Host-session-token"));
    assert_eq!(names("name = \"a\""), pair("__Host-a", "__Host-a-token"));
    assert_eq!(names("token_name = \"t\""), pair("__Host-session", "__Host-t"));
    let plain = pair("session", "session-token");
    for cookie in ["host_prefix = false", "secure = false", "path = \"/a\"", "domain = \"a.b\""] {
        assert_eq!(names(cookie), plain, "{cookie}");
    }
}

#[test]
fn paths_start_from_the_folder_of_the_file_that_says_them() {
    let folder = TempDir::new().unwrap();
    let base = file(&folder, "base/base.toml", CLUSTER);
    let own = file(&folder, "own/own.toml", "[tls]\ncert = \"n1.pem\"\nkey = \"/abs/n1.key\"\n");
    let variables = [("REPLICA__TLS__CA", "ca/ca.pem")];
    let config = Config::load_with(&[base, own], variables).unwrap();
    assert_eq!(config.tls().cert, folder.path().join("own/n1.pem"));
    assert_eq!(config.tls().key, Path::new("/abs/n1.key"));
    assert_eq!(config.tls().ca, Path::new("ca/ca.pem"), "from the working directory");
    assert_eq!(config.session().token_keys, folder.path().join("base/token.keys"));
}

#[test]
fn later_files_go_over_earlier_ones_and_the_environment_over_all() {
    let folder = TempDir::new().unwrap();
    let idle = |minutes: u32| format!("[session]\nidle_timeout = \"{minutes}m\"\n");
    let one = file(&folder, "1.toml", &format!("{CLUSTER}{}attributes_max = 9\n", idle(1)));
    let two = file(&folder, "2.toml", &idle(2));
    let minutes = |paths: &[&PathBuf], variables: &[(&str, &str)]| {
        let config = Config::load_with(paths, variables.iter().copied()).unwrap();
        assert_eq!(config.session().limits.attributes_max, 9, "what only one says stays");
        config.session().idle_timeout.as_secs() / 60
    };
    assert_eq!(minutes(&[&one], &[]), 1);
    assert_eq!(minutes(&[&one, &two], &[]), 2);
    let variable = ("REPLICA__SESSION__IDLE_TIMEOUT", "3m");
    assert_eq!(minutes(&[&one, &two], &[variable]), 3);
}

#[test]
fn variables_reach_every_section() {
    let config = with_variables(&[
        ("REPLICA__NODE__LISTEN", "127.0.0.1:0"),
        ("REPLICA__CLUSTER__NAME", "1e3"),
        ("REPLICA__CLUSTER__MEMBERS__N4", "n4:7001"),
        ("REPLICA__REPLICATION__MODE", "primary-backup"),
        ("REPLICA__REPLICATION__BACKUPS", "3"),
        ("REPLICA__SESSION__ATTRIBUTES_MAX", "12"),
        ("REPLICA__SESSION__COOKIE__SECURE", "false"),
        ("REPLICA__TLS__CA", "/ca.pem"),
        ("REPLICA__LIMITS__MEMORY", "67108864"),
        ("REPLICA__APP__HTTP", "127.0.0.1:1"),
        ("REPLICA_PORT", "tcp://of.a.service:1"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(config.node().listen, "127.0.0.1:0".parse().unwrap());
    assert_eq!(config.cluster().name, "1e3".parse().unwrap(), "a text, not a number");
    assert_eq!(config.cluster().members.len(), 4);
    assert_eq!(config.replication().copies, Copies::Count(4.try_into().unwrap()));
    assert_eq!(config.session().limits.attributes_max, 12);
    assert!(!config.session().cookie.secure);
    assert_eq!(config.tls().ca, Path::new("/ca.pem"));
    assert_eq!(config.limits().memory, Memory::Bytes(64 << 20));
    assert_eq!(config.app::<App>().unwrap().http, "127.0.0.1:1");
}

#[test]
fn a_program_can_be_configured_by_variables_alone() {
    let paths: [&Path; 0] = [];
    let variables =
        [("REPLICA__CLUSTER__NAME", "shop"), ("REPLICA__CLUSTER__MEMBERS__N1", "n1:7001")];
    let error = Config::load_with(&paths, variables).unwrap_err().to_string();
    assert_eq!(
        error,
        "the environment: replication.ack = \"one\" (the default) needs 2 nodes, but \
         cluster.members has 1; add members, or set it to \"local\""
    );
    let local = [("REPLICA__REPLICATION__ACK", "local")];
    Config::load_with(&paths, variables.into_iter().chain(local)).unwrap();
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct App {
    http: String,
    #[serde(default)]
    workers: u16,
    #[serde(default)]
    origins: Vec<String>,
}

#[test]
fn the_embedding_program_has_a_section_of_its_own() {
    let text = "[app]\nhttp = \"[::]:80\"\nworkers = 4\norigins = [\"a\", \"b\"]\n";
    let app: App = with_cluster(text).unwrap().app().unwrap();
    let origins = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(app, App { http: "[::]:80".to_owned(), workers: 4, origins });
    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Nothing {
        a: Option<u8>,
    }
    assert_eq!(with_cluster("").unwrap().app::<Nothing>().unwrap(), Nothing::default());
}

#[test]
fn lists_in_variables_are_divided_by_commas_and_may_be_empty() {
    let origins = |value: &str| {
        let variables = [("REPLICA__APP__HTTP", "1"), ("REPLICA__APP__ORIGINS", value)];
        with_variables(&variables).unwrap().app::<App>().unwrap().origins
    };
    assert_eq!(origins("a, b"), ["a", "b"]);
    assert_eq!(origins(""), [""; 0]);
}

#[test]
fn mistakes_in_the_own_section_are_named_like_all_others() {
    let app = |text: &str| with_cluster(text).unwrap().app::<App>().unwrap_err().to_string();
    assert_eq!(app(""), "configuration: app.http is missing; add it");
    assert_eq!(
        app("[app]\nhtpp = \"x\"\n"),
        "configuration: app.htpp is not a known key; did you mean http?"
    );
    assert_eq!(
        app("[app]\nhttp = \"x\"\nworkers = 1.5\n"),
        "configuration: app.workers = 1.5 must be a whole number, not negative"
    );
    assert_eq!(app("[app]\nhttp = 80\n"), "configuration: app.http = 80 must be a text in quotes");
}

#[test]
fn debug_shows_no_value_of_the_own_section() {
    let config = with_cluster("[app]\npassword = \"hunter2\"\n").unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("password") && !shown.contains("hunter2"), "{shown}");
}
