//! What was asked for and what came of it: every call of every client, in the order of each, and
//! when nodes were down. Read afterwards by `check`.

use std::time::Duration;

/// Registers that a client writes in its session.
pub const KEYS: usize = 4;

/// When a node has been down for so long, nobody may hand anything to it any more.
pub const NOTICED: Duration = Duration::from_secs(6);

/// Calls that are told of how it came to a violation.
const STORY_MAX: usize = 10;

/// What a client asks for. Every value is written once in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Begins a session, or gives it a fresh id; writes `value` into the first register.
    Login {
        /// What is written.
        value: u64,
    },
    /// Reads a register.
    Get {
        /// Which.
        key: usize,
    },
    /// Writes a register.
    Set {
        /// Which.
        key: usize,
        /// What is written.
        value: u64,
    },
    /// Adds 1 to the counter and reads it.
    Incr,
    /// Reads the counter.
    Count,
    /// Reads the counter when everything is over and every node has everything.
    FinalCount,
    /// Ends the session.
    Logout,
    /// Reads the counter with the cookies of a session that has ended for certain.
    Ghost,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, with this value: of a register, `None` if it is not set, or of the counter.
    Done {
        /// What was read.
        value: Option<u64>,
        /// Copies that acknowledged the write, and those that were asked; `None` for a read.
        ack: Option<(u32, u32)>,
    },
    /// There is no session (401).
    NoSession,
    /// Another answer. A write may have taken effect.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The answer.
        why: String,
    },
    /// The node has handed the write to another one, which does not answer (503). It may have taken
    /// effect.
    Handed {
        /// The answer.
        why: String,
    },
    /// No answer. A write may have taken effect.
    Unknown {
        /// What happened to the connection.
        why: String,
    },
}

impl Outcome {
    /// True if it was done, and every copy that was asked has acknowledged it.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Done { ack, .. } => ack.is_none_or(|(got, asked)| got == asked),
            Self::NoSession | Self::Refused { .. } | Self::Handed { .. } | Self::Unknown { .. } => {
                false
            }
        }
    }
}

/// One call. Times are since the beginning of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub op: Op,
    /// The node that was asked.
    pub node: usize,
    /// When it was sent.
    pub invoked: Duration,
    /// When it was answered, or given up.
    pub answered: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// A time in which a node did not run, a little longer rather than shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Down {
    /// Which node.
    pub node: usize,
    /// Just before it was killed.
    pub from: Duration,
    /// Just after it served again.
    pub until: Duration,
}

impl Down {
    /// A node is about to be killed, or to hang.
    #[must_use]
    pub const fn begins(node: usize, from: Duration) -> Self {
        Self { node, from, until: Duration::MAX }
    }

    /// A node serves again.
    pub fn end(downs: &mut [Self], node: usize, until: Duration) {
        for down in downs.iter_mut().filter(|down| down.node == node) {
            down.until = down.until.min(until);
        }
    }
}

/// A time in which nodes did not reach each other as they should, a little longer rather than
/// shorter: they may answer that they cannot serve a session (503), and what only one of them has
/// may be lost if it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Those that do not reach somebody, or are not reached.
    pub nodes: Vec<usize>,
    /// Just before it began.
    pub from: Duration,
    /// Just after all members reached each other again.
    pub until: Duration,
}

/// Everything that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The calls of each client, one after another.
    pub clients: Vec<Vec<Call>>,
    /// When nodes were down.
    pub downs: Vec<Down>,
    /// When lines between nodes were bad.
    pub troubles: Vec<Trouble>,
    /// Requests that a stopped node did not see and another one was asked for.
    pub tried_elsewhere: u64,
}

