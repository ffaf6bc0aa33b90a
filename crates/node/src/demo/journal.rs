//! What happened in the demonstration, for the page: the last events, numbered.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

/// Events that are kept. The page asks several times a second and shows what is new to it.
const EVENTS_MAX: usize = 200;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Event {
    /// Counts up from 1.
    number: u64,
    /// Milliseconds since the demonstration started.
    at_ms: u64,
    /// The node it is about.
    node: String,
    text: String,
}

/// The last events.
pub(super) struct Journal {
    start: Instant,
    events: Mutex<(u64, VecDeque<Event>)>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), events: Mutex::default() }
    }

    pub(super) fn add(&self, node: &str, text: impl Into<String>) {
        let (at_ms, node, text) = (self.now_ms(), node.to_owned(), text.into());
        let mut events = self.events.lock();
        events.0 += 1;
        let number = events.0;
        if events.1.len() == EVENTS_MAX {
            events.1.pop_front();
        }
        events.1.push_back(Event { number, at_ms, node, text });
    }

    /// Those after `number`, the oldest first.
    pub(super) fn after(&self, number: u64) -> Vec<Event> {
        let events = self.events.lock();
        events.1.iter().filter(|event| event.number > number).cloned().collect()
    }

    /// Milliseconds since the demonstration started.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_and_asked_for_by_number() {
        let journal = Journal::new();
        for index in 0..EVENTS_MAX + 5 {
            journal.add("n1", index.to_string());
        }
        assert_eq!(journal.after(0).len(), EVENTS_MAX);
        let last = journal.after(EVENTS_MAX as u64 + 4);
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].text, (EVENTS_MAX + 4).to_string());
    }
}
