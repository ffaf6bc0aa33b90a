//! What becomes of a message on its way: how long it takes, whether it arrives, how often.

use fastrand::Rng;

use crate::fault::FaultKind;

/// The ways between hosts.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    /// How many cuts lie on each direction.
    cuts: Vec<u8>,
    /// Extra delay of everything from or to a host, in microseconds.
    slow_us: Vec<u64>,
    base_us: u64,
    jitter_us: u64,
    loss_percent: u8,
    duplicate_percent: u8,
    delay_percent: u8,
    /// Messages keep their order unless they may overtake each other.
    in_order: bool,
    last_arrival: Vec<u64>,
}

impl Network {
    pub(crate) fn new(rng: &mut Rng, kinds: &[FaultKind], nodes: usize) -> Self {
        let has = |kind| kinds.contains(&kind);
        let mut slow_us = vec![0; nodes];
        if has(FaultKind::Slow) {
            slow_us[rng.usize(0..nodes)] = rng.u64(20_000..200_000);
        }
        Self {
            nodes,
            cuts: vec![0; nodes * nodes],
            slow_us,
            base_us: rng.u64(100..3_000),
            jitter_us: rng.u64(100..5_000),
            loss_percent: if has(FaultKind::Loss) { rng.u8(1..30) } else { 0 },
            duplicate_percent: if has(FaultKind::Duplicate) { rng.u8(1..30) } else { 0 },
            delay_percent: if has(FaultKind::Delay) { rng.u8(1..5) } else { 0 },
            in_order: !has(FaultKind::Reorder),
            last_arrival: vec![0; nodes * nodes],
        }
    }

    /// When a message sent now arrives: never, once or twice, in microseconds.
    pub(crate) fn arrivals(
        &mut self,
        rng: &mut Rng,
        from: usize,
        to: usize,
        now_us: u64,
    ) -> [Option<u64>; 2] {
        let way = from * self.nodes + to;
        if self.cuts[way] > 0 || rng.u8(0..100) < self.loss_percent {
            return [None, None];
        }
        let first = self.arrival(rng, from, to, now_us);
        let again = rng.u8(0..100) < self.duplicate_percent;
        let second = again.then(|| self.arrival(rng, from, to, now_us));
        [Some(first), second]
    }

    fn arrival(&mut self, rng: &mut Rng, from: usize, to: usize, now_us: u64) -> u64 {
        let way = from * self.nodes + to;
        let mut at = now_us
            + self.base_us
            + rng.u64(0..self.jitter_us)
            + self.slow_us[from]
            + self.slow_us[to];
        if rng.u8(0..100) < self.delay_percent {
            return at + rng.u64(100_000..15_000_000);
        }
        if self.in_order {
            at = at.max(self.last_arrival[way] + 1);
            self.last_arrival[way] = at;
        }
        at
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from * self.nodes + to] += 1;
    }

    pub(crate) fn heal(&mut self, from: usize, to: usize) {
        let cuts = &mut self.cuts[from * self.nodes + to];
        *cuts = cuts.saturating_sub(1);
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts[a * self.nodes + b] > 0 || self.cuts[b * self.nodes + a] > 0
    }

    /// Heals everything but the latency: a slow host is no excuse.
    pub(crate) fn calm(&mut self) {
        self.cuts.fill(0);
        self.loss_percent = 0;
        self.duplicate_percent = 0;
        self.delay_percent = 0;
    }
}
