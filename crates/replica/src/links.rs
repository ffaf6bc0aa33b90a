//! Who the others are: the view, which process a member runs as, and whether two processes agree
//! enough to talk.
//!
//! Where the configuration fixes the members, a process says its `Inc` when it introduces itself.
//! Where they are agreed on, it says the number that it has drawn, and the view tells its `Inc`
//! once it has joined.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use protocol::limits::NEIGHBOURS_A_SIDE;
use protocol::wire::{Hello, WIRE_VERSION, WIRE_VERSION_MIN, WireError, range, versions};
use protocol::{Copies, Liveness, MemberName, Message, View, neighbours};
use session::{Inc, Time};
use sha2::{Digest as _, Sha256};
use transport::{ClusterName, NodeName};

use crate::limits::SHARDS;

/// With these words a peer ends a link whose process is not the latest of its name.
pub(crate) const SUPERSEDED: &str = "a later start of this node is known";

/// What a change of a peer's state is decided by. Locked while the shards are told of the change,
/// so that all of them hear of changes in one order; never locked by whoever holds a shard.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) view: View,
    pub(crate) liveness: Liveness,
    /// Who is at the other end of each link.
    pub(crate) linked: BTreeMap<MemberName, Linked>,
}

impl Agreed {
    /// This process is another member than before, and meets everybody anew.
    pub(crate) fn meet_again(&mut self, inc: Inc) {
        self.liveness = Liveness::new(inc);
        self.linked.values_mut().for_each(|linked| linked.inc = None);
    }
}

/// The process at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linked {
    /// As it has introduced itself.
    pub(crate) said: Inc,
    /// What it is in the view, if it is a member.
    pub(crate) inc: Option<Inc>,
}

/// The others, seen from this process.
#[derive(Debug)]
pub(crate) struct Links {
    hello: Hello,
    own: NodeName,
    is_fixed: bool,
    agreed: Mutex<Agreed>,
    names: RwLock<Names>,
    /// Version of the wire that all members speak. Where the members are fixed nobody agrees on
    /// one, and each link speaks the latest that both of its ends do.
    protocol: AtomicU8,
}

#[derive(Debug, Default)]
struct Names {
    by_inc: BTreeMap<Inc, Arc<Peer>>,
    by_name: BTreeMap<NodeName, Arc<Peer>>,
    /// The latest version of the wire that the other end of each link speaks as well.
    versions: BTreeMap<NodeName, u8>,
}

/// A member that there is, or was, a link with, and whether anything went over it lately.
#[derive(Debug)]
struct Peer {
    name: NodeName,
    inc: Inc,
    asked: AtomicBool,
    received: AtomicBool,
}

/// What went over the link with a member since this was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) peer: MemberName,
    /// It was sent something that it answers.
    pub(crate) asked: bool,
    pub(crate) received: bool,
}

/// How the process at the other end of a link has introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) inc: Inc,
    /// The latest version of the wire that it and this process speak.
    pub(crate) version: u8,
}

impl Links {
    /// The links of the process `inc` of the member `own`, one of `members` that the configuration
    /// fixes.
    pub(crate) fn fixed(
        own: &NodeName,
        inc: Inc,
        cluster: &ClusterName,
        members: &[NodeName],
        copies: Copies,
    ) -> Self {
        let mut view = View::fixed(members.iter().map(member_name), copies);
        view.started(&member_name(own), inc);
        let view_hash = hash_of(cluster, members, "view");
        Self::new(own, hello(inc, copies, view_hash), view, true)
    }

    /// The links of a process of the node `own`, which has drawn the number `start` and is to
    /// become a member.
    pub(crate) fn agreed_on(own: &NodeName, start: u64, cluster: &ClusterName) -> Self {
        let view_hash = hash_of(cluster, &[], "agreed");
        let (inc, copies) = (Inc(start), Copies::All);
        let view = View { epoch: 0, layouts: Vec::new(), ..View::fixed([], copies) };
        Self::new(own, hello(inc, copies, view_hash), view, false)
    }

