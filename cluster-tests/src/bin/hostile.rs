//! Bad datagrams at a bounded rate against one node of three, while visitors go on.
//!
//! `cargo run --release -p cluster-tests --bin hostile -- --seconds 60 --rate 10000`

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use cluster_tests::check::check;
use cluster_tests::cluster::Cluster;
use cluster_tests::hostile::Flood;
use cluster_tests::load::{self, Plan, Progress, Visitors};
use cluster_tests::report::Report;
use cluster_tests::service::{Service, main_or_node};

/// More memory than this must not be used after the attack.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Requests before memory is measured for the first time, so that what a node needs for its work
/// is not taken for growth.
const WARM_UP_REQUESTS: u64 = 20_000;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Pause of each visitor between two requests: the node is attacked, not loaded.
const PAUSE: Duration = Duration::from_millis(20);

/// Attacks a real node with datagrams that are none; status 1 if it grows or a visitor notices.
#[derive(Parser)]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Bad datagrams a second
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Visitors meanwhile
    #[arg(long, default_value_t = 8)]
    clients: usize,
}

fn main() -> ExitCode {
    main_or_node(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cluster = Cluster::start(&Service::this()?, 3)?;
    let warm_up = plan(arguments, WARM_UP_REQUESTS, Duration::ZERO);
    drop(load::run(&cluster.addresses(), &warm_up, &Progress::default()));
    cluster.settled()?;
    let before = Sample::of(&cluster)?;
    println!("{} bad datagrams a second for {} s", arguments.rate, arguments.seconds);
    let (sent, peak_bytes, visitors, progress) = attack(&cluster, arguments)?;
    cluster.settled()?;
    let after = Sample::of(&cluster)?;
    let elapsed = visitors.elapsed();
    let history = visitors.finish();
    let findings = check(&history);
    let requests = progress.done.load(Ordering::Relaxed);
    let growth = after.resident_bytes.max(peak_bytes).saturating_sub(before.resident_bytes);
    let rows = [
        ("datagrams sent", sent),
        ("datagrams received, honest ones too", after.datagrams - before.datagrams),
        ("of them belonging to no connection", after.stray - before.stray),
        ("connections refused", after.refused - before.refused),
        ("links that ended", after.links_down - before.links_down),
        ("KiB resident before", before.resident_bytes >> 10),
        ("KiB resident at most", peak_bytes >> 10),
        ("KiB resident after", after.resident_bytes >> 10),
        ("KiB grown", growth >> 10),
    ];
    for (name, count) in rows {
        println!("{name:<36}{count:>10}");
    }
    print!("{}", Report { history: &history, findings: &findings, requests, elapsed });
    if growth <= GROWTH_BYTES_MAX && findings.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", cluster.logs());
    Ok(ExitCode::FAILURE)
}

fn plan(arguments: &Arguments, requests: u64, pause: Duration) -> Plan {
    Plan { clients: arguments.clients, requests, seed: fastrand::u64(..1 << 32), pause }
}

/// Attacks the first node; how many datagrams were sent, the most memory that it used, and the
/// visitors meanwhile.
fn attack(cluster: &Cluster, arguments: &Arguments) -> Result<(u64, u64, Visitors, Progress)> {
    let progress = Progress::default();
    let plan = plan(arguments, u64::MAX, PAUSE);
    let addresses = cluster.addresses();
    let (visitors, peak_bytes, sent) = std::thread::scope(|scope| {
        let visitors = scope.spawn(|| load::run(&addresses, &plan, &progress));
        let attacked = watch(cluster, arguments);
        progress.is_over.store(true, Ordering::Relaxed);
        let visitors = visitors.join().expect("the visitors panicked");
        attacked.map(|(peak_bytes, sent)| (visitors, peak_bytes, sent))
    })?;
    Ok((sent, peak_bytes, visitors, progress))
}

fn watch(cluster: &Cluster, arguments: &Arguments) -> Result<(u64, u64)> {
    let flood = Flood::start(cluster.quic(0), arguments.rate)?;
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut peak_bytes = 0;
    while Instant::now() < until {
        peak_bytes = peak_bytes.max(cluster.process(0)?.resident_bytes()?);
        std::thread::park_timeout(LOOK);
    }
    Ok((peak_bytes, flood.stop()))
}

/// The attacked node at one moment.
struct Sample {
    resident_bytes: u64,
    datagrams: u64,
    stray: u64,
    refused: u64,
    links_down: u64,
}

impl Sample {
    fn of(cluster: &Cluster) -> Result<Self> {
        let status = cluster.status(0)?;
        let network = &status["network"];
        let count = |name: &str| network[name].as_u64().unwrap_or_default();
        let refused = network["refused"].as_object();
        Ok(Self {
            resident_bytes: cluster.process(0)?.resident_bytes()?,
            datagrams: count("datagrams"),
            stray: count("datagrams_stray"),
            refused: refused
                .map(|reasons| reasons.values().filter_map(serde_json::Value::as_u64).sum())
                .unwrap_or_default(),
            links_down: count("links_down"),
        })
    }
}
