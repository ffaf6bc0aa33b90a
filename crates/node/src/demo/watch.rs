//! Asks each node again and again what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use super::fleet::{Fleet, Node};
use super::process::Phase;
use crate::client;

/// Time between two questions: what a person sees as at once.
const INTERVAL: Duration = Duration::from_millis(200);

/// A healthy node on the same machine answers in a hundredth of it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Goes on until it is dropped.
pub(super) async fn watch(fleet: Arc<Fleet>) {
    let mut tasks = JoinSet::new();
    for index in 0..fleet.nodes().len() {
        let fleet = Arc::clone(&fleet);
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while let Some(node) = fleet.nodes().get(index) {
                ticks.tick().await;
                let status = ask(node).await;
                node.hear(status);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn ask(node: &Node) -> Option<Value> {
    let view = node.process.view();
    let http = match view.phase {
        Phase::Up | Phase::Ending => view.http?,
        Phase::Starting | Phase::Paused | Phase::Dead => return None,
    };
    let answer = client::get(http, "/status.json", PATIENCE).await.ok()?;
    let is_status = answer.status() == StatusCode::OK;
    is_status.then(|| serde_json::from_slice(answer.body()).ok()).flatten()
}
