//! A member's certificate and the number of its process are stolen: whoever has them lies to all
//! other members in every way, and those without a certificate that counts knock at the same time.
//! Visitors of the honest nodes must not notice, and no node may grow or panic.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::runtime::Runtime;

use super::crowd::Crowd;
use super::scene::{Scene, full_copies, let_pass, prepared, start_first, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, members, name};
use crate::hostile::{Attack, Outsider, Outsiders, Relay, Thief, Way};
use crate::service::Service;
use crate::wait::wait_until;

/// Nodes that vote, and are honest.
const HONEST: [usize; 3] = [0, 1, 2];

/// The member whose place is taken. Its name is greater than those of the others, so that they
/// choose the links.
const STOLEN: usize = 3;

/// A node that does not run, at whose place is listened.
const LISTENER: usize = 4;

/// Requests before memory is measured for the first time, so that what a node needs for its work
/// is not taken for growth.
const WARM_UP: usize = 8;

/// More memory than this no honest node may gain by one attack.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Between two looks at the memory of the nodes.
const LOOK: Duration = Duration::from_millis(100);

/// Of what was sent so much must have been counted at least; the rest is what was on its way at the
/// end, or on another lane.
const ARRIVED_PART: u64 = 4;

/// So many times as long as other attacks those over bad lines take: a link takes longer to make.
const TORN: u32 = 3;

/// So long the thief and the member are there under one name.
const BOTH: Duration = Duration::from_secs(6);

/// All kinds of attacks, one after another.
pub(super) fn all_kinds(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let later = LISTENER + 1 - HONEST.len();
    let mut cluster = prepared(service, settings, HONEST.len(), later)?;
    start_first(&mut cluster, HONEST.len())?;
    cluster.start_node(STOLEN)?;
    full_copies(&cluster)?;
    let crowd = Crowd::enter(&cluster, settings.sessions, watch)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    under_load(Scenario::Hostile, settings, watch, &mut cluster, Some(&crowd), |scene| {
        let mut siege = Siege::begin(scene, &runtime, settings.attack)?;
        siege.lie(scene)?;
        siege.tear(scene)?;
        siege.knock(scene)?;
        siege.come_back(scene)?;
        siege.meet_itself(scene)
    })
}

/// Who attacks, and what the honest nodes were like before.
struct Siege<'r> {
    runtime: &'r Runtime,
    thief: Arc<Thief>,
    length: Duration,
    /// Bytes in RAM of each honest node before all of it.
    before: BTreeMap<usize, u64>,
}

impl<'r> Siege<'r> {
    fn begin(scene: &mut Scene<'_>, runtime: &'r Runtime, length: Duration) -> Result<Self> {
        for _ in 0..WARM_UP {
            scene.go_on()?;
        }
        scene.timed("before", |_| {
            let_pass(length);
            Ok(())
        })?;
        // Who hands a write to the thief, which owns sessions and may be their primary, cannot know
        // what becomes of it. Nothing else is forgiven, for nobody visits the thief.
        scene.begin_trouble(vec![STOLEN]);
        let thief = steal(scene, runtime)?;
        let mut siege = Self { runtime, thief, length, before: BTreeMap::new() };
        let name = format!("{} is played by the rules", name(STOLEN));
        siege.raid(scene, &name, &honest(scene.cluster), None)?;
        siege.before = resident(scene.cluster)?;
        Ok(siege)
    }

    /// Whoever has been removed would attack as a stranger, which is another thing: the member
    /// joins again, and its place is taken again.
    fn is_member_again(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        if !self.is_member(scene.cluster)? {
            scene.start(STOLEN)?;
            scene.full(Instant::now())?;
            self.thief = steal(scene, self.runtime)?;
        }
        Ok(())
    }

    /// Lies to all honest nodes, in one way after another.
    fn lie(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        for attack in Attack::ALL {
            self.is_member_again(scene)?;
            let victims = honest(scene.cluster);
            self.raid(scene, attack.name(), &victims, Some(attack))?;
        }
        Ok(())
    }

    /// The same over lines on which a third of the datagrams is lost, so that what arrives of each
    /// stream has gaps.
    fn tear(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        self.is_member_again(scene)?;
        let relays = HONEST.map(|node| Relay::start(scene.cluster.quic(node), Way::Gaps));
        let relays = relays.into_iter().collect::<Result<Vec<Relay>>>()?;
        // As below: nor may they have heard of the end of the links before.
        self.thief.start_again();
        let length = self.length;
        self.length = TORN * length;
        let victims: Vec<(usize, SocketAddr)> =
            HONEST.into_iter().zip(relays.iter().map(Relay::address)).collect();
        self.raid(scene, "gaps in streams", &victims, Some(Attack::Needs))?;
        self.length = length;
        // They may not have heard through the relays that those links have ended.
        self.thief.start_again();
        let dropped: Vec<u64> = relays.iter().map(|relay| relay.counts().1).collect();
        ensure!(dropped.iter().all(|count| *count > 0), "nothing was lost: {dropped:?}");
        scene.note(format!("gaps in streams: {dropped:?} datagrams were lost on purpose"));
        Ok(())
    }

