//! Nodes that are taken off the network of the nodes, and can still be watched over the other one.
//!
//! A node that is cut off is cut off from its visitors as well: first from them, and it is back for
//! them when it has caught up. Beside them a few witnesses go from one side to the other, which no
//! balancer would let them do: whoever has seen more than a cut-off node has must be refused there,
//! and not be told less.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::fleet::{NODES_MAX, Roles};
use super::stage::{Stage, under_load};
use super::{Scenario, Setting};
use crate::client::{Answer, Client, Jar};
use crate::cluster::name;
use crate::scenario::{Row, Spread};

/// Sessions that cross a cut. Every second one is ended beyond it.
const WITNESSES: usize = 6;

/// The leader alone.
pub(super) fn one(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX)?;
    under_load(Scenario::CutOne, setting.watch, &mut fleet, |stage| {
        let nodes = [stage.fleet.roles()?.leader];
        cut_and_mend(stage, &nodes, Left::AMajority)
    })
}

/// The leader and one that does not vote, each by itself.
pub(super) fn minority(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX)?;
    under_load(Scenario::CutMinority, setting.watch, &mut fleet, |stage| {
        let nodes = leader_and_other(&stage.fleet.roles()?)?;
        cut_and_mend(stage, &nodes, Left::AMajority)
    })
}

/// Two of four, each by itself. The two that are left hear each other, and remove nobody.
pub(super) fn half(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX - 1)?;
    under_load(Scenario::CutHalf, setting.watch, &mut fleet, |stage| {
        let nodes = leader_and_other(&stage.fleet.roles()?)?;
        cut_and_mend(stage, &nodes, Left::AHalf)
    })
}

/// One after another. Within half a minute only a minority is removed, so that it takes its time.
pub(super) fn each(setting: &Setting<'_>) -> Result<Row> {
    let mut fleet = setting.fleet(NODES_MAX)?;
    under_load(Scenario::CutEach, setting.watch, &mut fleet, |stage| {
        for node in 0..NODES_MAX {
            let since = Instant::now();
            stage.cut(&[node])?;
            stage.full(since)?;
            stage.go_on()?;
            stage.mend(&[node])?;
            stage.go_on()?;
        }
        Ok(())
    })
}

fn leader_and_other(roles: &Roles) -> Result<[usize; 2]> {
    Ok([roles.leader, roles.others.first().copied().context("everybody votes")?])
}

/// What is left when nodes are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Those that are cut off are removed.
    AMajority,
    /// They stay members, because those that are left may be the ones that are cut off.
    AHalf,
}

fn cut_and_mend(stage: &mut Stage<'_, '_>, nodes: &[usize], left: Left) -> Result<()> {
    let mut witnesses = Witness::enter(stage)?;
    let since = Instant::now();
    stage.cut(nodes)?;
    match left {
        Left::AMajority => stage.full(since)?,
        Left::AHalf => stage.until("who is cut off is missed", |fleet| {
            let missed = |node| fleet.status(node).is_ok_and(|status| lost(&status) == nodes.len());
            fleet.connected().into_iter().all(missed)
        })?,
    }
    stage.go_on()?;
    stage.say("witnesses cross the cut");
    for witness in &mut witnesses {
        witness.cross(stage, nodes)?;
    }
    stage.go_on()?;
    stage.mend(nodes)?;
    stage.say("witnesses look at both sides");
    for witness in &mut witnesses {
        witness.look(stage)?;
    }
    Ok(())
}

/// How many members do not answer.
fn lost(status: &serde_json::Value) -> usize {
    let peers = status["peers"].as_array().into_iter().flatten();
    peers.filter(|peer| peer["reachable"] == false).count()
}

/// A session, and what its visitor knows of it.
struct Witness {
    number: usize,
    client: Client,
    count: u64,
    /// The cookies of before the cut.
    early: Jar,
    early_count: u64,
    is_ended: bool,
}

