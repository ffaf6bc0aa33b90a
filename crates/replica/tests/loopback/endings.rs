//! Sessions that end, and requests that end early.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use replica::{Counter, EndAllError, EndReason, Session, SessionLayer};
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

fn slow(cluster: &Cluster, index: usize, edit: fn(&Session)) -> Slow {
    let (edited, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (said, wait) = (edited.clone(), go_on.clone());
    let handler = async move |session: Session| {
        edit(&session);
        said.notify_one();
        wait.notified().await;
    };
    let app =
        Router::new().route("/slow", get(handler)).layer(SessionLayer::new(&cluster.nodes[index]));
    Slow { app, edited, go_on }
}

fn add_hundred(session: &Session) {
    session.add(COUNT, 100).unwrap();
}

/// Promise P3, rule D4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_does_not_bring_a_session_back() {
    let cluster = Cluster::start().await;
    for index in 0..3 {
        let Slow { app, edited, go_on } = slow(&cluster, index, add_hundred);
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

/// Promise P3, rule D2: a login makes its session of a copy, which must not outlive the logout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_login_after_a_logout_signs_nobody_in() {
    let cluster = Cluster::start().await;
    let sign_in: fn(&Session) = |session| session.sign_in("ada").unwrap();
    for (edit, index) in [(sign_in, 0), (sign_in, 2), (Session::renew, 0), (Session::renew, 2)] {
        let Slow { app, edited, go_on } = slow(&cluster, index, edit);
        let mut browser = Browser::default();
        browser.ok(&cluster.apps[0], "/login?user=ada").await;
        let slow = browser.clone();
        let request = tokio::spawn(async move { slow.ask(&app, "/slow").await });
        edited.notified().await;
        browser.ok(&cluster.apps[1], "/logout").await;
        go_on.notify_one();
        let answer = request.await.unwrap();
        assert_eq!(answer.status, StatusCode::GONE, "{}", answer.body);
        browser.take(&answer);
        assert!(browser.cookies.is_empty());
        for node in &cluster.nodes {
            assert_eq!(node.sessions_of("ada"), [], "at {}", node.name());
        }
    }
}

/// Promise P3: a handler that learns in the middle of a request that its session has ended goes on
/// with nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_found_ended_is_nobodys() {
    let cluster = Cluster::start().await;
    let session = cluster.nodes[0].new_session();
    session.add(COUNT, 5).unwrap();
    session.sign_in("ada").unwrap();
    session.save().await.unwrap();
    let id = session.id().unwrap();
    until("it is known", || !cluster.nodes[1].sessions_of("ada").is_empty()).await;
    cluster.nodes[1].end_all("ada").await.unwrap();
    session.save().await.unwrap();
    assert_eq!(session.ended(), Some(EndReason::Forced));
    assert_eq!((session.user(), session.count(COUNT).unwrap()), (None, 0));
    session.renew();
    session.add(COUNT, 1).unwrap();
    session.save().await.unwrap();
    assert!(session.exists() && session.id() != Some(id));
    assert_eq!((session.user(), session.count(COUNT).unwrap()), (None, 1));
    for node in &cluster.nodes {
        assert_eq!(node.sessions_of("ada"), [], "at {}", node.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_no_edits() {
    let cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/incr").await;
    let Slow { app, edited, .. } = slow(&cluster, 0, add_hundred);
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

/// Promise P12: not "done" by a node that does not know of the sessions. Nothing else runs between
/// its start and the question: there is one thread, and neither waits.
#[tokio::test]
async fn a_node_that_has_not_caught_up_does_not_claim_to_have_ended_all() {
    let mut cluster = Cluster::start().await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    cluster.restart(2).await;
    assert_eq!(cluster.nodes[2].end_all("ada").await, Err(EndAllError::NotReady));
    cluster.settled().await;
    assert_eq!(cluster.nodes[2].end_all("ada").await.unwrap().ended, 1);
    assert_eq!(browser.ok(&cluster.apps[0], "/whoami").await, "nobody");
}

/// Promise P12: another node may have seen a later use of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_looks_idle_is_ended_with_the_others() {
    let cluster = Cluster::start_with("session = { idle_timeout = \"1s\" }").await;
    let mut browser = Browser::default();
    browser.ok(&cluster.apps[0], "/login?user=ada").await;
    let node = &cluster.nodes[0];
    assert_eq!(node.sessions_of("ada").len(), 1);
    until("it looks idle", || node.sessions_of("ada").is_empty()).await;
    assert_eq!(node.end_all("ada").await.unwrap().ended, 1);
}
