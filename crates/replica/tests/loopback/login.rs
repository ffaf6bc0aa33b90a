//! Logins, on whichever node.

use axum::http::StatusCode;

use crate::support::{Browser, Cluster, ID, TOKEN};

/// Promises P1, P5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_on_one_node_is_read_and_written_on_the_others() {
    let cluster = Cluster::start().await;
    let [a, b, c] = &cluster.apps[..] else { panic!("three nodes") };
    let mut browser = Browser::default();
    browser.ok(a, "/set?k=theme&v=dark").await;
    let anonymous = browser.cookies[ID].clone();
    let answer = browser.get(a, "/login?user=ada&lang=en").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["replica-ack"], "2/2", "the old session ends at the level all");
    assert_ne!(browser.cookies[ID], anonymous);
    assert_eq!(browser.ok(b, "/whoami").await, "ada");
    assert_eq!(browser.ok(b, "/get?k=theme").await, "dark");
    assert_eq!(browser.ok(b, "/get?k=lang").await, "en");
    let answer = browser.get(c, "/set?k=theme&v=light").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers["replica-ack"], "1/1");
    assert_eq!(browser.ok(a, "/get?k=theme").await, "light");
}

/// Promise P5: who planted an id gains nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_from_before_a_login_is_refused_everywhere() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let planted = browser.clone();
    browser.ok(&cluster.apps[1], "/login?user=ada").await;
    for app in &cluster.apps {
        assert_eq!(planted.ask(app, "/whoami").await.body, "nobody");
        let write = planted.ask(app, "/incr").await;
        assert_eq!((write.status, write.set_cookies()), (StatusCode::GONE, 0), "{}", write.body);
        assert_eq!(browser.ok(app, "/whoami").await, "ada");
        assert_eq!(browser.ok(app, "/count").await, "1", "the data came along");
    }
}

/// A user who is signed in and signs in as another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_login_replaces_the_first() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    let ada = browser.clone();
    browser.ok(&cluster.apps[1], "/login?user=bob").await;
    assert_eq!(browser.ok(&cluster.apps[2], "/whoami").await, "bob");
    assert_eq!(ada.ask(&cluster.apps[2], "/whoami").await.body, "nobody");
}

/// The answers of the requests that were under way arrive after that of the login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_requests_during_a_login_leave_the_browser_signed_in() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let before = browser.clone();
    let others: Vec<_> = (0..20)
        .map(|number: usize| {
            let (browser, app) = (before.clone(), cluster.apps[number % 3].clone());
            let path = if number.is_multiple_of(2) { "/incr" } else { "/count" };
            tokio::spawn(async move { browser.ask(&app, path).await })
        })
        .collect();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    let fresh = browser.cookies[ID].clone();
    for other in others {
        let answer = other.await.unwrap();
        let expected = [StatusCode::OK, StatusCode::GONE].contains(&answer.status);
        assert!(expected, "{}: {}", answer.status, answer.body);
        browser.take(&answer);
    }
    assert_eq!(browser.cookies[ID], fresh);
    cluster.settled().await;
    for app in &cluster.apps {
        assert_eq!(browser.ok(app, "/whoami").await, "ada");
    }
}

/// A fresh id after a change of rights, and the same data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_changes_the_id_and_nothing_else() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    browser.ok(&cluster.apps[0], "/incr").await;
    browser.ok(&cluster.apps[0], "/add?k=cart&v=book").await;
    let (id, token) = (browser.cookies[ID].clone(), browser.cookies[TOKEN].clone());
    browser.ok(&cluster.apps[1], "/renew").await;
    assert!(browser.cookies[ID] != id && browser.cookies[TOKEN] != token);
    let app = &cluster.apps[2];
    assert_eq!(browser.ok(app, "/whoami").await, "ada");
    assert_eq!(browser.ok(app, "/count").await, "1");
    assert_eq!(browser.ok(app, "/items?k=cart").await, "book");
}
