//! Nodes in one process, each with a Raft directory of its own, over a network in memory that can
//! be cut between any two of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use membership::bootstrap::{Bootstrap, Claimant, Step};
use membership::voters::{Candidate, Pulse, Situation, VoterPolicy, next_change};
use membership::{
    Answering, Group, Link, LinkError, Outsider, Place, ProposeError, RaftId, Settings, Store,
    Voter,
};
use protocol::wire::WIRE_VERSION;
use protocol::{Copies, Decision, Member, MemberName, Refused, View};

/// Longer than anything takes that comes to an end at all, also on a busy machine.
const BOUND: Duration = Duration::from_secs(40);

/// How long a proposal is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SETTINGS: Settings = Settings {
    heartbeat_ms: 60,
    election_ms_min: 300,
    election_ms_max: 600,
    snapshot_ms: 5_000,
    snapshot_entries: 1_000,
    kept_entries: 200,
    reopen_ms: 50,
    slots: 16,
};

/// A process of that name wants to be a member.
pub(crate) fn joining(name: &str, start: u64) -> Decision {
    Decision::Join {
        name: name.into(),
        address: "".into(),
        zone: "z".into(),
        start,
        version: WIRE_VERSION,
    }
}

/// Waits until `is_so`, and fails if that takes too long.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let reached = tokio::time::timeout(BOUND, async {
        while !is_so() {
            looks.tick().await;
        }
    });
    assert!(reached.await.is_ok(), "not within {BOUND:?}: {what}");
}

#[derive(Default)]
struct Network {
    voters: Mutex<BTreeMap<MemberName, Arc<Voter>>>,
    /// Pairs that do not hear each other, in both orders.
    cuts: Mutex<BTreeSet<(MemberName, MemberName)>>,
    /// How long an answer is under way.
    delay: Mutex<Duration>,
}

struct MemoryLink {
    network: Arc<Network>,
    me: MemberName,
}

impl MemoryLink {
    fn is_cut(&self, to: &MemberName) -> bool {
        self.network.cuts.lock().unwrap().contains(&(self.me.clone(), to.clone()))
    }
}

impl Link for MemoryLink {
    fn request<'a>(&'a self, to: &'a MemberName, request: Vec<u8>) -> Answering<'a> {
        Box::pin(async move {
            let voter = self.network.voters.lock().unwrap().get(to).cloned();
            let voter = voter.filter(|_| !self.is_cut(to));
            let voter = voter.ok_or_else(|| LinkError::Unreachable(to.clone()))?;
            let answer = voter.handle_request(&self.me, &request).await;
            let delay = *self.network.delay.lock().unwrap();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if self.is_cut(to) { Err(LinkError::Lost(to.clone())) } else { Ok(answer) }
        })
    }

    fn speaks(&self, _: &MemberName) -> u8 {
        WIRE_VERSION
    }
}

struct Node {
    place: Place,
    directory: PathBuf,
    /// Open and not running yet, from the bootstrap on.
    store: Option<Store>,
    voter: Option<Arc<Voter>>,
    raft_id: RaftId,
    leaving: bool,
}

/// All nodes of one test.
pub(crate) struct World {
    network: Arc<Network>,
    nodes: BTreeMap<MemberName, Node>,
    home: tempfile::TempDir,
    settings: Settings,
    policy: VoterPolicy,
    starts: u64,
}

impl World {
    /// Nodes a, b, … that have found a cluster together, and all are members of it, with as many
    /// voters as there should be.
    pub(crate) async fn of(count: usize, voters_max: usize, settings: Settings) -> Self {
        let world = Self::founded(count, voters_max, settings).await;
        world.settle_voters().await;
        world.until_equal().await;
        world
    }

    /// Nodes a, b, … that have found a cluster together, and all are members of it. Who votes is
    /// what the founding has made of it.
    pub(crate) async fn founded(count: usize, voters_max: usize, settings: Settings) -> Self {
        let mut world = Self {
            network: Arc::default(),
            nodes: BTreeMap::new(),
            home: tempfile::tempdir().unwrap(),
            settings,
            policy: VoterPolicy { voters_max, replace_after_ms: 0 },
            starts: 0,
        };
        let names: Vec<String> = ('a'..).take(count).map(String::from).collect();
        names.iter().for_each(|name| world.open(name));
        world.bootstrap();
        for name in &names {
            world.start(name).await;
        }
        let begin = Decision::Begin { generation: 1, copies: Copies::All, protocol: WIRE_VERSION };
        world.voter("a").propose(begin, PATIENCE).await.unwrap();
        for name in &names {
            world.join("a", name).await.unwrap();
        }
        world
    }

    /// Opens the directory of a node, which is made if there is none.
    pub(crate) fn open(&mut self, name: &str) {
        let directory = self.home.path().join(name);
        let store = Store::open(&directory, "shop").unwrap();
        let raft_id = store.identity().raft_id;
        let place = Place { name: name.into(), zone: "z".into() };
        let node =
            Node { place, directory, store: Some(store), voter: None, raft_id, leaving: false };
        self.nodes.insert(name.into(), node);
    }

