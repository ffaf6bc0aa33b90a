//! Crashes in a large cluster: as many at once as there are backups cost nothing, and one more
//! costs what those nodes alone held, no more and no less.

use std::time::Instant;

use anyhow::{Result, bail};
use session::Slot;

use super::crowd::Crowd;
use super::large::{VOTERS, can_decide_without, founded, grow};
use super::placement::{Owners, Shared};
use super::scene::{Role, Scene, enough_voters, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, name};
use crate::service::Service;

/// What a node counts when it hears that nobody is left who had a slot.
const LOSSES: &str = "counters.losses_accepted";

/// Nodes crash one after another, then as many at once as there are backups, then one more.
pub(super) fn crashes(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = founded(service, settings, watch)?;
    grow(&mut cluster, watch)?;
    let crowd = Crowd::enter(&cluster, settings.sessions, watch)?;
    cluster.settled()?;
    let (scenario, some) = (Scenario::Scale, Some(&crowd));
    let mut row = under_load(scenario, settings, watch, &mut cluster, some, |scene| {
        one_after_another(scene)?;
        at_once(scene, settings, &crowd)
    })?;
    row.note(format!(
        "{} nodes crashed one after another and {} at once: copies were full again within {:.1} s",
        Role::ALL.len(),
        settings.backups,
        row.full.as_secs_f64(),
    ));
    check_losses(&cluster, 0, &mut row)?;
    if row.is_well() {
        row.join(one_too_many(settings, watch, &mut cluster, &crowd)?);
    }
    Ok(row)
}

/// Each role crashes when the copies are full again that the crash before has cost.
fn one_after_another(scene: &mut Scene<'_>) -> Result<()> {
    let mut crashed = Vec::new();
    for role in Role::ALL {
        let node = scene.who(role)?;
        scene.say(&format!("a crash: {role:?}"));
        let since = Instant::now();
        scene.kill(node)?;
        scene.full(since)?;
        enough_voters(scene.cluster, VOTERS)?;
        scene.go_on()?;
        crashed.push(node);
    }
    come_back(scene, &crashed)
}

/// As many as there are backups: the primary of some sessions, and all but the last backup.
fn at_once(scene: &mut Scene<'_>, settings: &Settings, crowd: &Crowd) -> Result<()> {
    let victims = choose(scene.cluster, settings, crowd, settings.backups)?;
    scene.say(&format!("{} sessions have one copy left", victims.sessions.len()));
    let since = Instant::now();
    scene.kill_at_once(&victims.nodes)?;
    scene.full(since)?;
    scene.go_on()?;
    come_back(scene, &victims.nodes)
}

fn come_back(scene: &mut Scene<'_>, nodes: &[usize]) -> Result<()> {
    scene.start_all(nodes)?;
    scene.full(Instant::now())?;
    enough_voters(scene.cluster, VOTERS)
}

/// All owners of some sessions. No visitor is there: theirs could be among them.
fn one_too_many(
    settings: &Settings,
    watch: &Watch,
    cluster: &mut Cluster,
    crowd: &Crowd,
) -> Result<Row> {
    let copies = settings.spread.held_by(settings.nodes, settings.backups);
    let victims = choose(cluster, settings, crowd, copies)?;
    let slots = Owners::among(&cluster.running(), copies)?.slots_of(&victims.nodes) as u64;
    let nobody = Settings { visitors: 0, ..settings.clone() };
    let mut row = under_load(Scenario::Scale, &nobody, watch, cluster, None, |scene| {
        let since = Instant::now();
        scene.kill_at_once(&victims.nodes)?;
        scene.full(since)
    })?;
    crowd.check_without(cluster, &victims.sessions, &mut row);
    check_losses(cluster, slots, &mut row)?;
    let (nodes, sessions) = (cluster.running().len(), victims.sessions.len());
    row.note(format!(
        "{copies} more crashed at once: {sessions} of {} sessions, in {slots} of {} slots, were \
         theirs alone, and all {nodes} others say that these are lost; copies were full again after \
         {:.1} s",
        crowd.len(),
        Slot::COUNT,
        row.full.as_secs_f64(),
    ));
    Ok(row)
}

/// The nodes that are the first so many owners of the most sessions, of those without which
/// decisions can be made.
fn choose(cluster: &Cluster, settings: &Settings, crowd: &Crowd, first: usize) -> Result<Shared> {
    let running = cluster.running();
    let copies = settings.spread.held_by(running.len(), settings.backups);
    for shared in Owners::among(&running, copies)?.shared_by(first, crowd)? {
        if can_decide_without(cluster, &shared.nodes)? {
            return Ok(shared);
        }
    }
    bail!("whoever owns a session is needed for decisions")
}

/// Every node that is left must have told of so many lost slots.
fn check_losses(cluster: &Cluster, slots: u64, row: &mut Row) -> Result<()> {
    for node in cluster.running() {
        let (told, node) = (cluster.count(node, LOSSES)?, name(node));
        if told != slots {
            row.object(format!("{node} has told of {told} lost slots, and there are {slots}"));
        }
    }
    Ok(())
}