    /// One attack on nodes; its counts at both ends, and what follows from the rules.
    fn raid(
        &self,
        scene: &mut Scene<'_>,
        name: &str,
        victims: &[(usize, SocketAddr)],
        attack: Option<Attack>,
    ) -> Result<()> {
        scene.say(name);
        let way = attack.map_or("network.links_up", Attack::counted_as);
        let before = counts(scene.cluster, way)?;
        let until = tokio::time::Instant::now() + self.length;
        let _context = self.runtime.enter();
        let raid = self.thief.attack(scene.cluster, victims, attack, until)?;
        let memory = scene.timed(name, |scene| watch_memory(scene.cluster, || raid.is_over()))?;
        if !self.is_member(scene.cluster)? {
            // Its links ended faster than heartbeats came through: by the rules as well.
            scene.note(format!("{name}: the thief was removed meanwhile"));
        }
        self.note_memory(scene, name, &memory)?;
        for ((node, _), tally) in victims.iter().zip(&raid.tallies) {
            let count = |meter: &std::sync::atomic::AtomicU64| meter.load(Ordering::Relaxed);
            let [sent, links, ended, heard] =
                [&tally.sent, &tally.links, &tally.ended, &tally.heard].map(count);
            let counted = scene.cluster.count(*node, way)? - before[node];
            let what = format!(
                "{name} at {}: {sent} sent, {heard} heard, {links} links, {ended} ended by the \
                 node, {way} +{counted}",
                crate::cluster::name(*node)
            );
            ensure!(links > 0 && counted > 0, "it had no effect: {what}");
            if let Some(attack) = attack {
                ensure!(sent > 0, "nothing was sent: {what}");
                let is_deaf = attack == Attack::Deaf;
                ensure!((heard == 0) == is_deaf, "answers are read or are not: {what}");
                ensure!((ended > 0) == attack.ends_links(), "links end or do not: {what}");
                let arrives = way.ends_with("frames_received");
                ensure!(!arrives || counted >= sent / ARRIVED_PART, "it did not arrive: {what}");
            }
            scene.note(what);
        }
        Ok(())
    }

    /// Those who are refused before there is a link, or never say anything.
    fn knock(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        self.is_member_again(scene)?;
        // Meanwhile the thief keeps to the rules, so that nobody is removed.
        let until = tokio::time::Instant::now() + 4 * self.length * Outsider::ALL.len() as u32;
        let _context = self.runtime.enter();
        let victims = honest(scene.cluster);
        let quiet = self.thief.attack(scene.cluster, &victims, None, until)?;
        wait_until("the thief is linked", || {
            quiet.tallies.iter().all(|tally| tally.links.load(Ordering::Relaxed) > 0)
        })?;
        let links = counts(scene.cluster, "network.links_down")?;
        for outsider in Outsider::ALL {
            let (what, way) = (outsider.name(), outsider.counted_as());
            scene.say(what);
            let before = counts(scene.cluster, way)?;
            // Who holds on does so for longer than a node bears it, however late it is taken.
            let holds_on = matches!(outsider, Outsider::Silent | Outsider::HalfOpen);
            let length = if holds_on { 2 * self.length } else { self.length };
            let until = tokio::time::Instant::now() + length;
            let knocking =
                HONEST.map(|node| Outsiders::start(scene.cluster, node, outsider, until));
            let knocking = knocking.into_iter().collect::<Result<Vec<Outsiders>>>()?;
            let memory = scene.timed(what, |scene| {
                watch_memory(scene.cluster, || knocking.iter().all(Outsiders::is_over))
            })?;
            self.note_memory(scene, what, &memory)?;
            for (node, outsiders) in HONEST.into_iter().zip(&knocking) {
                let is_counted =
                    || scene.cluster.count(node, way).is_ok_and(|now| now > before[&node]);
                wait_until(way, is_counted)?;
                let counted = scene.cluster.count(node, way)? - before[&node];
                let (name, begun) = (name(node), outsiders.begun());
                scene.note(format!("{what} at {name}: {begun} begun, {way} +{counted}"));
            }
        }
        let after = counts(scene.cluster, "network.links_down")?;
        drop(quiet);
        let is_quiet = links == after || !self.is_member(scene.cluster)?;
        ensure!(is_quiet, "links of members ended: {links:?} became {after:?}");
        Ok(())
    }

