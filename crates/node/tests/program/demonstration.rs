//! `demo`: a cluster that a visitor does not notice losing nodes of, and that leaves nothing.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::support::{Client, Running, program, refused, wait_until};

/// A demonstration whose nodes are all up.
struct Demo {
    running: Running,
    page: SocketAddr,
    token: String,
    /// Where its folder lies, which one that was killed leaves behind.
    folder: TempDir,
}

impl Demo {
    fn start(nodes: usize) -> Self {
        let nodes = nodes.to_string();
        let folder = tempfile::tempdir().unwrap();
        let mut command = program(["demo", "--nodes", &nodes]);
        let running = Running::start(command.env("TMPDIR", folder.path()));
        let line = running.line_with("http://");
        let address = line.split("http://").nth(1).unwrap().trim_end_matches('/');
        let page: SocketAddr = address.parse().unwrap();
        let document = Client::default().get(page, "/").body;
        let token = document.split("data-token=\"").nth(1).unwrap().split('"').next().unwrap();
        let demo = Self { running, page, token: token.to_owned(), folder };
        wait_until("all nodes up", || demo.nodes().iter().all(is_up));
        demo
    }

    fn nodes(&self) -> Vec<Value> {
        let state = Client::default().get(self.page, "/demo/state").json();
        state["nodes"].as_array().unwrap().clone()
    }

    fn node(&self, name: &str) -> Value {
        self.nodes().into_iter().find(|node| node["name"] == name).unwrap()
    }

    fn pids(&self) -> Vec<i64> {
        self.nodes().iter().filter_map(|node| node["pid"].as_i64()).collect()
    }

    fn press(&self, node: &str, action: &str) -> u16 {
        let mut client = Client::with(&[("Demo-Token", &self.token)]);
        client.post(self.page, &format!("/demo/nodes/{node}/{action}"), "").status
    }
}

fn is_up(node: &Value) -> bool {
    node["phase"] == "up" && node["answers"] == true
}

/// A process that has ended is gone, or waits for a parent that will not ask.
fn is_running(pid: i64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

/// A visitor of the page.
struct Visitor<'a> {
    client: Client,
    demo: &'a Demo,
    csrf: String,
    /// The node that answered last, and those that were passed over.
    served_by: String,
    passed: String,
}

impl<'a> Visitor<'a> {
    fn new(demo: &'a Demo) -> Self {
        let mut visitor = Self {
            client: Client::with(&[("Accept", "application/json")]),
            demo,
            csrf: String::new(),
            served_by: String::new(),
            passed: String::new(),
        };
        visitor.look();
        visitor
    }

    fn choose(&mut self, node: &str) {
        self.client.headers.retain(|(name, _)| *name != "Demo-Node");
        self.client.headers.push(("Demo-Node", node.to_owned()));
    }

    fn look(&mut self) -> Value {
        let answer = self.client.get(self.demo.page, "/shop/state");
        self.note(&answer)
    }

    fn send(&mut self, form: &str, fields: &str) -> Value {
        let body = format!("csrf={}&{fields}", self.csrf);
        let answer = self.client.post(self.demo.page, &format!("/shop/{form}"), &body);
        self.note(&answer)
    }

    fn note(&mut self, answer: &super::support::Answer) -> Value {
        assert_eq!(answer.status, 200, "{answer:?}");
        self.served_by = answer.header("replica-node").unwrap().to_owned();
        self.passed = answer.header("demo-passed").unwrap_or_default().to_owned();
        let shop = answer.json();
        self.csrf = shop["csrf"].as_str().unwrap().to_owned();
        shop
    }
}

