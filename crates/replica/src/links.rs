//! Who the others are: the view, which process a member runs as, and whether two processes agree
//! enough to talk.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::{Mutex, MutexGuard, RwLock};
use protocol::wire::{Hello, WIRE_VERSION, WireError};
use protocol::{Copies, Liveness, MemberName, View};
use session::Inc;
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
}

/// The others, seen from this process.
#[derive(Debug)]
pub(crate) struct Links {
    hello: Hello,
    agreed: Mutex<Agreed>,
    names: RwLock<BTreeMap<Inc, NodeName>>,
}

impl Links {
    /// The links of the process `inc` of the member `own`, one of `members`.
    pub(crate) fn new(
        own: &NodeName,
        inc: Inc,
        cluster: &ClusterName,
        members: &[NodeName],
        copies: Copies,
    ) -> Self {
        let mut view = View::fixed(members.iter().map(member_name), copies);
        view.started(&member_name(own), inc);
        let view_hash = hash_of(cluster, members, "view");
        let hello = Hello { inc, shards: SHARDS, copies, view_hash };
        let agreed = Agreed { view, liveness: Liveness::new(inc) };
        Self { hello, agreed: Mutex::new(agreed), names: RwLock::default() }
    }

    /// How this process introduces itself.
    pub(crate) const fn hello(&self) -> &Hello {
        &self.hello
    }

    pub(crate) fn agreed(&self) -> MutexGuard<'_, Agreed> {
        self.agreed.lock()
    }

    /// The member that runs as `inc`, as far as it was heard of.
    pub(crate) fn name_of(&self, inc: Inc) -> Option<NodeName> {
        self.names.read().get(&inc).cloned()
    }

    /// The member `name` runs as `inc` from now on.
    pub(crate) fn note(&self, name: &NodeName, inc: Inc) {
        let mut names = self.names.write();
        names.retain(|_, known| known != name);
        names.insert(inc, name.clone());
    }

    /// The introduction of `peer`, if this process can talk with it.
    pub(crate) fn accept(&self, peer: &NodeName, hello: &[u8]) -> Result<Inc, Mismatch> {
        let theirs = Hello::decode(hello).map_err(Mismatch::Wire)?;
        let ours = &self.hello;
        let agreed = self.agreed.lock();
        let member = agreed.view.members.iter().position(|m| m.name == member_name(peer));
        let index = usize::try_from(theirs.inc.0 % Inc::MEMBERS_MAX).ok();
        if theirs.view_hash != ours.view_hash {
            return Err(Mismatch::Members);
        }
        if theirs.shards != ours.shards {
            return Err(Mismatch::Shards { theirs: theirs.shards });
        }
        if theirs != (Hello { inc: theirs.inc, ..ours.clone() }) {
            return Err(Mismatch::Copies);
        }
        if member != index {
            return Err(Mismatch::Inc);
        }
        let known = member.and_then(|at| agreed.view.members[at].inc);
        if known.is_some_and(|known| known > theirs.inc) {
            return Err(Mismatch::Superseded);
        }
        Ok(theirs.inc)
    }
}

/// Why a process cannot be talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Its introduction cannot be read.
    Wire(WireError),
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
        match self {
            Self::Wire(WireError::Version(theirs)) => write!(
                f,
                "it speaks wire version {theirs}, this node {WIRE_VERSION}: upgrade the older one"
            ),
            Self::Wire(error) => write!(f, "its introduction is wrong: {error}"),
            Self::Members => f.write_str(
                "its cluster.members are not the same as here: give every node the same list",
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
        Links::new(&own.parse().unwrap(), Inc(inc), &cluster, &names(members), Copies::All)
    }

    const THREE: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn nodes_of_one_configuration_agree_and_others_do_not() {
        let (a, b) = (links("a", 4096, &THREE), "b".parse().unwrap());
        let accept = |hello: &Hello| a.accept(&b, &hello.encode());
        let right = links("b", 8193, &THREE).hello;
        assert_eq!(accept(&right), Ok(Inc(8193)));
        assert_eq!(accept(&links("b", 8193, &["a", "b"]).hello), Err(Mismatch::Members));
        assert_eq!(
            accept(&Hello { shards: 8, ..right.clone() }),
            Err(Mismatch::Shards { theirs: 8 })
        );
        let two = Copies::Count(std::num::NonZeroU16::new(2).unwrap());
        assert_eq!(accept(&Hello { copies: two, ..right.clone() }), Err(Mismatch::Copies));
        assert_eq!(accept(&Hello { inc: Inc(8194), ..right.clone() }), Err(Mismatch::Inc));
        let mut other = right.encode();
        other[0] += 1;
        let refused = a.accept(&b, &other).unwrap_err().to_string();
        let (theirs, ours) = (WIRE_VERSION + 1, WIRE_VERSION);
        let expected =
            format!("it speaks wire version {theirs}, this node {ours}: upgrade the older one");
        assert_eq!(refused, expected);
    }

    #[test]
    fn an_earlier_start_of_a_known_name_is_refused() {
        let a = links("a", 4096, &THREE);
        a.agreed().view.started(&"b".into(), Inc(8193));
        let accept = |inc| a.accept(&"b".parse().unwrap(), &links("b", inc, &THREE).hello.encode());
        assert_eq!(accept(4097), Err(Mismatch::Superseded));
        assert_eq!(accept(8193), Ok(Inc(8193)));
        assert_eq!(accept(12289), Ok(Inc(12289)));
    }
}
