//! Somebody who has a member's certificate and has heard how its process introduces itself: takes
//! the place of that process once it does not run any more, and stays a member, because heartbeats
//! come and what is asked is answered, while it says what no member says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use membership::Letter;
use protocol::Message;
use protocol::wire::Frame;
use session::Inc;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until, timeout};
use transport::hostile::{HostileConnection, HostileLink, HostileStream};
use transport::issue::CertAndKey;

use super::attack::{Attack, Known};
use super::{credentials, introduction_of};
use crate::cluster::Cluster;

/// Frames are said in bursts ([`Attack::burst`]) at this interval.
const BURST_INTERVAL: Duration = Duration::from_millis(5);

/// As often as members say that they are there, or a little more often.
const BEAT_INTERVAL: Duration = Duration::from_millis(400);

/// A link is used by the rules for so long at first: whoever breaks every link before a heartbeat
/// has come through is removed, and attacks as a stranger.
const GRACE: Duration = Duration::from_millis(50);

/// Frames that wait for a lane to take them.
const WAITING_MAX: usize = 256;

/// Longest wait for a link; a node that has just ended one does not take another at once.
const LINK_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two attempts to link.
const RETRY: Duration = Duration::from_millis(20);

/// Sessions that it remembers having been told of.
const KEYS_MAX: usize = 4_096;

/// Streams that it holds open.
const STREAMS_MAX: usize = 1_024;

/// Whoever shards are divided among.
const SHARDS: u16 = 16;

/// What an attacker has done to one node.
#[derive(Debug, Default)]
pub struct Tally {
    /// Frames, or streams, that the node's window took.
    pub sent: AtomicU64,
    /// Links that were made.
    pub links: AtomicU64,
    /// Links that the node ended.
    pub ended: AtomicU64,
    /// Frames of the node that were heard.
    pub heard: AtomicU64,
}

fn count(meter: &AtomicU64) {
    meter.fetch_add(1, Ordering::Relaxed);
}

