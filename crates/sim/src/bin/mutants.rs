//! `cargo x mutants`: switches every rule off in turn and counts the seeds until that is noticed.

use std::process::ExitCode;

use clap::Parser;
use protocol::{Rule, Rules};
use sim::Scenario;

/// Shows that the simulator notices when a rule does not hold.
#[derive(Parser)]
struct Arguments {
    /// Seeds after which a rule counts as not noticed.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Only the rules whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut survivors = 0;
    println!("{:<20} {:>6}  noticed as", "rule off", "seeds");
    for rule in Rule::ALL {
        let name = format!("{rule:?}");
        if arguments.only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let scenario = Scenario { rules: Rules::without(rule), ..Scenario::default() };
        let caught = (0..arguments.seeds)
            .find_map(|seed| sim::run(&scenario, seed).err().map(|violation| (seed, violation)));
        match caught {
            Some((seed, violation)) => println!("{name:<20} {:>6}  {}", seed + 1, violation.rule),
            None => {
                survivors += 1;
                println!("{name:<20} {:>6}  SURVIVES", arguments.seeds);
            }
        }
    }
    let rules = Rule::ALL.len();
    println!("{} of {rules} rules noticed", rules - survivors);
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
