//! Sessions that end, and requests that end early.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use replica::{Counter, Session, SessionLayer};
use tokio::sync::Notify;

use crate::support::{Browser, Cluster, until};

const COUNT: Counter = Counter::new("count");

/// Promise P3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_holds_on_every_node() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    let stolen = browser.clone();
    let answer = browser.get(&cluster.apps[1], "/logout").await;
    assert_eq!((answer.status, browser.cookies.len()), (StatusCode::OK, 0), "{}", answer.body);
    assert_eq!(answer.headers["replica-ack"], "2/2");
    for app in &cluster.apps {
        assert_eq!(stolen.ask(app, "/whoami").await.body, "nobody");
    }
}

/// A handler that edits, says so, and waits until it may go on.
struct Slow {
    app: Router,
    edited: Arc<Notify>,
    go_on: Arc<Notify>,
}

fn slow(cluster: &Cluster, index: usize) -> Slow {
    let (edited, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (said, wait) = (edited.clone(), go_on.clone());
    let handler = async move |session: Session| {
        session.add(COUNT, 100).unwrap();
        said.notify_one();
        wait.notified().await;
    };
    let app =
        Router::new().route("/slow", get(handler)).layer(SessionLayer::new(&cluster.nodes[index]));
    Slow { app, edited, go_on }
}

/// Promise P3, rule D4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_does_not_bring_a_session_back() {
    let cluster = Cluster::start().await;
    for index in 0..3 {
        let Slow { app, edited, go_on } = slow(&cluster, index);
        let mut browser = Browser::default();
        browser.ok(&cluster.apps[0], "/login?user=ada").await;
        let stolen = browser.clone();
        let request = tokio::spawn(async move { stolen.ask(&app, "/slow").await });
        edited.notified().await;
        let stolen = browser.clone();
        browser.ok(&cluster.apps[1], "/logout").await;
        go_on.notify_one();
        let answer = request.await.unwrap();
        assert_eq!(answer.status, StatusCode::GONE, "{}", answer.body);
        assert_eq!(answer.set_cookies(), 0);
        for app in &cluster.apps {
            assert_eq!(stolen.ask(app, "/whoami").await.body, "nobody");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_no_edits() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let Slow { app, edited, .. } = slow(&cluster, 0);
    let gone = browser.clone();
    let request = tokio::spawn(async move { gone.ask(&app, "/slow").await });
    edited.notified().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_eq!(browser.ok(&cluster.apps[0], "/count").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_leaves_no_edits() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let (other, app) = (browser.clone(), cluster.apps[0].clone());
    let request = tokio::spawn(async move { other.ask(&app, "/panic").await });
    assert!(request.await.unwrap_err().is_panic());
    assert_eq!(browser.ok(&cluster.apps[0], "/count").await, "1");
    assert_eq!(cluster.nodes[0].status().meters.edits_unsaved, 0, "it never answered");
}

/// A browser whose session is gone starts over; one whose login is under way does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_session_has_gone_a_browser_gets_another() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let mut left = browser.clone();
    browser.ok(&cluster.apps[1], "/logout").await;
    assert_eq!(left.ok(&cluster.apps[2], "/incr").await, "1", "a new session");
    assert_eq!(left.ok(&cluster.apps[0], "/incr").await, "2");
}

/// Promise P12, as far as it goes without the user's record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_of_a_user_end_together() {
    let cluster = Cluster::start().await;
    let mut browsers = vec![Browser::default(); 5];
    for (number, browser) in browsers.iter_mut().enumerate() {
        browser.ok(&cluster.apps[number % 3], "/login?user=ada").await;
    }
    let mut other = Browser::default();
    other.ok(&cluster.apps[0], "/login?user=bob").await;
    let known = || cluster.nodes[2].sessions_of("ada").len();
    until("the third node knows all five", || known() == 5).await;
    let ended = cluster.nodes[2].end_all("ada").await.unwrap();
    assert_eq!((ended.ended, ended.report.got, ended.report.asked), (5, 2, 2));
    for browser in &mut browsers {
        assert_eq!(browser.ok(&cluster.apps[0], "/whoami").await, "nobody");
    }
    assert_eq!(other.ok(&cluster.apps[1], "/whoami").await, "bob");
    assert_eq!(cluster.nodes[1].sessions_of("ada"), []);
}