impl Witness {
    /// Begins sessions on all nodes, each written and read everywhere.
    fn enter(stage: &Stage<'_, '_>) -> Result<Vec<Self>> {
        let nodes = stage.fleet.connected();
        let enter = |number: usize| {
            let (client, early) = (Client::new(), Jar::default());
            let mut witness =
                Self { number, client, count: 0, early, early_count: 0, is_ended: false };
            let first = stage.fleet.http(nodes[number % nodes.len()]);
            let answer = witness.client.get(first, &format!("/login?user=w{number}"))?;
            ensure!(answer.status == 200, "a login before the cut: {answer:?}");
            for node in &nodes {
                witness.add(stage, *node)?;
            }
            for node in &nodes {
                // Whoever does not have it all yet has after this.
                let answer = witness.client.get(stage.fleet.http(*node), "/count")?;
                ensure!(answer.body == witness.count.to_string(), "before the cut: {answer:?}");
            }
            (witness.early, witness.early_count) = (witness.client.jar.clone(), witness.count);
            Ok(witness)
        };
        (0..WITNESSES).map(enter).collect()
    }

    /// Adds to the counter.
    fn add(&mut self, stage: &Stage<'_, '_>, node: usize) -> Result<()> {
        let answer = self.client.get(stage.fleet.http(node), "/incr")?;
        let on = name(node);
        self.count += 1;
        let is_right = answer.status == 200 && answer.body == self.count.to_string();
        ensure!(is_right, "w{} added on {on}, expected {}: {answer:?}", self.number, self.count);
        Ok(())
    }

    /// Writes where the others are, and comes to those that are cut off with what it knows from
    /// there. Promises P1 and P3.
    fn cross(&mut self, stage: &mut Stage<'_, '_>, cut: &[usize]) -> Result<()> {
        let connected = stage.fleet.connected();
        let node = connected[self.number % connected.len()];
        self.add(stage, node)?;
        if self.number % 2 == 1 {
            let late = self.client.jar.clone();
            let answer = self.client.get(stage.fleet.http(node), "/logout")?;
            ensure!(
                answer.status == 200,
                "w{} logs out on {}: {answer:?}",
                self.number,
                name(node)
            );
            (self.client.jar, self.is_ended) = (late, true);
        }
        for node in cut {
            let late = self.ask(stage, *node, self.client.jar.clone())?;
            // With what it knows a node cannot say that there is none, unless it has heard of the end.
            if late.status != 503 {
                let text = format!("knows {}", self.count);
                stage.object(self.wrong(*node, &late, &text));
            }
            let early = self.ask(stage, *node, self.early.clone())?;
            let has_it = early.status == 200 && early.body == self.early_count.to_string();
            // Where every node has every session, a node serves what it has.
            let may_lack_it = stage.fleet.spread() == Spread::PrimaryBackup;
            if !(has_it || may_lack_it && early.status == 503) {
                let text = format!("knew {} before the cut", self.early_count);
                stage.object(self.wrong(*node, &early, &text));
            }
        }
        Ok(())
    }

    /// When everything is well again: the same on all nodes.
    fn look(&self, stage: &mut Stage<'_, '_>) -> Result<()> {
        for node in stage.fleet.connected() {
            let answer = self.ask(stage, node, self.client.jar.clone())?;
            let is_right = match self.is_ended {
                true => answer.status == 401,
                false => answer.status == 200 && answer.body == self.count.to_string(),
            };
            if !is_right {
                let text = format!("knows {}, ended: {}", self.count, self.is_ended);
                stage.object(self.wrong(node, &answer, &text));
            }
        }
        Ok(())
    }

    fn ask(&self, stage: &Stage<'_, '_>, node: usize, jar: Jar) -> Result<Answer> {
        let answer = Client::with_jar(jar).get(stage.fleet.http(node), "/count");
        answer.with_context(|| format!("w{} on {}", self.number, name(node)))
    }

    fn wrong(&self, node: usize, answer: &Answer, knows: &str) -> String {
        let (number, on, status, body) = (self.number, name(node), answer.status, &answer.body);
        format!("witness w{number}, who {knows}, was told {status} {body:?} by {on}")
    }
}
