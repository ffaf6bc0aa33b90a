//! What a member that lies says: each kind of attack as frames, with what has to come of it.

use membership::Chart;
use protocol::limits::{FRAME_BYTES_MAX, NEED_KEYS_MAX};
use protocol::wire::{Frame, WIRE_VERSION};
use protocol::{Batch, Commit, Envelope, Heartbeat, Life, Message, Refusal, Room};
use session::{Body, Change, Core, Delta, Hlc, Inc, SessionKey, Slot, Stamp, Time, Version};

use super::{frame, letters};

/// Lanes by their numbers.
const CONTROL: usize = 0;
const LIVE: usize = 1;
const BULK: usize = 2;

/// How long the sessions live that an attacker makes up, in milliseconds.
const LIFE_MS: u64 = 600_000;

/// An hour, in milliseconds: further ahead than any clock is followed.
const FAR_MS: u64 = 3_600_000;

/// Acks of nothing between two in the name of somebody else.
const ACKS_BETWEEN: u64 = 100;

/// Longest run of random bytes.
const NONSENSE_BYTES_MAX: usize = 2_000;

/// One way to break the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Random bytes, frames on the wrong lane, letters that are none.
    Nonsense,
    /// Lengths beyond every bound before frames.
    Oversize,
    /// Genuine messages with an endless length at some depth of them.
    Bombs,
    /// Streams that are no lanes, as many as the node lets open.
    Streams,
    /// Messages beyond their bounds, of another shard, that contradict themselves.
    Violations,
    /// Acks of batches that there never were, and acks in the name of others.
    Acks,
    /// Deltas that build on what nobody has.
    Gaps,
    /// Deltas stamped by clocks that are far ahead, and heartbeats of such clocks.
    Future,
    /// Messages of other generations and of later epochs.
    Generations,
    /// Edits that build on what nobody has, to be executed by the node.
    Forwards,
    /// Letters that ask for much, without end.
    Letters,
    /// Charts of a cluster that has gone on without the others, and news of them.
    Charts,
    /// Questions for sessions by repair, without end.
    Needs,
    /// Questions for single sessions, without end.
    Fetches,
    /// The same two together, and no answer is read.
    Deaf,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Nonsense,
        Self::Oversize,
        Self::Bombs,
        Self::Streams,
        Self::Violations,
        Self::Acks,
        Self::Gaps,
        Self::Future,
        Self::Generations,
        Self::Forwards,
        Self::Letters,
        Self::Charts,
        Self::Needs,
        Self::Fetches,
        Self::Deaf,
    ];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nonsense => "nonsense",
            Self::Oversize => "oversize lengths",
            Self::Bombs => "endless lengths inside",
            Self::Streams => "streams",
            Self::Violations => "violations",
            Self::Acks => "acks",
            Self::Gaps => "gaps",
            Self::Future => "stamps of the future",
            Self::Generations => "other generations",
            Self::Forwards => "forwarded edits",
            Self::Letters => "letters",
            Self::Charts => "charts",
            Self::Needs => "needs",
            Self::Fetches => "fetches",
            Self::Deaf => "deaf",
        }
    }

    /// Where the node counts it, as a way into its status.
    #[must_use]
    pub const fn counted_as(self) -> &'static str {
        match self {
            Self::Nonsense | Self::Bombs => "meters.frames_undecodable",
            Self::Oversize | Self::Streams => "network.frames_refused",
            Self::Violations | Self::Acks => "meters.violations",
            Self::Gaps => "counters.gaps",
            Self::Future => "counters.skew_refused",
            Self::Generations => "counters.strangers",
            Self::Forwards => "counters.loads",
            Self::Letters => "network.lanes.control.frames_received",
            Self::Charts => "meters.charts_refused",
            Self::Needs | Self::Deaf => "network.lanes.bulk.frames_received",
            Self::Fetches => "network.lanes.live.frames_received",
        }
    }

    /// Frames that are said at once, two hundred times a second: two thousand a second of those
    /// that cost the node the most, where the attacker and all nodes share a few cores; ten
    /// thousand of the others.
    #[must_use]
    pub const fn burst(self) -> usize {
        match self {
            Self::Forwards | Self::Letters | Self::Charts => 10,
            Self::Nonsense
            | Self::Oversize
            | Self::Bombs
            | Self::Streams
            | Self::Violations
            | Self::Acks
            | Self::Gaps
            | Self::Future
            | Self::Generations
            | Self::Needs
            | Self::Fetches
            | Self::Deaf => 50,
        }
    }

    /// Whether the rules say that the link ends.
    #[must_use]
    pub const fn ends_links(self) -> bool {
        match self {
            Self::Nonsense
            | Self::Oversize
            | Self::Bombs
            | Self::Streams
            | Self::Violations
            | Self::Acks => true,
            Self::Gaps
            | Self::Future
            | Self::Generations
            | Self::Forwards
            | Self::Letters
            | Self::Charts
            | Self::Needs
            | Self::Fetches
            | Self::Deaf => false,
        }
    }
}

