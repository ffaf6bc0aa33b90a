//! `cargo x mutants`: switches every rule off in turn and counts the seeds until that is noticed,
//! under a fixed view and under agreed ones.

use std::process::ExitCode;

use clap::Parser;
use protocol::{Rule, Rules};
use sim::{Scenario, Views};

/// The three kinds of storm, and how the table calls them.
const STORMS: [(&str, Views); 3] = [
    ("fixed", Views::Fixed),
    ("all-to-all", Views::AgreedAll),
    ("primary-backup", Views::AgreedBackups),
];

/// Shows that the simulator notices when a rule does not hold.
#[derive(Parser)]
struct Arguments {
    /// Seeds after which a rule counts as not noticed.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Seeds that every kind of storm is given even if another has noticed.
    #[arg(long, default_value_t = 100)]
    each: u64,
    /// Only the rules whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// What one kind of storm has noticed.
type Caught = Option<(u64, &'static str)>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mut survivors, mut rules) = (0, 0);
    let heads: Vec<String> = STORMS.iter().map(|(name, _)| format!("{name:<26}")).collect();
    println!("{:<18} {}", "rule off", heads.join(""));
    for rule in Rule::ALL {
        let name = format!("{rule:?}");
        if arguments.only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        rules += 1;
        let (caught, tried) = try_rule(rule, &arguments);
        let cells: Vec<String> = caught
            .iter()
            .map(|caught| match caught {
                Some((seed, noticed)) => format!("{:>5} {noticed:<20}", seed + 1),
                None => format!("{:>5} {:<20}", format!(">{tried}"), "-"),
            })
            .collect();
        let survives = caught.iter().all(Option::is_none);
        survivors += u32::from(survives);
        println!("{name:<18} {}{}", cells.join(""), if survives { "SURVIVES" } else { "" });
    }
    println!("{} of {rules} rules noticed", rules - survivors);
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the same seeds under each kind of views, side by side, until one notices, and for a while
/// after that. Returns also how many seeds were tried.
fn try_rule(rule: Rule, arguments: &Arguments) -> ([Caught; 3], u64) {
    let mut caught: [Caught; 3] = [None; 3];
    for seed in 0..arguments.seeds {
        for (caught, (_, views)) in caught.iter_mut().zip(STORMS) {
            if caught.is_none() {
                let scenario = Scenario { rules: Rules::without(rule), ..Scenario::of(views) };
                *caught = sim::run(&scenario, seed).err().map(|violation| (seed, violation.rule));
            }
        }
        let any = caught.iter().any(Option::is_some);
        if caught.iter().all(Option::is_some) || (any && seed + 1 >= arguments.each) {
            return (caught, seed + 1);
        }
    }
    (caught, arguments.seeds)
}
