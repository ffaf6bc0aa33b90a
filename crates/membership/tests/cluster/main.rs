//! Voters in one process: they agree, and go on to agree, whatever stops, is cut off, or loses its
//! disk. What a test waits for is a condition, with a bound; how long it takes is not asserted.

mod recovery;
mod storm;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use membership::{ProposeError, Settings};
use protocol::wire::WIRE_VERSION;
use protocol::{Decision, Refused, View};
use world::{PATIENCE, SETTINGS, World, joining, until};

/// Little enough that nobody waits long for what cannot be.
const IMPATIENCE: Duration = Duration::from_millis(1_500);

fn names(view: &View) -> Vec<String> {
    view.members.iter().map(|member| member.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_found_one_cluster_and_agree_on_every_view() {
    let mut world = World::of(3, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let raft = world.voter(&leader).status().raft.unwrap();
    assert_eq!(raft.voters.len(), 3);
    assert_eq!(names(&world.view("c")), ["a", "b", "c"]);
    // Each view that any of them tells from now on, by its epoch.
    let told: Arc<Mutex<BTreeMap<u64, Arc<View>>>> = Arc::default();
    for name in ["a", "b", "c"] {
        let (mut views, told) = (world.voter(name).views(), Arc::clone(&told));
        tokio::spawn(async move {
            while views.changed().await.is_ok() {
                let view = views.borrow_and_update().clone();
                let mut told = told.lock().unwrap();
                let same = told.entry(view.epoch).or_insert_with(|| Arc::clone(&view));
                assert_eq!(*same, view);
            }
        });
    }
    let mut before = world.view("a").epoch;
    for round in 0..8 {
        let via = ["a", "b", "c"][round % 3];
        let index = world.join(via, &format!("n{round}")).await.unwrap();
        assert!(index > before, "indexes grow, whoever is asked");
        before = index;
    }
    world.until_equal().await;
    assert_eq!(world.view("a").members.len(), 11);
    let again = Decision::Begin {
        generation: 1,
        copies: protocol::Copies::All,
        protocol: protocol::wire::WIRE_VERSION,
    };
    let refused = world.voter("b").propose(again, PATIENCE).await;
    assert!(matches!(refused, Err(ProposeError::Refused { why: Refused::OutOfPlace, .. })));
    assert!(!told.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_is_replaced_and_comes_back_as_the_same_voter() {
    let mut world = World::of(3, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let raft_id = world.raft_id(&leader);
    world.stop(&leader).await;
    let next = world.until_leader().await;
    assert_ne!(next, leader);
    world.join(&next, "n1").await.unwrap();
    world.start(&leader).await;
    assert_eq!(world.voter(&leader).status().raft_id, raft_id);
    world.until_equal().await;
    assert!(names(&world.view(&leader)).contains(&"n1".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_decided_and_nothing_is_lost() {
    let mut world = World::of(3, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| **name != *leader).collect();
    others.iter().for_each(|other| world.isolate(other));
    let before = world.view(&leader);
    for name in ["a", "b", "c"] {
        let decision = joining("x", 99);
        let refused = world.voter(name).propose(decision, IMPATIENCE).await;
        let unsure = matches!(refused, Err(ProposeError::Unknown | ProposeError::NoLeader));
        assert!(unsure, "{name}: {refused:?}");
        assert_eq!(world.view(name), before, "nothing was decided");
    }
    world.heal();
    world.join(others[0], "n1").await.unwrap();
    world.until_equal().await;
    let after = world.view(others[1]);
    assert!(after.epoch > before.epoch);
    for name in names(&before).iter().chain([&"n1".to_owned()]) {
        assert!(names(&after).contains(name), "{name} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_whose_disk_was_wiped_comes_back_as_another() {
    let mut world = World::of(3, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let wiped = if leader == "c" { "b" } else { "c" };
    let old = world.raft_id(wiped);
    world.stop(wiped).await;
    world.wipe(wiped);
    world.open(wiped);
    assert_ne!(world.raft_id(wiped), old);
    world.bootstrap();
    world.start(wiped).await;
    world.settle_voters().await;
    world.until_equal().await;
    let leader = world.until_leader().await;
    let voters = world.voter(&leader).status().raft.unwrap().voters;
    assert_eq!(voters.len(), 3);
    assert!(voters.contains_key(&world.raft_id(wiped)) && !voters.contains_key(&old));
    world.join(wiped, "n1").await.unwrap();
}

/// As soon as a cluster serves, and before its leader has looked after anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_founder_is_wiped_as_soon_as_all_are_members_the_others_decide() {
    for victim in ["a", "b", "c"] {
        let mut world = World::founded(3, 3, SETTINGS).await;
        let old = world.raft_id(victim);
        world.stop(victim).await;
        world.wipe(victim);
        world.open(victim);
        world.bootstrap();
        world.start(victim).await;
        let leader = world.until_leader().await;
        world.join(&leader, "n1").await.unwrap();
        world.settle_voters().await;
        let leader = world.until_leader().await;
        let voters = world.voter(&leader).status().raft.unwrap().voters;
        assert!(voters.len() == 3 && !voters.contains_key(&old), "{victim}: {voters:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_hands_over_its_vote_and_the_others_go_on() {
    let mut world = World::of(4, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    world.drain(&leader);
    world.settle_voters().await;
    until("another leads", || world.leader().is_some_and(|next| next != leader)).await;
    let next = world.until_leader().await;
    let voters = world.voter(&next).status().raft.unwrap().voters;
    assert!(voters.len() == 3 && !voters.contains_key(&world.raft_id(&leader)));
    world.stop(&leader).await;
    world.join(&next, "n1").await.unwrap();
    world.until_equal().await;
}

/// It does not know that it was replaced, and stands for election again and again, until it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_replaced_while_it_was_away_does_not_disturb() {
    let mut world = World::of(4, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let voters = world.voter(&leader).status().raft.unwrap().voters;
    let is_voter = |name: &&str| voters.contains_key(&world.raft_id(name)) && **name != *leader;
    let away = ["a", "b", "c", "d"].into_iter().find(is_voter).unwrap();
    world.stop(away).await;
    world.settle_voters().await;
    let leader = world.until_leader().await;
    let term = world.voter(&leader).status().raft.unwrap().term;
    world.start(away).await;
    let theirs = || world.voter(away).status().raft.map_or(0, |raft| raft.term);
    until("it stands for election", || theirs() > term + 2).await;
    // Whoever grants it a vote, or only listens, takes over its term.
    let raft = world.voter(&leader).status().raft.unwrap();
    assert!(raft.term < theirs(), "{raft:?}");
    world.join(&leader, "n1").await.unwrap();
}

/// Of two that were replaced only one is told, and while the other stands for election again and
/// again that one does not. It votes again when it is made a voter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_hears_that_it_was_replaced_stands_no_more() {
    let mut world = World::of(5, 3, SETTINGS).await;
    for _ in 0..2 {
        let leader = world.until_leader().await;
        let voters = world.voter(&leader).status().raft.unwrap().voters;
        let others = voters.values().map(|place| place.name.to_string());
        let away = others.filter(|name| *name != leader).min().unwrap();
        world.stop(&away).await;
        world.settle_voters().await;
    }
    let leader = world.until_leader().await;
    let [told, other] = <[String; 2]>::try_from(world.stopped()).unwrap();
    // What one of them asks for makes no difference to the other.
    world.cut(&told, &other);
    world.start(&told).await;
    world.start(&other).await;
    let chart = world.voter(&leader).chart().unwrap();
    world.voter(&told).heed(&chart);
    until("it knows", || world.voter(&told).status().is_replaced).await;
    let term = |world: &World, name: &str| world.voter(name).status().raft.map_or(0, |r| r.term);
    let began = term(&world, &other);
    until("the other stands for election", || term(&world, &other) > began).await;
    let before = term(&world, &told);
    until("the other stands again", || term(&world, &other) > began + 4).await;
    assert_eq!(term(&world, &told), before);
    assert!(!world.voter(&other).status().is_replaced);
    // It has a place again when another has gone.
    world.heal();
    world.stop(&other).await;
    let gone = ["a", "b", "c", "d", "e"]
        .into_iter()
        .find(|name| ![&told, &other, &leader].contains(&&(*name).to_owned()))
        .unwrap();
    world.stop(gone).await;
    world.settle_voters().await;
    until("it votes", || {
        let status = world.voter(&told).status();
        !status.is_replaced && status.raft.is_some_and(|raft| raft.voters.len() == 3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_voter_gets_a_snapshot_of_what_is_forgotten() {
    let settings = Settings { snapshot_entries: 10, kept_entries: 1, ..SETTINGS };
    let mut world = World::of(3, 3, settings).await;
    for round in 0..40 {
        world.join("a", &format!("n{}", round % 5)).await.unwrap();
    }
    let leader = world.until_leader().await;
    let gone = if leader == "c" { "b" } else { "c" };
    world.stop(gone).await;
    world.open("d");
    world.bootstrap();
    world.start("d").await;
    world.settle_voters().await;
    world.until_equal().await;
    assert_eq!(world.view("d").members.len(), 8);
    let voters = world.voter("d").status().raft.unwrap().voters;
    assert!(voters.contains_key(&world.raft_id("d")));
    // What came as a snapshot is on its disk.
    world.stop("d").await;
    world.start("d").await;
    world.until_equal().await;
    assert_eq!(world.view("d").members.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_have_ended_what_was_decided_is_still_so() {
    let mut world = World::of(3, 3, SETTINGS).await;
    let index = world.join("b", "n1").await.unwrap();
    world.until_equal().await;
    let before = world.view("a");
    for name in ["a", "b", "c"] {
        world.stop(name).await;
    }
    for name in ["c", "a", "b"] {
        world.start(name).await;
    }
    world.until_leader().await;
    world.until_equal().await;
    assert_eq!(world.view("c"), before);
    assert!(world.join("a", "n2").await.unwrap() > index);
}

/// A leader that reaches one of four would keep that one from voting for others. It has to fall
/// silent, so that the three that hear each other by way of that one agree on another leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_does_not_keep_one_from_forming() {
    let mut world = World::of(5, 5, SETTINGS).await;
    let leader = world.until_leader().await;
    let raft = world.voter(&leader).status().raft.unwrap();
    assert_eq!(raft.voters.len(), 5);
    let others: Vec<&str> =
        ["a", "b", "c", "d", "e"].into_iter().filter(|name| **name != *leader).collect();
    // The hub hears all but the last one, which hears nobody.
    let hub = others[0];
    world.isolate(others[3]);
    world.cut(&leader, others[1]);
    world.cut(&leader, others[2]);
    let led = |name: &str| {
        let raft = world.voter(name).status().raft;
        raft.and_then(|raft| raft.leader).is_some_and(|id| id != world.raft_id(&leader))
    };
    until("another leads", || led(hub) && led(others[1]) && led(others[2])).await;
    world.join(others[1], "n1").await.unwrap();
    world.heal();
    world.until_equal().await;
    assert!(names(&world.view(&leader)).contains(&"n1".to_owned()));
}

/// openraft gives up a request of the log after one heartbeat, however far its answer has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_take_150_ms_do_not_stop_decisions() {
    let settings = Settings { slots: SETTINGS.slots, ..Settings::default() };
    let mut world = World::of(3, 3, settings).await;
    let leader = world.until_leader().await;
    world.slow_down(Duration::from_millis(150));
    for name in ["n1", "n2", "n3"] {
        world.join(&leader, name).await.unwrap();
    }
}

/// Nobody tells it who leads instead, if it has been replaced meanwhile: whoever took it for the
/// leader would ask it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_no_majority_does_not_say_that_it_leads() {
    let world = World::of(3, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let own_id = world.raft_id(&leader);
    world.isolate(&leader);
    until("it does not take itself for the leader", || {
        let raft = world.voter(&leader).status().raft;
        raft.is_some_and(|raft| !raft.is_leader && raft.leader != Some(own_id))
    })
    .await;
    until("another leads", || world.leader().is_some_and(|next| next != leader)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_vote_joins_whoever_leads() {
    let mut world = World::of(3, 3, SETTINGS).await;
    let leader = world.until_leader().await;
    let voters = world.voter(&leader).status().raft.unwrap().voters;
    let outsider = world.outsider("x");
    let join = |start| joining("x", start);
    let first = outsider.propose(&voters, &join(1), PATIENCE).await.unwrap();
    let again = outsider.propose(&voters, &join(1), PATIENCE).await;
    assert!(matches!(again, Err(ProposeError::Refused { why: Refused::NoNews, .. })));
    world.stop(&leader).await;
    world.until_leader().await;
    assert!(outsider.propose(&voters, &join(2), PATIENCE).await.unwrap() > first);
    world.until_equal().await;
    let nobody = BTreeMap::new();
    let lost = outsider.propose(&nobody, &join(3), Duration::ZERO).await;
    assert_eq!(lost, Err(ProposeError::NoLeader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_a_cluster_and_grows() {
    let mut world = World::of(1, 3, SETTINGS).await;
    assert_eq!(names(&world.view("a")), ["a"]);
    for name in ["b", "c"] {
        world.open(name);
        world.bootstrap();
        world.start(name).await;
        world.join("a", name).await.unwrap();
    }
    world.settle_voters().await;
    world.until_equal().await;
    assert_eq!(world.voter("a").status().raft.unwrap().voters.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_any_kind_are_answered_and_harm_nobody() {
    let mut world = World::of(1, 1, SETTINGS).await;
    let voter = world.voter("a");
    let mut chance = fastrand::Rng::with_seed(11);
    for length in 0..300 {
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| chance.u8(..)).take(length).collect();
        if let Some(version) = bytes.first_mut().filter(|_| length % 2 == 0) {
            *version = WIRE_VERSION;
        }
        let answer = voter.handle_request(&"stranger".into(), &bytes).await;
        assert!(!answer.is_empty());
    }
    world.join("a", "n1").await.unwrap();
}
