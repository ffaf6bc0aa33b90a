//! The majority of the voters is lost for good: an operator has a survivor begin anew. What comes
//! back of the old generation has no say.

use std::time::Duration;

use membership::ProposeError;
use protocol::{Decision, View};
use session::Inc;

use crate::names;
use crate::world::{PATIENCE, SETTINGS, World, joining, until};

/// Little enough that nobody waits long for what cannot be.
const IMPATIENCE: Duration = Duration::from_millis(1_500);

fn inc(view: &View, name: &str) -> Inc {
    let member = view.members.iter().find(|member| member.name == name.into());
    member.and_then(|member| member.inc).expect("a member")
}

/// Three voters, of which b and c end; a has begun anew, and leads alone.
async fn recovered(survivors: &[&str]) -> (World, View) {
    let mut world = World::of(3, 3, SETTINGS).await;
    let before = View::clone(&world.view("a"));
    for name in ["a", "b", "c"] {
        world.stop(name).await;
    }
    let group = world.recover("a", &before, survivors);
    assert_eq!(group.generation, 2);
    world.start("a").await;
    until("a leads", || world.leader().is_some_and(|leader| leader == "a")).await;
    (world, before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_leads_alone_and_others_join_it() {
    let (mut world, before) = recovered(&["a"]).await;
    let view = world.view("a");
    assert_eq!((view.generation, names(&view)), (2, vec!["a".to_owned()]));
    assert_eq!(inc(&view, "a"), inc(&before, "a"), "with what it holds");
    assert!(view.epoch > before.epoch);
    // Said once more by an operator who has seen no answer, it is refused.
    let survivors = [inc(&view, "a")].into();
    let again = Decision::Recover { generation: 2, survivors };
    let again = world.voter("a").propose(again, PATIENCE).await;
    assert!(matches!(again, Err(ProposeError::Refused { .. })), "{again:?}");
    for name in ["b", "c"] {
        world.wipe(name);
        world.open(name);
    }
    world.bootstrap();
    for name in ["b", "c"] {
        world.start(name).await;
        assert!(world.join("a", name).await.unwrap() > view.epoch);
    }
    world.settle_voters().await;
    world.until_equal().await;
    let raft = world.voter("a").status().raft.unwrap();
    assert_eq!(raft.voters.len(), 3);
    assert_eq!(names(&world.view("c")), ["a", "b", "c"]);
    // And it is a cluster as any other.
    let leader = world.until_leader().await;
    world.stop(&leader).await;
    let next = world.until_leader().await;
    world.join(&next, "n1").await.unwrap();
    world.start(&leader).await;
    world.until_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_majority_comes_back_and_has_no_say() {
    let (mut world, before) = recovered(&["a"]).await;
    for name in ["b", "c"] {
        world.start(name).await;
    }
    let outdated = |name: &str| world.voter(name).status().is_outdated;
    // Whoever of them leads reaches a's new voter, and is told.
    until("one of them knows", || outdated("b") || outdated("c")).await;
    let told = if outdated("b") { "b" } else { "c" };
    let decision = joining("x", 99);
    let refused = world.voter(told).propose(decision, IMPATIENCE).await;
    let is_fenced = matches!(refused, Err(ProposeError::NoLeader | ProposeError::Unknown));
    assert!(is_fenced, "{refused:?}");
    assert_eq!(names(&world.view("a")), ["a"]);
    assert!(!world.voter("a").status().is_outdated);
    let index = world.join("a", "n1").await.unwrap();
    assert!(index > before.epoch + 1_000_000, "a number that the others will not come to");
    assert_eq!(world.voter("a").status().raft.unwrap().voters.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_survivor_goes_on_with_its_number_and_becomes_a_voter_again() {
    let (mut world, before) = recovered(&["a", "b"]).await;
    let group = world.voter("a").group();
    assert_eq!(names(&world.view("a")), ["a", "b"]);
    assert_eq!(inc(&world.view("a"), "b"), inc(&before, "b"));
    world.enter("b", group);
    world.start("b").await;
    world.wipe("c");
    world.open("c");
    world.bootstrap();
    world.start("c").await;
    world.join("a", "c").await.unwrap();
    world.settle_voters().await;
    world.until_equal().await;
    assert_eq!(world.voter("b").status().raft.unwrap().voters.len(), 3);
    assert_eq!(inc(&world.view("c"), "b"), inc(&before, "b"));
}

/// It has a directory, and knows of members what it was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_never_voted_recovers_as_well() {
    let mut world = World::of(3, 3, SETTINGS).await;
    world.join("a", "d").await.unwrap();
    world.until_equal().await;
    let before = View::clone(&world.view("a"));
    for name in ["a", "b", "c"] {
        world.stop(name).await;
        world.wipe(name);
    }
    world.open("d");
    world.recover("d", &before, &["d"]);
    world.start("d").await;
    until("d leads", || world.leader().is_some_and(|leader| leader == "d")).await;
    let view = world.view("d");
    assert_eq!((view.generation, names(&view)), (2, vec!["d".to_owned()]));
    assert_eq!(inc(&view, "d"), inc(&before, "d"));
    world.join("d", "e").await.unwrap();
    // It starts again as what it is now.
    world.stop("d").await;
    world.start("d").await;
    world.until_leader().await;
    until("it has its view", || names(&world.view("d")) == ["d", "e"]).await;
}
