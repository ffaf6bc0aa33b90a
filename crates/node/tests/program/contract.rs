//! The plain endpoints, row by row, and who may reach them.

use std::net::{SocketAddr, TcpStream};

use super::support::{Client, Cluster, Running, tcp_port, wait_until};

fn alone() -> (Cluster, Running, SocketAddr) {
    let cluster = Cluster::new(1);
    let (node, http) = Running::node(&mut cluster.node("n1"));
    (cluster, node, http)
}

#[test]
fn every_endpoint_answers_as_the_contract_says() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::default();
    let expected = [
        ("/health", 200, "ok"),
        ("/login?user=u&a=1&b=two", 200, "ok"),
        ("/get?k=a", 200, "1"),
        ("/get?k=b", 200, "two"),
        ("/get?k=c", 404, "not set"),
        ("/set?k=c&v=3", 200, "ok"),
        ("/get?k=c", 200, "3"),
        ("/count", 200, "0"),
        ("/incr", 200, "1"),
        ("/incr", 200, "2"),
        ("/count", 200, "2"),
        ("/items?k=s", 200, ""),
        ("/add?k=s&v=pear", 200, "ok"),
        ("/add?k=s&v=apple", 200, "ok"),
        ("/add?k=s&v=pear", 200, "ok"),
        ("/items?k=s", 200, "apple\npear\n"),
        // A fresh id, and what is in it stays.
        ("/login?user=v", 200, "ok"),
        ("/get?k=c", 200, "3"),
        ("/count", 200, "2"),
        ("/items?k=s", 200, "apple\npear\n"),
        ("/logout", 200, "ok"),
    ];
    for (path, status, body) in expected {
        let answer = client.get(http, path);
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
        let content = answer.header("content-type").unwrap();
        assert!(content.starts_with("text/plain"), "{path}: {content}");
    }
    assert!(!client.has_cookies());
}

#[test]
fn a_write_says_how_far_it_got_and_a_read_says_nothing() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::default();
    client.get(http, "/login?user=u");
    for path in ["/set?k=a&v=1", "/incr", "/add?k=s&v=1", "/login?user=u", "/logout"] {
        assert_eq!(client.get(http, path).header("replica-ack"), Some("0/0"), "{path}");
        if path == "/login?user=u" {
            assert_eq!(client.get(http, "/get?k=a").header("replica-ack"), None);
        }
    }
}

#[test]
fn without_a_session_there_is_nothing_to_read_or_write() {
    let (_cluster, _node, http) = alone();
    let stranger =
        Client::with(&[("Cookie", "__Host-session=forged; __Host-session-token=forged")]);
    for mut client in [Client::default(), stranger] {
        for path in
            ["/set?k=a&v=1", "/get?k=a", "/incr", "/count", "/add?k=a&v=1", "/items?k=a", "/logout"]
        {
            assert_eq!(client.get(http, path).status, 401, "{path}");
        }
        assert!(!client.has_cookies());
    }
}

#[test]
fn the_id_before_a_login_and_the_one_after_a_logout_are_worth_nothing() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::default();
    client.get(http, "/login?user=u");
    let mut planted = client.clone_cookies();
    client.get(http, "/login?user=u");
    assert_eq!(planted.get(http, "/count").status, 401);
    let mut late = client.clone_cookies();
    client.get(http, "/logout");
    assert_eq!(late.get(http, "/count").status, 401);
}

/// Promise P12.
#[test]
fn all_sessions_of_a_user_end_and_nobody_elses() {
    let (_cluster, _node, http) = alone();
    let mut clients: [Client; 4] = Default::default();
    for (client, user) in clients.iter_mut().zip(["ada", "ada", "bob", "adam"]) {
        assert_eq!(client.get(http, &format!("/login?user={user}")).status, 200);
    }
    let mut operator = Client::default();
    for (count, ack) in [("2", Some("0/0")), ("0", None)] {
        let ended = operator.get(http, "/logout-user?user=ada");
        assert_eq!((ended.status, ended.body.as_str()), (200, count));
        assert_eq!(ended.header("replica-ack"), ack, "a write only where something ended");
        assert!(ended.header("content-type").unwrap().starts_with("text/plain"));
    }
    assert!(!operator.has_cookies());
    let status = clients.map(|mut client| client.get(http, "/count").status);
    assert_eq!(status, [401, 401, 200, 200]);
}

