//! Random faults against five real nodes under load, then calm and a final check.
//!
//! `cargo x chaos --minutes 30 --mode primary-backup --seed 7`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use cluster_tests::chaos::{self, Board, Plan, Run, Summary};
use cluster_tests::scenario::Spread;
use cluster_tests::service::{Service, main_or_node};

/// Kills, pauses, restarts, drains and cuts off real nodes under load, over lines that lose, delay,
/// double and reorder; status 1 if an acknowledged write is lost, an answer is stale, an ended
/// session comes back, or a request fails where none may. Writes a report and a picture.
#[derive(Parser)]
struct Arguments {
    /// How long faults go on
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// How copies are spread; by default one run each
    #[arg(long = "mode", value_name = "WORD")]
    spread: Option<Spread>,
    /// What faults and visitors follow from; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Visitors at once
    #[arg(long, default_value_t = 12)]
    visitors: usize,
    /// How long each of them rests between two requests, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30)]
    rest: u64,
    /// Where the reports go
    #[arg(long, value_name = "FOLDER", default_value = "target/chaos")]
    out: PathBuf,
}

fn main() -> ExitCode {
    main_or_node(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let service = Service::this()?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let length = Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?;
    let mut is_well = true;
    for spread in [Spread::AllToAll, Spread::PrimaryBackup] {
        if arguments.spread.is_some_and(|only| only != spread) {
            continue;
        }
        let rest = Duration::from_millis(arguments.rest);
        let plan = Plan { spread, length, seed, visitors: arguments.visitors, rest };
        println!("chaos, {}, {} minutes, seed {seed}", spread.name(), arguments.minutes);
        let board = Board::new(length);
        let run = chaos::run(&service, &plan, &board)?;
        board.end();
        let summary = Summary::of(&run);
        is_well &= summary.is_well();
        write(arguments, &run, &summary)?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(arguments: &Arguments, run: &Run, summary: &Summary) -> Result<()> {
    std::fs::create_dir_all(&arguments.out)?;
    let name = format!("chaos-{}", run.plan.spread.name());
    let file = |ending: &str| arguments.out.join(format!("{name}.{ending}"));
    let report = chaos::markdown(run, summary, &format!("{name}.svg"));
    let json = serde_json::to_string_pretty(&chaos::json(run, summary))?;
    std::fs::write(file("md"), &report)?;
    std::fs::write(file("json"), json + "\n")?;
    std::fs::write(file("svg"), chaos::plot(run, summary))?;
    println!("{report}\nwritten: {}", file("md").display());
    Ok(())
}