#[test]
fn a_visitor_keeps_everything_when_nodes_are_killed_paused_and_restarted() {
    let demo = Demo::start(3);
    let mut visitor = Visitor::new(&demo);
    visitor.send("login", "user=ada");
    visitor.send("add", "item=apples");
    let shop = visitor.send("visit", "");
    assert_eq!((&shop["user"], &shop["visits"]), (&"ada".into(), &1.into()));

    let first = visitor.served_by.clone();
    assert_eq!(demo.press(&first, "kill"), 200);
    visitor.choose(&first);
    let shop = visitor.send("visit", "");
    assert_eq!((&shop["user"], &shop["visits"]), (&"ada".into(), &2.into()));
    assert_ne!(visitor.served_by, first);
    assert!(visitor.passed.starts_with(&first), "{}", visitor.passed);

    let second = visitor.served_by.clone();
    assert_eq!(demo.press(&second, "pause"), 200);
    visitor.choose(&second);
    let shop = visitor.send("add", "item=bread");
    assert_eq!(shop["cart"], serde_json::json!(["apples", "bread"]));
    assert_eq!(demo.press(&second, "resume"), 200);

    assert_eq!(demo.press(&first, "restart"), 200);
    wait_until("up again", || is_up(&demo.node(&first)));
    visitor.choose(&first);
    let shop = visitor.look();
    assert_eq!(visitor.served_by, first);
    assert_eq!((&shop["user"], &shop["visits"]), (&"ada".into(), &2.into()));
    assert_eq!(shop["cart"], serde_json::json!(["apples", "bread"]));
}

#[test]
fn each_node_serves_in_turn() {
    let demo = Demo::start(3);
    let mut visitor = Visitor::new(&demo);
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..3 {
        visitor.look();
        served.insert(visitor.served_by.clone());
    }
    assert_eq!(served.len(), 3);
}

#[test]
fn a_button_needs_the_token_the_host_and_the_origin() {
    let demo = Demo::start(1);
    let kill = |headers: &[(&'static str, &str)]| {
        Client::with(headers).post(demo.page, "/demo/nodes/n1/kill", "")
    };
    let status = |headers: &[(&'static str, &str)]| kill(headers).status;
    let (token, page) = (demo.token.as_str(), demo.page);
    assert_eq!(status(&[]), 403);
    let answer = kill(&[("Demo-Token", "0123456789abcdef0123456789abcdef")]);
    assert!(answer.status == 403 && answer.body.contains("reload the page"), "{answer:?}");
    let answer = kill(&[("Demo-Token", token), ("Origin", "http://evil.example")]);
    assert!(answer.status == 403 && answer.body.contains("another origin"), "{answer:?}");
    let evil = format!("evil.example:{}", page.port());
    assert_eq!(status(&[("Demo-Token", token), ("Host", &evil)]), 421);
    assert!(is_up(&demo.node("n1")));
    let mut rebound = Client::with(&[("Host", &evil)]);
    for path in ["/", "/demo/state", "/shop/state"] {
        let answer = rebound.get(page, path);
        assert_eq!(answer.status, 421, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(status(&[("Demo-Token", token), ("Origin", &format!("http://{page}"))]), 200);
    assert_eq!(demo.press("n1", "dance"), 404);
    assert_eq!(demo.press("n9", "kill"), 404);
}

#[test]
fn the_page_is_complete_and_takes_nothing_from_elsewhere() {
    let demo = Demo::start(1);
    let page = Client::default().get(demo.page, "/");
    assert!(!page.body.contains("{{"), "a placeholder is left");
    let elsewhere = ["src=", "@import", "url(", "//cdn"];
    assert!(elsewhere.iter().all(|mark| !page.body.contains(mark)));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}

#[test]
fn ctrl_c_ends_every_process() {
    let mut demo = Demo::start(3);
    assert_eq!(demo.press("n2", "pause"), 200);
    let pids = demo.pids();
    demo.running.signal(Signal::INT);
    assert_eq!(demo.running.ended().code(), Some(0));
    assert!(pids.iter().all(|pid| !is_running(*pid)));
    assert_eq!(std::fs::read_dir(demo.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_closed_terminal_ends_every_process() {
    let mut demo = Demo::start(1);
    let pids = demo.pids();
    demo.running.signal(Signal::HUP);
    assert_eq!(demo.running.ended().code(), Some(0));
    assert!(pids.iter().all(|pid| !is_running(*pid)));
}

#[test]
fn no_node_outlives_a_demonstration_that_was_killed() {
    let mut demo = Demo::start(3);
    let pids = demo.pids();
    demo.running.signal(Signal::KILL);
    assert!(!demo.running.ended().success());
    wait_until("no node is left", || pids.iter().all(|pid| !is_running(*pid)));
}

#[test]
fn a_word_that_is_none_is_said_in_one_line() {
    let said = refused(&mut program(["demo", "--mode", "primary"]));
    assert!(said.contains("--mode primary") && said.contains("all-to-all"), "{said}");
}