    fn new(own: &NodeName, hello: Hello, view: View, is_fixed: bool) -> Self {
        let mut liveness = Liveness::new(hello.inc);
        let near = neighbours(&view, &member_name(own), NEIGHBOURS_A_SIDE);
        liveness.handle_neighbours(near, Time(0));
        let agreed = Mutex::new(Agreed { view, liveness, linked: BTreeMap::new() });
        let protocol = AtomicU8::new(if is_fixed { WIRE_VERSION } else { WIRE_VERSION_MIN });
        Self { hello, own: own.clone(), is_fixed, agreed, names: RwLock::default(), protocol }
    }

    /// All members speak that version of the wire from now on.
    // Rule W2.
    pub(crate) fn speak(&self, protocol: u8) {
        self.protocol.store(protocol, Ordering::Relaxed);
    }

    /// The version of the wire that members are talked to in at most.
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol.load(Ordering::Relaxed)
    }

    /// The version of the wire in which `peer` is talked to.
    // Rule W2.
    pub(crate) fn version_for(&self, peer: &NodeName) -> u8 {
        self.limited(self.names.read().versions.get(peer))
    }

    fn limited(&self, common: Option<&u8>) -> u8 {
        let common = common.copied().unwrap_or(WIRE_VERSION_MIN);
        common.min(self.protocol.load(Ordering::Relaxed)).max(WIRE_VERSION_MIN)
    }

    /// The member that runs as `inc`, as far as it was heard of, and the version of the wire in
    /// which it is talked to. It is about to be sent that message.
    pub(crate) fn route(&self, inc: Inc, message: &Message) -> Option<(NodeName, u8)> {
        let names = self.names.read();
        let peer = names.by_inc.get(&inc)?;
        if message.wants_answer() {
            mark(&peer.asked);
        }
        Some((peer.name.clone(), self.limited(names.versions.get(&peer.name))))
    }

    /// The process of `peer` that is at the other end of its link, if it is a member. Something came
    /// from it.
    pub(crate) fn sender(&self, peer: &NodeName) -> Option<Inc> {
        let names = self.names.read();
        let peer = names.by_name.get(peer)?;
        mark(&peer.received);
        Some(peer.inc)
    }

    /// The members with which there was traffic since this was called last.
    pub(crate) fn take_traffic(&self) -> Vec<Traffic> {
        let names = self.names.read();
        let taken = names.by_inc.values().filter_map(|peer| {
            let (asked, received) = (take(&peer.asked), take(&peer.received));
            let peer = member_name(&peer.name);
            (asked || received).then_some(Traffic { peer, asked, received })
        });
        taken.collect()
    }

    /// What the other end of the link with `peer` speaks; nothing once there is none.
    pub(crate) fn note_version(&self, peer: &NodeName, version: Option<u8>) {
        let mut names = self.names.write();
        match version {
            Some(version) => names.versions.insert(peer.clone(), version),
            None => names.versions.remove(peer),
        };
    }

    /// The name of this node.
    pub(crate) fn own_name(&self) -> MemberName {
        member_name(&self.own)
    }

    /// How this process introduces itself.
    pub(crate) const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// True if the configuration fixes the members.
    pub(crate) const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    pub(crate) fn agreed(&self) -> MutexGuard<'_, Agreed> {
        self.agreed.lock()
    }

    /// What this process is in that view, if it is a member.
    pub(crate) fn own_inc(&self, view: &View) -> Option<Inc> {
        if self.is_fixed {
            return Some(self.hello.inc);
        }
        process(view, &member_name(&self.own), self.hello.inc)
    }

    /// The member that runs as `inc`, as far as it was heard of.
    pub(crate) fn name_of(&self, inc: Inc) -> Option<NodeName> {
        self.names.read().by_inc.get(&inc).map(|peer| peer.name.clone())
    }

    /// The process of `peer` that is at the other end of its link, if it is a member.
    pub(crate) fn inc_of(&self, peer: &NodeName) -> Option<Inc> {
        self.names.read().by_name.get(peer).map(|peer| peer.inc)
    }

    /// The member `name` runs as `inc` from now on; as nothing if it is none, or none any more.
    pub(crate) fn note(&self, name: &NodeName, inc: Option<Inc>) {
        let mut names = self.names.write();
        names.by_inc.retain(|_, known| known.name != *name);
        names.by_name.remove(name);
        if let Some(inc) = inc {
            let (asked, received) = Default::default();
            let peer = Arc::new(Peer { name: name.clone(), inc, asked, received });
            names.by_inc.insert(inc, peer.clone());
            names.by_name.insert(name.clone(), peer);
        }
    }

    /// The introduction of `peer`, if this process can talk with it.
    pub(crate) fn accept(&self, peer: &NodeName, hello: &[u8]) -> Result<Said, Mismatch> {
        let theirs = Hello::decode(hello).map_err(Mismatch::Wire)?;
        let ours = &self.hello;
        let (min, max) = (theirs.version_min, theirs.version);
        let version = theirs.common_version().ok_or(Mismatch::Versions { min, max })?;
        if theirs.view_hash != ours.view_hash {
            return Err(Mismatch::Members);
        }
        if theirs.shards != ours.shards {
            return Err(Mismatch::Shards { theirs: theirs.shards });
        }
        if theirs != (Hello { inc: theirs.inc, version: max, version_min: min, ..ours.clone() }) {
            return Err(Mismatch::Copies);
        }
        let said = Said { inc: theirs.inc, version };
        if !self.is_fixed {
            return Ok(said);
        }
        let agreed = self.agreed.lock();
        let member = agreed.view.members.iter().position(|m| m.name == member_name(peer));
        let index = usize::try_from(theirs.inc.0 % Inc::MEMBERS_MAX).ok();
        if member != index {
            return Err(Mismatch::Inc);
        }
        let known = member.and_then(|at| agreed.view.members[at].inc);
        if known.is_some_and(|known| known > theirs.inc) {
            return Err(Mismatch::Superseded);
        }
        Ok(said)
    }
}

