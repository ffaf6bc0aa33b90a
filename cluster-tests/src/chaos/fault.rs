//! Which fault comes next: drawn from a seed.

use std::time::Duration;

use fastrand::Rng;

use crate::proxy::Conditions;

/// A directed line, sender and receiver.
pub type Line = (usize, usize);

/// Longest time of a strike that the others sit out: they suspect nobody before.
const SHORT_MS: std::ops::Range<u64> = 300..1_800;

/// Long enough that the others may do without whoever is struck.
const LONG_MS: std::ops::Range<u64> = 2_000..9_000;

/// One strike in so many is long: whoever is removed again and again has to wait ever longer before
/// it is let in, and meanwhile nothing else can be tried.
const LONG_OF: u8 = 4;

/// How long lines are bad.
const WEATHER_MS: std::ops::Range<u64> = 3_000..15_000;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9`, and started again.
    Kill,
    /// SIGSTOP, and it goes on.
    Pause,
    /// SIGTERM, and started again.
    Restart,
    /// Drained by an operator, and started again.
    Drain,
    /// Nodes reach nobody but each other.
    CutOff,
    /// A node is not heard.
    Mute,
    /// A node does not hear.
    Deaf,
    /// Two nodes do not reach each other.
    PairCut,
    /// Lines of a node come and go.
    Flapping,
    /// A node seems to talk from other ports.
    Rebinding,
    /// Lines lose what they carry.
    Loss,
    /// Lines are long.
    Delay,
    /// Lines are now shorter, now longer.
    Jitter,
    /// Lines carry little.
    SlowLine,
    /// Lines double what they carry.
    Duplication,
    /// Lines hold some of it back.
    Reordering,
}

impl Kind {
    /// Those that hit single nodes, one after another.
    pub const STRIKES: [Self; 10] = [
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::Drain,
        Self::CutOff,
        Self::Mute,
        Self::Deaf,
        Self::PairCut,
        Self::Flapping,
        Self::Rebinding,
    ];

    /// Those of lines, which go on beside the others.
    pub const WEATHER: [Self; 6] = [
        Self::Loss,
        Self::Delay,
        Self::Jitter,
        Self::SlowLine,
        Self::Duplication,
        Self::Reordering,
    ];

    /// As reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::CutOff => "cut off",
            Self::Mute => "not heard",
            Self::Deaf => "does not hear",
            Self::PairCut => "pair cut",
            Self::Flapping => "flapping",
            Self::Rebinding => "rebinding",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::SlowLine => "slow line",
            Self::Duplication => "duplication",
            Self::Reordering => "reordering",
        }
    }

    /// Whether its length makes a difference for others.
    const fn lasts(self) -> bool {
        !matches!(self, Self::Restart | Self::Drain | Self::Rebinding)
    }

    /// Whether it takes several nodes at once, where so many may be lost.
    const fn takes_many(self) -> bool {
        matches!(self, Self::Kill | Self::CutOff)
    }
}

/// Something that hits nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub kind: Kind,
    /// Whom.
    pub nodes: Vec<usize>,
    /// For how long.
    pub length: Duration,
}

/// How lines are for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// What.
    pub kind: Kind,
    /// Which lines.
    pub lines: Vec<Line>,
    /// Whose, if they are those of one node.
    pub node: Option<usize>,
    /// How they are.
    pub conditions: Conditions,
    /// For how long.
    pub length: Duration,
}

/// Draws.
#[derive(Debug)]
pub struct Dice {
    random: Rng,
    nodes: usize,
    /// How many nodes may be lost at once.
    survives: usize,
    /// Of each kind, how often it has been drawn.
    drawn: Vec<(Kind, u32)>,
}

impl Dice {
    /// For so many nodes, of which so many may be lost at once.
    #[must_use]
    pub fn new(seed: u64, nodes: usize, survives: usize) -> Self {
        Self { random: Rng::with_seed(seed), nodes, survives, drawn: Vec::new() }
    }

    /// The next strike.
    pub fn strike(&mut self) -> Strike {
        let kind = self.kind(&Kind::STRIKES);
        let many = if kind.takes_many() { self.random.usize(1..=self.survives) } else { 1 };
        let count = if kind == Kind::PairCut { 2 } else { many };
        let is_long = self.random.u8(..LONG_OF) == 0;
        // Flapping goes there and back at least some times.
        let length =
            if kind == Kind::Flapping || (is_long && kind.lasts()) { LONG_MS } else { SHORT_MS };
        let length = Duration::from_millis(self.random.u64(length));
        let mut nodes: Vec<usize> = (0..self.nodes).collect();
        self.random.shuffle(&mut nodes);
        nodes.truncate(count);
        Strike { kind, nodes, length }
    }

    /// The next weather.
    pub fn weather(&mut self) -> Weather {
        let kind = self.kind(&Kind::WEATHER);
        let conditions = self.conditions(kind);
        let node = self.random.bool().then(|| self.random.usize(..self.nodes));
        let all = (0..self.nodes).flat_map(|from| (0..self.nodes).map(move |to| (from, to)));
        let concerns =
            |(from, to): &Line| from != to && node.is_none_or(|node| [*from, *to].contains(&node));
        let length = Duration::from_millis(self.random.u64(WEATHER_MS));
        Weather { kind, lines: all.filter(concerns).collect(), node, conditions, length }
    }

    /// One of those that have come least often, so that a short run sees many.
    fn kind(&mut self, kinds: &[Kind]) -> Kind {
        let count = |kind: &Kind| {
            self.drawn.iter().find(|(drawn, _)| drawn == kind).map_or(0, |(_, count)| *count)
        };
        let least = kinds.iter().map(count).min().unwrap_or_default();
        let rare: Vec<Kind> = kinds.iter().copied().filter(|kind| count(kind) == least).collect();
        let kind = rare[self.random.usize(..rare.len())];
        match self.drawn.iter_mut().find(|(drawn, _)| *drawn == kind) {
            Some((_, count)) => *count += 1,
            None => self.drawn.push((kind, 1)),
        }
        kind
    }

    fn conditions(&mut self, kind: Kind) -> Conditions {
        let good = Conditions::GOOD;
        let random = &mut self.random;
        let ms = Duration::from_millis;
        match kind {
            Kind::Loss => {
                let loss = [1.0, 5.0, 20.0, 40.0][random.usize(..4)];
                Conditions { loss, burst: random.u32(1..=4), ..good }
            }
            Kind::Delay => Conditions { delay: ms(random.u64(10..200)), ..good },
            Kind::Jitter => Conditions { delay: ms(10), jitter: ms(random.u64(10..100)), ..good },
            Kind::SlowLine => Conditions { rate: Some(random.u64(1_000_000..4_000_000)), ..good },
            Kind::Duplication => {
                Conditions { duplication: random.f64().mul_add(40.0, 10.0), ..good }
            }
            Kind::Reordering => Conditions {
                reordering: random.f64().mul_add(40.0, 10.0),
                hold: ms(random.u64(5..40)),
                ..good
            },
            Kind::Kill
            | Kind::Pause
            | Kind::Restart
            | Kind::Drain
            | Kind::CutOff
            | Kind::Mute
            | Kind::Deaf
            | Kind::PairCut
            | Kind::Flapping
            | Kind::Rebinding => good,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_course_of_faults() {
        let draw = |seed| {
            let mut dice = Dice::new(seed, 5, 2);
            (0..20).map(|_| (dice.strike(), dice.weather())).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn as_many_draws_as_kinds_show_each_kind() {
        let mut dice = Dice::new(3, 5, 1);
        let strikes: BTreeSet<Kind> = Kind::STRIKES.iter().map(|_| dice.strike().kind).collect();
        let weathers: BTreeSet<Kind> = Kind::WEATHER.iter().map(|_| dice.weather().kind).collect();
        assert_eq!(strikes.len(), Kind::STRIKES.len());
        assert_eq!(weathers.len(), Kind::WEATHER.len());
    }

    #[test]
    fn never_more_nodes_are_struck_than_may_be_lost() {
        for survives in [1, 2] {
            let mut dice = Dice::new(4, 5, survives);
            let mut most = 0;
            for _ in 0..500 {
                let strike = dice.strike();
                let distinct: BTreeSet<&usize> = strike.nodes.iter().collect();
                assert_eq!(distinct.len(), strike.nodes.len());
                if strike.kind == Kind::PairCut {
                    // One of the two may be removed.
                    assert_eq!(strike.nodes.len(), 2);
                } else {
                    most = most.max(strike.nodes.len());
                }
            }
            assert_eq!(most, survives);
        }
    }

    #[test]
    fn every_weather_is_one() {
        let mut dice = Dice::new(5, 5, 1);
        for _ in 0..100 {
            let weather = dice.weather();
            assert_ne!(weather.conditions, Conditions::GOOD, "{:?}", weather.kind);
            assert!([8, 20].contains(&weather.lines.len()));
        }
    }
}
