//! One session that takes more traffic than all others together, and one user who has more sessions
//! than anybody: others must not wait for them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::crowd::Crowd;
use super::period::Ratio;
use super::scene::{Scene, let_pass, started, under_load};
use super::{Row, Scenario, Settings, Watch};
use crate::balancer::Balancer;
use crate::client::{Client, Jar};
use crate::cluster::{Cluster, name};
use crate::service::Service;

/// Three of them vote.
const NODES: usize = 5;

/// What other visitors wait for beside a hot session, at most so many times what they wait for beside
/// the same traffic of many sessions: that takes as much of the machine.
const TAIL_MAX: f64 = 4.0;

/// Who has many sessions.
const USER: &str = "hot";

const NOBODY: &str = "beside nobody";
const MANY: &str = "beside additions to many sessions";
const ONE: &str = "beside as many senders' additions to one session";

/// A hot session, then a hot user.
pub(super) fn session_and_user(
    service: &Service,
    settings: &Settings,
    watch: &Watch,
) -> Result<Row> {
    let mut cluster = started(service, settings, NODES)?;
    let mut row = under_load(Scenario::Hot, settings, watch, &mut cluster, None, |scene| {
        session(scene, settings)
    })?;
    let mut crowd = None;
    row.join(under_load(Scenario::Hot, settings, watch, &mut cluster, None, |scene| {
        crowd = Some(user(scene, settings, watch)?);
        Ok(())
    })?);
    if let Some(crowd) = crowd {
        let all: BTreeSet<usize> = (0..crowd.len()).collect();
        crowd.check_without(&cluster, &all, &mut row);
    }
    Ok(row)
}

/// Nothing beside the usual load, then additions to many sessions, then as many to one.
fn session(scene: &mut Scene<'_>, settings: &Settings) -> Result<()> {
    let (length, senders) = (settings.surge, settings.visitors);
    scene.say(&format!("the usual load for {length:?}"));
    scene.timed(NOBODY, |_| pass(length))?;
    let jars = (0..senders).map(|number| enter(scene, number)).collect::<Result<Vec<_>>>()?;
    add(scene, MANY, &jars, senders, length)?;
    add(scene, ONE, &jars[..1], senders, length)?;
    scene.periods().bound(ONE, MANY, Ratio::TailAtMost(TAIL_MAX));
    Ok(())
}

fn pass(length: Duration) -> Result<()> {
    let_pass(length);
    Ok(())
}

fn enter(scene: &Scene<'_>, number: usize) -> Result<Jar> {
    let mut client = Client::new();
    let node = scene.cluster.http(number % scene.cluster.len());
    let answer = client.get(node, &format!("/login?user=s{number}"))?;
    ensure!(answer.status == 200, "a session did not begin: {answer:?}");
    Ok(client.jar)
}

/// For a while so many senders add to the counters of sessions, each through all nodes in turn. In
/// the end every counter must be exact on every node.
fn add(
    scene: &mut Scene<'_>,
    name: &str,
    jars: &[Jar],
    senders: usize,
    length: Duration,
) -> Result<()> {
    scene.say(&format!("{senders} senders add to {} sessions for {length:?}", jars.len()));
    let before: Vec<u64> =
        jars.iter().map(|jar| count(scene.cluster, jar, 0)).collect::<Result<_>>()?;
    let added: Vec<AtomicU64> = before.into_iter().map(AtomicU64::new).collect();
    let (is_over, balancer) = (AtomicBool::new(false), scene.balancer);
    let sent_by = |sender: usize| {
        let number = sender % jars.len();
        send(balancer, sender, &jars[number], &added[number], &is_over)
    };
    let began = Instant::now();
    let sent = std::thread::scope(|scope| {
        let sent_by = &sent_by;
        let senders: Vec<_> =
            (0..senders).map(|sender| scope.spawn(move || sent_by(sender))).collect();
        let passed = scene.timed(name, |_| pass(length));
        is_over.store(true, Ordering::Relaxed);
        let sent = senders.into_iter().map(|sender| sender.join().ok().context("it panicked")?);
        let sent = sent.collect::<Result<Vec<u64>>>();
        passed.and(sent)
    })?;
    let rate = sent.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64();
    scene.note(format!("{name}: {rate:.0} additions a second, through all nodes"));
    let added: Vec<u64> = added.into_iter().map(AtomicU64::into_inner).collect();
    scene.until("every counter is exact on every node", |cluster| {
        let is_exact = |(jar, added): (&Jar, &u64)| {
            (0..NODES).all(|node| count(cluster, jar, node).is_ok_and(|count| count == *added))
        };
        jars.iter().zip(&added).all(is_exact)
    })?;
    Ok(())
}

/// Adds until it is over; how often.
fn send(
    balancer: &Balancer,
    first: usize,
    jar: &Jar,
    added: &AtomicU64,
    is_over: &AtomicBool,
) -> Result<u64> {
    let (mut client, mut turn, mut sent) = (Client::with_jar(jar.clone()), first, 0);
    while !is_over.load(Ordering::Relaxed) {
        let node = balancer.choose(turn);
        turn = node + 1;
        let answer = client.get(balancer.addresses().of(node), "/incr")?;
        ensure!(answer.status == 200, "an addition on {} failed: {answer:?}", name(node));
        added.fetch_add(1, Ordering::Relaxed);
        sent += 1;
    }
    Ok(sent)
}

fn count(cluster: &Cluster, jar: &Jar, node: usize) -> Result<u64> {
    let answer = Client::with_jar(jar.clone()).get(cluster.http(node), "/count")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body.parse()?)
}

/// Somebody signs in very often, and all of these sessions are ended together. Nobody but a node
/// with a copy knows of a session (promise P12), so that every node is asked.
fn user(scene: &mut Scene<'_>, settings: &Settings, watch: &Watch) -> Result<Crowd> {
    let sessions = settings.sessions;
    scene.say(&format!("one user signs in {sessions} times"));
    let crowd = scene.timed("while one user signed in very often", |scene| {
        Crowd::enter_as(scene.cluster, sessions, watch, |_| USER.to_owned())
    })?;
    scene.say("all of them are ended");
    let ended = scene.timed("while all sessions of the user were ended", |scene| {
        (0..NODES).map(|node| end_all(scene.cluster, node)).sum::<Result<usize>>()
    })?;
    ensure!(ended == sessions, "{ended} of {sessions} sessions were ended");
    scene.note(format!("{ended} sessions of one user were ended"));
    Ok(crowd)
}

fn end_all(cluster: &Cluster, node: usize) -> Result<usize> {
    let answer = Client::new().get(cluster.http(node), &format!("/logout-user?user={USER}"))?;
    ensure!(answer.status == 200, "{} did not end them: {answer:?}", name(node));
    Ok(answer.body.parse()?)
}
