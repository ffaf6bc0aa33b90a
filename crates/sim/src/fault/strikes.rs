//! What strikes when where views are agreed: also what changes who is a member.

use std::num::NonZeroU16;

use fastrand::Rng;
use protocol::Copies;

use super::FaultKind;

/// Something that happens to hosts, or between them, at a moment.
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
    /// Its process is told to hand over and go.
    Drain(usize),
    /// The number of copies changes.
    Resize(Copies),
    /// All processes die.
    LoseAll,
    /// New processes start wherever none runs.
    StartAll,
    /// Nothing can be decided.
    NoLeader,
    /// Decisions are possible again.
    Leader,
    /// The host's process is removed although it runs.
    Remove(usize),
    /// These hosts are given up for good: their processes die or, with `true`, go on without the
    /// others. A survivor begins anew.
    Doom(Vec<usize>, bool),
    /// They come back.
    Return(Vec<usize>),
}

/// The kinds that are moments, not conditions of the whole run.
const STRIKING: [FaultKind; 16] = [
    FaultKind::OneWay,
    FaultKind::Partition,
    FaultKind::Pause,
    FaultKind::Crash,
    FaultKind::EvenSplit,
    FaultKind::Isolated,
    FaultKind::Partial,
    FaultKind::Bridge,
    FaultKind::Ring,
    FaultKind::Drain,
    FaultKind::Flap,
    FaultKind::Resize,
    FaultKind::TotalLoss,
    FaultKind::NoLeader,
    FaultKind::WrongRemoval,
    FaultKind::Recover,
];

/// Draws when what strikes, in milliseconds from the start. The first `begin` of the hosts run
/// from the beginning.
pub(crate) fn schedule(
    rng: &mut Rng,
    kinds: &[FaultKind],
    nodes: usize,
    begin: usize,
    storm_ms: u64,
) -> Vec<(u64, Strike)> {
    let mut strikes = Vec::new();
    for host in begin..nodes {
        strikes.push((rng.u64(3_000..storm_ms), Strike::Start(host)));
    }
    let striking: Vec<FaultKind> =
        kinds.iter().copied().filter(|kind| STRIKING.contains(kind)).collect();
    if striking.is_empty() {
        return strikes;
    }
    let mut at = rng.u64(1_500..5_000);
    while at + 1_000 < storm_ms {
        let length = length_ms(rng).min(storm_ms - at);
        let kind = striking[rng.usize(0..striking.len())];
        strike(rng, kind, nodes, (at, length), &mut strikes);
        at += if rng.u8(0..2) == 0 { rng.u64(1..length.max(2)) } else { length };
        at += rng.u64(100..4_000);
    }
    strikes.sort_by_key(|(at, _)| *at);
    strikes
}

/// A moment, some heartbeats, or long enough to be removed.
fn length_ms(rng: &mut Rng) -> u64 {
    match rng.u8(0..4) {
        0 => rng.u64(20..500),
        1 => rng.u64(500..3_000),
        _ => rng.u64(3_000..11_000),
    }
}

