//! The sections of a checked configuration. Whoever holds one may rely on every bound and every
//! combination; only this module makes them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use protocol::{Ack, Copies, Decision, View};
use transport::{ClusterName, NodeName};

use super::check::described;
use super::memory::Memory;
use super::units::Address;

/// `[node]`: this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeSection {
    /// Where the UDP socket is bound.
    pub listen: SocketAddr,
    /// Where the others reach this node. Where the configuration fixes the members it only has to
    /// agree with the address that this one has in `cluster.members`.
    pub advertise: Option<Address>,
    /// The name that the certificate must carry.
    pub name: Option<NodeName>,
    /// What fails together with this node, such as a rack or a data centre.
    pub zone: Option<String>,
    /// Where the log of membership is kept. Without it this node can be a member, but neither
    /// found a cluster nor vote.
    pub data_dir: Option<PathBuf>,
    /// How long a node that drains goes on serving while balancers learn of it.
    pub drain_grace: Duration,
    /// How long a stop tries to hand over what this node holds.
    pub drain_timeout: Duration,
    /// How often the files of certificates and of token keys are looked at for changes.
    pub reload_interval: Duration,
}

/// `[cluster]`: who belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterSection {
    /// Its name; certificates of another cluster are refused.
    pub name: ClusterName,
    /// Nodes that a start looks for to join their cluster, or to found one with; none if this node
    /// is to found one alone. Of no use where the members are fixed.
    pub seeds: Vec<Address>,
    /// So many nodes have to be there before they found a cluster; more than half of those that
    /// start together.
    pub expect: usize,
    /// At most so many nodes agree on who is a member: 1, 3 or 5.
    pub voters: usize,
    /// One of them that is silent for so long is replaced.
    pub voter_replace_after: Duration,
    /// The members and where they are reached, sorted by name, this node included, if the
    /// configuration fixes them; empty if they are agreed at run time.
    pub members: BTreeMap<NodeName, Address>,
}

impl ClusterSection {
    /// True if the configuration fixes who is a member.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self.members.is_empty()
    }
}

/// `[replication]`: how many copies, and how many of them a commit waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicationSection {
    /// How many members hold each session; never more than there are members.
    pub copies: Copies,
    /// What a commit waits for.
    pub ack: Ack,
    /// How long it waits at most; then it reports what it got.
    pub ack_timeout: Duration,
}

impl ReplicationSection {
    /// The first decision of a cluster that is configured so.
    pub(crate) const fn begin(&self, generation: u64) -> Decision {
        Decision::Begin { generation, copies: self.copies, protocol: protocol::wire::WIRE_VERSION }
    }

    /// Why a node that is configured so may not join a cluster that has this view.
    pub(crate) fn disagrees_with(&self, view: &View) -> Option<String> {
        let running = view.layouts.last()?.copies;
        (running != self.copies).then(|| {
            format!(
                "this node is configured for {}, but the cluster runs with {}: configure it alike, \
                 or change the cluster with `replica-node mode`",
                described(self.copies),
                described(running),
            )
        })
    }
}

/// `[session]`: lifetimes, sizes and cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSection {
    /// A session not used for so long ends; at most `absolute_timeout`.
    pub idle_timeout: Duration,
    /// A session this old ends, however busy.
    pub absolute_timeout: Duration,
    /// What edits may make of a session.
    pub limits: session::Limits,
    /// The file of the token keys, see [`Config::token_keys`](super::Config::token_keys).
    pub token_keys: PathBuf,
    /// The two cookies.
    pub cookie: CookieSection,
}

/// `session.cookie`: the attributes of the two cookies, which are always `HttpOnly`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CookieSection {
    /// Name of the cookie with the session's id, with the prefix `__Host-` where it applies.
    pub name: String,
    /// Name of the cookie with the token, likewise.
    pub token_name: String,
    /// `Domain`; without it only the host that set the cookie gets it back.
    pub domain: Option<String>,
    /// `Path`.
    pub path: String,
    /// `Secure`.
    pub secure: bool,
    /// `SameSite`.
    pub same_site: SameSite,
}

/// Which requests from other sites carry the cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Following a link does, a form or a script does not.
    Lax,
    /// None does.
    Strict,
    /// All do; needs `Secure`.
    None,
}

/// `[limits]`: bounds of memory and of traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsSection {
    /// Memory for sessions.
    pub memory: Memory,
    /// Dirty sessions remembered per peer, before slots take their place.
    pub outbox_sessions_max: usize,
    /// Longest frame, in bytes.
    pub frame_bytes_max: usize,
    /// Bytes waiting to be sent, per peer and lane.
    pub lane_queue_bytes_max: usize,
    /// Bytes received and not yet looked at, per peer and lane.
    pub lane_inbox_bytes_max: usize,
    /// Connections at once, of all peers and strangers.
    pub connections_max: usize,
    /// Handshakes of strangers at once.
    pub handshakes_max: usize,
    /// Handshakes at once from which a stranger must prove its address first; at most
    /// `handshakes_max`.
    pub handshakes_before_retry: usize,
    /// Time between two comparisons with a peer.
    pub repair_interval: Duration,
    /// Bytes per second that answers to repair may take.
    pub repair_bytes_per_second: u64,
}
