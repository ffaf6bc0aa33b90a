//! `cargo x growth`: what a cluster costs, by how many members it has.

#![allow(
    clippy::disallowed_methods,
    reason = "a program, which writes a file and uses the cores that there are"
)]

mod plot;

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use protocol::Copies;
use sim::growth::{Figures, Held, Plan, Rate, measure};

/// Measures clusters of growing size: a write, a node, and a node while nobody asks for anything.
#[derive(Parser)]
struct Arguments {
    /// Numbers of members, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "5,10,25,50,100,200")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=1_000))]
    members: Vec<u16>,
    /// The most members of which each is to hold every session: that takes time and memory.
    #[arg(long, default_value_t = 50)]
    all_up_to: u16,
    /// The same seed has the same figures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draws the figures into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// Clusters that differ in size only.
struct Series {
    name: &'static str,
    held_by: Copies,
    figures: Vec<Figures>,
}

impl Series {
    const fn new(name: &'static str, held_by: Copies) -> Self {
        Self { name, held_by, figures: Vec::new() }
    }

    fn measure(&mut self, arguments: &Arguments) {
        let most = if self.held_by == Copies::All { arguments.all_up_to } else { u16::MAX };
        for members in arguments.members.iter().filter(|members| **members <= most) {
            let plan = Plan::new(usize::from(*members), self.held_by);
            let figures = measure(&plan, arguments.seed);
            println!("{}", row(self.name, &figures));
            self.figures.push(figures);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let count = |held_by| NonZeroU16::new(held_by).map_or(Copies::All, Copies::Count);
    let mut all = [
        Series::new("all-to-all", Copies::All),
        Series::new("2 backups", count(3)),
        Series::new("1 backup", count(2)),
    ];
    println!("{}", head());
    std::thread::scope(|scope| {
        for series in &mut all {
            scope.spawn(|| series.measure(&arguments));
        }
    });
    let Some(path) = arguments.plot else { return ExitCode::SUCCESS };
    match std::fs::write(&path, plot::svg(&all)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Titles of the columns. Frames and bytes are for a write, or of a node in a second.
fn head() -> String {
    let pair = format!(" {:>8} {:>7}", "frames", "bytes");
    format!(
        "{:18} | {:^32} |{:^17} {:^17} |{:^17} {:^17}\n\
         {:<10} {:>7} | {:>8} {:>7} {:>8} {:>6} |{pair} {pair} |{pair} {pair}",
        "",
        "held by a node",
        "write, staying",
        "write, roaming",
        "idle heartbeats",
        "idle repair",
        "copies",
        "members",
        "sessions",
        "most",
        "KiB",
        "most",
    )
}

fn row(name: &str, figures: &Figures) -> String {
    let Held { sessions_mean, sessions_max, bytes_mean, bytes_max } = figures.held;
    let (kib_mean, kib_max) = (bytes_mean / 1_024.0, bytes_max as f64 / 1_024.0);
    let rate = |rate: Rate| format!(" {:>8.2} {:>7.0}", rate.messages, rate.bytes);
    let refused = match figures.refused {
        0 => String::new(),
        refused => format!(" {refused} of {} requests refused", figures.writes + refused),
    };
    format!(
        "{name:<10} {:>7} | {sessions_mean:>8.1} {sessions_max:>7} {kib_mean:>8.1} {kib_max:>6.1} \
         |{} {} |{} {}{refused}",
        figures.members,
        rate(figures.staying),
        rate(figures.roaming),
        rate(figures.idle_heartbeats),
        rate(figures.idle_repair),
    )
}
