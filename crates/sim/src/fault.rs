//! What goes wrong, and when: drawn from the seed before the run.

use fastrand::Rng;

/// A kind of fault. Each seed draws a subset (swarm testing: Groce et al., ISSTA 2012), because
/// faults that are always all present hide each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Single messages are much too late.
    Delay,
    /// One direction between two nodes is cut.
    OneWay,
    /// A node, or half of them, is cut off.
    Partition,
    /// A node stands still and then goes on with everything that arrived meanwhile.
    Pause,
    /// A process dies and starts anew, empty.
    Crash,
    /// All messages of one node are slow.
    Slow,
    /// Clocks differ within the tolerated skew.
    Skew,
    /// One clock differs by more than is tolerated.
    WrongClock,
    /// Clocks run at different speeds.
    Drift,
    /// The outbox holds few sessions, so that it overflows.
    SmallOutbox,
    /// There is room for few sessions.
    SmallMemory,
    /// Few sessions take all requests.
    Hot,
    /// Sessions live and idle for seconds only.
    ShortLives,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 16] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::OneWay,
        Self::Partition,
        Self::Pause,
        Self::Crash,
        Self::Slow,
        Self::Skew,
        Self::WrongClock,
        Self::Drift,
        Self::SmallOutbox,
        Self::SmallMemory,
        Self::Hot,
        Self::ShortLives,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::OneWay => "one-way",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::Crash => "crash",
            Self::Slow => "slow",
            Self::Skew => "skew",
            Self::WrongClock => "wrong-clock",
            Self::Drift => "drift",
            Self::SmallOutbox => "small-outbox",
            Self::SmallMemory => "small-memory",
            Self::Hot => "hot",
            Self::ShortLives => "short-lives",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happens to hosts at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Cuts these directions.
    Cut(Vec<(usize, usize)>),
    /// Opens them again.
    Heal(Vec<(usize, usize)>),
    /// The host stands still.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// Its process dies; with `true` its peers notice at once.
    Crash(usize, bool),
    /// A new process starts on it.
    Start(usize),
}

/// Draws when what strikes, in milliseconds from the start.
pub(crate) fn schedule(
    rng: &mut Rng,
    kinds: &[FaultKind],
    nodes: usize,
    storm_ms: u64,
) -> Vec<(u64, Strike)> {
    let striking: Vec<FaultKind> = kinds
        .iter()
        .copied()
        .filter(|kind| {
            use FaultKind::{Crash, OneWay, Partition, Pause};
            matches!(kind, OneWay | Partition | Pause | Crash)
        })
        .collect();
    let mut strikes = Vec::new();
    if striking.is_empty() || nodes < 2 {
        return strikes;
    }
    let mut at = rng.u64(1_000..8_000);
    while at + 1_000 < storm_ms {
        let length = length_ms(rng).min(storm_ms - at);
        let kind = striking[rng.usize(0..striking.len())];
        let (begin, end) = strike(rng, kind, nodes);
        strikes.push((at, begin));
        strikes.push((at + length, end));
        at += if rng.u8(0..4) == 0 { rng.u64(1..length.max(2)) } else { length }
            + rng.u64(500..12_000);
    }
    strikes.sort_by_key(|(at, _)| *at);
    strikes
}

/// Short, medium or long: a moment, some heartbeats, some repair intervals.
fn length_ms(rng: &mut Rng) -> u64 {
    match rng.u8(0..4) {
        0 => rng.u64(20..500),
        1 | 2 => rng.u64(500..6_000),
        _ => rng.u64(6_000..40_000),
    }
}

fn strike(rng: &mut Rng, kind: FaultKind, nodes: usize) -> (Strike, Strike) {
    let host = rng.usize(0..nodes);
    if kind == FaultKind::Crash {
        return (Strike::Crash(host, rng.bool()), Strike::Start(host));
    }
    if kind == FaultKind::Pause {
        return (Strike::Pause(host), Strike::Resume(host));
    }
    let cut: Vec<(usize, usize)> = if kind == FaultKind::OneWay {
        vec![(host, (host + rng.usize(1..nodes)) % nodes)]
    } else {
        let side = rng.usize(1..nodes);
        let inside = |h: usize| (h + nodes - host) % nodes < side;
        let ways = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
        ways.filter(|(a, b)| inside(*a) != inside(*b)).collect()
    };
    (Strike::Cut(cut.clone()), Strike::Heal(cut))
}
