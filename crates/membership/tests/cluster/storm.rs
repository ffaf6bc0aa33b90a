//! Faults at random, and proposals all the while: what a proposal was answered is what comes out.
//! `STORM_SEED` chooses the faults; how they meet what the voters do differs from run to run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use membership::{ProposeError, Settings};
use protocol::View;

use super::world::{SETTINGS, World, joining};

/// Shorter than an election, so that some proposals are given up half-way.
const IMPATIENCE: Duration = Duration::from_millis(400);

/// Each view that any node has told, by its epoch: no two are different.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<u64, Arc<View>>>>);

impl Told {
    fn listen(&self, world: &World, name: &str) {
        let (mut views, told) = (world.voter(name).views(), self.clone());
        tokio::spawn(async move {
            while views.changed().await.is_ok() {
                told.add(&views.borrow_and_update().clone());
            }
        });
    }

    fn add(&self, view: &Arc<View>) {
        let Self(told) = self;
        let mut told = told.lock().unwrap();
        let same = told.entry(view.epoch).or_insert_with(|| Arc::clone(view));
        if same != view {
            // Seen by whoever looks at the end: this is a task of its own.
            told.insert(0, Arc::clone(view));
        }
    }
}

/// What is known of the joins that were proposed, by the name that joined.
#[derive(Default)]
struct Proposals {
    made: BTreeMap<String, u64>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

fn seed() -> u64 {
    std::env::var("STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

async fn storm(seed: u64, count: usize) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let settings = Settings { snapshot_entries: 8, kept_entries: 2, ..SETTINGS };
    let mut world = World::of(count, count, settings).await;
    let names: Vec<String> = ('a'..).take(count).map(String::from).collect();
    let told = Told::default();
    names.iter().for_each(|name| told.listen(&world, name));
    let (mut stopped, mut proposals) = (BTreeSet::new(), Proposals::default());
    for round in 0..30 {
        let victim = names[chance.usize(..count)].clone();
        match chance.u8(..10) {
            0..=1 => world.isolate(&victim),
            2..=3 => world.cut(&victim, &names[chance.usize(..count)]),
            4..=5 => world.heal(),
            6 if stopped.insert(victim.clone()) => world.stop(&victim).await,
            7..=8 => {
                if let Some(name) = stopped.pop_first() {
                    world.start(&name).await;
                    told.listen(&world, &name);
                }
            }
            _ => {}
        }
        let running: Vec<&String> = names.iter().filter(|name| !stopped.contains(*name)).collect();
        let Some(via) = running.get(chance.usize(..running.len().max(1))) else { continue };
        let name = format!("n{round}");
        let decision = joining(&name, round);
        match world.voter(via).propose(decision, IMPATIENCE).await {
            Ok(index) => drop(proposals.made.insert(name, index)),
            Err(ProposeError::NoLeader) => drop(proposals.refused.insert(name)),
            Err(ProposeError::Unknown) => drop(proposals.unknown.insert(name)),
            Err(other @ ProposeError::Refused { .. }) => panic!("seed {seed}: {other}"),
        }
    }
    world.heal();
    for name in stopped {
        world.start(&name).await;
        told.listen(&world, &name);
    }
    let leader = world.until_leader().await;
    world.join(&leader, "last").await.unwrap();
    world.until_equal().await;
    check(seed, &world.view("a"), &proposals, &told);
}

fn check(seed: u64, view: &View, proposals: &Proposals, told: &Told) {
    let Proposals { made, refused, unknown } = proposals;
    let inc = |name: &str| {
        let member = view.members.iter().find(|member| member.name == name.into());
        member.and_then(|member| member.inc).map(|inc| inc.0)
    };
    for (name, index) in made {
        assert_eq!(inc(name), Some(*index), "seed {seed}: {name} was decided");
    }
    for name in refused {
        assert_eq!(inc(name), None, "seed {seed}: {name} was not proposed");
    }
    let Told(told) = told;
    assert!(!told.lock().unwrap().contains_key(&0), "seed {seed}: two views of one epoch");
    println!("seed {seed}: {} made, {} not, {} unknown", made.len(), refused.len(), unknown.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_keep_what_they_answered_through_a_storm() {
    storm(seed(), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_voters_keep_what_they_answered_through_a_storm() {
    storm(seed(), 5).await;
}
