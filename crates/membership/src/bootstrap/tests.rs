//! All that three nodes can do, tried out: every order, every loss, every repetition, restarts.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn claimant(node: usize, disk: u64) -> Claimant {
    Claimant { name: NAMES[node].into(), raft_id: RaftId(node as u64 * 10 + disk) }
}

fn fresh(node: usize, disk: u64, expect: usize) -> Bootstrap {
    let outside = Standing::Outside { backs: None };
    Bootstrap::new(claimant(node, disk), outside, NAMES.len(), expect, 3).unwrap()
}

/// Three nodes, and all that any of them has ever said: whatever was said may arrive at any time,
/// late, twice, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    // Shared with the states before, but for what changes.
    nodes: Vec<Rc<Bootstrap>>,
    said: Rc<Vec<Introduction>>,
    founded: Vec<Group>,
    wipes: u64,
}

impl World {
    fn new(expect: usize, wipes: u64) -> Self {
        let nodes = (0..NAMES.len()).map(|node| Rc::new(fresh(node, 0, expect))).collect();
        let mut world = Self { nodes, said: Rc::default(), founded: Vec::new(), wipes };
        (0..NAMES.len()).for_each(|node| world.say(node));
        world
    }

    fn node(&mut self, node: usize) -> &mut Bootstrap {
        Rc::make_mut(&mut self.nodes[node])
    }

    fn say(&mut self, node: usize) {
        let introduction = self.nodes[node].introduction();
        if !self.said.contains(&introduction) {
            let said = Rc::make_mut(&mut self.said);
            said.push(introduction);
            said.sort();
        }
    }

    /// The node does what it is to do; false if it waits.
    fn act(&mut self, node: usize) -> bool {
        match self.nodes[node].step() {
            Step::Write(standing) => {
                self.founded.extend(standing.group());
                self.node(node).written(standing);
            }
            Step::Join { standing, .. } => self.node(node).written(standing),
            Step::Wait(_) | Step::Done { .. } => return false,
        }
        self.say(node);
        true
    }

    fn restart(&mut self, node: usize) {
        self.node(node).heard.clear();
    }

    fn wipe(&mut self, node: usize) {
        let expect = self.nodes[node].expect;
        *self.node(node) = fresh(node, self.wipes, expect);
        self.wipes -= 1;
        self.say(node);
    }

    fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        let mut after = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            next.push(world);
        };
        for node in 0..NAMES.len() {
            if !matches!(self.nodes[node].step(), Step::Wait(_) | Step::Done { .. }) {
                after(&|world| _ = world.act(node));
            }
            if !self.nodes[node].heard.is_empty() {
                after(&|world| world.restart(node));
            }
            let heard = &self.nodes[node].heard;
            for said in self.said.iter().filter(|said| heard.get(&said.from.name) != Some(said)) {
                after(&|world| world.node(node).handle_introduction(said.clone()));
            }
            if self.wipes > 0 {
                after(&|world| world.wipe(node));
            }
        }
        next
    }

    /// Everybody hears everybody, and does what it is to do, until nothing changes.
    fn calm(&mut self) {
        let mut acted = true;
        while acted {
            acted = false;
            for node in 0..NAMES.len() {
                for other in 0..NAMES.len() {
                    let said = self.nodes[other].introduction();
                    self.node(node).handle_introduction(said);
                }
                acted |= self.act(node);
            }
        }
    }
}

/// Visits every state that can be reached; returns how many there are.
fn explore(start: World, check: impl Fn(&World)) -> usize {
    let hash = |world: &World| BuildHasherDefault::<DefaultHasher>::default().hash_one(world);
    let mut seen = HashSet::from([hash(&start)]);
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        check(&world);
        for next in world.successors() {
            if seen.insert(hash(&next)) {
                open.push(next);
            }
        }
    }
    seen.len()
}

fn assert_one_cluster(world: &World) {
    let mut groups = world.founded.clone();
    groups.dedup();
    assert!(groups.len() <= 1, "{world:#?}");
}

