//! Every mistake is answered with one line: where, which key, which value, what to do.

use std::fs;
use std::path::Path;

use replica::config::{Config, Problem};
use tempfile::TempDir;

use super::{CLUSTER, NO_VARIABLES, file, read, with_cluster, with_variables};

/// The message about a configuration that is complete but for `text`.
fn message(text: &str) -> String {
    with_cluster(text).unwrap_err().to_string()
}

/// The same for what a variable says.
fn variable_message(name: &str, value: &str) -> String {
    with_variables(&[(name, value)]).unwrap_err().to_string()
}

/// What is added to a complete configuration, and the whole of the answer.
const TABLE: &[(&str, &str)] = &[
    // Keys.
    (
        "[session]\nidle_timout = \"1m\"\n",
        "session.idle_timout is not a known key; did you mean session.idle_timeout?",
    ),
    ("[sesion]\na = 1\n", "sesion is not a known key; did you mean session?"),
    ("[node]\nack = \"one\"\n", "node.ack is not a known key; did you mean replication.ack?"),
    (
        "[colour]\nred = 1\n",
        "colour is not a known key; remove it (keys of your own belong into [app])",
    ),
    (
        "[session]\nmax_per_user = 3\n",
        "session.max_per_user cannot be set: it comes with the users' index; remove it",
    ),
    (
        "[session]\ncookie = { http_only = false }\n",
        "session.cookie.http_only cannot be set: it is always on, so that no script can read \
         the session's id; remove it",
    ),
    // Types.
    (
        "[limits]\nconnections_max = 1.5\n",
        "limits.connections_max = 1.5 must be a whole number, not negative",
    ),
    (
        "[limits]\nconnections_max = -1\n",
        "limits.connections_max = -1 must be a whole number, not negative",
    ),
    (
        "[limits]\nconnections_max = \"300\"\n",
        "limits.connections_max = \"300\" must be a whole number, not negative",
    ),
    (
        "[session]\ncookie = { secure = \"yes\" }\n",
        "session.cookie.secure = \"yes\" must be true or false",
    ),
    ("[tls]\nca = 3\n", "tls.ca = 3 must be a text in quotes"),
    ("[tls]\nca = \"\"\n", "tls.ca = \"\" must be a path"),
    ("[session]\ncookie = \"sid\"\n", "session.cookie = \"sid\" must be a table"),
    ("[[limits]]\n", "limits = a list must be a table"),
    (
        "[replication]\nmode = \"all\"\n",
        "replication.mode = \"all\" must be \"all-to-all\" or \"primary-backup\"",
    ),
    (
        "[replication]\nack = \"two\"\n",
        "replication.ack = \"two\" must be \"local\", \"one\", \"quorum\" or \"all\"",
    ),
    (
        "[replication]\nack = 1\n",
        "replication.ack = 1 must be \"local\", \"one\", \"quorum\" or \"all\"",
    ),
    (
        "[replication]\nack_timeout = \"50 milis\"\n",
        "replication.ack_timeout = \"50 milis\" must be a duration with its unit, such as \
         \"10ms\", \"30s\", \"30m\" or \"24h\"",
    ),
    (
        "[replication]\nack_timeout = 50\n",
        "replication.ack_timeout = 50 must be a duration with its unit, such as \"10ms\", \
         \"30s\", \"30m\" or \"24h\"",
    ),
    (
        "[limits]\nmemory = \"512MB\"\n",
        "limits.memory = \"512MB\" must be \"auto\" or a number of bytes such as \"512MiB\"",
    ),
    (
        "[limits]\nframe_bytes_max = \"1.5MiB\"\n",
        "limits.frame_bytes_max = \"1.5MiB\" must be a number of bytes such as 4096, \
         \"64KiB\", \"32MiB\" or \"1GiB\"",
    ),
    // Addresses and names.
    (
        "[node]\nlisten = \"localhost:7001\"\n",
        "node.listen = \"localhost:7001\" must be an IP address and a port, such as \
         \"0.0.0.0:7001\" or \"[::]:7001\"",
    ),
    (
        "[node]\nadvertise = \"n1\"\n",
        "node.advertise = \"n1\" must be \"host:port\", such as \"n1.example:7001\" or \
         \"[2001:db8::1]:7001\"",
    ),
    (
        "[node]\nname = \"N1\"\n",
        "node.name = \"N1\" cannot be used: node name \"N1\" is not a DNS label; use 1 to 63 \
         of a-z, 0-9 and inner hyphens, for example \"n1\"",
    ),
    (
        "[node]\nzone = \"\"\n",
        "node.zone = \"\" must be 1 to 63 of letters, digits, hyphen, dot and underscore, \
         such as \"eu-1\"",
    ),
    // Bounds.
    (
        "[replication]\nack_timeout = \"1ms\"\n",
        "replication.ack_timeout = \"1ms\" is out of bounds; use 10ms to 1m",
    ),
    ("[replication]\nbackups = 0\n", "replication.backups = 0 is out of bounds; use 1 to 63"),
    (
        "[session]\nabsolute_timeout = \"31days\"\n",
        "session.absolute_timeout = \"31days\" is out of bounds; use 1s to 30days",
    ),
    (
        "[session]\nattributes_max = 321\n",
        "session.attributes_max = 321 is out of bounds; use 1 to 320",
    ),
    (
        "[session]\nsession_bytes_max = \"1MiB\"\n",
        "session.session_bytes_max = \"1MiB\" is out of bounds; use 1KiB to 256KiB",
    ),
    (
        "[limits]\nframe_bytes_max = \"5MiB\"\n",
        "limits.frame_bytes_max = \"5MiB\" is out of bounds; use 512KiB to 4MiB",
    ),
    (
        "[limits]\nmemory = 1024\n",
        "limits.memory = 1024 is out of bounds; use 16MiB to what the machine has",
    ),
    // Combinations.
    (
        "[session]\nidle_timeout = \"2h\"\nabsolute_timeout = \"1h\"\n",
        "session.idle_timeout = \"2h\" is longer than session.absolute_timeout = \"1h\"; a \
         session ends at the absolute timeout; make the idle one at most as long",
    ),
    (
        "[session]\nabsolute_timeout = \"10m\"\n",
        "session.absolute_timeout = \"10m\" is shorter than session.idle_timeout = 30m (the \
         default); a session ends at the absolute timeout; make the idle one at most as long",
    ),
    (
        "[node]\nname = \"n4\"\n",
        "node.name = \"n4\" names the node n4, which is not in cluster.members (n1, n2, n3); \
         add it there, or correct the name",
    ),
    (
        "[node]\nname = \"n1\"\nadvertise = \"10.0.0.9:7001\"\n",
        "node.advertise = \"10.0.0.9:7001\" differs from cluster.members.n1 = \
         \"10.0.0.1:7001\"; make the two equal, or remove node.advertise",
    ),
    (
        "[replication]\nmode = \"primary-backup\"\nbackups = 3\n",
        "replication.backups = 3 needs 4 nodes, but cluster.members has 3; lower it, or add \
         members",
    ),
    (
        "[limits]\nhandshakes_max = 8\n",
        "limits.handshakes_max = 8 is less than limits.handshakes_before_retry = 16 (the \
         default); strangers would never have to prove their address; make \
         limits.handshakes_before_retry at most limits.handshakes_max",
    ),
    // Cookies.
    (
        "[session]\ncookie = { name = \"__Host-sid\" }\n",
        "session.cookie.name = \"__Host-sid\" must be a name without prefix; \"__Host-\" is \
         put before it where it applies",
    ),
    (
        "[session]\ncookie = { name = \"a b\" }\n",
        "session.cookie.name = \"a b\" must be 1 to 64 letters, digits, hyphens and \
         underscores, such as \"session\"",
    ),
    (
        "[session]\ncookie = { token_name = \"session\" }\n",
        "session.cookie.token_name = \"session\" is the same as session.cookie.name = \
         \"session\" (the default); give the two cookies different names",
    ),
    (
        "[session]\ncookie = { same_site = \"none\", secure = false }\n",
        "session.cookie.same_site = \"none\" does not go with session.cookie.secure = false; \
         browsers take such a cookie only with secure = true",
    ),
    (
        "[session]\ncookie = { domain = \".a.b\" }\n",
        "session.cookie.domain = \".a.b\" must be a DNS name without a dot in front, such as \
         \"example.com\"",
    ),
    (
        "[session]\ncookie = { path = \"shop\" }\n",
        "session.cookie.path = \"shop\" must be a path that begins with \"/\", without \
         spaces and \";\"",
    ),
];

