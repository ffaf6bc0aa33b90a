//! A node that hardly gets any processor time, and must not take the others for dead.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::period::Node;
use super::scene::{Role, Scene, let_pass, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::name;
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// A starved node runs for so long and then stands still for so long, again and again: a tenth of
/// the time. All of it is less than the silence that the others bear, 2 s.
const RATIONS: [(Duration, Duration); 2] = [
    // Longer than its ticks may be late.
    (Duration::from_millis(80), Duration::from_millis(720)),
    // So long that it takes itself for one that has hung, and says so on /health.
    (Duration::from_millis(150), Duration::from_millis(1_350)),
];

/// It may have run for at most this part of the time, and used at most this part of one processor: on
/// a loaded machine whoever stops it has to wait for a processor itself.
const SHARE_MAX: f64 = 0.3;

/// Each role starves, one after another.
pub(super) fn each_role(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    under_load(Scenario::Starved, settings, watch, &mut cluster, None, |scene| {
        for role in Role::ALL {
            for ration in RATIONS {
                let node = scene.who(role)?;
                scene.say(&format!("{} starves for {:?}: {role:?}", name(node), settings.fault));
                starve(scene, node, role, ration, settings.fault)?;
                scene.go_on()?;
            }
        }
        Ok(())
    })
}

fn starve(
    scene: &mut Scene<'_>,
    node: usize,
    role: Role,
    ration: (Duration, Duration),
    length: Duration,
) -> Result<()> {
    let observer = usize::from(node == 0);
    let mut members = scene.processes(observer)?;
    let before = scene.cluster.count(node, HEALTH)?;
    // What it is asked for may come too late, and the others may have removed it.
    scene.begin_trouble(vec![node]);
    let from = scene.elapsed();
    let share = allot(scene, node, ration, length)?;
    let time = from..scene.elapsed();
    let health = scene.cluster.count(node, HEALTH)?;
    scene.full(Instant::now())?;
    scene.end_trouble();
    let mut after = scene.processes(observer)?;
    let was_removed = members.remove(&name(node)) != after.remove(&name(node));
    ensure!(after == members, "others were removed: {members:?} became {after:?}");
    // It may be as bad as it can be from the ration before.
    ensure!(health > before || health == HEALTH_MAX, "local health was {before}, and is {health}");
    let what = format!("{role:?}, standing still for {:?}", ration.1);
    tell(scene, node, &what, time);
    let removed = if was_removed { "was removed and came back" } else { "stayed a member" };
    scene.note(format!(
        "{what}: {} ran for {:.0} % of the time and used {:.0} % of a processor; its local health \
         went from {before} to {health}, and it {removed}",
        name(node),
        share.ran * 100.0,
        share.used * 100.0,
    ));
    Ok(())
}

/// What a node says of how slow it is itself.
const HEALTH: &str = "local_health";

/// What it says at worst.
const HEALTH_MAX: u64 = 8;

/// How much of the time a node ran, and how much of one processor it used.
struct Share {
    ran: f64,
    used: f64,
}

/// Stops a node and lets it go on, again and again.
fn allot(
    scene: &Scene<'_>,
    node: usize,
    (runs, stands): (Duration, Duration),
    length: Duration,
) -> Result<Share> {
    let process = scene.cluster.process(node)?;
    let (began, used) = (Instant::now(), process.processor_time()?);
    let mut stood = Duration::ZERO;
    while began.elapsed() < length {
        scene.cluster.pause(node)?;
        let stopped = Instant::now();
        let_pass(stands);
        stood += stopped.elapsed();
        scene.cluster.resume(node)?;
        let_pass(runs);
    }
    let all = began.elapsed().as_secs_f64();
    let used = process.processor_time()?.saturating_sub(used).as_secs_f64();
    let share = Share { ran: 1.0 - stood.as_secs_f64() / all, used: used / all };
    ensure!(share.ran <= SHARE_MAX, "it ran for {:.0} % of the time", share.ran * 100.0);
    ensure!(share.used <= SHARE_MAX, "it used {:.0} % of a processor", share.used * 100.0);
    Ok(share)
}

fn tell(scene: &mut Scene<'_>, node: usize, what: &str, time: Range<Duration>) {
    let others = format!("{what}: requests to the others");
    scene.periods().add_of(&others, time.clone(), Node::AllBut(node));
    scene.periods().add_of(&format!("{what}: requests to it"), time, Node::Only(node));
}