#[test]
fn three_nodes_never_found_two_clusters_and_always_found_one() {
    for expect in [2, 3] {
        let states = explore(World::new(expect, 0), |world| {
            assert_one_cluster(world);
            let mut calm = world.clone();
            calm.calm();
            assert_one_cluster(&calm);
            let is_inside = |node: &Rc<Bootstrap>| node.standing.group().is_some();
            assert!(calm.nodes.iter().all(is_inside), "{calm:#?}");
        });
        println!("expect {expect}: {states} states");
        assert!(states > 1_000, "{states}");
    }
}

/// If all are waited for, none can be wiped unnoticed: the others back what was there before, or
/// are inside. And whichever disk is lost, also that of the founder as soon as one other has heard of
/// it: those of the first voters that are left are most of them, know so, and begin.
#[test]
fn a_wiped_node_founds_no_second_cluster_and_takes_no_majority_from_the_first() {
    let states = explore(World::new(3, 1), |world| {
        let inside = world.nodes.iter().filter_map(|node| node.standing.group());
        let inside: HashSet<Group> = inside.collect();
        assert!(inside.len() <= 1, "{world:#?}");
        if !inside.is_empty() {
            let mut calm = world.clone();
            calm.calm();
            assert!(
                calm.nodes.iter().filter(|node| is_first_voter(node)).count() >= 2,
                "{calm:#?}"
            );
        }
    });
    println!("{states} states");
}

fn is_first_voter(node: &Bootstrap) -> bool {
    match &node.standing {
        Standing::Founded { voters, .. } => {
            assert_eq!(voters.len(), 3);
            voters.contains_key(&node.me.raft_id)
        }
        Standing::Outside { .. } | Standing::Inside(_) => false,
    }
}

#[test]
fn those_that_back_a_founder_vote_with_it_at_most_so_many_the_lowest_named_first() {
    for (voters_max, first) in [(5, &[0, 1, 2][..]), (3, &[0, 1, 2]), (2, &[])] {
        let (me, backs) = (claimant(1, 0), Some(claimant(1, 0)));
        let standing = Standing::Outside { backs: backs.clone() };
        let mut founder = Bootstrap::new(me.clone(), standing, 4, 4, voters_max).unwrap();
        let backer = |name: &str, raft_id| Claimant { name: name.into(), raft_id: RaftId(raft_id) };
        for from in [backer("e", 20), backer("c", 0), backer("d", 30)] {
            let standing = Standing::Outside { backs: backs.clone() };
            founder.handle_introduction(Introduction { from, standing });
        }
        let group = Group { generation: 1, founder: me.raft_id };
        let names = [(RaftId(10), "b"), (RaftId(0), "c"), (RaftId(30), "d")];
        let voters = first.iter().map(|n| names[*n]).map(|(id, name)| (id, name.into())).collect();
        let founded = match first {
            [] => Standing::Inside(group),
            _ => Standing::Founded { group, voters },
        };
        assert_eq!(founder.step(), Step::Write(founded));
    }
}

#[test]
fn who_votes_first_is_learnt_from_anybody_who_knows_it() {
    let group = Group { generation: 1, founder: RaftId(0) };
    let founded = Standing::Founded { group, voters: [(RaftId(20), "c".into())].into() };
    let mut node = fresh(2, 0, 3);
    for (from, standing) in [(0, Standing::Inside(group)), (1, founded.clone())] {
        node.handle_introduction(Introduction { from: claimant(from, 0), standing });
    }
    assert_eq!(node.step(), Step::Join { via: "b".into(), standing: founded });
}

#[test]
fn a_node_without_seeds_founds_its_own() {
    let mut alone =
        Bootstrap::new(claimant(0, 0), Standing::Outside { backs: None }, 1, 1, 3).unwrap();
    let mut steps = 0;
    while let Step::Write(standing) = alone.step() {
        alone.written(standing);
        steps += 1;
    }
    assert_eq!(steps, 2, "it backs itself, then it founds");
    let group = Group { generation: 1, founder: RaftId(0) };
    assert_eq!(alone.step(), Step::Done { group });
}

