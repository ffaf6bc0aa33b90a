//! Scenarios on real processes, as a table.
//!
//! `cargo x cluster --scenario crash --mode primary-backup`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use cluster_tests::scenario::{Row, Scenario, Settings, Spread, Table, Watch};
use cluster_tests::service::{Service, main_or_node};

/// Runs clusters of real processes under load while nodes crash, hang, come and go; status 1 if
/// anything is lost or stale, or a request fails where none may.
#[derive(Parser)]
struct Arguments {
    /// Only this one; may be given more than once
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<Scenario>,
    /// Only a few that take little time, one of each kind
    #[arg(long, conflicts_with = "scenarios")]
    quick: bool,
    /// Only with copies spread so
    #[arg(long = "mode", value_name = "WORD")]
    spread: Option<Spread>,
    /// Backups of each session with primary-backup: 1, in large clusters 2
    #[arg(long, value_name = "N")]
    backups: Option<usize>,
    /// Nodes of a large cluster
    #[arg(long, value_name = "N", default_value_t = 25)]
    nodes: usize,
    /// Visitors at once: 16, in large clusters 4
    #[arg(long)]
    visitors: Option<usize>,
    /// How long each of them rests between two requests, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20)]
    rest: u64,
    /// Sessions that are there already: 10,000, in large clusters 3,000
    #[arg(long)]
    sessions: Option<usize>,
    /// How long nodes hang, in seconds: 1 for the leader, 3 for a voter, 8 for another, and on
    #[arg(long, value_name = "SECONDS", value_delimiter = ',', default_values_t = [1, 3, 8])]
    pauses: Vec<u64>,
    /// Clusters that are founded
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long it is counted what idle nodes send, in seconds: two comparisons of everything
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    period: u64,
    /// How long lines between nodes are bad or cut, or a node starves, in seconds, each time
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    fault_seconds: u64,
    /// How long a line comes and goes once a second, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    flaps_seconds: u64,
    /// How long somebody attacks in one way, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    attack_seconds: u64,
    /// How long there is more load than usual, in seconds: 20, each kind of hot traffic 10
    #[arg(long, value_name = "SECONDS")]
    surge_seconds: Option<u64>,
}

fn main() -> ExitCode {
    main_or_node(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let service = Service::this()?;
    let watch = Watch::new();
    let chosen = arguments.scenarios.as_slice();
    let scenarios = match chosen {
        [] if arguments.quick => Scenario::quick(),
        [] => Scenario::all(),
        chosen => chosen,
    };
    let mut table = Table::default();
    for scenario in scenarios {
        let is_wanted = |spread: &&Spread| arguments.spread.is_none_or(|one| one == **spread);
        for spread in scenario.spreads().iter().filter(is_wanted) {
            let row = scenario.run(&service, &settings(arguments, *scenario, *spread), &watch);
            table.rows.push(row.unwrap_or_else(|error| Row::failed(*scenario, *spread, &error)));
        }
    }
    print!("{table}");
    for row in &table.rows {
        for problem in &row.problems {
            eprintln!("{} {}: {problem}", row.scenario, row.spread);
        }
    }
    let is_well = table.rows.iter().all(Row::is_well);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(arguments: &Arguments, scenario: Scenario, spread: Spread) -> Settings {
    let usual = Settings::of(scenario, spread);
    Settings {
        backups: arguments.backups.unwrap_or(usual.backups),
        nodes: arguments.nodes,
        visitors: arguments.visitors.unwrap_or(usual.visitors),
        rest: Duration::from_millis(arguments.rest),
        sessions: arguments.sessions.unwrap_or(usual.sessions),
        pauses: arguments.pauses.iter().copied().map(Duration::from_secs).collect(),
        rounds: arguments.rounds,
        period: Duration::from_secs(arguments.period),
        fault: Duration::from_secs(arguments.fault_seconds),
        flaps: Duration::from_secs(arguments.flaps_seconds),
        attack: Duration::from_secs(arguments.attack_seconds),
        surge: arguments.surge_seconds.map_or(usual.surge, Duration::from_secs),
        ..usual
    }
}