/// Promise P12: no "0" from a node that does not know of the sessions.
#[test]
fn a_node_that_has_not_caught_up_ends_nothing_and_says_so() {
    let cluster = Cluster::fixed(2);
    let mut command = cluster.node("n1");
    let http = SocketAddr::from(([127, 0, 0, 1], tcp_port()));
    command.env("REPLICA__APP__HTTP", http.to_string());
    let ask = || Client::default().get(http, "/logout-user?user=ada");
    // Nobody answers this node, so that it waits for 2 s before it takes itself for caught up. If
    // the machine is too busy to ask within them, it is started again.
    let mut node = None;
    wait_until("it is asked in time", || {
        node = None;
        node = Some(Running::start(&mut command));
        wait_until("it listens", || TcpStream::connect(http).is_ok());
        let answer = ask();
        let is_refused = answer.status == 503 && answer.header("retry-after") == Some("1");
        assert!(!is_refused || answer.body.contains("this node has not caught up"), "{answer:?}");
        is_refused
    });
    wait_until("it has caught up", || ask().status == 200);
}

#[test]
fn what_is_missing_or_not_offered_is_said() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::default();
    assert_eq!(client.get(http, "/login").status, 400);
    client.get(http, "/login?user=u");
    assert_eq!(client.get(http, "/set?k=a").status, 400);
    assert_eq!(client.get(http, "/get?k=").status, 400);
    assert_eq!(client.get(http, "/logout-user").status, 400);
    assert_eq!(client.post(http, "/incr", "").status, 405);
    assert_eq!(client.get(http, "/nothing").status, 404);
}

#[test]
fn the_memory_in_use_is_a_number() {
    let (_cluster, _node, http) = alone();
    let bytes: u64 = Client::default().get(http, "/mem").body.parse().unwrap();
    assert!((1 << 16..1 << 32).contains(&bytes), "{bytes}");
}

#[test]
fn a_name_that_somebody_made_to_point_here_is_refused() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::with(&[("Host", &format!("evil.example:{}", http.port()))]);
    for path in ["/", "/health", "/login?user=u", "/status.json", "/shop/state"] {
        assert_eq!(client.get(http, path).status, 421, "{path}");
    }
}

#[test]
fn beyond_loopback_only_health_is_served_unless_asked_for() {
    for (contract, status) in [(false, 404), (true, 200)] {
        let cluster = Cluster::new(1);
        let mut command = cluster.node("n1");
        command.env("REPLICA__APP__HTTP", "0.0.0.0:0");
        command.env("REPLICA__APP__CONTRACT", contract.to_string());
        let (node, http) = Running::node(&mut command);
        let http = SocketAddr::from(([127, 0, 0, 1], http.port()));
        let mut client = Client::default();
        assert_eq!(client.get(http, "/health").status, 200);
        for path in ["/login?user=u", "/mem", "/status.json", "/"] {
            assert_eq!(client.get(http, path).status, status, "{path}");
        }
        let warned = |lines: Vec<String>| lines.iter().any(|line| line.contains("app.contract"));
        assert!(warned(node.error_lines()));
    }
}

#[test]
fn a_form_of_another_page_changes_nothing() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::with(&[("Accept", "application/json")]);
    let shop = client.get(http, "/shop/state").json();
    assert_eq!(client.post(http, "/shop/visit", "").status, 403);
    assert_eq!(
        client.post(http, "/shop/visit", "csrf=AQAAAAAAAF8V92Q0C6fwvWbvsQCzvj8").status,
        403
    );
    let csrf = shop["csrf"].as_str().unwrap();
    let visited = client.post(http, "/shop/visit", &format!("csrf={csrf}"));
    assert_eq!(visited.json()["visits"], 1);
    // Another session's is no better.
    let other = Client::default().get(http, "/shop/state").json();
    let csrf = other["csrf"].as_str().unwrap();
    assert_eq!(client.post(http, "/shop/visit", &format!("csrf={csrf}")).status, 403);
}

#[test]
fn the_page_works_without_scripts() {
    let (_cluster, _node, http) = alone();
    let mut client = Client::default();
    let page = client.get(http, "/").body;
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let added = client.post(http, "/shop/add", &format!("csrf={csrf}&item=red%20pears"));
    assert_eq!((added.status, added.header("location")), (303, Some("/")));
    assert!(client.get(http, "/").body.contains("Remove red pears"));
}
