//! Reads and writes on several nodes: at once, and one after the other.

use axum::http::StatusCode;

use crate::support::{Browser, Cluster};

/// Promise P4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_on_three_nodes_at_once_all_count() {
    const EACH: usize = 40;
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let one = |app| {
        let browser: Browser = browser.clone();
        async move {
            for _ in 0..EACH {
                browser.clone().ok(app, "/incr").await;
            }
        }
    };
    let [a, b, c] = &cluster.apps[..] else { panic!("three nodes") };
    tokio::join!(one(a), one(b), one(c));
    cluster.settled().await;
    for app in &cluster.apps {
        assert_eq!(browser.ok(app, "/count").await, (3 * EACH + 1).to_string());
    }
}

/// Promise P4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_attributes_written_at_once_are_all_there() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let writes: Vec<_> = (0..30)
        .map(|number| {
            let (mut browser, app) = (browser.clone(), cluster.apps[number % 3].clone());
            tokio::spawn(async move {
                browser.ok(&app, &format!("/set?k=k{number}&v={number}")).await;
                browser.ok(&app, &format!("/add?k=cart&v={number:02}")).await;
            })
        })
        .collect();
    for write in writes {
        write.await.unwrap();
    }
    cluster.settled().await;
    let cart: Vec<String> = (0..30).map(|number| format!("{number:02}")).collect();
    for app in &cluster.apps {
        for number in 0..30 {
            assert_eq!(browser.ok(app, &format!("/get?k=k{number}")).await, number.to_string());
        }
        assert_eq!(browser.ok(app, "/items?k=cart").await, cart.join(","));
    }
}

/// Promise P1: nobody waits for acknowledgements here, so that only the token protects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_never_sees_less_than_it_has_seen() {
    let cluster = Cluster::start_with("replication = { ack = \"local\" }").await;
    let mut browser = Browser::default();
    for number in 0..500 {
        let app = &cluster.apps[number % 3];
        assert_eq!(browser.ok(app, "/incr").await, (number + 1).to_string());
    }
    assert_eq!(cluster.counted("unavailable"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_changes_nothing_commits_nothing() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    browser.ok(&cluster.apps[1], "/count").await;
    cluster.settled().await;
    let sent = cluster.counted("deltas_sent");
    for number in 0..50 {
        let answer = browser.get(&cluster.apps[number % 3], "/count").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "1"));
        assert!(!answer.headers.contains_key("replica-ack"));
        assert_eq!(answer.set_cookies(), 0, "the browser knows all of it");
        assert!(!answer.headers.contains_key("cache-control"));
    }
    assert_eq!(cluster.counted("deltas_sent"), sent);
    let stranger = Browser::default().get(&cluster.apps[0], "/count").await;
    assert_eq!((stranger.body.as_str(), stranger.set_cookies()), ("0", 0));
    assert_eq!(cluster.counted("created"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_whether_there_is_a_session_makes_none() {
    let cluster = Cluster::start().await;
    let answer = Browser::default().get(&cluster.apps[0], "/whoami").await;
    assert_eq!((answer.body.as_str(), answer.set_cookies()), ("nobody", 0));
    assert_eq!(cluster.counted("created"), 0);
}

/// What does not fit is refused before anything is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_wrong_shape_is_refused() {
    let cluster = Cluster::start_with("session = { session_bytes_max = \"4KiB\" }").await;
    let mut browser = Browser::default();
    let long = "x".repeat(5_000);
    let answer = browser.get(&cluster.apps[0], &format!("/set?k=long&v={long}")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.body);
    assert_eq!(answer.set_cookies(), 0, "nothing began");
    browser.ok(&cluster.apps[0], "/incr").await;
    let answer = browser.get(&cluster.apps[0], "/set?k=count&v=1").await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    let name = "n".repeat(129);
    let answer = browser.get(&cluster.apps[0], &format!("/set?k={name}&v=1")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
}
