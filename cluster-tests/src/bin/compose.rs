//! Nodes as containers: started to be used, or put through scenarios, as a table.
//!
//! `cargo x compose test --full`

use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use cluster_tests::cluster::name;
use cluster_tests::compose::engine::{Engine, Missing};
use cluster_tests::compose::fleet::Fleet;
use cluster_tests::compose::image::{self, Places};
use cluster_tests::compose::project::Plan;
use cluster_tests::compose::{Scenario, Setting, projects_of_this_process};
use cluster_tests::scenario::{Row, Spread, Table, Watch};
use cluster_tests::service::{Service, main_or_node};
use tokio::signal::unix::{SignalKind, signal};

/// The project of the containers that go on when this program has ended.
const PROJECT: &str = "replica";

/// The status of a program that was interrupted, as shells have it.
const INTERRUPTED: i32 = 130;

/// Runs nodes as containers with cluster-tests/compose.yaml. Needs a container engine and Compose,
/// and no registry: the image is made of this source.
#[derive(Parser)]
#[command(bin_name = "cargo x compose")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start nodes and a balancer, and say where they are
    Up(UpArgs),
    /// Put containers through scenarios; status 1 if anything is lost or stale, or a request fails
    /// where none may
    Test(TestArgs),
    /// End and remove everything that `up` and `test` have left, volumes too
    Down,
}

#[derive(Args)]
struct UpArgs {
    /// How copies of sessions are spread
    #[arg(long = "mode", value_name = "WORD", default_value = "all-to-all")]
    spread: Spread,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=5))]
    nodes: u8,
}

#[derive(Args)]
struct TestArgs {
    /// All scenarios, not the first alone
    #[arg(long, conflicts_with = "scenarios")]
    full: bool,
    /// Only this one; may be given more than once
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<Scenario>,
    /// Only with copies spread so
    #[arg(long = "mode", value_name = "WORD")]
    spread: Option<Spread>,
    /// How long a node hangs, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pause: u64,
}

fn main() -> ExitCode {
    main_or_node(|| run(&Arguments::parse().command))
}

fn run(task: &Task) -> Result<ExitCode> {
    let engine = match (Engine::find(), task) {
        (Err(missing), Task::Test(_)) if !is_strict() => return Ok(not_run(&missing)),
        (found, _) => found?,
    };
    match task {
        Task::Up(args) => up(&engine, args),
        Task::Test(args) => test(&engine, args),
        Task::Down => down(&engine),
    }
}

/// Whether this is a run of continuous integration, where a missing engine is a failure.
fn is_strict() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

fn not_run(missing: &Missing) -> ExitCode {
    println!("compose NOT run: {missing}");
    ExitCode::SUCCESS
}

fn up(engine: &Engine, args: &UpArgs) -> Result<ExitCode> {
    let (places, watch) = (Places::of_this()?, Watch::new());
    prepare(engine, &places, &watch)?;
    let plan = Plan {
        project: PROJECT.to_owned(),
        spread: args.spread,
        is_test: false,
        has_small_disks: false,
    };
    let mut fleet = Fleet::new(engine, &places, &Service::this()?, plan)?;
    let nodes: Vec<usize> = (0..usize::from(args.nodes)).collect();
    watch.begin("compose up");
    let started = fleet.create(&nodes, &["balancer"]).and_then(|()| fleet.whole());
    watch.end();
    started.with_context(|| fleet.logs())?;
    println!("balancer  http://{}", fleet.published("balancer")?);
    for node in nodes {
        println!("{:<10}http://{}", name(node), fleet.http(node));
    }
    println!("`cargo x compose down` ends and removes everything");
    Ok(ExitCode::SUCCESS)
}

fn down(engine: &Engine) -> Result<ExitCode> {
    let removed = engine.clear()?;
    let made = Places::of_this()?.target.join("compose");
    if made.exists() {
        std::fs::remove_dir_all(&made)?;
    }
    println!("{removed} containers, networks and volumes removed");
    Ok(ExitCode::SUCCESS)
}

/// Clears away what this process has made when it is told to end, by SIGINT or SIGTERM: what it
/// has the engine do goes on without it.
fn clear_when_told_to_end(engine: &Engine, places: &Places) -> Result<JoinHandle<()>> {
    let (engine, made) = (engine.clone(), places.target.join("compose"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    Ok(std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        let projects = projects_of_this_process();
        let cleared = engine.give_up(&projects);
        for folder in std::fs::read_dir(made).into_iter().flatten().flatten() {
            if folder.file_name().to_string_lossy().starts_with(&projects) {
                // What cannot be removed is removed by `down`.
                let _ = std::fs::remove_dir_all(folder.path());
            }
        }
        match cleared {
            Ok(removed) => eprintln!("{removed} containers, networks and volumes removed"),
            Err(error) => eprintln!("{error:#}\n`cargo x compose down` removes what is left"),
        }
        std::process::exit(INTERRUPTED);
    }))
}

fn test(engine: &Engine, args: &TestArgs) -> Result<ExitCode> {
    let places = Places::of_this()?;
    let clearing = clear_when_told_to_end(engine, &places)?;
    let tested = run_scenarios(engine, &places, args);
    if engine.has_given_up() {
        // What was under way failed for that; the process ends when everything is cleared away.
        let _ = clearing.join();
    }
    tested
}

fn run_scenarios(engine: &Engine, places: &Places, args: &TestArgs) -> Result<ExitCode> {
    let (watch, service) = (Watch::new(), Service::this()?);
    prepare(engine, places, &watch)?;
    let scenarios = match args.scenarios.as_slice() {
        [] if args.full => Scenario::all(),
        [] => &[Scenario::Login],
        chosen => chosen,
    };
    let both = [Spread::AllToAll, Spread::PrimaryBackup];
    let mut table = Table::default();
    for scenario in scenarios {
        for spread in both.into_iter().filter(|one| args.spread.is_none_or(|only| only == *one)) {
            let pause = Duration::from_secs(args.pause);
            let (service, watch) = (&service, &watch);
            let setting = Setting { engine, places, service, spread, pause, watch };
            let row = scenario.run(&setting);
            table
                .rows
                .push(row.unwrap_or_else(|error| Row::broken(scenario.name(), spread, &error)));
        }
    }
    print!("{table}");
    println!("{}", engine.versions());
    for row in &table.rows {
        for problem in &row.problems {
            eprintln!("{} {}: {problem}", row.scenario, row.spread);
        }
    }
    let is_well = table.rows.iter().all(Row::is_well);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prepare(engine: &Engine, places: &Places, watch: &Watch) -> Result<()> {
    watch.begin("compose");
    watch.say("making the image");
    let built = image::build(engine, places);
    watch.end();
    built
}
