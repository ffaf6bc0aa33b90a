//! Breadth first over states, each looked at once.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::cluster::{Breach, Cluster};
use super::plan::Plan;
use super::step::Step;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events on the way to a state at most.
    pub depth: usize,
    /// States of one level that are kept in memory; of further ones only the way, which is gone
    /// again.
    pub kept_max: usize,
    /// Of so many states of the last level one is let come to rest, to see whether all copies
    /// become equal; 0: none.
    pub rest_of: u128,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: 6, kept_max: 300_000, rest_of: 40 }
    }
}

/// What breaks a rule, and how it comes about.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is broken.
    pub breach: Breach,
    /// The shortest way to it, one event a line, each followed by what the nodes hold then.
    pub trace: Vec<String>,
}

/// What a search came to.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// New states, by the number of events that lead to them.
    pub levels: Vec<usize>,
    /// Events that led to a state with more messages in flight than the plan allows.
    pub crowded: usize,
    /// States that were let come to rest.
    pub rested: usize,
    /// True if every level was gone through to its end.
    pub complete: bool,
    /// What was found.
    pub found: Option<Found>,
}

impl Explored {
    /// All states.
    #[must_use]
    pub fn states(&self) -> usize {
        self.levels.iter().sum()
    }
}

/// The way to a state, from its end.
struct Way {
    step: Step,
    before: Option<Rc<Way>>,
}

/// A state that is to be gone on from.
struct Front {
    way: Option<Rc<Way>>,
    state: Option<Cluster>,
}

struct Search<'a> {
    plan: &'a Plan,
    bounds: Bounds,
    begin: Cluster,
    seen: BTreeSet<u128>,
    explored: Explored,
}

/// Explores a plan. `go_on` is asked now and then, with the number of states so far, whether there
/// is time left.
#[must_use]
pub fn explore(plan: &Plan, bounds: Bounds, go_on: &mut dyn FnMut(usize) -> bool) -> Explored {
    let begin = match Cluster::begin(plan) {
        Ok(begin) => begin,
        Err(breach) => {
            let trace = vec!["before anything is explored".to_owned()];
            return Explored { found: Some(Found { breach, trace }), ..Explored::default() };
        }
    };
    let explored = Explored { levels: vec![1], ..Explored::default() };
    let seen = BTreeSet::from([begin.print()]);
    Search { plan, bounds, begin, seen, explored }.run(go_on)
}

impl Search<'_> {
    fn run(mut self, go_on: &mut dyn FnMut(usize) -> bool) -> Explored {
        let mut fronts = vec![Front { way: None, state: Some(self.begin.clone()) }];
        for depth in 1..=self.bounds.depth {
            let mut next = Vec::new();
            self.explored.levels.push(0);
            for (number, front) in fronts.into_iter().enumerate() {
                let time_left = number % 64 != 0 || go_on(self.seen.len());
                if !time_left {
                    return self.explored;
                }
                if let Err(found) = self.expand(front, depth, &mut next) {
                    self.explored.found = Some(found);
                    return self.explored;
                }
            }
            fronts = next;
        }
        self.explored.complete = true;
        self.explored
    }

    /// Goes on from one state by every event.
    fn expand(&mut self, front: Front, depth: usize, next: &mut Vec<Front>) -> Result<(), Found> {
        let Some(state) = front.state.or_else(|| self.again(front.way.as_ref())) else {
            return Ok(());
        };
        let is_last = depth == self.bounds.depth;
        for step in state.steps(self.plan) {
            let found = |breach, rests| Found {
                breach,
                trace: trace(self.plan, &self.begin, front.way.as_ref(), step, rests),
            };
            let after = state.after(self.plan, step).map_err(|breach| found(breach, false))?;
            if after.air.len() > self.plan.air_max {
                self.explored.crowded += 1;
                continue;
            }
            let print = after.print();
            if !self.seen.insert(print) {
                continue;
            }
            self.explored.levels[depth] += 1;
            if !is_last {
                let way = Some(Rc::new(Way { step, before: front.way.clone() }));
                let state = (next.len() < self.bounds.kept_max).then_some(after);
                next.push(Front { way, state });
            } else if self.bounds.rest_of > 0 && (print >> 64).is_multiple_of(self.bounds.rest_of) {
                self.explored.rested += 1;
                let mut at_rest = after;
                at_rest
                    .rest(self.plan, print & 1 == 1)
                    .map_err(|breach| found(breach, true))?;
            }
        }
        Ok(())
    }

    /// The state at the end of a way.
    fn again(&self, way: Option<&Rc<Way>>) -> Option<Cluster> {
        let mut state = self.begin.clone();
        for step in steps(way) {
            state = state.after(self.plan, step).ok()?;
        }
        Some(state)
    }
}

/// The events of a way, in order.
fn steps(way: Option<&Rc<Way>>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = way;
    while let Some(way) = rest {
        steps.push(way.step);
        rest = way.before.as_ref();
    }
    steps.reverse();
    steps
}

fn trace(
    plan: &Plan,
    begin: &Cluster,
    way: Option<&Rc<Way>>,
    last: Step,
    rests: bool,
) -> Vec<String> {
    let mut lines = vec![format!("      {}", begin.status())];
    let mut state = begin.clone();
    for step in steps(way).into_iter().chain([last]) {
        lines.push(format!("{:>3}.  {}", lines.len() / 2 + 1, state.tell(plan, step)));
        let Ok(next) = state.after(plan, step) else { break };
        state = next;
        lines.push(format!("      {}", state.status()));
    }
    if rests {
        lines.push("  then everything comes to rest".to_owned());
    }
    lines
}