/// What the process that has drawn `start` is in an agreed view.
pub(crate) fn process(view: &View, name: &MemberName, Inc(start): Inc) -> Option<Inc> {
    let member = view.members.iter().find(|member| member.name == *name)?;
    member.inc.filter(|_| member.start == start)
}

/// Why a process cannot be talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Its introduction cannot be read.
    Wire(WireError),
    /// There is no version of the wire that both speak.
    Versions { min: u8, max: u8 },
    /// It means other members, or another cluster.
    Members,
    /// It divides the slots among another number of shards.
    Shards { theirs: u16 },
    /// It is configured for another number of copies.
    Copies,
    /// It speaks as a process of another member.
    Inc,
    /// A later process of the same name is known.
    Superseded,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Wire(WireError::Version(theirs)) => {
                let ours = versions();
                write!(f, "it speaks wire version {theirs}, this node {ours}: upgrade it")
            }
            Self::Versions { min, max } => {
                let (theirs, ours) = (range(min, max), versions());
                write!(
                    f,
                    "it speaks wire version {theirs}, this node {ours}: upgrade the older one, \
                     over releases that have a version in common"
                )
            }
            Self::Wire(error) => write!(f, "its introduction is wrong: {error}"),
            Self::Members => f.write_str(
                "its cluster.members are not the same as here: give every node the same list, or \
                 every node seeds",
            ),
            Self::Shards { theirs } => {
                write!(f, "it has {theirs} shards, this node {SHARDS}: run the same release")
            }
            Self::Copies => f.write_str(
                "its [replication] asks for another number of copies: configure all nodes alike",
            ),
            Self::Inc => f.write_str("it speaks as a process of another member"),
            Self::Superseded => f.write_str(SUPERSEDED),
        }
    }
}

