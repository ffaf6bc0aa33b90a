//! Carries the requests of Raft over the control lanes, and brings back their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use membership::{Answering, Letter, Link, LinkError};
use parking_lot::Mutex;
use protocol::MemberName;
use protocol::wire::WIRE_VERSION_MIN;
use tokio::sync::oneshot;
use transport::NodeName;

use crate::driver::Driver;

/// Questions that wait for their answers at once. Raft asks each of a few voters one thing at a
/// time; the rest are decisions that are asked for.
const QUESTIONS_MAX: usize = 1_024;

/// The requests that wait for an answer.
pub(super) struct Courier {
    /// Raft holds this to its end; the driver does not wait for that.
    driver: Weak<Driver>,
    numbers: AtomicU64,
    waiting: Mutex<HashMap<u64, Question>>,
}

struct Question {
    to: MemberName,
    answer: oneshot::Sender<Vec<u8>>,
}

impl Courier {
    pub(super) fn new(driver: &Arc<Driver>) -> Self {
        Self {
            driver: Arc::downgrade(driver),
            numbers: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    /// An answer has arrived from that node. One that nobody waits for is dropped.
    pub(super) fn handle_answer(&self, from: &NodeName, number: u64, answer: Vec<u8>) {
        let mut waiting = self.waiting.lock();
        let is_its = waiting.get(&number).is_some_and(|question| question.to.0 == from.as_str());
        if is_its && let Some(question) = waiting.remove(&number) {
            // Whoever asked may have given up meanwhile.
            let _ = question.answer.send(answer);
        }
    }

    /// The link with that node is gone, and with it what it was asked.
    pub(super) fn handle_down(&self, peer: &NodeName) {
        self.waiting.lock().retain(|_, question| question.to.0 != peer.as_str());
    }

    async fn ask(&self, to: &MemberName, request: Vec<u8>) -> Result<Vec<u8>, LinkError> {
        let unreachable = || LinkError::Unreachable(to.clone());
        let peer: NodeName = to.0.parse().map_err(|_| unreachable())?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= QUESTIONS_MAX {
                return Err(unreachable());
            }
            waiting.insert(number, Question { to: to.clone(), answer: asker });
        }
        // Taken out again also if whoever asks gives up.
        let _guard = Guard { courier: self, number };
        let letter = Letter::Ask { number, request };
        if !self.driver.upgrade().is_some_and(|driver| driver.send_letter(&peer, &letter)) {
            return Err(unreachable());
        }
        answer.await.map_err(|_| LinkError::Lost(to.clone()))
    }
}

struct Guard<'a> {
    courier: &'a Courier,
    number: u64,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.courier.waiting.lock().remove(&self.number);
    }
}

impl Link for Courier {
    fn request<'a>(&'a self, to: &'a MemberName, request: Vec<u8>) -> Answering<'a> {
        Box::pin(self.ask(to, request))
    }

    fn speaks(&self, to: &MemberName) -> u8 {
        let peer: Option<NodeName> = to.0.parse().ok();
        let version = peer.zip(self.driver.upgrade());
        version.map_or(WIRE_VERSION_MIN, |(peer, driver)| driver.links.version_for(&peer))
    }
}
