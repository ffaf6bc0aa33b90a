//! Times in which it is looked how many requests were answered and how long they took, told in the
//! end and held against each other. Only as ratios: how fast a machine is, is not tried out.

use std::ops::Range;
use std::time::Duration;

use super::Row;
use crate::history::{Call, History, Outcome};
use crate::report::{at, latencies_of};

/// The share of requests, in percent, whose longest time is compared.
const TAIL_PERCENT: usize = 99;

/// All that are looked at, and what must hold between them.
#[derive(Debug, Default)]
pub(super) struct Periods {
    periods: Vec<Period>,
    bounds: Vec<Bound>,
}

#[derive(Debug)]
struct Period {
    name: String,
    time: Range<Duration>,
    /// Only requests to this node, or to all but this one.
    node: Option<Node>,
}

/// Which requests of a time are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// Those to this node.
    Only(usize),
    /// Those to all others.
    AllBut(usize),
}

/// What must hold between the periods of two names.
#[derive(Debug)]
struct Bound {
    name: String,
    than: String,
    ratio: Ratio,
}

/// How a period may differ from another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ratio {
    /// Of as many requests answered in a second at least this part.
    AnsweredAtLeast(f64),
    /// 99 of 100 requests took at most so many times as long.
    TailAtMost(f64),
}

impl Periods {
    /// It is to be told how all requests of a time fared.
    pub(super) fn add(&mut self, name: &str, time: Range<Duration>) {
        self.periods.push(Period { name: name.to_owned(), time, node: None });
    }

    /// The same of some of the requests.
    pub(super) fn add_of(&mut self, name: &str, time: Range<Duration>, node: Node) {
        self.periods.push(Period { name: name.to_owned(), time, node: Some(node) });
    }

    /// The period of one name may differ from that of another so far.
    pub(super) fn bound(&mut self, name: &str, than: &str, ratio: Ratio) {
        self.bounds.push(Bound { name: name.to_owned(), than: than.to_owned(), ratio });
    }

    /// Tells all of them, and objects to what exceeds a bound.
    pub(super) fn tell(&self, history: &History, row: &mut Row) {
        self.periods.iter().for_each(|period| row.note(period.figures(history).told(&period.name)));
        for bound in &self.bounds {
            let found = |name: &str| self.periods.iter().find(|period| period.name == name);
            // What was broken off before the second period is told by whoever broke it off.
            let (Some(one), Some(other)) = (found(&bound.name), found(&bound.than)) else {
                continue;
            };
            match bound.ratio.check(&one.figures(history), &other.figures(history)) {
                Ok(ratio) => row.note(bound.told(ratio)),
                Err(ratio) => row.object(bound.told(ratio)),
            }
        }
    }
}

impl Period {
    fn figures(&self, history: &History) -> Figures {
        let is_meant = |call: &Call| {
            let is_there = match self.node {
                None => true,
                Some(Node::Only(node)) => call.node == node,
                Some(Node::AllBut(node)) => call.node != node,
            };
            is_there && self.time.contains(&call.invoked)
        };
        let is_done = |call: &Call| matches!(call.outcome, Outcome::Done { .. });
        let answered = latencies_of(history, |call| is_meant(call) && is_done(call)).len();
        let seconds = (self.time.end - self.time.start).as_secs_f64();
        Figures {
            times: latencies_of(history, is_meant),
            answered_per_second: answered as f64 / seconds,
        }
    }
}

struct Figures {
    /// How long each took, the shortest first.
    times: Vec<Duration>,
    /// Those that were done.
    answered_per_second: f64,
}

impl Figures {
    fn tail_ms(&self) -> f64 {
        at(&self.times, TAIL_PERCENT)
    }

    fn told(&self, name: &str) -> String {
        let [half, tail, all] = [50, TAIL_PERCENT, 100].map(|part| at(&self.times, part));
        let (count, rate) = (self.times.len(), self.answered_per_second);
        format!(
            "{name}: {count} requests, {rate:.0} a second answered, p50 {half:.1} ms, p99 {tail:.1} \
             ms, at most {all:.1} ms"
        )
    }
}

impl Ratio {
    /// What the ratio is; as an error if it is beyond the bound.
    fn check(self, one: &Figures, other: &Figures) -> Result<f64, f64> {
        let (ratio, is_well) = match self {
            Self::AnsweredAtLeast(least) => {
                let ratio = one.answered_per_second / other.answered_per_second;
                (ratio, ratio >= least)
            }
            Self::TailAtMost(most) => {
                let ratio = one.tail_ms() / other.tail_ms();
                (ratio, ratio <= most)
            }
        };
        if is_well { Ok(ratio) } else { Err(ratio) }
    }
}

impl Bound {
    fn told(&self, ratio: f64) -> String {
        let Self { name, than, .. } = self;
        match self.ratio {
            Ratio::AnsweredAtLeast(least) => {
                format!("{name}, {ratio:.2} of what was answered {than}; at least {least}")
            }
            Ratio::TailAtMost(most) => {
                format!("{name}, p99 was {ratio:.2} of that {than}; at most {most}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Op;
    use crate::scenario::Spread;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// In the first second ten requests of 1 ms to the first node, in the next five of 10 ms to the
    /// second.
    fn history() -> History {
        let call = |node, at, took, outcome: &Outcome| Call {
            op: Op::Count,
            node,
            invoked: ms(at),
            answered: ms(at + took),
            outcome: outcome.clone(),
        };
        let done = Outcome::Done { value: Some(0), ack: None };
        let first = (0..10).map(|nth| call(0, nth * 100, 1, &done));
        let second = (0..5).map(|nth| call(1, 1_000 + nth * 100, 10, &done));
        let failed = call(1, 1_900, 10, &Outcome::Unknown { why: String::new() });
        let clients = vec![first.chain(second).chain([failed]).collect()];
        History { clients, ..History::default() }
    }

    fn judged(ratio: Ratio) -> Row {
        let mut periods = Periods::default();
        periods.add("before", ms(0)..ms(1_000));
        periods.add_of("after", ms(1_000)..ms(2_000), Node::AllBut(0));
        periods.bound("after", "before", ratio);
        let mut row = Row::named("test".to_owned(), Spread::AllToAll);
        periods.tell(&history(), &mut row);
        row
    }

    #[test]
    fn a_period_counts_what_was_answered_in_it() {
        let row = judged(Ratio::AnsweredAtLeast(0.5));
        let told =
            "before: 10 requests, 10 a second answered, p50 1.0 ms, p99 1.0 ms, at most 1.0 ms";
        assert_eq!(row.notes[0], told);
        let told =
            "after: 6 requests, 5 a second answered, p50 10.0 ms, p99 10.0 ms, at most 10.0 ms";
        assert_eq!(row.notes[1], told);
    }

    #[test]
    fn what_exceeds_a_bound_is_objected_to() {
        assert!(judged(Ratio::AnsweredAtLeast(0.5)).is_well());
        assert!(!judged(Ratio::AnsweredAtLeast(0.51)).is_well());
        assert!(judged(Ratio::TailAtMost(10.0)).is_well());
        assert!(!judged(Ratio::TailAtMost(9.9)).is_well());
    }
}
