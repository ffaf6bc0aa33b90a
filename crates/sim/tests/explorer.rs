//! The exhaustive check of small clusters: nothing is found as it is, and what is missing is.

use sim::explore::{Bounds, Explored, Plan, explore};

fn explored(plan: &Plan, depth: usize) -> Explored {
    explore(plan, Bounds { depth, rest_of: 50 }, &mut |_| true)
}

/// Every plan, three events deep: no order of them breaks anything.
#[test]
fn three_events_in_any_order_break_nothing() {
    for nodes in [2, 3] {
        for plan in Plan::all(nodes).into_iter().chain(Plan::far(nodes)) {
            let explored = explored(&plan, 3);
            let found = explored.found.map(|found| (found.breach, found.trace.join("\n")));
            assert!(found.is_none(), "{} of {nodes} nodes: {found:?}", plan.name);
            assert!(explored.complete && explored.levels.iter().all(|states| *states > 0));
        }
    }
}

/// The same plan has the same states every time.
#[test]
fn a_search_repeats_itself() {
    let plan = Plan::named("move", 2).expect("a plan");
    assert_eq!(explored(&plan, 4).levels, explored(&plan, 4).levels);
}

#[cfg(feature = "mutants")]
mod mutants {
    use protocol::{Rule, Rules};

    use super::*;

    /// The hunts, in their order, until one finds that the rule is missing.
    fn noticed_as(rule: Rule) -> Option<(&'static str, usize)> {
        Plan::hunts().into_iter().find_map(|plan| {
            let plan = Plan { rules: Rules::without(rule), ..plan };
            let explored = explored(&plan, plan.depth.min(5));
            explored.found.map(|found| (found.breach.rule, explored.levels.len() - 1))
        })
    }

    #[test]
    fn rules_that_are_missing_are_missed() {
        for (rule, expected) in [
            (Rule::DirtyUntilAck, ("B1", 1)),
            (Rule::GoneAfterEnd, ("I-TERM", 2)),
            (Rule::FirstAddition, ("I-COV", 3)),
            (Rule::LoCheck, ("I-COV", 4)),
            (Rule::LossGate, ("V8", 2)),
            (Rule::Seal, ("I-NF", 2)),
        ] {
            assert_eq!(noticed_as(rule), Some(expected), "{rule:?}");
        }
    }
}
