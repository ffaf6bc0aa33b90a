//! All nodes of the demonstration, and what is known of each.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::journal::{Event, Journal};
use super::process::{Phase, Process, ProcessView};
use super::setup::Setup;

/// How often it is looked whether all have ended.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// The nodes of the demonstration, in the order of their numbers.
pub(super) struct Fleet {
    nodes: Vec<Node>,
    journal: Arc<Journal>,
}

/// A node and what it said of itself last.
pub(super) struct Node {
    pub(super) process: Arc<Process>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Whether it answered the last question.
    answers: bool,
    /// `/status.json`, of the last answer.
    status: Option<Value>,
}

/// All that the page shows, but for what it asked for by itself.
#[derive(Serialize)]
pub(super) struct FleetView {
    now_ms: u64,
    nodes: Vec<NodeView>,
    events: Vec<Event>,
}

/// What the page shows of a node.
#[derive(Serialize)]
struct NodeView {
    name: String,
    #[serde(flatten)]
    process: ProcessView,
    answers: bool,
    status: Option<Value>,
}

impl Fleet {
    pub(super) fn start(setup: &Setup) -> std::io::Result<Self> {
        let journal = Arc::new(Journal::new());
        let mut nodes = Vec::new();
        for setup in &setup.nodes {
            let process = Process::new(setup.clone(), Arc::clone(&journal));
            process.start()?;
            nodes.push(Node { process, heard: Mutex::default() });
        }
        Ok(Self { nodes, journal })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.process.name() == name)
    }

    /// What there is to show, with the events after the one of this number.
    pub(super) fn view(&self, after: u64) -> FleetView {
        let nodes = self.nodes.iter().map(Node::view).collect();
        FleetView { now_ms: self.journal.now_ms(), nodes, events: self.journal.after(after) }
    }

    /// Asks all to end and waits for them; returns when all have ended or the time is over. Then
    /// what is left is killed with this program.
    pub(super) async fn end(&self, patience: Duration) {
        for node in &self.nodes {
            node.process.end();
        }
        let deadline = Instant::now() + patience;
        let is_running = |node: &Node| node.process.view().phase != Phase::Dead;
        while self.nodes.iter().any(is_running) && Instant::now() < deadline {
            tokio::time::sleep(END_INTERVAL).await;
        }
    }
}

impl Node {
    /// What it answered to the last question, `None` if it did not.
    pub(super) fn hear(&self, status: Option<Value>) {
        let mut heard = self.heard.lock();
        let answers = status.is_some();
        heard.answers = answers;
        if let Some(status) = status {
            heard.status = Some(status);
        }
    }

    fn view(&self) -> NodeView {
        let heard = self.heard.lock();
        NodeView {
            name: self.process.name().to_owned(),
            process: self.process.view(),
            answers: heard.answers,
            status: heard.status.clone(),
        }
    }

    /// Why no request should be sent to it; `None` if one can be.
    pub(super) fn is_out(&self) -> Option<&'static str> {
        match self.process.view().phase {
            Phase::Up if self.heard.lock().answers => None,
            Phase::Up => Some("does not answer"),
            Phase::Starting => Some("is starting"),
            Phase::Paused => Some("is paused"),
            Phase::Ending => Some("is ending"),
            Phase::Dead => Some("is dead"),
        }
    }
}
