//! Logins and logouts, on whichever node.

use axum::http::StatusCode;

use crate::support::{Browser, Cluster, ID};

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
    assert_eq!(
        (answer.status, answer.headers["replica-ack"].to_str().unwrap()),
        (StatusCode::OK, "1/1")
    );
    assert_eq!(browser.ok(a, "/get?k=theme").await, "light");
    for app in [a, b, c] {
        let planted = Browser::with(ID, &anonymous);
        assert_eq!(planted.ask(app, "/whoami").await.body, "nobody", "the old id");
    }
}