#[test]
fn each_is_one_line_with_key_value_and_remedy() {
    for (text, expected) in TABLE {
        assert_eq!(message(text), format!("configuration: {expected}"), "for {text}");
    }
}

#[test]
fn the_members_must_make_sense() {
    let members = |members: &str| {
        let text = format!("[cluster]\nname = \"shop\"\nmembers = {{ {members} }}\n");
        let error = read(&text).unwrap_err().to_string();
        error.strip_prefix("configuration: ").unwrap().to_owned()
    };
    assert_eq!(
        members(""),
        "cluster.seeds is missing; add seeds = [\"host:7001\", …] and expect = 3 to [cluster]; with \
         seeds = [] this node founds a cluster alone"
    );
    assert_eq!(
        members("n1 = \"A:1\", n2 = \"a:1\""),
        "cluster.members.n2 = \"a:1\" is also the address of n1; give every member an address \
         of its own"
    );
    assert_eq!(members("n1 = 7001"), "cluster.members.n1 = 7001 must be a text in quotes");
    assert_eq!(
        members("n1 = \"a:0\""),
        "cluster.members.n1 = \"a:0\" must be \"host:port\", such as \"n1.example:7001\" or \
         \"[2001:db8::1]:7001\""
    );
    assert_eq!(
        members("a_b = \"a:1\""),
        "cluster.members cannot be used: node name \"a_b\" is not a DNS label; \
         use 1 to 63 of a-z, 0-9 and inner hyphens, for example \"n1\""
    );
    let many: Vec<String> = (0..65).map(|n| format!("n{n} = \"a:{}\"", n + 1)).collect();
    assert_eq!(
        members(&many.join(", ")),
        "cluster.members = 65 members is out of bounds; use 1 to 64 members"
    );
    read(&format!("[cluster]\nname = \"a\"\nmembers = {{ {} }}", many[1..].join(", "))).unwrap();
}

