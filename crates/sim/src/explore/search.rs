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
    /// Of so many states of the last level one is let come to rest, to see whether all copies
    /// become equal; 0: none.
    pub rest_of: u128,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: 6, rest_of: 1_000 }
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
    before: Option<Rc<Self>>,
}

struct Search<'a> {
    plan: &'a Plan,
    bounds: Bounds,
    begin: Cluster,
    seen: BTreeSet<u128>,
    /// The states along the way that was gone last. Of a level only the ways are kept, and they are
    /// gone again: neighbours share all but their last event.
    along: Vec<(Rc<Way>, Cluster)>,
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
    Search { plan, bounds, begin, seen, along: Vec::new(), explored }.run(go_on)
}

impl Search<'_> {
    fn run(mut self, go_on: &mut dyn FnMut(usize) -> bool) -> Explored {
        let mut fronts = vec![None];
        for depth in 1..=self.bounds.depth {
            let mut next = Vec::new();
            self.explored.levels.push(0);
            for (number, front) in fronts.into_iter().enumerate() {
                let time_left = number % 64 != 0 || go_on(self.seen.len());
                if !time_left {
                    return self.explored;
                }
                if let Err(found) = self.expand(front.as_ref(), depth, &mut next) {
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
    fn expand(
        &mut self,
        way: Option<&Rc<Way>>,
        depth: usize,
        next: &mut Vec<Option<Rc<Way>>>,
    ) -> Result<(), Found> {
        let state = self.go(way);
        let is_last = depth == self.bounds.depth;
        for step in state.steps(self.plan) {
            let found = |breach, rests| Found {
                breach,
                trace: trace(self.plan, &self.begin, way, step, rests),
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
                next.push(Some(Rc::new(Way { step, before: way.cloned() })));
            } else if self.bounds.rest_of > 0 && (print >> 64).is_multiple_of(self.bounds.rest_of) {
                self.explored.rested += 1;
                let mut at_rest = after;
                at_rest.rest(self.plan, print & 1 == 1).map_err(|breach| found(breach, true))?;
            }
        }
        Ok(())
    }

    /// The state at the end of a way.
    fn go(&mut self, way: Option<&Rc<Way>>) -> Cluster {
        let ways = ways(way);
        let shared =
            self.along.iter().zip(&ways).take_while(|((a, _), b)| Rc::ptr_eq(a, b)).count();
        self.along.truncate(shared);
        for way in ways.into_iter().skip(shared) {
            let state = self.along.last().map_or(&self.begin, |(_, state)| state);
            // It was gone before, and nothing was broken.
            let Ok(state) = state.after(self.plan, way.step) else { break };
            self.along.push((way, state));
        }
        self.along.last().map_or_else(|| self.begin.clone(), |(_, state)| state.clone())
    }
}

/// A way from its beginning.
fn ways(way: Option<&Rc<Way>>) -> Vec<Rc<Way>> {
    let mut ways = Vec::new();
    let mut rest = way;
    while let Some(way) = rest {
        ways.push(Rc::clone(way));
        rest = way.before.as_ref();
    }
    ways.reverse();
    ways
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
    for step in ways(way).iter().map(|way| way.step).chain([last]) {
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