/// What an attacker knows: whom it talks to, as whom, and what it has heard of.
#[derive(Debug, Clone)]
pub struct Known {
    /// The process that it attacks.
    pub victim: Inc,
    /// The process that it says it is.
    pub own: Inc,
    /// Another member.
    pub other: Inc,
    /// The view of the members.
    pub generation: u64,
    /// See `generation`.
    pub epoch: u64,
    /// Shards of a process.
    pub shards: u16,
    /// Sessions that it was told of.
    pub keys: Vec<SessionKey>,
    /// What it was told of the cluster.
    pub chart: Option<Chart>,
}

impl Known {
    /// A frame with a message by the rules.
    #[must_use]
    pub fn say(&self, shard: u16, message: Message) -> Vec<u8> {
        self.say_as(self.own, shard, message)
    }

    fn say_as(&self, from: Inc, shard: u16, message: Message) -> Vec<u8> {
        let (generation, epoch, to) = (self.generation, self.epoch, self.victim);
        let envelope = Envelope { generation, epoch, from, to, shard, room: Room::Ample, message };
        Frame::Envelope(envelope).encode(WIRE_VERSION)
    }

    /// The shard of a session.
    #[must_use]
    pub fn shard_of(&self, key: SessionKey) -> u16 {
        key.slot().number() / (Slot::COUNT / self.shards)
    }

    /// One that it has heard of, or made up.
    fn key(&self, random: &mut fastrand::Rng) -> SessionKey {
        if self.keys.is_empty() || random.bool() {
            return SessionKey(std::array::from_fn(|_| random.u8(..)));
        }
        self.keys[random.usize(..self.keys.len())]
    }

    /// As many of one shard as may be asked for at once.
    fn keys_of_one_shard(&self, random: &mut fastrand::Rng) -> (u16, Vec<SessionKey>) {
        let first = self.key(random);
        let shard = self.shard_of(first);
        let mut keys: Vec<SessionKey> =
            self.keys.iter().copied().filter(|key| self.shard_of(*key) == shard).collect();
        keys.resize_with(NEED_KEYS_MAX, || {
            let mut key = SessionKey(std::array::from_fn(|_| random.u8(..)));
            key.0[..2].copy_from_slice(&first.0[..2]);
            key
        });
        (shard, keys)
    }