    /// Lets those that are opened and not running found a cluster, or join that of the others.
    pub(crate) fn bootstrap(&mut self) {
        let count = self.nodes.len();
        let machine = |node: &Node| {
            let store = node.store.as_ref()?;
            let (name, raft_id) = (node.place.name.clone(), node.raft_id);
            let me = Claimant { name, raft_id };
            let standing = store.identity().standing;
            Some(Bootstrap::new(me, standing, count, count, self.policy.voters_max).unwrap())
        };
        let mut machines: BTreeMap<MemberName, Bootstrap> = self
            .nodes
            .iter()
            .filter_map(|(name, node)| Some((name.clone(), machine(node)?)))
            .collect();
        let inside: Vec<_> = self
            .nodes
            .values()
            .filter_map(|node| {
                let from = Claimant { name: node.place.name.clone(), raft_id: node.raft_id };
                let group = node.voter.as_ref()?.group();
                let standing = membership::bootstrap::Standing::Inside(group);
                Some(membership::bootstrap::Introduction { from, standing })
            })
            .collect();
        for _ in 0..count * 4 {
            let mut said: Vec<_> = machines.values().map(Bootstrap::introduction).collect();
            said.extend(inside.iter().cloned());
            for (name, machine) in &mut machines {
                said.iter().for_each(|said| machine.handle_introduction(said.clone()));
                let store = self.nodes[name].store.as_ref().unwrap();
                match machine.step() {
                    Step::Write(standing) | Step::Join { standing, .. } => {
                        store.write_standing(standing.clone()).unwrap();
                        machine.written(standing);
                    }
                    Step::Wait(_) | Step::Done { .. } => {}
                }
            }
        }
        assert!(machines.values().all(|machine| matches!(machine.step(), Step::Done { .. })));
    }

    /// Runs the node, on its directory as it is.
    pub(crate) async fn start(&mut self, name: &str) {
        let node = self.nodes.get_mut(&MemberName::from(name)).unwrap();
        let store = node.store.take();
        let store = store.unwrap_or_else(|| Store::open(&node.directory, "shop").unwrap());
        let (network, me) = (Arc::clone(&self.network), node.place.name.clone());
        let link = Arc::new(MemoryLink { network, me: me.clone() });
        let voter = Voter::start(store, node.place.clone(), link, self.settings).await.unwrap();
        let voter = Arc::new(voter);
        node.voter = Some(Arc::clone(&voter));
        self.network.voters.lock().unwrap().insert(me, voter);
    }

    /// Ends the node at once for all others, and closes its directory.
    pub(crate) async fn stop(&mut self, name: &str) {
        let name = MemberName::from(name);
        self.network.voters.lock().unwrap().remove(&name);
        let voter = self.nodes.get_mut(&name).unwrap().voter.take().unwrap();
        voter.stop().await;
    }

    /// An operator has this node, which does not run, begin anew with these members.
    pub(crate) fn recover(&mut self, name: &str, follows: &View, survivors: &[&str]) -> Group {
        let node = self.nodes.get_mut(&MemberName::from(name)).unwrap();
        let store = node.store.take();
        let store = store.unwrap_or_else(|| Store::open(&node.directory, "shop").unwrap());
        let survives = |member: &&Member| survivors.contains(&member.name.0.as_str());
        let survivors = follows.members.iter().filter(survives).filter_map(|member| member.inc);
        let survivors = survivors.collect();
        let group = store.recover(&node.place, follows, self.settings.slots, &survivors).unwrap();
        node.raft_id = store.identity().raft_id;
        node.store = Some(store);
        group
    }

    /// A node that does not run goes into that group as a survivor.
    pub(crate) fn enter(&mut self, name: &str, group: Group) {
        let node = self.nodes.get_mut(&MemberName::from(name)).unwrap();
        let store = Store::open(&node.directory, "shop").unwrap();
        store.enter(group).unwrap();
        node.raft_id = store.identity().raft_id;
        node.store = Some(store);
    }

    /// The node is to hand over its vote.
    pub(crate) fn drain(&mut self, name: &str) {
        self.nodes.get_mut(&MemberName::from(name)).unwrap().leaving = true;
    }

    /// Takes the disk of a node that does not run.
    pub(crate) fn wipe(&mut self, name: &str) {
        let node = self.nodes.remove(&MemberName::from(name)).unwrap();
        std::fs::remove_dir_all(node.directory).unwrap();
    }

    /// Two nodes do not hear each other any more.
    pub(crate) fn cut(&self, one: &str, other: &str) {
        let mut cuts = self.network.cuts.lock().unwrap();
        cuts.insert((one.into(), other.into()));
        cuts.insert((other.into(), one.into()));
    }

    /// Every answer takes so long from now on.
    pub(crate) fn slow_down(&self, delay: Duration) {
        *self.network.delay.lock().unwrap() = delay;
    }

    /// A node hears nobody any more.
    pub(crate) fn isolate(&self, name: &str) {
        for other in self.nodes.keys().filter(|other| **other != MemberName::from(name)) {
            self.cut(name, &other.0);
        }
    }

