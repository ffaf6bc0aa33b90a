//! What nodes send each other while nobody uses them, few of them and many.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use protocol::limits::{HEARTBEAT_MS, NEIGHBOURS_A_SIDE, REPAIR_INTERVAL_MS};
use replica::limits::SHARDS;

use super::crowd::Crowd;
use super::large::{VOTERS, founded, grow};
use super::scene::let_pass;
use super::{Row, Scenario, Settings, Watch};
use crate::cluster::{Cluster, name};
use crate::service::Service;

/// Heartbeats to each peer in a second.
const HEARTBEATS: f64 = 1e3 / HEARTBEAT_MS as f64;

/// Times a second that a node tells neighbours and voters how it stands, if there is no news, and
/// the leader everybody.
const NEWS: f64 = 2.0;

/// The same for everybody else, once in half a minute.
const RARE_NEWS: f64 = 1.0 / 30.0;

/// Signs of life in a second on both connections of a link, if nothing else goes over them.
const KEEP_ALIVES: f64 = 2.0 / 10.0;

/// Messages of comparisons to each peer in a second: of every shard a question, the word that it is
/// done, and an answer to the peer's. The interval may be shorter by a fifth.
const COMPARISONS: f64 = 3.0 * SHARDS as f64 * 1e3 / (REPAIR_INTERVAL_MS as f64 * 0.8);

/// Requests, or answers, of Raft in a second between the leader and each other voter.
const RAFT: f64 = 10.0;

/// Bytes of the longest of each of these.
const HEARTBEAT_BYTES: f64 = 32.0;
const NEWS_BYTES: f64 = 96.0;
const COMPARISON_BYTES: f64 = 64.0;
const RAFT_BYTES: f64 = 160.0;

/// Bytes that QUIC adds to a message that has a datagram of its own, and those of the datagram that
/// acknowledges one.
const DATAGRAM_BYTES: f64 = 48.0;
const ACK_BYTES: f64 = 48.0;

/// What a node may send each peer in a second, in bytes: every message in a datagram of its own, and
/// as many acknowledgements, because the peer sends as much.
const PER_PEER: f64 = RARE_NEWS * alone(NEWS_BYTES)
    + KEEP_ALIVES * alone(0.0)
    + COMPARISONS * alone(COMPARISON_BYTES);

/// What it may send each neighbour beside that.
const PER_NEIGHBOUR: f64 = HEARTBEATS * alone(HEARTBEAT_BYTES);

/// What the leader may send each other voter beside that, and a voter the leader.
const PER_VOTER: f64 = RAFT * alone(RAFT_BYTES);

const fn alone(bytes: f64) -> f64 {
    bytes + DATAGRAM_BYTES + ACK_BYTES
}

/// A cluster of few nodes is idle, then one of many, with the same sessions.
pub(super) fn traffic(service: &Service, settings: &Settings, watch: &Watch) -> Result<Row> {
    let mut row = Row::new(Scenario::Idle, settings.spread);
    let mut cluster = founded(service, settings, watch)?;
    let crowd = Crowd::enter(&cluster, settings.sessions, watch)?;
    measure(&cluster, settings, watch, &mut row)?;
    let since = Instant::now();
    grow(&mut cluster, watch)?;
    row.full = since.elapsed();
    measure(&cluster, settings, watch, &mut row)?;
    crowd.check(&cluster, &mut row);
    Ok(row)
}

fn measure(cluster: &Cluster, settings: &Settings, watch: &Watch, row: &mut Row) -> Result<()> {
    cluster.settled()?;
    let nodes = cluster.running();
    watch.say(&format!("{} nodes are idle for {:?}", nodes.len(), settings.period));
    let read = || nodes.iter().map(|node| Reading::of(cluster, *node)).collect::<Result<Vec<_>>>();
    let before = read()?;
    let_pass(settings.period);
    let after = read()?;
    let rates: Vec<Rates> =
        before.iter().zip(&after).map(|(before, after)| after.since(before)).collect();
    row.note(Idle::of(&rates, settings.period).to_string());
    let leader = leader(cluster)?;
    for (node, rates) in nodes.iter().map(|node| name(*node)).zip(&rates) {
        let (bytes, bound) = (rates.bytes, bound(nodes.len(), leader == node));
        if bytes > bound {
            row.object(format!(
                "{node} sends {bytes:.0} bytes a second, and at most {bound:.0} may be"
            ));
        }
    }
    Ok(())
}