fn hello(inc: Inc, copies: Copies, view_hash: u64) -> Hello {
    let (version, version_min) = (WIRE_VERSION, WIRE_VERSION_MIN);
    Hello { version, version_min, inc, shards: SHARDS, copies, view_hash }
}

/// A mark that is there is not made again: the memory of it is shared by all shards.
fn mark(mark: &AtomicBool) {
    if !mark.load(Ordering::Relaxed) {
        mark.store(true, Ordering::Relaxed);
    }
}

fn take(mark: &AtomicBool) -> bool {
    mark.load(Ordering::Relaxed) && mark.swap(false, Ordering::Relaxed)
}

pub(crate) fn member_name(name: &NodeName) -> MemberName {
    name.as_str().into()
}

/// 64 bits for one `purpose` that all nodes of a cluster with these members find alike.
pub(crate) fn hash_of(cluster: &ClusterName, members: &[NodeName], purpose: &str) -> u64 {
    let mut hash = Sha256::new();
    let names = members.iter().map(NodeName::as_str);
    for word in [purpose, cluster.as_str()].into_iter().chain(names) {
        hash.update((word.len() as u64).to_be_bytes());
        hash.update(word);
    }
    hash.finalize().iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn links(own: &str, inc: u64, members: &[&str]) -> Links {
        let cluster = "shop".parse().unwrap();
        Links::fixed(&own.parse().unwrap(), Inc(inc), &cluster, &names(members), Copies::All)
    }

    fn said(inc: u64) -> Said {
        Said { inc: Inc(inc), version: WIRE_VERSION }
    }

    const THREE: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn nodes_of_one_configuration_agree_and_others_do_not() {
        let (a, b) = (links("a", 4096, &THREE), "b".parse().unwrap());
        let accept = |hello: &Hello| a.accept(&b, &hello.encode());
        let right = links("b", 8193, &THREE).hello;
        assert_eq!(accept(&right), Ok(said(8193)));
        assert_eq!(accept(&links("b", 8193, &["a", "b"]).hello), Err(Mismatch::Members));
        assert_eq!(
            accept(&Hello { shards: 8, ..right.clone() }),
            Err(Mismatch::Shards { theirs: 8 })
        );
        let two = Copies::Count(std::num::NonZeroU16::new(2).unwrap());
        assert_eq!(accept(&Hello { copies: two, ..right.clone() }), Err(Mismatch::Copies));
        assert_eq!(accept(&Hello { inc: Inc(8194), ..right.clone() }), Err(Mismatch::Inc));
    }

    /// Tests rule W2: what both speak is spoken, and where there is nothing of the kind the words
    /// say which ends are to be upgraded.
    #[test]
    fn processes_of_neighbouring_releases_talk_and_others_do_not() {
        let (a, b) = (links("a", 4096, &THREE), "b".parse().unwrap());
        let right = links("b", 8193, &THREE).hello;
        let accept = |version_min, version| {
            a.accept(&b, &Hello { version_min, version, ..right.clone() }.encode())
        };
        let (ours, min) = (WIRE_VERSION, WIRE_VERSION_MIN);
        assert_eq!(accept(ours, ours + 1), Ok(said(8193)), "the next release");
        assert_eq!(accept(min, min), Ok(Said { version: min, ..said(8193) }));
        let refused = accept(ours + 1, ours + 2).unwrap_err().to_string();
        let theirs = format!("it speaks wire version {} to {}, this node", ours + 1, ours + 2);
        assert!(refused.starts_with(&theirs), "{refused}");
        let refused = accept(2, 2).unwrap_err().to_string();
        assert!(refused.starts_with("it speaks wire version 2, this node"), "{refused}");
    }

    /// Tests rule W2: a member is talked to in what is agreed upon, and nobody in what it does not
    /// speak.
    #[test]
    fn what_is_agreed_upon_is_spoken() {
        let peer: NodeName = "b".parse().unwrap();
        let links = Links::agreed_on(&"a".parse().unwrap(), 77, &"shop".parse().unwrap());
        links.note(&peer, Some(Inc(3)));
        let route = || links.route(Inc(3), &Message::Pull).map(|(_, version)| version);
        assert_eq!((links.version_for(&peer), route()), (WIRE_VERSION_MIN, Some(WIRE_VERSION_MIN)));
        links.note_version(&peer, Some(WIRE_VERSION_MIN + 2));
        assert_eq!(links.version_for(&peer), WIRE_VERSION_MIN, "no view yet");
        links.speak(WIRE_VERSION_MIN + 1);
        assert_eq!(
            (links.version_for(&peer), route()),
            (WIRE_VERSION_MIN + 1, Some(WIRE_VERSION_MIN + 1))
        );
        links.note_version(&peer, None);
        assert_eq!(links.version_for(&peer), WIRE_VERSION_MIN, "what it speaks is not known");
    }

    #[test]
    fn an_earlier_start_of_a_known_name_is_refused() {
        let a = links("a", 4096, &THREE);
        a.agreed().view.started(&"b".into(), Inc(8193));
        let accept = |inc| a.accept(&"b".parse().unwrap(), &links("b", inc, &THREE).hello.encode());
        assert_eq!(accept(4097), Err(Mismatch::Superseded));
        assert_eq!(accept(8193), Ok(said(8193)));
        assert_eq!(accept(12289), Ok(said(12289)));
    }

    /// Where members are agreed on, a process is known by the number that it has drawn.
    #[test]
    fn the_view_tells_which_process_is_a_member() {
        let cluster = "shop".parse().unwrap();
        let links = Links::agreed_on(&"a".parse().unwrap(), 77, &cluster);
        let peer: NodeName = "b".parse().unwrap();
        let other = Links::agreed_on(&peer, 78, &cluster);
        assert_eq!(links.accept(&peer, &other.hello.encode()), Ok(said(78)));
        let fixed = self::links("b", 8193, &THREE);
        assert_eq!(links.accept(&peer, &fixed.hello.encode()), Err(Mismatch::Members));
        let mut view = View::fixed(["a".into(), "b".into()], Copies::All);
        (view.members[0].inc, view.members[0].start) = (Some(Inc(3)), 77);
        (view.members[1].inc, view.members[1].start) = (Some(Inc(4)), 79);
        assert_eq!(links.own_inc(&view), Some(Inc(3)));
        assert_eq!(process(&view, &"b".into(), Inc(78)), None, "another process of its name is");
        assert_eq!(process(&view, &"b".into(), Inc(79)), Some(Inc(4)));
        links.note(&peer, Some(Inc(4)));
        assert_eq!(
            (links.name_of(Inc(4)), links.inc_of(&peer)),
            (Some(peer.clone()), Some(Inc(4)))
        );
        links.note(&peer, None);
        assert_eq!((links.name_of(Inc(4)), links.inc_of(&peer)), (None, None));
    }

    /// Tests rule D1: what is expected of a distant peer, and what shows that it is there.
    #[test]
    fn traffic_is_told_once() {
        let links = Links::agreed_on(&"a".parse().unwrap(), 77, &"shop".parse().unwrap());
        let peers: [NodeName; 3] = ["b", "c", "d"].map(|name| name.parse().unwrap());
        for (peer, inc) in peers.iter().zip(4..) {
            links.note(peer, Some(Inc(inc)));
        }
        assert_eq!(links.take_traffic(), []);
        links.route(Inc(4), &Message::Need { request: 1, wants: Vec::new() });
        links.route(Inc(6), &Message::Pull);
        assert_eq!(
            (links.sender(&peers[1]), links.sender(&peers[1])),
            (Some(Inc(5)), Some(Inc(5)))
        );
        let traffic =
            |peer: &NodeName, asked| Traffic { peer: member_name(peer), asked, received: !asked };
        assert_eq!(links.take_traffic(), [traffic(&peers[0], true), traffic(&peers[1], false)]);
        assert_eq!(links.take_traffic(), []);
    }
}