#[test]
fn members_are_fixed_or_found_by_seeds() {
    let text = CLUSTER.replace("name", "expect = 3\nseeds = [\"n1:7001\"]\nname");
    assert_eq!(
        read(&text).unwrap_err().to_string(),
        "configuration: cluster.seeds = a list cannot be together with cluster.members; remove \
         one: members are fixed, or agreed at run time by way of seeds\n\
         configuration: cluster.expect = 3 cannot be together with cluster.members; remove it: \
         members that are fixed are not waited for"
    );
    let seeds = |rest: &str| {
        let text = format!("cluster = {{ name = \"shop\", {rest} }}");
        read(&text).map(|config| config.cluster().clone()).map_err(|error| error.to_string())
    };
    assert_eq!(
        seeds("seeds = [\"a:1\"]").unwrap_err(),
        "configuration: cluster.expect is missing; add expect = N to [cluster], the number of nodes \
         that start together"
    );
    assert_eq!(
        seeds("seeds = [\"a:1\", \"b:1\"], expect = 1").unwrap_err(),
        "configuration: cluster.expect = 1 is not more than half of the 2 addresses in \
         cluster.seeds; two halves could each found a cluster; give the number of nodes that start \
         together"
    );
    assert_eq!(
        seeds("seeds = [\"a\"], expect = 1").unwrap_err(),
        "configuration: cluster.seeds = a list must be \"host:port\", such as \
         \"n1.example:7001\" or \"[2001:db8::1]:7001\""
    );
    assert_eq!(
        seeds("seeds = [], voters = 2").unwrap_err(),
        "configuration: cluster.voters = 2 must be 1, 3 or 5"
    );
    let alone = seeds("seeds = []").unwrap();
    assert!(!alone.is_fixed() && alone.expect == 1);
    let twice = seeds("seeds = [\"a:1\", \"A:1\", \"b:1\"], expect = 2").unwrap();
    assert_eq!(twice.seeds.len(), 2, "the same address said twice is one");
}

