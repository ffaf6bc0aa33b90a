//! A logout while a slow request of the same session is under way elsewhere: P3.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use cluster_tests::client::{Client, Jar, connect, receive};
use cluster_tests::cluster::Cluster;

use super::{is_ended, service};

/// A visitor who is signed in, and a request of theirs that a node has opened the session for and
/// whose body it is waiting for.
struct Slow {
    client: Client,
    stream: TcpStream,
    form: String,
}

impl Slow {
    fn begin(cluster: &Cluster, node: usize) -> Self {
        let http = cluster.http(node);
        let mut client = Client::new();
        assert_eq!(client.get(http, "/login?user=ada").unwrap().status, 200);
        let shop: serde_json::Value =
            serde_json::from_str(&client.get(http, "/shop/state").unwrap().body).unwrap();
        let form = format!("csrf={}", shop["csrf"].as_str().unwrap());
        let stream = opened(http, &client.jar, &form);
        Self { client, stream, form }
    }

    fn send_body(&mut self) {
        self.stream.write_all(self.form.as_bytes()).unwrap();
    }

    fn logout(&mut self, cluster: &Cluster, node: usize) -> (Jar, Option<(u32, u32)>) {
        let late = self.client.jar.clone();
        let answer = self.client.get(cluster.http(node), "/logout").unwrap();
        assert_eq!(answer.status, 200);
        (late, answer.ack())
    }
}

/// Sends all of a request but its body. The node asks for the body when its handler does, and that
/// is after it has opened the session.
fn opened(http: SocketAddr, jar: &Jar, form: &str) -> TcpStream {
    let client = Client::with_jar(jar.clone())
        .with_headers(&[("Expect", "100-continue"), ("Accept", "application/json")]);
    let request = client.request(http, "POST", "/shop/visit", Some(form));
    let head = request.strip_suffix(form).unwrap();
    let mut stream = connect(http).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(receive(&mut stream).unwrap().status, 100);
    stream
}

#[test]
fn a_slow_request_does_not_bring_back_a_session_that_was_logged_out_meanwhile() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let mut slow = Slow::begin(&cluster, 1);
    let (late, ack) = slow.logout(&cluster, 0);
    assert_eq!(ack, Some((2, 2)));
    slow.send_body();
    let answer = receive(&mut slow.stream).unwrap();
    assert_eq!((answer.status, answer.header("cache-control")), (410, Some("no-store")));
    assert!(is_ended(&cluster, &late));
    cluster.settled().unwrap();
    assert!(is_ended(&cluster, &late));
}

#[test]
fn a_node_that_hung_with_a_request_does_not_bring_back_its_session() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let mut slow = Slow::begin(&cluster, 1);
    cluster.pause(1).unwrap();
    slow.send_body();
    let (late, ack) = slow.logout(&cluster, 0);
    assert_eq!(ack, Some((1, 2)), "the node that hangs cannot have acknowledged it");
    cluster.resume(1).unwrap();
    // Whether the node hears of the logout first or serves the request first is open; either way
    // the session has ended.
    let status = receive(&mut slow.stream).unwrap().status;
    assert!([200, 410].contains(&status), "{status}");
    cluster.settled().unwrap();
    assert!(is_ended(&cluster, &late));
}

/// Promise P12, on a node that served none of the logins.
#[test]
fn all_sessions_of_a_user_end_on_all_nodes() {
    let cluster = Cluster::start(&service(), 3).unwrap();
    let login = |node: usize, user: &str| {
        let mut client = Client::new();
        let path = format!("/login?user={user}");
        assert_eq!(client.get(cluster.http(node), &path).unwrap().status, 200);
        client
    };
    let hers: Vec<Client> = (0..6).map(|number| login(number % 2, "ada")).collect();
    let mut his = login(0, "bob");
    cluster.settled().unwrap();
    let answer = Client::new().get(cluster.http(2), "/logout-user?user=ada").unwrap();
    assert_eq!((answer.status, answer.body.as_str(), answer.ack()), (200, "6", Some((2, 2))));
    for client in &hers {
        assert!(is_ended(&cluster, &client.jar));
    }
    assert_eq!(his.get(cluster.http(1), "/count").unwrap().status, 200);
}