impl History {
    /// All calls, those of one client after those of another.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.clients.iter().flatten()
    }

    /// The calls of a client that tell how it came to one of them: the beginning of the session, and
    /// the last ones that wrote or read the same, or could have ended it.
    #[must_use]
    pub fn story(&self, client: usize, call: &Call) -> Vec<&Call> {
        let calls = self.clients.get(client).map_or(&[][..], Vec::as_slice);
        let end = calls.iter().position(|other| other == call).map_or(calls.len(), |at| at + 1);
        let is_begin = |other: &Call| matches!(other.op, Op::Login { .. });
        let begin = calls[..end].iter().rposition(is_begin).unwrap_or_default();
        let about = calls[begin..end].iter().filter(|other| is_about(other, call));
        let mut story: Vec<&Call> = about.collect();
        let surplus = story.len().saturating_sub(STORY_MAX);
        // The login stays, whatever came between.
        story.drain(1.min(story.len())..(1 + surplus).min(story.len()));
        story
    }

    /// Whether some node went down shortly before a call, or during it: whoever has handed a write
    /// to it could not know.
    #[must_use]
    pub fn was_somebody_lost(&self, call: &Call) -> bool {
        self.downs.iter().any(|down| {
            let noticed = down.until.min(down.from.saturating_add(NOTICED));
            down.from <= call.answered && call.invoked <= noticed
        })
    }

    /// Whether the node that was asked may not have reached those it needed.
    #[must_use]
    pub fn was_in_trouble(&self, call: &Call) -> bool {
        self.meets_trouble(call, |trouble| trouble.nodes.contains(&call.node))
    }

    /// Whether some node may not have reached those it needed: whoever has handed a write to it
    /// could not know.
    #[must_use]
    pub fn was_somebody_in_trouble(&self, call: &Call) -> bool {
        self.meets_trouble(call, |_| true)
    }

    fn meets_trouble(&self, call: &Call, concerns: impl Fn(&Trouble) -> bool) -> bool {
        let meets =
            |trouble: &&Trouble| trouble.from <= call.answered && call.invoked <= trouble.until;
        self.troubles.iter().filter(meets).any(concerns)
    }

    /// Whether a node that alone had something at `since` may be gone by the answer of a call: it
    /// crashed, or was cut off, and removed.
    #[must_use]
    pub fn may_have_lost(&self, since: Duration, call: &Call) -> bool {
        let downs = self.downs.iter().map(|down| (down.from, down.until));
        let mut times =
            downs.chain(self.troubles.iter().map(|trouble| (trouble.from, trouble.until)));
        times.any(|(from, until)| from <= call.answered && since <= until)
    }

    /// Whether the node that was asked was down during some of a call.
    #[must_use]
    pub fn was_down(&self, call: &Call) -> bool {
        self.downs.iter().any(|down| {
            down.node == call.node && down.from <= call.answered && call.invoked <= down.until
        })
    }
}

/// Whether a call has to do with what another one is about.
fn is_about(call: &Call, other: &Call) -> bool {
    let counts = |op: Op| matches!(op, Op::Incr | Op::Count | Op::FinalCount);
    match call.op {
        Op::Login { .. } | Op::Logout => true,
        Op::Ghost => call == other,
        Op::Get { key } | Op::Set { key, .. } => match other.op {
            Op::Get { key: same } | Op::Set { key: same, .. } => key == same,
            Op::Login { .. } | Op::Incr | Op::Count | Op::FinalCount | Op::Logout | Op::Ghost => {
                false
            }
        },
        Op::Incr | Op::Count | Op::FinalCount => counts(other.op),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_the_login_and_the_last_calls_about_the_same() {
        let call = |op, at| Call {
            op,
            node: 0,
            invoked: Duration::from_millis(at),
            answered: Duration::from_millis(at + 1),
            outcome: Outcome::Done { value: None, ack: None },
        };
        let mut calls = vec![call(Op::Login { value: 1 }, 0), call(Op::Login { value: 2 }, 1)];
        calls.extend((2..60).map(|at| match at % 3 {
            0 => call(Op::Set { key: 1, value: at }, at),
            1 => call(Op::Get { key: 2 }, at),
            _ => call(Op::Incr, at),
        }));
        let history = History { clients: vec![Vec::new(), calls.clone()], ..History::default() };
        let at = |story: &[&Call]| -> Vec<u128> {
            story.iter().map(|call| call.invoked.as_millis()).collect()
        };
        let story = history.story(1, &calls[12]);
        assert_eq!(at(&story), [1, 3, 6, 9, 12], "the second login and register 1");
        let story = history.story(1, &calls[59]);
        assert_eq!((story.len(), at(&story)[0], at(&story)[9]), (STORY_MAX, 1, 59));
    }
}