#[test]
fn all_are_found_at_once_and_always_in_the_same_order() {
    let wrong_form = "[tls]\nca = 1\ncert = 2\n[limits]\nhandshakes_max = 0.5\n[limit]\na = 1\n";
    let expected = "configuration: limit is not a known key; did you mean limits?\n\
         configuration: tls.ca = 1 must be a text in quotes\n\
         configuration: tls.cert = 2 must be a text in quotes\n\
         configuration: limits.handshakes_max = 0.5 must be a whole number, not negative";
    for _ in 0..20 {
        assert_eq!(message(wrong_form), expected);
    }
    let wrong_meaning = "[node]\nlisten = \"x\"\n[replication]\nack_timeout = \"1h\"\n";
    let error = with_cluster(wrong_meaning).unwrap_err();
    let keys: Vec<&str> = error.problems().iter().map(Problem::key).collect();
    assert_eq!(keys, ["node.listen", "replication.ack_timeout"]);
}

#[test]
fn what_is_missing_is_shown_as_it_would_be_written() {
    assert_eq!(
        read("").unwrap_err().to_string(),
        "configuration: cluster.name is missing; add name = \"…\" to [cluster]\n\
         configuration: cluster.seeds is missing; add seeds = [\"host:7001\", …] and expect = 3 to \
         [cluster]; with seeds = [] this node founds a cluster alone"
    );
}

#[test]
fn one_node_alone_cannot_promise_a_second_copy() {
    let text =
        "[cluster]\nname = \"a\"\nmembers = { n1 = \"a:1\" }\n[replication]\nack = \"all\"\n";
    assert_eq!(
        read(text).unwrap_err().to_string(),
        "configuration: replication.ack = \"all\" needs 2 nodes, but cluster.members has 1; \
         add members, or set it to \"local\""
    );
}

#[test]
fn variables_are_named() {
    for (name, value, expected) in [
        (
            "REPLICA__SESSION__IDLE_TIMOUT",
            "1m",
            "session.idle_timout is not a known key; did you mean session.idle_timeout?",
        ),
        (
            "REPLICA__NODE_LISTEN",
            "[::]:1",
            "node_listen is not a known key; did you mean node.listen?",
        ),
        (
            "REPLICA__LIMITS__CONNECTIONS_MAX",
            "1.5",
            "limits.connections_max = \"1.5\" must be a whole number, not negative",
        ),
        (
            "REPLICA__SESSION__COOKIE__SECURE",
            "",
            "session.cookie.secure = \"\" must be true or false",
        ),
        (
            "REPLICA__LIMITS__OUTBOX_SESSIONS_MAX",
            "18446744073709551615",
            "limits.outbox_sessions_max = \"18446744073709551615\" is out of bounds; use 100 \
             to 10000000",
        ),
        (
            "REPLICA__SESSION",
            "x",
            "session is a table; set its keys one by one, as in REPLICA__SESSION__KEY=…",
        ),
        (
            "REPLICA__CLUSTER__SEEDS",
            "",
            "cluster.seeds = \"\" cannot be together with cluster.members; remove one: members are \
             fixed, or agreed at run time by way of seeds",
        ),
    ] {
        let expected = format!("environment variable {name}: {expected}");
        assert_eq!(variable_message(name, value), expected);
    }
}

