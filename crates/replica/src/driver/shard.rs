//! One shard of this process: its node, who waits for it, and what it has to say.

use std::collections::HashMap;

use protocol::{Event, Node, Ticket, Transmit, Violation};
use session::{Inc, Slot, Time};
use tokio::sync::oneshot;

use super::pending::Answer;

/// One state machine and the requests that wait for it.
pub(super) struct Shard {
    pub(super) node: Node,
    pub(super) waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    pub(super) tickets: u64,
}

/// What a call into a state machine produced.
#[derive(Default)]
pub(super) struct Output {
    pub(super) transmits: Vec<Transmit>,
    pub(super) resolved: Vec<(oneshot::Sender<Answer>, Answer)>,
    /// The answer to the very command that was called.
    pub(super) own: Option<Answer>,
    pub(super) violations: Vec<(Inc, Violation)>,
    pub(super) synced: Vec<u64>,
    pub(super) behind: bool,
    pub(super) lost: Vec<Slot>,
}

impl Shard {
    /// Takes out all that the last call produced.
    pub(super) fn drain(&mut self, now: Time) -> Output {
        let mut output = Output::default();
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Opened(ticket, opened) => {
                    self.answer(ticket, Answer::Opened(opened), &mut output);
                }
                Event::Committed(ticket, outcome) => {
                    self.answer(ticket, Answer::Committed(outcome), &mut output);
                }
                Event::Synced(epoch) => output.synced.push(epoch),
                Event::Behind(..) => output.behind = true,
                Event::LossAccepted(slots) => output.lost.extend(slots),
                // The driver has seen it before the shard did.
                Event::Removed => {}
                Event::Violation(inc, violation) => output.violations.push((inc, violation)),
            }
        }
        while let Some(transmit) = self.node.poll_transmit(now) {
            output.transmits.push(transmit);
        }
        output
    }

    /// Whoever waits is answered; if nobody does, it is the command that was just called.
    fn answer(&mut self, ticket: Ticket, answer: Answer, output: &mut Output) {
        match self.waiting.remove(&ticket) {
            Some(asker) => output.resolved.push((asker, answer)),
            None => output.own = Some(answer),
        }
    }

    pub(super) fn wait(&mut self, ticket: Ticket) -> oneshot::Receiver<Answer> {
        let (asker, answer) = oneshot::channel();
        self.waiting.insert(ticket, asker);
        answer
    }
}