#[test]
fn whoever_hears_of_a_cluster_joins_it() {
    let group = Group { generation: 4, founder: RaftId(77) };
    let mut node = fresh(0, 0, 3);
    node.handle_introduction(Introduction {
        from: claimant(2, 0),
        standing: Standing::Inside(group),
    });
    let inside = Standing::Inside(group);
    assert_eq!(node.step(), Step::Join { via: "c".into(), standing: inside.clone() });
    let other = Group { generation: 4, founder: RaftId(78) };
    node.handle_introduction(Introduction {
        from: claimant(1, 0),
        standing: Standing::Inside(other),
    });
    assert_eq!(node.step(), Step::Wait(Waiting::TwoClusters));
    node.written(inside);
    assert_eq!(node.step(), Step::Done { group });
}

/// What nodes say of which the second is of a later generation.
fn of_two_generations() -> (Group, Group, [Introduction; 2]) {
    let (first, second) = (claimant(0, 0), claimant(1, 0));
    let old = Group { generation: 1, founder: first.raft_id };
    let new = Group { generation: 2, founder: second.raft_id };
    let said = [(first, old), (second, new)]
        .map(|(from, group)| Introduction { from, standing: Standing::Inside(group) });
    (old, new, said)
}

#[test]
fn a_cluster_that_was_made_anew_is_joined_and_not_what_is_left_of_it() {
    let (_, group, said) = of_two_generations();
    let mut node = fresh(2, 0, 2);
    for (heard, via, generation) in [(&said[0], "a", 1), (&said[1], "b", 2), (&said[0], "b", 2)] {
        node.handle_introduction(heard.clone());
        let Step::Join { via: told, standing } = node.step() else { panic!("{:?}", node.step()) };
        let told = (told, standing.group().map(|group| group.generation));
        assert_eq!(told, (via.into(), Some(generation)));
    }
    node.written(Standing::Inside(group));
    assert_eq!(node.outdated(), None);
}

#[test]
fn a_node_of_a_generation_that_was_left_behind_says_so_and_what_to_do() {
    let (ours, theirs, said) = of_two_generations();
    let inside =
        |group| Bootstrap::new(claimant(2, 0), Standing::Inside(group), NAMES.len(), 2, 3).unwrap();
    let mut old = inside(ours);
    old.handle_introduction(said[0].clone());
    assert_eq!(old.outdated(), None);
    old.handle_introduction(said[1].clone());
    let outdated = Outdated { ours, theirs, via: "b".into() };
    assert_eq!(old.outdated(), Some(outdated.clone()));
    assert!(outdated.to_string().contains("move the directory away"));
    let mut new = inside(theirs);
    said.iter().for_each(|said| new.handle_introduction(said.clone()));
    assert_eq!(new.outdated(), None, "it is the other that has to act");
    let mut outside = fresh(2, 0, 2);
    said.iter().for_each(|said| outside.handle_introduction(said.clone()));
    assert_eq!(outside.outdated(), None);
}

#[test]
fn a_node_says_what_it_waits_for() {
    let mut node = fresh(1, 0, 3);
    let outside = |node, backs| Introduction {
        from: claimant(node, 0),
        standing: Standing::Outside { backs },
    };
    assert_eq!(node.step(), Step::Wait(Waiting::Nodes { heard: 1, expect: 3 }));
    node.handle_introduction(outside(2, None));
    node.handle_introduction(outside(0, None));
    assert_eq!(node.step(), Step::Wait(Waiting::Lower("a".into())));
    node.handle_introduction(outside(0, Some(claimant(0, 0))));
    let backs = Standing::Outside { backs: Some(claimant(0, 0)) };
    assert_eq!(node.step(), Step::Write(backs.clone()));
    node.written(backs);
    assert_eq!(node.step(), Step::Wait(Waiting::Founder(claimant(0, 0))));
}

#[test]
fn half_of_the_nodes_are_not_enough() {
    let outside = Standing::Outside { backs: None };
    let refused = Bootstrap::new(claimant(0, 0), outside, 4, 2, 3);
    assert_eq!(refused, Err(BootstrapError::ExpectTooSmall { expect: 2, nodes: 4 }));
}
