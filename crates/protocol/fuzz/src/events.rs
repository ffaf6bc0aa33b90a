//! The events that happen to nodes, read from bytes.

use protocol::{Ack, Batch, Message, Refusal, Supply};
use session::{Edit, EndReason, Name, SessionKey, Value, Version};

const ATTRIBUTES: [&str; 3] = ["x", "y", "z"];

/// The key of that number in one of two slots of the first shard.
pub const fn key(slot: u8, number: u8) -> SessionKey {
    let mut key = [0; SessionKey::BYTES];
    (key[1], key[15]) = (slot << 4, number);
    SessionKey(key)
}

/// One thing that happens. Numbers that choose among what is there are taken modulo its count.
pub enum Event {
    /// Time passes, and all nodes are told.
    Wait { ms: u64 },
    /// A message to that node arrives: the one at that place in its queue, perhaps not the last
    /// time.
    Deliver { to: usize, place: usize, again: bool },
    /// A message to that node is lost.
    Lose { to: usize, place: usize },
    /// A request commits.
    Commit { at: usize, key: SessionKey, life: Kind, edits: Vec<Edit>, level: Ack, lag: bool },
    /// A request opens a session, with what was last seen of it at one of the nodes.
    Open { at: usize, key: SessionKey, seen_at: Option<usize> },
    /// A node finds another reachable or not.
    Reach { at: usize, peer: usize, reachable: bool },
    /// A process ends, if one runs there, and another of the same member starts.
    Restart { at: usize },
    /// A node finds its clock wrong or right.
    Fault { at: usize, fault: bool },
    /// Something arrives that no correct node sends.
    Forge { to: usize, message: Message },
}

/// What a commit does to the life of its session.
pub enum Kind {
    Keep,
    Create { idle_ms: u64, life_ms: u64 },
    End(EndReason),
}

/// Events out of bytes, for so many nodes, and so many sessions of each slot.
pub struct Events<'a> {
    bytes: &'a [u8],
    nodes: usize,
    sessions: u8,
}

impl<'a> Events<'a> {
    pub const fn new(bytes: &'a [u8], nodes: usize, sessions: u8) -> Self {
        Self { bytes, nodes, sessions }
    }

    /// True once all bytes are used up.
    pub const fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte; 0 after the last.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        *first
    }

    /// The number of a node.
    pub fn node(&mut self) -> usize {
        usize::from(self.byte()) % self.nodes
    }

    fn key(&mut self) -> SessionKey {
        let byte = self.byte();
        key(byte & 1, (byte >> 1) % self.sessions)
    }

    fn edits(&mut self) -> Vec<Edit> {
        (0..self.byte() % 4).map(|_| self.edit()).collect()
    }

    fn edit(&mut self) -> Edit {
        let (kind, what) = (self.byte(), self.byte());
        let name = Name::new(ATTRIBUTES[usize::from(what % 3)]).expect("a name");
        let value = Value::from(vec![what >> 4; usize::from(what >> 2 & 3)]);
        match kind % 7 {
            0 => Edit::Set(name, value),
            1 => Edit::SetIf { name, value, expected: None },
            2 => Edit::Remove(name),
            3 => Edit::Add(name, i64::from(what) - 100),
            4 => Edit::Reset(name),
            5 => Edit::Insert(name, value),
            _ => Edit::Withdraw(name, value),
        }
    }

    fn kind(&mut self) -> Kind {
        let (byte, reasons) = (self.byte(), [EndReason::Logout, EndReason::Forced]);
        match byte % 4 {
            0 => Kind::End(reasons[usize::from(byte >> 7)]),
            1 => Kind::Create {
                idle_ms: u64::from(byte >> 2) * 1_000,
                life_ms: u64::from(self.byte()) * 10_000,
            },
            _ => Kind::Keep,
        }
    }

    fn level(&mut self) -> Ack {
        [Ack::Local, Ack::One, Ack::Quorum, Ack::All][usize::from(self.byte() & 3)]
    }

    /// A message that contradicts what its receiver knows.
    fn forged(&mut self) -> Message {
        let (number, key) = (u64::from(self.byte()), self.key());
        let slot = key.slot();
        match self.byte() % 10 {
            0 => Message::Ack { batch: number, refused: vec![(key, Refusal::Dead)] },
            1 => {
                Message::Ack { batch: number, refused: vec![(key, Refusal::Need(Version::new()))] }
            }
            2 => Message::Fetched { request: number, synced: true, delta: None },
            3 => Message::Forwarded { request: number, outcome: None },
            4 => Message::Root { round: number, root: protocol::Digest::default() },
            5 => Message::Same { round: number },
            6 => Message::Compared { round: number },
            7 => {
                let entries = vec![(key, u64::from(self.byte()))];
                Message::List { round: number, slot, after: None, entries, more: number > 99 }
            }
            8 => {
                let supply = Supply { deferred: vec![key], ..Supply::default() };
                Message::Supplied { request: number, supply }
            }
            _ => Message::Deltas(Batch { number, deltas: Vec::new() }),
        }
    }

    /// The next event, until the bytes are used up; of a correct world, if so.
    pub fn next(&mut self, correct: bool) -> Option<Event> {
        if self.is_over() {
            return None;
        }
        let what = self.byte();
        Some(self.event(what, correct))
    }

    /// The event of that kind.
    pub fn event(&mut self, what: u8, correct: bool) -> Event {
        let at = self.node();
        match what % 16 {
            0 | 1 => Event::Wait { ms: u64::from(self.byte()) * 4 },
            2 => Event::Wait { ms: u64::from(self.byte()) * 200 },
            3..=6 => {
                let place = self.byte();
                Event::Deliver { to: at, place: usize::from(place >> 1), again: place & 1 == 1 }
            }
            7 => Event::Lose { to: at, place: usize::from(self.byte()) },
            8..=11 => {
                let (key, life, edits) = (self.key(), self.kind(), self.edits());
                let (level, lag) = (self.level(), self.byte() & 1 == 1);
                Event::Commit { at, key, life, edits, level, lag }
            }
            12 => {
                let (key, seen) = (self.key(), self.byte());
                let host = usize::from(seen & 1 | seen >> 1 & 2) % self.nodes;
                Event::Open { at, key, seen_at: (seen & 2 == 2).then_some(host) }
            }
            13 => {
                let byte = self.byte();
                let peer = (at + 1 + usize::from(byte >> 7) % (self.nodes - 1)) % self.nodes;
                Event::Reach { at, peer, reachable: !byte.is_multiple_of(4) }
            }
            14 if !correct => Event::Forge { to: at, message: self.forged() },
            14 => Event::Fault { at, fault: self.byte().is_multiple_of(4) },
            _ => Event::Restart { at },
        }
    }
}
