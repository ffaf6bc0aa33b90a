//! `cargo x sim --report`: what storms cost and come to, in figures that two revisions can be
//! compared by. Each line is a name and a number.

use std::process::ExitCode;

use sim::Scenario;

/// Runs seeds and prints the figures.
pub(crate) fn run(scenario: &Scenario, seeds: std::ops::Range<u64>) -> ExitCode {
    let mut sum = Sum { seeds: seeds.end - seeds.start, ..Sum::default() };
    for seed in seeds {
        match sim::run(scenario, seed) {
            Ok(report) => {
                sum.requests += report.requests;
                sum.commits += report.commits;
                sum.messages += report.messages;
                sum.bytes += report.delta_bytes;
                sum.converged_ms += report.converged_ms;
                sum.settled_ms += report.settled_ms;
                sum.refused += report.refused;
                sum.lost += report.lost;
                sum.finished += 1;
            }
            Err(violation) => {
                sum.violations += 1;
                sum.stale += u64::from(violation.rule == "I-RYW");
                sum.lost_wrongly += u64::from(violation.rule == "I-DUR");
            }
        }
    }
    for (name, value) in sum.figures() {
        println!("{name:<34} {value:>14.3}");
    }
    if sum.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    finished: u64,
    requests: u64,
    commits: u64,
    messages: u64,
    bytes: u64,
    converged_ms: u64,
    settled_ms: u64,
    refused: u64,
    lost: u64,
    violations: u64,
    stale: u64,
    lost_wrongly: u64,
}

impl Sum {
    fn figures(&self) -> [(&'static str, f64); 11] {
        let per = |value: u64, of: u64| value as f64 / of.max(1) as f64;
        [
            ("seeds", self.seeds as f64),
            ("violations", self.violations as f64),
            ("stale reads", self.stale as f64),
            ("lost acknowledged writes", self.lost_wrongly as f64),
            ("writes beyond their crashes/seed", per(self.lost, self.finished)),
            ("requests/seed", per(self.requests, self.finished)),
            ("refused per 1000 requests", per(self.refused * 1_000, self.requests)),
            ("bytes/write", per(self.bytes, self.commits)),
            ("messages/write", per(self.messages, self.commits)),
            ("ms to converge", per(self.converged_ms, self.finished)),
            ("ms to one layout", per(self.settled_ms, self.finished)),
        ]
    }
}
