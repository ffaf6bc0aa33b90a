//! Lines that are cut, that come and go, or seem to begin elsewhere.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::scene::{Scene, Survives, let_pass, start_first, under_load, variables};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, name};
use crate::proxy::Counts;
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// A node that flaps is well for so long, and cut off for as long: 1 Hz.
const FLAP: Duration = Duration::from_millis(500);

/// While lines come and go the members change no more often than that.
const CHANGE: Duration = Duration::from_secs(10);

/// Between two times that ports change: more than it takes to remove somebody.
const REBIND: Duration = Duration::from_secs(8);

/// Directed lines, sender and receiver.
type Lines = Vec<(usize, usize)>;

/// Nodes that reach each other through a proxy, and have found each other.
pub(super) fn behind_proxy(
    service: &Service,
    settings: &Settings,
    nodes: usize,
    survives: Survives,
) -> Result<Cluster> {
    let over = variables(settings.spread, survives);
    let seed = fastrand::u64(..1 << 32);
    let mut cluster = Cluster::prepare_behind_proxy(service, nodes, &over, seed)?;
    start_first(&mut cluster, nodes)?;
    Ok(cluster)
}

/// What became of the datagrams on each of these lines.
pub(super) fn counts_of_each(scene: &Scene<'_>, lines: &[(usize, usize)]) -> Result<Vec<Counts>> {
    let proxy = scene.cluster.proxy()?;
    Ok(lines.iter().map(|(from, to)| proxy.counts(*from, *to)).collect())
}

/// From each of these to each of those.
fn from_to(senders: &[usize], receivers: &[usize]) -> Lines {
    let lines = senders.iter().flat_map(|from| receivers.iter().map(move |to| (*from, *to)));
    lines.filter(|(from, to)| from != to).collect()
}

/// Both ways.
fn between(some: &[usize], others: &[usize]) -> Lines {
    [from_to(some, others), from_to(others, some)].concat()
}

/// Everybody but these.
fn but(nodes: usize, these: &[usize]) -> Vec<usize> {
    (0..nodes).filter(|node| !these.contains(node)).collect()
}

/// Cuts lines for a while, heals them, and waits until everybody is a member again and has all
/// copies. Nodes at an end of a cut line may refuse what they cannot reach.
fn cut(
    scene: &mut Scene<'_>,
    what: &str,
    lines: &[(usize, usize)],
    length: Duration,
) -> Result<()> {
    scene.say(&format!("{what}, for {length:?}"));
    let mut ends: Vec<usize> = lines.iter().flat_map(|(from, to)| [*from, *to]).collect();
    ends.sort_unstable();
    ends.dedup();
    scene.begin_trouble(ends);
    let before = counts_of_each(scene, lines)?;
    scene.cluster.proxy()?.cut(lines);
    let_pass(length);
    let after = counts_of_each(scene, lines)?;
    scene.cluster.proxy()?.mend(lines);
    let since = Instant::now();
    for ((line, before), after) in lines.iter().zip(before).zip(after) {
        ensure!(after.since(before).cut > 0, "{what}: nothing was cut off on {line:?}");
    }
    scene.full(since)?;
    scene.end_trouble();
    scene.go_on()
}

/// A node is not heard, then another one does not hear.
pub(super) fn one_way(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = behind_proxy(service, settings, NODES, Survives::One)?;
    under_load(Scenario::OneWay, settings, watch, &mut cluster, None, |scene| {
        let (mute, deaf) = (3, 4);
        let lines = from_to(&[mute], &but(NODES, &[mute]));
        cut(scene, &format!("{} is not heard", name(mute)), &lines, settings.fault)?;
        let lines = from_to(&but(NODES, &[deaf]), &[deaf]);
        cut(scene, &format!("{} does not hear", name(deaf)), &lines, settings.fault)
    })
}

/// Two nodes do not reach each other; the others reach both.
pub(super) fn pair(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = behind_proxy(service, settings, NODES, Survives::One)?;
    under_load(Scenario::PairCut, settings, watch, &mut cluster, None, |scene| {
        let (one, other) = (1, 3);
        let what = format!("{} and {} do not reach each other", name(one), name(other));
        cut(scene, &what, &between(&[one], &[other]), settings.fault)
    })
}

