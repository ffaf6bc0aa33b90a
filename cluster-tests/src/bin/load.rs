//! A load on three real nodes, checked: stale reads, lost sessions, lost increments, errors.
//!
//! `cargo run --release -p cluster-tests --bin load -- --clients 64 --requests 100000 --kills 3`

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use cluster_tests::check;
use cluster_tests::cluster::{Cluster, name};
use cluster_tests::faults::{End, end_in_turn};
use cluster_tests::history::Down;
use cluster_tests::load::{self, Plan, Progress};
use cluster_tests::report::Report;
use cluster_tests::service::{Service, main_or_node};
use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar is drawn anew.
const DRAW: Duration = Duration::from_millis(100);

/// Puts a load on real nodes and checks every answer; status 1 if one is wrong.
#[derive(Parser)]
struct Arguments {
    /// Visitors at once
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Requests of all of them together
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    /// Nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// How often a node is killed with `kill -9` and started again meanwhile
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// The same with SIGTERM instead: a rolling restart
    #[arg(long, default_value_t = 0, conflicts_with = "kills")]
    drains: u64,
    /// What the choices of the visitors follow from; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    main_or_node(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { clients, requests, kills, drains, .. } = *arguments;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let (end, times) = if drains > 0 { (End::Drain, drains) } else { (End::Kill, kills) };
    let nodes = arguments.nodes;
    println!("{clients} clients on {nodes} nodes, {kills} kills, {drains} drains, seed {seed}");
    let mut cluster = Cluster::start(&Service::this()?, nodes)?;
    let plan = Plan { clients, requests, seed, pause: Duration::ZERO };
    let progress = Progress::default();
    let addresses = cluster.addresses();
    let (visitors, elapsed, downs) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let visitors = load::run(&addresses, &plan, &progress);
            let elapsed = visitors.elapsed();
            (visitors, elapsed)
        });
        scope.spawn(|| show(&progress, requests));
        // Requests go on while a node is down and while it starts, about as many again.
        let gap = requests / (2 * times + 1);
        let downs = end_in_turn(&mut cluster, end, times, gap, &progress);
        load.join().map(|(visitors, elapsed)| (visitors, elapsed, downs))
    })
    .ok()
    .context("the load has failed")?;
    let downs: Vec<Down> = downs?;
    for Down { node, from, until } in &downs {
        let (from, until) = (from.as_millis(), until.as_millis());
        println!("{} was down from {from} to {until} ms", name(*node));
    }
    cluster.settled()?;
    let mut history = visitors.finish();
    history.downs = downs;
    let findings = check::check(&history);
    print!("{}", Report { history: &history, findings: &findings, requests, elapsed });
    if findings.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", cluster.logs());
    Ok(ExitCode::FAILURE)
}

/// Draws how far the load is; nothing where nobody watches.
fn show(progress: &Progress, requests: u64) {
    let bar = ProgressBar::new(requests);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    loop {
        bar.set_position(progress.done.load(Ordering::Relaxed));
        if progress.is_over.load(Ordering::Relaxed) {
            return bar.finish_and_clear();
        }
        std::thread::park_timeout(DRAW);
    }
}
