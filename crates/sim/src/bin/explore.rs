//! `cargo x explore`: every order of events in small clusters, up to a depth.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program, which has a clock"
)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::explore::{Bounds, Explored, Plan, explore};

/// Explores small clusters exhaustively.
#[derive(Parser)]
struct Arguments {
    /// Number of nodes, 2 or 3; both unless given.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    nodes: Option<u8>,
    /// Events on the way to a state at most; without it each plan has its own.
    #[arg(long)]
    depth: Option<usize>,
    /// Only the plan of this name.
    #[arg(long)]
    only: Option<String>,
    /// Seconds for each plan at most.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Of so many last states one is let come to rest; 0: none.
    #[arg(long, default_value_t = 1_000)]
    rest_of: u128,
    /// Switches rules off, one by one, and shows which are missed.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "mutants")]
    if arguments.mutants {
        return mutants::run(arguments.only.as_deref(), arguments.depth, arguments.seconds);
    }
    let mut broken = false;
    println!(
        "{:<10} {:>5} {:>5} {:>10} {:>8}  states of each level",
        "plan", "nodes", "depth", "states", "seconds"
    );
    for nodes in [2, 3] {
        if arguments.nodes.is_some_and(|only| usize::from(only) != nodes) {
            continue;
        }
        for plan in Plan::all(nodes).into_iter().chain(Plan::far(nodes)) {
            if arguments.only.as_ref().is_some_and(|only| *only != plan.name) {
                continue;
            }
            broken |= !show(&plan, &arguments);
        }
    }
    println!("at most, on the way to a state: see `Allowance` of each plan; messages in flight: 6");
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Explores one plan; false if something is broken.
fn show(plan: &Plan, arguments: &Arguments) -> bool {
    let began = Instant::now();
    let depth = arguments.depth.unwrap_or(plan.depth);
    let bounds = Bounds { depth, rest_of: arguments.rest_of };
    let mut go_on = |_| began.elapsed().as_secs() < arguments.seconds;
    let explored = explore(plan, bounds, &mut go_on);
    let seconds = began.elapsed().as_secs_f64();
    let (name, nodes, states) = (plan.name, plan.hosts, explored.states());
    let end = if explored.complete { "" } else { " (not to its end)" };
    println!(
        "{name:<10} {nodes:>5} {depth:>5} {states:>10} {seconds:>8.1}  {:?}{end}",
        explored.levels
    );
    println!(
        "         {}; {:?}; {} too crowded, {} came to rest",
        plan.about, plan.allowance, explored.crowded, explored.rested
    );
    tell(&explored)
}

fn tell(explored: &Explored) -> bool {
    let Some(found) = &explored.found else { return true };
    println!("{}: {}", found.breach.rule, found.breach.detail);
    for line in &found.trace {
        println!("{line}");
    }
    false
}

#[cfg(feature = "mutants")]
mod mutants {
    //! Which rules are missed when they are switched off.

    use std::process::ExitCode;
    use std::time::Instant;

    use protocol::{Rule, Rules};
    use sim::explore::{Bounds, Plan, explore};

    pub(super) fn run(only: Option<&str>, depth: Option<usize>, seconds: u64) -> ExitCode {
        let mut noticed = 0;
        println!(
            "{:<20} {:<8} {:>5} {:>6} {:>8}  noticed as",
            "rule off", "plan", "nodes", "events", "seconds"
        );
        for rule in Rule::ALL {
            let name = format!("{rule:?}");
            if only.is_some_and(|only| !name.contains(only)) {
                continue;
            }
            let began = Instant::now();
            let found = search(rule, depth, seconds);
            let seconds = began.elapsed().as_secs_f64();
            match found {
                Some((plan, nodes, events, rule)) => {
                    noticed += 1;
                    println!("{name:<20} {plan:<8} {nodes:>5} {events:>6} {seconds:>8.1}  {rule}");
                }
                None => println!("{name:<20} {:<8} {:>5} {:>6} {seconds:>8.1}  -", "-", "-", "-"),
            }
        }
        println!("{noticed} of {} rules are missed within reach", Rule::ALL.len());
        ExitCode::SUCCESS
    }

    /// The first hunt that finds something, by the shortest way.
    fn search(
        rule: Rule,
        depth: Option<usize>,
        seconds: u64,
    ) -> Option<(&'static str, usize, usize, &'static str)> {
        for plan in Plan::hunts() {
            let plan = Plan { rules: Rules::without(rule), ..plan };
            let bounds = Bounds { depth: depth.unwrap_or(plan.depth), rest_of: 20 };
            let began = Instant::now();
            let mut go_on = |_| began.elapsed().as_secs() < seconds;
            let explored = explore(&plan, bounds, &mut go_on);
            if let Some(found) = explored.found {
                let events = explored.levels.len().saturating_sub(1);
                return Some((plan.name, plan.hosts, events, found.breach.rule));
            }
        }
        None
    }
}