/// An attack on some nodes, until it is over or this is dropped.
#[derive(Debug)]
pub struct Raid {
    /// What was done to each of them, in the order in which they were named.
    pub tallies: Vec<Arc<Tally>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Raid {
    /// Whether the time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for Raid {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The identity of a process of a member.
#[derive(Debug)]
pub struct Thief {
    credentials: CertAndKey,
    introduction: Bytes,
    own: Inc,
    /// Stands for one start of its own process.
    process: AtomicU64,
}

impl Thief {
    /// Hears how the process of a member introduces itself, as the node in the place `listener`,
    /// which does not run; takes its certificate; learns from another member which process it is.
    ///
    /// # Errors
    /// Nobody answers, or it is no member.
    pub async fn listen(cluster: &Cluster, member: usize, listener: usize) -> Result<Self> {
        let introduction = introduction_of(cluster, member, listener).await?;
        Ok(Self {
            credentials: credentials(cluster, member)?,
            introduction,
            own: Inc(cluster.count(member, "inc")?),
            process: AtomicU64::new(fastrand::u64(1..)),
        })
    }

    /// The process that it plays.
    #[must_use]
    pub const fn own(&self) -> Inc {
        self.own
    }

    /// Its own process seems to have started again, so that nodes take a link in the place of one
    /// whose end they have not heard of.
    pub fn start_again(&self) {
        self.process.store(fastrand::u64(1..), Ordering::Relaxed);
    }

    /// Attacks nodes until then, each at its own address or at that of a relay before it, or keeps
    /// links with them by the rules if there is no attack. To be called in a runtime of tokio.
    ///
    /// # Errors
    /// One of them does not answer.
    pub fn attack(
        self: &Arc<Self>,
        cluster: &Cluster,
        victims: &[(usize, SocketAddr)],
        attack: Option<Attack>,
        until: Instant,
    ) -> Result<Raid> {
        let mut raid = Raid { tallies: Vec::new(), tasks: Vec::new() };
        for &(victim, at) in victims {
            let other = victims.iter().map(|(other, _)| *other).find(|other| *other != victim);
            let known = self.known(cluster, victim, other.context("one victim alone")?)?;
            let tally = Arc::new(Tally::default());
            raid.tallies.push(Arc::clone(&tally));
            let thief = Arc::clone(self);
            let visit = async move { thief.visit(at, known, attack, until, &tally).await };
            raid.tasks.push(tokio::spawn(visit));
        }
        Ok(raid)
    }

    fn known(&self, cluster: &Cluster, victim: usize, other: usize) -> Result<Known> {
        Ok(Known {
            victim: Inc(cluster.count(victim, "inc")?),
            own: self.own,
            other: Inc(cluster.count(other, "inc")?),
            generation: cluster.count(victim, "generation")?,
            epoch: cluster.count(victim, "epoch")?,
            shards: SHARDS,
            keys: Vec::new(),
            chart: None,
        })
    }

    async fn link(&self, node: SocketAddr) -> Result<HostileLink> {
        let introduction = self.introduction.clone();
        let process = self.process.load(Ordering::Relaxed);
        let link = HostileLink::establish(node, &self.credentials, process, introduction);
        Ok(timeout(LINK_TIMEOUT, link).await??)
    }

    /// Makes one link after another with a node, each until the node ends it.
    async fn visit(
        &self,
        node: SocketAddr,
        mut known: Known,
        attack: Option<Attack>,
        until: Instant,
        tally: &Arc<Tally>,
    ) {
        let mut said = Said { attack, nth: 0, random: fastrand::Rng::new() };
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < until {
            retry.tick().await;
            let Ok(link) = self.link(node).await else { continue };
            count(&tally.links);
            if said.on(link, &mut known, until, tally).await {
                count(&tally.ended);
            }
        }
    }
}

/// What is said in an attack, over all of its links.
struct Said {
    attack: Option<Attack>,
    nth: u64,
    random: fastrand::Rng,
}

impl Said {
    /// Attacks over one link; true if the node ended it.
    async fn on(
        &mut self,
        mut link: HostileLink,
        known: &mut Known,
        until: Instant,
        tally: &Arc<Tally>,
    ) -> bool {
        let is_deaf = self.attack == Some(Attack::Deaf);
        let mut heard = if is_deaf { None } else { link.hear() };
        let HostileLink { control, data, lanes, .. } = link;
        let lanes = lanes.map(|lane| writer(lane, Arc::clone(tally)));
        let begins = Instant::now() + GRACE;
        let (mut beat, mut burst) = (interval(BEAT_INTERVAL), interval_at(begins, BURST_INTERVAL));
        burst.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let streams = async {
            match self.attack {
                Some(Attack::Streams) => {
                    sleep_until(begins).await;
                    open_streams(&control, &data, tally).await;
                }
                Some(_) | None => std::future::pending().await,
            }
        };
        let mut streams = std::pin::pin!(streams);
        let speaks = self.attack.filter(|attack| *attack != Attack::Streams);
        loop {
            tokio::select! {
                _ = control.closed() => return true,
                () = sleep_until(until) => return false,
                () = &mut streams => return true,
                _ = beat.tick() => {
                    // If there is no room for it others wait there already.
                    let _ = lanes[0].rules.try_send(known.heartbeat());
                }
                Some((lane, frame)) = next(&mut heard) => {
                    count(&tally.heard);
                    answer(known, &lanes[lane], &frame);
                }
                _ = burst.tick(), if speaks.is_some() => {
                    for attack in speaks.into_iter().flat_map(|attack| (0..attack.burst()).map(move |_| attack)) {
                        let (lane, bytes) = known.next(attack, self.nth, &mut self.random);
                        if lanes[lane].attack.try_send(bytes).is_ok() {
                            self.nth += 1;
                        }
                    }
                }
            }
        }
    }
}

/// What is to be written on a lane: what belongs to the attack, and what the rules ask for, which
/// goes first, or the attacker would be removed for its silence.
struct Lane {
    attack: Sender<Vec<u8>>,
    rules: Sender<Vec<u8>>,
}

/// Writes on a lane what the node's window takes, until the link ends.
fn writer(mut lane: HostileStream, tally: Arc<Tally>) -> Lane {
    let (attack, mut lies) = mpsc::channel(WAITING_MAX);
    let (rules, mut answers) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        loop {
            let (bytes, is_attack): (Vec<u8>, bool) = tokio::select! {
                biased;
                Some(bytes) = answers.recv() => (bytes, false),
                Some(bytes) = lies.recv() => (bytes, true),
                else => return,
            };
            if lane.send(&bytes).await.is_err() {
                return;
            }
            if is_attack {
                count(&tally.sent);
            }
        }
    });
    Lane { attack, rules }
}

async fn next(heard: &mut Option<mpsc::Receiver<(usize, Bytes)>>) -> Option<(usize, Bytes)> {
    match heard {
        Some(heard) => heard.recv().await,
        None => std::future::pending().await,
    }
}

/// By the rules, so that nobody waits for it.
fn answer(known: &mut Known, lane: &Lane, frame: &[u8]) {
    let envelope = match Frame::decode(frame) {
        Ok(Frame::Envelope(envelope)) => envelope,
        Ok(Frame::Letter(letter)) => {
            if let Some(Letter::Chart(chart)) = Letter::from_bytes(&letter) {
                known.chart = Some(*chart);
            }
            return;
        }
        Ok(Frame::Heartbeat(_)) | Err(_) => return,
    };
    let (generation, epoch) = (envelope.generation, envelope.epoch);
    (known.generation, known.epoch) = (generation, epoch);
    if let Message::Deltas(batch) = &envelope.message {
        let room = KEYS_MAX.saturating_sub(known.keys.len());
        known.keys.extend(batch.deltas.iter().map(|delta| delta.key).take(room));
    }
    if let Some(answer) = known.answer(envelope.message) {
        // One that finds no room is asked for again.
        let _ = lane.rules.try_send(super::frame(&known.say(envelope.shard, answer)));
    }
}

/// Opens streams that are no lanes as fast as the node lets it, on both connections.
async fn open_streams(control: &HostileConnection, data: &HostileConnection, tally: &Tally) {
    let mut open = Vec::new();
    while open.len() < STREAMS_MAX {
        let on = if open.len().is_multiple_of(2) { control } else { data };
        let Ok(stream) = on.open(&[9; 64]).await else { return };
        count(&tally.sent);
        open.push(stream);
    }
}
