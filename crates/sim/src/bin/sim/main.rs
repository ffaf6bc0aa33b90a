//! `cargo x sim`: runs seeds, or repeats one.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a program, which has a clock"
)]

mod coverage;
mod report;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::{FaultKind, Scenario, Views};

/// Runs the simulated cluster.
#[derive(Parser)]
struct Arguments {
    /// Number of seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this one seed only.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Prints everything that happens; for a single seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Plays this golden story and prints it with what it comes to.
    #[arg(long, conflicts_with_all = ["seeds", "from", "seed"])]
    story: Option<std::path::PathBuf>,
    /// Writes what the story comes to into its file; look at the difference before committing it.
    #[arg(long, requires = "story")]
    bless: bool,
    /// Number of nodes, at most seven; three, or under agreed views three to seven, unless given.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: Option<u8>,
    /// Lets a log decide who is a member, beginning with a copy at every member or at some; the
    /// configuration decides unless given.
    #[arg(long)]
    mode: Option<Mode>,
    /// Counts the seeds that meet each of the points that storms must meet.
    #[arg(long, conflicts_with_all = ["seed", "report"])]
    coverage: bool,
    /// With `--coverage`: a point that no seed meets is a failure, however few seeds there are.
    #[arg(long, requires = "coverage")]
    strict: bool,
    /// Prints what the storms cost and come to, to compare revisions by.
    #[arg(long, conflicts_with = "seed")]
    report: bool,
    /// Kinds of fault to draw from, separated by commas; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    faults: Option<Vec<FaultKind>>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    AllToAll,
    PrimaryBackup,
}

impl Mode {
    const fn views(self) -> Views {
        match self {
            Self::AllToAll => Views::AgreedAll,
            Self::PrimaryBackup => Views::AgreedBackups,
        }
    }

    const fn argument(self) -> &'static str {
        match self {
            Self::AllToAll => " --mode all-to-all",
            Self::PrimaryBackup => " --mode primary-backup",
        }
    }
}

fn fault(name: &str) -> Result<FaultKind, String> {
    FaultKind::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("no such fault; there are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.story {
        return tell(path, arguments.bless);
    }
    let mut scenario = Scenario::of(arguments.mode.map_or(Views::Fixed, Mode::views));
    if let Some(nodes) = arguments.nodes {
        scenario.nodes = usize::from(nodes);
    }
    if let Some(faults) = arguments.faults.clone() {
        scenario.faults = faults;
    }
    scenario.trace = arguments.trace;
    let (from, seeds) = arguments.seed.map_or((arguments.from, arguments.seeds), |s| (s, 1));
    if arguments.coverage {
        return coverage::run(&scenario, from..from + seeds, arguments.strict);
    }
    if arguments.report {
        return report::run(&scenario, from..from + seeds);
    }
    let begun = Instant::now();
    let (mut violations, mut ticks) = (0u64, 0u64);
    let stdout = std::io::stdout();
    for seed in from..from + seeds {
        let mut out = stdout.lock();
        match sim::run(&scenario, seed) {
            Ok(report) => {
                ticks += report.ticks;
                for line in report.trace {
                    let _ = writeln!(out, "{line}");
                }
            }
            Err(violation) => {
                violations += 1;
                let nodes = scenario.nodes;
                let _ = writeln!(out, "seed {seed}: {violation}");
                let _ = writeln!(
                    out,
                    "repeat: cargo x sim --seed {seed} --nodes {nodes}{}{}",
                    arguments.mode.map_or("", Mode::argument),
                    faults_argument(arguments.faults.as_deref())
                );
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("seeds {seeds} violations {violations} ticks {ticks} seconds {seconds:.1}");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays a story; fails if it does not come to what it tells.
fn tell(path: &std::path::Path, bless: bool) -> ExitCode {
    let told = match std::fs::read_to_string(path) {
        Ok(told) => told,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let played = sim::story::play(&told);
    print!("{played}");
    let written = if bless { std::fs::write(path, &played) } else { Ok(()) };
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if bless || played == told { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn faults_argument(faults: Option<&[FaultKind]>) -> String {
    faults.map_or_else(String::new, |faults| {
        let names: Vec<&str> = faults.iter().map(|kind| kind.name()).collect();
        format!(" --faults {}", names.join(","))
    })
}
