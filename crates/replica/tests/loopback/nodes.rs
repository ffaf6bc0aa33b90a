//! Nodes that stop, restart, fill up, or are not what they say.

use axum::http::StatusCode;
use replica::Health;

use crate::support::{Browser, Cluster, until};

/// Promise P7: a session is found before its node has caught up, and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_crashes_and_starts_again_keeps_its_sessions() {
    let mut cluster = Cluster::start().await;
    let mut browsers = vec![Browser::default(); 60];
    for (number, browser) in browsers.iter_mut().enumerate() {
        browser.ok(&cluster.apps[number % 3], &format!("/login?user=u{number}")).await;
    }
    cluster.settled().await;
    cluster.restart(0).await;
    assert_eq!(browsers[0].ok(&cluster.apps[0], "/whoami").await, "u0", "asked of the others");
    browsers[1].ok(&cluster.apps[0], "/incr").await;
    cluster.nodes[0].ready().await;
    assert_eq!(cluster.nodes[0].health(), Health::Ready);
    cluster.settled().await;
    for (number, browser) in browsers.iter_mut().enumerate() {
        assert_eq!(browser.ok(&cluster.apps[0], "/whoami").await, format!("u{number}"));
    }
    assert_eq!(browsers[1].ok(&cluster.apps[2], "/count").await, "1");
    assert_eq!(cluster.nodes[0].status().sessions, 60);
}

/// Promise P7: nobody waited for acknowledgements, and yet nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_takes_along_a_thousand_writes_that_nobody_else_had() {
    const SESSIONS: usize = 1_000;
    let cluster = Cluster::start_with("replication = { ack = \"local\" }").await;
    let session = cluster.nodes[0].new_session();
    session.add(replica::Counter::new("count"), 1).unwrap();
    let mut browsers = vec![Browser::default(); SESSIONS];
    for (number, browser) in browsers.iter_mut().enumerate() {
        browser.ok(&cluster.apps[0], &format!("/set?k=k&v={number}")).await;
    }
    cluster.nodes[0].stop().await.unwrap();
    assert_eq!(cluster.nodes[0].health(), Health::Draining);
    let late = browsers[0].ask(&cluster.apps[0], "/incr").await;
    assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE, "what comes now would be lost");
    for (number, browser) in browsers.iter_mut().enumerate() {
        let app = &cluster.apps[1 + number % 2];
        browser.cookies.retain(|name, _| name == crate::support::ID);
        assert_eq!(browser.ok(app, "/get?k=k").await, number.to_string());
    }
    assert_eq!(cluster.nodes[1].status().sessions, SESSIONS);
    assert_eq!(cluster.nodes[2].status().sessions, SESSIONS);
}

/// A balancer is told before requests are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_says_so_and_goes_on_serving() {
    let cluster = Cluster::start().await;
    let app = &cluster.apps[0];
    let healthy = Browser::default().get(app, "/health").await;
    assert_eq!((healthy.status, healthy.body.as_str()), (StatusCode::OK, "ok"));
    cluster.nodes[0].drain_on(std::future::ready(())).await;
    let draining = Browser::default().get(app, "/health").await;
    assert_eq!(draining.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((draining.body.as_str(), draining.set_cookies()), ("draining", 0));
    Browser::default().ok(app, "/incr").await;
}

/// Promise P8: there is no room for ever more sessions, and it is said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_begins_no_session_and_serves_the_others() {
    let cluster = Cluster::start_with("limits = { memory = \"16MiB\" }").await;
    let app = &cluster.apps[0];
    let mut first = Browser::default();
    first.ok(app, "/login?user=ada").await;
    let value = "x".repeat(60_000);
    let mut begun = 0;
    // Nobody who is signed in is ended to make room for others.
    let refused = loop {
        let answer = Browser::default().get(app, &format!("/login?user=bob&k={value}")).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        begun += 1;
        assert!(begun < 600, "nothing is ever refused");
    };
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
    assert_eq!((refused.headers["retry-after"].to_str().unwrap(), refused.set_cookies()), ("1", 0));
    assert_eq!(first.ok(app, "/incr").await, "1");
}

/// Amendment 8: the later process is the member, and the earlier one is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_one_name_is_noticed_by_the_first() {
    let cluster = Cluster::start().await;
    let twin = cluster.start_twin("n1").await;
    let reason = cluster.nodes[0].failed().await;
    assert!(reason.contains("a later start of this node"), "{reason}");
    assert_eq!(cluster.nodes[0].health(), Health::Starting { reason });
    twin.ready().await;
}

/// Promise P9: whoever means other members is kept out, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_list_of_members_is_refused() {
    let mut cluster = Cluster::start().await;
    let stranger = cluster.replace_by_stranger(0).await;
    let refused = || stranger.status().meters.hellos_refused;
    until("it refuses the one it knows", || refused() > 0).await;
    let refused = || cluster.nodes[1].status().meters.hellos_refused;
    until("it is refused", || refused() > 0).await;
    assert!(stranger.status().peers.iter().all(|peer| !peer.reachable));
}

/// What pages show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_shows_the_others_and_what_happened() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    browser.ok(&cluster.apps[0], "/logout").await;
    cluster.settled().await;
    let clocks = || cluster.nodes[0].status().peers.iter().all(|p| p.clock_offset_ms.is_some());
    until("clocks are compared", clocks).await;
    let status = cluster.nodes[0].status();
    assert_eq!((status.name.as_str(), status.health.as_str()), ("n1", "ok"));
    let peers: Vec<&str> = status.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!((peers, status.clock_fault), (vec!["n2", "n3"], false));
    assert!((1..=8).contains(&status.local_health), "{}", status.local_health);
    assert!(status.peers.iter().all(|peer| peer.rtt_us.is_some() && peer.error.is_none()));
    assert_eq!((status.sessions, status.tombstones, status.waiting), (0, 1, [0; 3]));
    assert_eq!((status.counters["created"], status.counters["ended"]), (1, 1));
    let (network, control) = (&status.network, status.network.lanes["control"]);
    assert!(control.frames_sent > 0 && control.frames_received > 0, "{network:?}");
    assert!(network.bytes_sent > control.bytes_sent && network.datagrams_sent > 0, "{network:?}");
    let json = serde_json::to_value(&status).unwrap();
    assert!(!json.to_string().contains("ada"), "no secrets");
}