fn strike(
    rng: &mut Rng,
    kind: FaultKind,
    nodes: usize,
    (at, length): (u64, u64),
    strikes: &mut Vec<(u64, Strike)>,
) {
    let host = rng.usize(0..nodes);
    let end = at + length;
    match kind {
        FaultKind::Crash => {
            strikes.push((at, Strike::Crash(host, rng.bool())));
            strikes.push((end, Strike::Start(host)));
        }
        FaultKind::Flap => flap(rng, host, at, strikes),
        FaultKind::Pause => {
            strikes.push((at, Strike::Pause(host)));
            strikes.push((end, Strike::Resume(host)));
        }
        FaultKind::Drain => {
            strikes.push((at, Strike::Drain(host)));
            if rng.u8(0..3) == 0 {
                strikes.push((at + rng.u64(0..800), Strike::Drain((host + 1) % nodes)));
            }
        }
        FaultKind::Resize => resize(rng, at, strikes),
        FaultKind::TotalLoss => {
            strikes.push((at, Strike::LoseAll));
            strikes.push((at + length.min(3_000), Strike::StartAll));
        }
        FaultKind::NoLeader => {
            strikes.push((at, Strike::NoLeader));
            strikes.push((end, Strike::Leader));
        }
        FaultKind::WrongRemoval => strikes.push((at, Strike::Remove(host))),
        FaultKind::Recover => {
            let doomed: Vec<usize> = (0..=nodes / 2).map(|i| (host + i) % nodes).collect();
            strikes.push((at, Strike::Doom(doomed.clone(), rng.bool())));
            strikes.push((at + length.max(2_000), Strike::Return(doomed)));
        }
        FaultKind::OneWay
        | FaultKind::Partition
        | FaultKind::EvenSplit
        | FaultKind::Isolated
        | FaultKind::Partial
        | FaultKind::Bridge
        | FaultKind::Ring => {
            let cut = cut(rng, kind, nodes, host);
            strikes.push((at, Strike::Cut(cut.clone())));
            strikes.push((end, Strike::Heal(cut)));
        }
        // Conditions of the whole run.
        FaultKind::Loss
        | FaultKind::Duplicate
        | FaultKind::Reorder
        | FaultKind::Delay
        | FaultKind::Slow
        | FaultKind::Skew
        | FaultKind::WrongClock
        | FaultKind::Drift
        | FaultKind::SmallOutbox
        | FaultKind::SmallMemory
        | FaultKind::Hot
        | FaultKind::ShortLives
        | FaultKind::Join
        | FaultKind::LateViews
        | FaultKind::LostDecisions
        | FaultKind::Zones
        | FaultKind::SmallBudget => {}
    }
}

/// A process that dies soon after each start.
fn flap(rng: &mut Rng, host: usize, mut at: u64, strikes: &mut Vec<(u64, Strike)>) {
    for _ in 0..rng.u8(2..6) {
        strikes.push((at, Strike::Crash(host, rng.bool())));
        at += rng.u64(20..600);
        strikes.push((at, Strike::Start(host)));
        at += rng.u64(20..1_500);
    }
}

/// One change of the number of copies, or several in a row.
fn resize(rng: &mut Rng, mut at: u64, strikes: &mut Vec<(u64, Strike)>) {
    for _ in 0..rng.u8(1..4) {
        strikes.push((at, Strike::Resize(draw_copies(rng))));
        at += rng.u64(50..3_000);
    }
}

/// One to four copies, or everywhere.
pub(crate) fn draw_copies(rng: &mut Rng) -> Copies {
    match rng.u8(0..4) {
        0 => Copies::All,
        _ => NonZeroU16::new(rng.u16(1..=4)).map_or(Copies::All, Copies::Count),
    }
}

/// The directions that a partition of that shape cuts.
fn cut(rng: &mut Rng, kind: FaultKind, nodes: usize, host: usize) -> Vec<(usize, usize)> {
    let place = |h: usize| (h + nodes - host) % nodes;
    let other = (host + rng.usize(1..nodes)) % nodes;
    let side = rng.usize(1..nodes);
    let half = nodes / 2;
    let between = |a: usize, b: usize, far: usize| (place(a) < far) != (place(b) < far);
    let apart = |a: usize, b: usize| {
        let apart = place(a).abs_diff(place(b));
        apart.min(nodes - apart)
    };
    let is_cut = |a: usize, b: usize| {
        if kind == FaultKind::OneWay {
            a == host && b == other
        } else if kind == FaultKind::EvenSplit {
            between(a, b, half)
        } else if kind == FaultKind::Isolated {
            a == host || b == host
        } else if kind == FaultKind::Partial {
            (a == host && b == other) || (a == other && b == host)
        } else if kind == FaultKind::Bridge {
            // Place 0 is the bridge.
            place(a) > 0 && place(b) > 0 && between(a, b, half + 1)
        } else if kind == FaultKind::Ring {
            // Each reaches its neighbours on both sides, as many as make a majority with itself.
            apart(a, b) > half.div_ceil(2)
        } else {
            between(a, b, side)
        }
    };
    let ways = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    ways.filter(|(a, b)| a != b && is_cut(*a, *b)).collect()
}
