//! What strikes when under a fixed view, drawn from the seed before the run.

use fastrand::Rng;

use super::FaultKind;
use super::strikes::Strike;

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