#[test]
fn variables_that_contradict_each_other_are_refused_whatever_their_order() {
    let both = [("REPLICA__APP__A", "1"), ("REPLICA__APP__A__B", "2")];
    assert_eq!(
        with_variables(&both).unwrap_err().to_string(),
        "environment variable REPLICA__APP__A: app.a is a table; set its keys one by one, as in \
         REPLICA__APP__A__B=…"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = OsString::from_vec(vec![0xff]);
    let paths: [&Path; 0] = [];
    let foreign = [(bytes.clone(), bytes.clone())];
    let own = [(OsString::from("REPLICA__NODE__ZONE"), bytes)];
    let error = Config::load_with(&paths, foreign.into_iter().chain(own)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment variable REPLICA__NODE__ZONE: node.zone is not UTF-8; write it in plain text"
    );
}

#[test]
fn a_mistake_in_one_of_several_files_names_that_file() {
    let folder = TempDir::new().unwrap();
    let right = file(&folder, "right.toml", CLUSTER);
    let wrong = file(&folder, "wrong.toml", "[node]\nlisten = \"x\"\n");
    let error = Config::load_with(&[&right, &wrong], NO_VARIABLES).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: node.listen = \"x\" ", wrong.display())), "{error}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let load = |path: &Path| Config::load_with(&[path], NO_VARIABLES).unwrap_err().to_string();
    let path = folder.path().join("missing.toml");
    assert_eq!(
        load(&path),
        format!(
            "{} cannot be read (No such file or directory (os error 2)); correct the path, or \
             make the file with `replica-node cert`",
            path.display()
        )
    );
    assert!(load(folder.path()).contains("cannot be read (Is a directory"));
    let path = folder.path().join("binary.toml");
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert_eq!(load(&path), format!("{} is not UTF-8; write it in plain text", path.display()));
    let path = file(&folder, "long.toml", &"#\n".repeat(1 << 20));
    assert_eq!(
        load(&path),
        format!("{} is longer than 1048576 bytes; give the right file", path.display())
    );
}

#[test]
fn text_that_is_no_toml_is_shown_by_its_line() {
    let syntax = |text: &str| read(text).unwrap_err().to_string();
    let error = syntax("[cluster]\nname = \n");
    assert!(error.starts_with("configuration is not TOML: line 2, column 8: "), "{error}");
    assert!(error.ends_with("; correct the line") && error.lines().count() == 1, "{error}");
    let error = syntax("a = 1\na = 2\n");
    assert!(error.starts_with("configuration is not TOML: line 2, column 1: "), "{error}");
    let error = syntax("[limits]\nconnections_max = 9223372036854775808\n");
    assert!(error.starts_with("configuration is not TOML: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_dotted_key_in_quotes_is_no_way_into_a_section() {
    assert_eq!(
        read(&format!("\"node.listen\" = 1\n\"a[99999999999]\" = 1\n{CLUSTER}"))
            .unwrap_err()
            .to_string(),
        "configuration: \"node.listen\" is not a known key; did you mean node.listen?\n\
         configuration: a[99999999999] is not a known key; remove it (keys of your own belong \
         into [app])"
    );
}

#[test]
fn debug_is_the_message_so_that_main_shows_it() {
    let error = with_cluster("[node]\nzone = 1\n").unwrap_err();
    assert_eq!(format!("{error:?}"), "configuration: node.zone = 1 must be a text in quotes");
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[test]
fn the_value_of_an_unknown_key_is_not_shown() {
    let shown = message("[tls]\npassword = \"hunter2\"\n");
    assert!(shown.contains("tls.password") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn no_depth_of_nesting_ends_the_program() {
    let depth = 200_000;
    let dotted = vec!["a"; depth].join(".");
    let header = format!("[app.{dotted}]\n");
    let lists = format!("[app]\na = {}{}\n", "[".repeat(depth), "]".repeat(depth));
    for text in [format!("{dotted} = 1\n"), header, lists] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.starts_with("configuration is not TOML: "), "{}", &error[..100]);
    }
    let name = format!("REPLICA__APP__{}", vec!["A"; depth].join("__"));
    let error = with_variables(&[(&name, "1")]).unwrap_err().to_string();
    assert!(
        error.ends_with(" has more than 16 parts; correct the name of the variable"),
        "{error}"
    );
    assert!(error.len() < 300, "{error}");
}

#[test]
fn an_index_in_the_name_of_a_variable_makes_no_list() {
    let config = with_variables(&[("REPLICA__APP__LIST[99999999999]", "x")]).unwrap();
    assert!(format!("{config:?}").contains("list[99999999999]"));
}