/// Two groups that only one node reaches both of. At most one of them may go on deciding.
pub(super) fn bridge(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = behind_proxy(service, settings, NODES, Survives::Two)?;
    under_load(Scenario::Bridge, settings, watch, &mut cluster, None, |scene| {
        let lines = between(&[0, 1], &[3, 4]);
        cut(scene, &format!("{} alone reaches all", name(2)), &lines, settings.fault)
    })
}

/// One node is cut off, then two.
pub(super) fn cut_off(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = behind_proxy(service, settings, NODES, Survives::Two)?;
    under_load(Scenario::CutOff, settings, watch, &mut cluster, None, |scene| {
        for few in [&[3][..], &[2, 3]] {
            let names: Vec<String> = few.iter().copied().map(name).collect();
            let lines = between(few, &but(NODES, few));
            cut(scene, &format!("{} cut off", names.join(", ")), &lines, settings.fault)?;
        }
        Ok(())
    })
}

/// Two halves, of which none may remove the other.
pub(super) fn even_split(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let nodes = 4;
    let mut cluster = behind_proxy(service, settings, nodes, Survives::One)?;
    under_load(Scenario::EvenSplit, settings, watch, &mut cluster, None, |scene| {
        let members = scene.processes(0)?;
        cut(scene, "two halves", &between(&[0, 1], &[2, 3]), settings.fault)?;
        let after = scene.processes(0)?;
        ensure!(after == members, "somebody was removed: {members:?} became {after:?}");
        Ok(())
    })
}

/// The lines of one node come and go.
pub(super) fn flapping(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = behind_proxy(service, settings, NODES, Survives::One)?;
    under_load(Scenario::Flapping, settings, watch, &mut cluster, None, |scene| {
        let node = 3;
        scene.say(&format!("{} flaps for {:?}", name(node), settings.flaps));
        let lines = between(&[node], &but(NODES, &[node]));
        scene.begin_trouble((0..NODES).collect());
        let (mut members, mut changes) = (scene.processes(0)?, 0);
        let (began, requests) = (Instant::now(), scene.requests());
        let before = scene.cluster.proxy()?.counts_of(&lines);
        while began.elapsed() < settings.flaps {
            scene.cluster.proxy()?.cut(&lines);
            let_pass(FLAP);
            scene.cluster.proxy()?.mend(&lines);
            let_pass(FLAP);
            let now = scene.processes(0)?;
            changes += u32::from(now != members);
            members = now;
        }
        let struck = scene.cluster.proxy()?.counts_of(&lines).since(before);
        let went_on = scene.requests() - requests;
        scene.say(&format!("{changes} changes of members, {went_on} requests went on; {struck}"));
        ensure!(struck.cut > 0, "nothing was cut off");
        // One more than the rate allows: the first may come at once.
        let allowed = 1 + settings.flaps.as_secs() / CHANGE.as_secs();
        ensure!(u64::from(changes) <= allowed, "{changes} changes of members, {allowed} allowed");
        scene.full(Instant::now())?;
        scene.end_trouble();
        scene.go_on()
    })
}

/// All nodes seem to talk from other ports, one after another.
pub(super) fn rebinding(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut cluster = behind_proxy(service, settings, NODES, Survives::One)?;
    under_load(Scenario::Rebinding, settings, watch, &mut cluster, None, |scene| {
        let members = scene.processes(0)?;
        scene.begin_trouble((0..NODES).collect());
        for node in 0..NODES {
            scene.say(&format!("{} seems to talk from other ports", name(node)));
            for other in but(NODES, &[node]) {
                scene.cluster.proxy()?.rebind(node, other)?;
            }
            // Whoever is not heard for so long would be removed.
            let_pass(REBIND);
            scene.full(Instant::now())?;
        }
        scene.end_trouble();
        let after = scene.processes(0)?;
        ensure!(after == members, "somebody was removed: {members:?} became {after:?}");
        scene.go_on()
    })
}