    pub(crate) fn heal(&self) {
        self.network.cuts.lock().unwrap().clear();
    }

    pub(crate) fn voter(&self, name: &str) -> Arc<Voter> {
        self.nodes[&MemberName::from(name)].voter.clone().unwrap()
    }

    pub(crate) fn raft_id(&self, name: &str) -> RaftId {
        self.nodes[&MemberName::from(name)].raft_id
    }

    /// A node of that name that does not vote.
    pub(crate) fn outsider(&self, name: &str) -> Outsider {
        let link = MemoryLink { network: Arc::clone(&self.network), me: name.into() };
        Outsider::new(Arc::new(link), self.voter("a").group())
    }

    pub(crate) fn view(&self, name: &str) -> Arc<View> {
        self.voter(name).views().borrow().clone()
    }

    fn running(&self) -> impl Iterator<Item = (&MemberName, &Arc<Voter>)> {
        self.nodes.iter().filter_map(|(name, node)| Some((name, node.voter.as_ref()?)))
    }

    /// Who does not run, and has a directory.
    pub(crate) fn stopped(&self) -> Vec<String> {
        let stopped = self.nodes.iter().filter(|(_, node)| node.voter.is_none());
        stopped.map(|(name, _)| name.to_string()).collect()
    }

    /// Who leads, of those that run, if exactly one says so.
    pub(crate) fn leader(&self) -> Option<String> {
        let leads = |voter: &Voter| voter.status().raft.is_some_and(|raft| raft.is_leader);
        let mut leaders = self.running().filter(|(_, voter)| leads(voter));
        let (first, None) = (leaders.next()?, leaders.next()) else { return None };
        Some(first.0.to_string())
    }

    pub(crate) async fn until_leader(&self) -> String {
        until("one node leads", || self.leader().is_some()).await;
        self.leader().unwrap()
    }

    /// The node starts as a member, by way of another; an index of the log at which it is so. A
    /// leader that has been deposed and has not heard of it yet does not know what becomes of the
    /// decision: then it is proposed again, and recognised if it was made.
    pub(crate) async fn join(&mut self, via: &str, name: &str) -> Result<u64, ProposeError> {
        self.starts += 1;
        let decision = joining(name, self.starts);
        let voter = self.voter(via);
        let mut result = voter.propose(decision.clone(), PATIENCE).await;
        // Where others compete for the processor the leader may be out of reach for a while, which
        // is found out at once, again and again.
        let begin = Instant::now();
        while begin.elapsed() < BOUND {
            match result {
                Err(ProposeError::Unknown) => {}
                Ok(_) | Err(ProposeError::NoLeader | ProposeError::Refused { .. }) => break,
            }
            result = match voter.propose(decision.clone(), PATIENCE).await {
                Err(ProposeError::Refused { index, why: Refused::NoNews }) => Ok(index),
                other => other,
            };
        }
        result
    }

    /// What a leader does about voters, until there is nothing to do: all that run are alive, all
    /// others silent for long.
    pub(crate) async fn settle_voters(&self) {
        let settled = tokio::time::timeout(BOUND, async {
            while !self.change_voters_once().await {
                tokio::time::sleep(Duration::from_millis(self.settings.heartbeat_ms)).await;
            }
        });
        assert!(settled.await.is_ok(), "the voters do not settle");
    }

    async fn change_voters_once(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let voter = self.voter(&leader);
        let Some(raft) = voter.status().raft else { return false };
        let candidates = self.nodes.values().map(|node| {
            let candidate = Candidate {
                name: node.place.name.clone(),
                zone: node.place.zone.clone(),
                pulse: match node.voter {
                    Some(_) => Pulse::AliveSince(0),
                    None => Pulse::SilentSince(0),
                },
                leaving: node.leaving,
                caught_up: raft.caught_up.contains(&node.raft_id),
            };
            (node.raft_id, candidate)
        });
        let situation = Situation {
            candidates: candidates.collect(),
            voters: raft.voters.keys().copied().collect(),
            is_joint: raft.is_joint,
            learners: raft.learners.keys().copied().collect(),
            leader: self.raft_id(&leader),
            now_ms: 1,
        };
        match next_change(&situation, &self.policy) {
            Some(change) => {
                let _ = voter.change_voters(change, PATIENCE).await;
                false
            }
            None => situation.learners.is_empty(),
        }
    }

    /// Until all voters that run have the same view, and it is that of the leader.
    pub(crate) async fn until_equal(&self) {
        until("all voters have the view of the leader", || {
            let Some(leader) = self.leader() else { return false };
            let Some(raft) = self.voter(&leader).status().raft else { return false };
            let view = self.view(&leader);
            let votes = |name: &MemberName| raft.voters.contains_key(&self.raft_id(&name.0));
            self.running().filter(|(name, _)| votes(name)).all(|(name, voter)| {
                let theirs = voter.status().raft.and_then(|raft| raft.applied);
                theirs == raft.applied && self.view(&name.0) == view
            })
        })
        .await;
    }
}
