//! Clusters are founded, again and again, and there must never be two.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::scene::LOG;
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, members, name};
use crate::service::Service;
use crate::wait::wait_for_within;

/// The longest time between the starts of two nodes.
const DELAY_MS_MAX: u64 = 400;

/// Longest wait for one cluster.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at all nodes.
const LOOK: Duration = Duration::from_millis(50);

/// What happens beside the starts.
#[derive(Debug, Clone, Copy)]
enum Twist {
    /// Nothing.
    None,
    /// One node comes when the others have founded the cluster.
    Late,
    /// One node of the cluster loses its disk.
    Wiped,
    /// One node crashes while the cluster is being founded, and comes back.
    Crash,
}

/// So many rounds, each with another twist.
pub(super) fn rounds(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut row = Row::new(Scenario::Bootstrap, settings.spread);
    let twists = [Twist::None, Twist::Late, Twist::Wiped, Twist::Crash];
    for (round, twist) in (1..=settings.rounds).zip(twists.into_iter().cycle()) {
        let seed = fastrand::u64(..1 << 32);
        let nodes = 3 + round % 3;
        watch.say(&format!("round {round}: {nodes} nodes, {twist:?}, seed {seed}"));
        let began = Instant::now();
        let founded = found(service, settings, nodes, twist, seed);
        if let Err(error) = founded {
            row.object(format!("round {round}, {nodes} nodes, {twist:?}, seed {seed}: {error:#}"));
        }
        row.full = row.full.max(began.elapsed());
    }
    Ok(row)
}

fn found(
    service: &Service,
    settings: &Settings,
    nodes: usize,
    twist: Twist,
    seed: u64,
) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let expect = match twist {
        Twist::Late => nodes - 1,
        Twist::None | Twist::Wiped | Twist::Crash => nodes,
    };
    let expect_text = expect.to_string();
    let over = [
        ("REPLICA__REPLICATION__MODE", settings.spread.name()),
        ("REPLICA__CLUSTER__EXPECT", expect_text.as_str()),
        ("RUST_LOG", LOG),
    ];
    let mut cluster = Cluster::prepare(service, nodes, &over)?;
    let mut order: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut order);
    for node in &order[..expect] {
        cluster.launch(*node)?;
        // The delay is what is tried out.
        std::thread::park_timeout(Duration::from_millis(random.u64(..DELAY_MS_MAX)));
    }
    let victim = order[random.usize(..expect)];
    if matches!(twist, Twist::Crash) {
        cluster.kill(victim)?;
        cluster.launch(victim)?;
    }
    serve(&cluster, &order[..expect])?;
    let group = one_group(&cluster)?;
    match twist {
        Twist::None | Twist::Crash => {}
        Twist::Late => cluster.start_nodes(&order[expect..])?,
        Twist::Wiped => {
            cluster.kill(victim)?;
            std::fs::remove_dir_all(cluster.path(&name(victim)).join("data"))?;
            cluster.start_node(victim)?;
        }
    }
    ensure!(one_group(&cluster)? == group, "there was another cluster before");
    Ok(())
}

fn serve(cluster: &Cluster, nodes: &[usize]) -> Result<()> {
    nodes.iter().try_for_each(|node| {
        cluster.serves(*node).with_context(|| format!("{} does not serve", name(*node)))
    })
}

/// Waits until all nodes are members of one cluster, and returns which.
fn one_group(cluster: &Cluster) -> Result<String> {
    let running: BTreeSet<String> = cluster.running().into_iter().map(name).collect();
    let seen = || {
        let statuses: Vec<_> =
            cluster.running().into_iter().filter_map(|node| cluster.status(node).ok()).collect();
        let are_members = statuses.iter().all(|status| members(status) == running);
        (are_members && statuses.len() == running.len()).then_some(statuses)
    };
    let statuses = wait_for_within("all are members", PATIENCE, LOOK, seen)?;
    let groups: BTreeSet<String> = statuses
        .iter()
        .map(|status| format!("{} of generation {}", status["group"], status["generation"]))
        .collect();
    ensure!(groups.len() == 1, "more than one cluster: {groups:?}");
    groups.into_iter().next().context("nobody runs")
}
