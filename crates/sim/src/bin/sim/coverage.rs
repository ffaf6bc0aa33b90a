//! `cargo x sim --coverage`: which points the storms meet, and how many seeds meet each.

use std::process::ExitCode;

use sim::{Point, Scenario, Views};

/// So many seeds meet every point, or something is wrong with the storms.
const ENOUGH: u64 = 10_000;

/// Runs seeds and counts those that meet each point. A point that none meets is a failure if there
/// were enough seeds, or always if `strict`.
pub(crate) fn run(scenario: &Scenario, seeds: std::ops::Range<u64>, strict: bool) -> ExitCode {
    let count = seeds.end - seeds.start;
    let mut hits = vec![0_u64; Point::ALL.len()];
    let mut violations = 0_u64;
    for seed in seeds {
        match sim::run(scenario, seed) {
            Ok(report) => {
                for (hits, point) in hits.iter_mut().zip(Point::ALL) {
                    *hits += u64::from(report.coverage.has(*point));
                }
            }
            Err(violation) => {
                violations += 1;
                println!("seed {seed}: {violation}");
            }
        }
    }
    let mut missed = 0;
    for (hits, point) in hits.iter().zip(Point::ALL) {
        let due = scenario.views != Views::Fixed || !point.needs_agreed_views();
        let note = if *hits == 0 && due { "  NEVER" } else { "" };
        missed += u64::from(*hits == 0 && due);
        println!("{hits:>8}  {}{note}", point.text());
    }
    println!("seeds {count} violations {violations} points {} missed {missed}", hits.len());
    let due = strict || count >= ENOUGH;
    if violations == 0 && !(due && missed > 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