    /// The member is removed, and its process says that it is one.
    fn come_back(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        scene.until("it is removed", |cluster| {
            HONEST.iter().all(|node| !is_member(cluster, *node, STOLEN))
        })?;
        let what = "a removed member";
        let (way, until) =
            ("meters.frames_of_strangers", tokio::time::Instant::now() + self.length);
        let before = counts(scene.cluster, way)?;
        let _context = self.runtime.enter();
        let victims = honest(scene.cluster);
        let raid = self.thief.attack(scene.cluster, &victims, Some(Attack::Forwards), until)?;
        let memory = scene.timed(what, |scene| watch_memory(scene.cluster, || raid.is_over()))?;
        self.note_memory(scene, what, &memory)?;
        for (node, tally) in HONEST.into_iter().zip(&raid.tallies) {
            let counted = scene.cluster.count(node, way)? - before[&node];
            let sent = tally.sent.load(Ordering::Relaxed);
            let what = format!("{what} at {}: {sent} sent, {way} +{counted}", name(node));
            ensure!(sent > 0 && counted >= sent / ARRIVED_PART, "it was not refused: {what}");
            ensure!(!is_member(scene.cluster, node, STOLEN), "it is a member again");
            scene.note(what);
        }
        Ok(())
    }

    /// The member starts again while somebody else goes by its name.
    fn meet_itself(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let what = "one name twice";
        // The member may not reach the others while they are linked with somebody else of its name:
        // what was forgiven from the beginning is forgiven still.
        let until = tokio::time::Instant::now() + BOTH;
        let _context = self.runtime.enter();
        let victims = honest(scene.cluster);
        let raid = self.thief.attack(scene.cluster, &victims, None, until)?;
        let links = |raid: &crate::hostile::Raid| -> u64 {
            raid.tallies.iter().map(|tally| tally.links.load(Ordering::Relaxed)).sum()
        };
        wait_until("the thief is linked", || links(&raid) > 0)?;
        scene.cluster.launch(STOLEN)?;
        let memory = scene.timed(what, |scene| watch_memory(scene.cluster, || raid.is_over()))?;
        self.note_memory(scene, what, &memory)?;
        scene.note(format!("{what}: the thief was linked {} times", links(&raid)));
        let since = Instant::now();
        scene.serves(STOLEN)?;
        scene.full(since)?;
        scene.end_trouble();
        for node in HONEST {
            let panics = scene.cluster.process(node)?.panics();
            ensure!(panics == 0, "{} has panicked", name(node));
        }
        scene.go_on()
    }

    /// Whether all honest nodes take the thief for a member.
    fn is_member(&self, cluster: &Cluster) -> Result<bool> {
        let mut is_member = true;
        for node in HONEST {
            let status = cluster.status(node)?;
            let mut all = status["members"].as_array().into_iter().flatten();
            is_member &= all.any(|member| member["inc"] == self.thief.own().0);
        }
        Ok(is_member)
    }

    /// By how much the nodes grew at most in an attack, and since before all of them.
    fn note_memory(&self, scene: &mut Scene<'_>, what: &str, memory: &Memory) -> Result<()> {
        let kib = |before: &BTreeMap<usize, u64>| -> Vec<u64> {
            let grown = |(node, peak): (&usize, &u64)| {
                peak.saturating_sub(before.get(node).copied().unwrap_or(*peak)) >> 10
            };
            memory.peak.iter().map(grown).collect()
        };
        let (grown, in_all) = (kib(&memory.before), kib(&self.before));
        let is_little = grown.iter().all(|kib| *kib <= GROWTH_BYTES_MAX >> 10);
        ensure!(is_little, "{what}: the nodes have grown by {grown:?} KiB");
        scene.note(format!("{what}: the nodes grew by {grown:?} KiB at most, {in_all:?} in all"));
        Ok(())
    }
}

/// Steals the identity of a member that runs, and kills its process.
fn steal(scene: &mut Scene<'_>, runtime: &Runtime) -> Result<Arc<Thief>> {
    let thief = runtime.block_on(Thief::listen(scene.cluster, STOLEN, LISTENER))?;
    scene.kill(STOLEN)?;
    Ok(Arc::new(thief))
}

fn honest(cluster: &Cluster) -> Vec<(usize, SocketAddr)> {
    HONEST.map(|node| (node, cluster.quic(node))).to_vec()
}

fn is_member(cluster: &Cluster, node: usize, member: usize) -> bool {
    cluster.status(node).is_ok_and(|status| members(&status).contains(&name(member)))
}

/// A count of each honest node.
fn counts(cluster: &Cluster, way: &str) -> Result<BTreeMap<usize, u64>> {
    HONEST.into_iter().map(|node| Ok((node, cluster.count(node, way)?))).collect()
}

fn resident(cluster: &Cluster) -> Result<BTreeMap<usize, u64>> {
    HONEST.into_iter().map(|node| Ok((node, cluster.process(node)?.resident_bytes()?))).collect()
}

/// Memory of the honest nodes in an attack, in bytes in RAM.
struct Memory {
    before: BTreeMap<usize, u64>,
    peak: BTreeMap<usize, u64>,
}

/// Looks at it until something is over.
fn watch_memory(cluster: &Cluster, is_over: impl Fn() -> bool) -> Result<Memory> {
    let before = resident(cluster)?;
    let mut peak = before.clone();
    while !is_over() {
        let_pass(LOOK);
        for (node, bytes) in resident(cluster)? {
            peak.entry(node).and_modify(|most| *most = bytes.max(*most)).or_insert(bytes);
        }
    }
    Ok(Memory { before, peak })
}