/// What a node of so many may send in a second, in bytes.
fn bound(nodes: usize, leads: bool) -> f64 {
    let others = |count: usize| count.saturating_sub(1) as f64;
    let near = others(nodes).min(2.0 * NEIGHBOURS_A_SIDE as f64);
    let told = if leads { others(nodes) } else { others(nodes).min(near + VOTERS as f64) };
    others(nodes) * PER_PEER
        + near * PER_NEIGHBOUR
        + told * NEWS * alone(NEWS_BYTES)
        + others(nodes.min(VOTERS)) * PER_VOTER
}

fn leader(cluster: &Cluster) -> Result<String> {
    let first = *cluster.running().first().context("nobody runs")?;
    let status = cluster.status(first)?;
    let leader = status["leader"].as_str().context("nobody leads")?;
    Ok(leader.to_owned())
}

/// What a node has sent since its start, in all and by lane.
struct Reading {
    at: Instant,
    bytes: u64,
    datagrams: u64,
    control: u64,
    bulk: u64,
}

/// What a node sends in a second.
#[derive(Debug, Clone, Copy)]
struct Rates {
    bytes: f64,
    datagrams: f64,
    control: f64,
    bulk: f64,
}

impl Reading {
    fn of(cluster: &Cluster, node: usize) -> Result<Self> {
        let (at, status) = (Instant::now(), cluster.status(node)?);
        let network = &status["network"];
        let reading = || {
            Some(Self {
                at,
                bytes: network["bytes_sent"].as_u64()?,
                datagrams: network["datagrams_sent"].as_u64()?,
                control: network["lanes"]["control"]["frames_sent"].as_u64()?,
                bulk: network["lanes"]["bulk"]["frames_sent"].as_u64()?,
            })
        };
        reading().with_context(|| format!("{} does not say what it sent: {network}", name(node)))
    }

    fn since(&self, before: &Self) -> Rates {
        let seconds = (self.at - before.at).as_secs_f64();
        let rate = |count: fn(&Self) -> u64| (count(self) - count(before)) as f64 / seconds;
        Rates {
            bytes: rate(|reading| reading.bytes),
            datagrams: rate(|reading| reading.datagrams),
            control: rate(|reading| reading.control),
            bulk: rate(|reading| reading.bulk),
        }
    }
}

/// What all nodes send in a second, as a sentence.
struct Idle {
    nodes: usize,
    period: Duration,
    most: f64,
    mean: Rates,
}

impl Idle {
    fn of(rates: &[Rates], period: Duration) -> Self {
        let nodes = rates.len();
        let mean = |of: fn(&Rates) -> f64| rates.iter().map(of).sum::<f64>() / nodes as f64;
        let most = rates.iter().map(|rates| rates.bytes).fold(0.0, f64::max);
        let mean = Rates {
            bytes: mean(|rates| rates.bytes),
            datagrams: mean(|rates| rates.datagrams),
            control: mean(|rates| rates.control),
            bulk: mean(|rates| rates.bulk),
        };
        Self { nodes, period, most, mean }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, period, most, mean } = self;
        let (peers, bound) = (nodes.saturating_sub(1) as f64, bound(*nodes, false));
        write!(
            f,
            "each of {nodes} nodes, idle for {period:?}, sent {:.0} bytes a second (the most {most:.0}, \
             bound {bound:.0}) in {:.0} datagrams; to each peer {:.0} bytes in {:.1} datagrams, {:.1} \
             frames of control and {:.1} of repair",
            mean.bytes,
            mean.datagrams,
            mean.bytes / peers,
            mean.datagrams / peers,
            mean.control / peers,
            mean.bulk / peers,
        )
    }
}
