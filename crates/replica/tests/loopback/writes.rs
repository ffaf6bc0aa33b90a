//! Writes on several nodes at once.

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