    fn now(&self) -> Time {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn change(&self, random: &mut fastrand::Rng, change: Change) -> Vec<u8> {
        let key = self.key(random);
        let deltas = vec![Delta { key, body: Body::Change(change) }];
        self.say(self.shard_of(key), Message::Deltas(Batch { number: random.u64(..), deltas }))
    }

    /// A session that begins now, by the rules.
    fn whole(&self) -> Change {
        let now = self.now();
        let created = Stamp { hlc: Hlc::at(now), inc: self.own };
        let hard_deadline = now.plus(LIFE_MS);
        Change {
            core: Some(Core { created, hard_deadline, idle_ms: LIFE_MS, user: None }),
            lo: Version::new(),
            hi: created.into(),
            attributes: Vec::new(),
            last_access: now,
        }
    }

    /// What to say next in such an attack: the number of a lane, and bytes for it, with their
    /// length before them unless the attack is about that.
    #[must_use]
    pub fn next(&self, attack: Attack, nth: u64, random: &mut fastrand::Rng) -> (usize, Vec<u8>) {
        let (lane, said) = match attack {
            Attack::Oversize => return (random.usize(..3), oversize(nth)),
            // The bytes of a stream of its own, not of a lane.
            Attack::Streams => return (CONTROL, vec![random.u8(..); 9]),
            Attack::Nonsense => self.nonsense(nth, random),
            Attack::Bombs => (LIVE, self.bomb(random)),
            Attack::Violations => self.violation(nth, random),
            Attack::Acks => (LIVE, self.ack(nth, random)),
            Attack::Gaps => (LIVE, self.gap(random)),
            Attack::Future => self.future(nth, random),
            Attack::Generations => (LIVE, self.of_another_generation(nth, random)),
            Attack::Forwards => (LIVE, self.forward(nth, random)),
            Attack::Letters => (CONTROL, letters::that_ask(nth)),
            Attack::Charts => (CONTROL, letters::that_lie(self.own, self.chart.as_ref(), nth)),
            Attack::Needs => (BULK, self.need(nth, random)),
            Attack::Fetches => (LIVE, self.fetch(nth, random)),
            Attack::Deaf if nth.is_multiple_of(2) => (BULK, self.need(nth, random)),
            Attack::Deaf => (LIVE, self.fetch(nth, random)),
        };
        (lane, frame(&said))
    }

    fn nonsense(&self, nth: u64, random: &mut fastrand::Rng) -> (usize, Vec<u8>) {
        let length = random.usize(1..NONSENSE_BYTES_MAX);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        match nth % 4 {
            0 => (random.usize(..3), bytes),
            // A letter that nobody can read.
            1 => (CONTROL, Frame::Letter(bytes).encode(WIRE_VERSION)),
            2 => (CONTROL, self.say(0, Message::Pull)),
            _ => (LIVE, self.say(self.shards, Message::Pull)),
        }
    }

    /// A genuine message in which one byte, at any depth, is the largest length there is.
    fn bomb(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = self.change(random, self.whole());
        let at = random.usize(2..bytes.len());
        // 253 says that a number of eight bytes follows.
        let length: [u8; 9] = std::array::from_fn(|nth| if nth == 0 { 253 } else { u8::MAX });
        bytes.splice(at..at, length);
        bytes
    }

    fn violation(&self, nth: u64, random: &mut fastrand::Rng) -> (usize, Vec<u8>) {
        let key = self.key(random);
        let shard = self.shard_of(key);
        match nth % 3 {
            0 => {
                let wants = vec![(key, Version::new()); NEED_KEYS_MAX + 1];
                (BULK, self.say(shard, Message::Need { request: nth, wants }))
            }
            1 => {
                let change = Change { core: None, ..self.whole() };
                let deltas = vec![Delta { key, body: Body::Change(change) }];
                let batch = Batch { number: nth, deltas };
                (LIVE, self.say((shard + 1) % self.shards, Message::Deltas(batch)))
            }
            _ => (LIVE, self.change(random, Change { core: None, ..self.whole() })),
        }
    }

    fn ack(&self, nth: u64, random: &mut fastrand::Rng) -> Vec<u8> {
        let key = self.key(random);
        let refused = match nth % 3 {
            0 => Vec::new(),
            1 => vec![(key, Refusal::Dead)],
            _ => vec![(key, Refusal::Need(Version::new()))],
        };
        // No node sends so many batches in its life.
        let message = Message::Ack { batch: u64::MAX - random.u64(..1 << 32), refused };
        let from = if nth % ACKS_BETWEEN == ACKS_BETWEEN - 1 { self.other } else { self.own };
        self.say_as(from, self.shard_of(key), message)
    }

    fn gap(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let whole = self.whole();
        let missing = Stamp { hlc: Hlc::at(self.now().minus(1)), inc: self.own };
        self.change(random, Change { core: None, lo: missing.into(), ..whole })
    }

    fn future(&self, nth: u64, random: &mut fastrand::Rng) -> (usize, Vec<u8>) {
        let far = self.now().plus(FAR_MS);
        let whole = self.whole();
        match nth % 3 {
            0 => {
                let beat = Heartbeat { sent: far, echo: None };
                (CONTROL, Frame::Heartbeat(beat).encode(WIRE_VERSION))
            }
            1 => {
                let mut hi = whole.hi.clone();
                hi.insert(Stamp { hlc: Hlc(u64::MAX), inc: self.own });
                (LIVE, self.change(random, Change { hi, ..whole }))
            }
            _ => (LIVE, self.change(random, Change { last_access: far, ..whole })),
        }
    }

    fn of_another_generation(&self, nth: u64, random: &mut fastrand::Rng) -> Vec<u8> {
        let (own, later) = (self.generation, random.u64(1..u64::MAX / 2));
        let (generation, epoch) = match nth % 3 {
            0 => (own.wrapping_add(later), self.epoch),
            1 => (own.wrapping_sub(1), self.epoch),
            _ => (own.wrapping_add(1), self.epoch.wrapping_add(later)),
        };
        let stranger = Self { generation, epoch, ..self.clone_without_keys() };
        stranger.change(random, self.whole())
    }

    fn clone_without_keys(&self) -> Self {
        Self { keys: Vec::new(), chart: None, ..*self }
    }

    fn forward(&self, nth: u64, random: &mut fastrand::Rng) -> Vec<u8> {
        let key = self.key(random);
        let nobodys = Stamp { hlc: Hlc::at(self.now()), inc: self.own };
        let commit = Commit {
            key,
            life: Life::Keep,
            at: nobodys.into(),
            edits: Vec::new(),
            level: protocol::Ack::All,
        };
        let deadline = self.now().plus(LIFE_MS);
        self.say(self.shard_of(key), Message::Forward { request: nth, deadline, commit })
    }

    fn need(&self, nth: u64, random: &mut fastrand::Rng) -> Vec<u8> {
        let (shard, keys) = self.keys_of_one_shard(random);
        let wants = keys.into_iter().map(|key| (key, Version::new())).collect();
        self.say(shard, Message::Need { request: nth, wants })
    }

    fn fetch(&self, nth: u64, random: &mut fastrand::Rng) -> Vec<u8> {
        let key = self.key(random);
        self.say(self.shard_of(key), Message::Fetch { request: nth, key })
    }

    /// What a member that has no copies answers to what it was told, by the rules.
    #[must_use]
    pub fn answer(&self, message: Message) -> Option<Message> {
        Some(match message {
            Message::Deltas(batch) => Message::Ack { batch: batch.number, refused: Vec::new() },
            Message::Fetch { request, .. } => {
                Message::Fetched { request, synced: false, delta: None }
            }
            Message::Forward { request, .. } => Message::Forwarded { request, outcome: None },
            Message::Root { round, .. } => Message::Same { round },
            Message::Compare { round, slot, after } => {
                Message::List { round, slot, after, entries: Vec::new(), more: false }
            }
            Message::Need { request, wants } => {
                let absent = wants.into_iter().map(|(key, _)| key).collect();
                let supply = protocol::Supply { absent, ..Default::default() };
                Message::Supplied { request, supply }
            }
            Message::Ack { .. }
            | Message::Fetched { .. }
            | Message::Forwarded { .. }
            | Message::Same { .. }
            | Message::Digests { .. }
            | Message::List { .. }
            | Message::Supplied { .. }
            | Message::Compared { .. }
            | Message::Pull => return None,
        })
    }

    /// A heartbeat of a clock that is right.
    #[must_use]
    pub fn heartbeat(&self) -> Vec<u8> {
        let beat = Heartbeat { sent: self.now(), echo: None };
        frame(&Frame::Heartbeat(beat).encode(WIRE_VERSION))
    }
}

fn oversize(nth: u64) -> Vec<u8> {
    let beyond = u32::try_from(FRAME_BYTES_MAX + 1).unwrap_or(u32::MAX);
    let length = if nth.is_multiple_of(2) { beyond } else { u32::MAX };
    // Some of what was announced.
    [&length.to_be_bytes()[..], &[7; 4096]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let (victim, own, other) = (Inc(1), Inc(4), Inc(2));
        let keys = vec![SessionKey([9; 16])];
        Known {
            victim,
            own,
            other,
            generation: 0,
            epoch: 7,
            shards: 16,
            keys,
            chart: Some(letters::chart()),
        }
    }

    /// What is to be refused for what it says must be a frame of this release, or it would be
    /// refused for its bytes alone.
    #[test]
    fn what_is_said_wrongly_is_encoded_rightly() {
        let (known, mut random) = (known(), fastrand::Rng::with_seed(1));
        for attack in Attack::ALL {
            let decoded = (0..300).filter(|nth| {
                let (_, bytes) = known.next(attack, *nth, &mut random);
                Frame::decode(bytes.get(4..).unwrap_or_default()).is_ok()
            });
            let decoded = decoded.count();
            match attack {
                Attack::Oversize | Attack::Streams => assert_eq!(decoded, 0, "{attack:?}"),
                // Half of it is bytes, and a length may end up where it is no length.
                Attack::Nonsense | Attack::Bombs => assert!(decoded < 300, "{attack:?}"),
                Attack::Violations
                | Attack::Acks
                | Attack::Gaps
                | Attack::Future
                | Attack::Generations
                | Attack::Forwards
                | Attack::Letters
                | Attack::Charts
                | Attack::Needs
                | Attack::Fetches
                | Attack::Deaf => assert_eq!(decoded, 300, "{attack:?}"),
            }
        }
    }
}
