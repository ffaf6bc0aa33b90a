//! The nodes that this one links with: peers, which it was told of and dials, and strangers, which
//! have come by themselves. Decides who is admitted and who is forgotten; what is said with a
//! node is up to its [`Pair`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::attempt::Offer;
use crate::counters::Refusal;
use crate::endpoint::{PeerAddress, Shared};
use crate::event::{Close, DownReason};
use crate::limits::OFFERS_MAX;
use crate::link::{End, Link};
use crate::name::NodeName;
use crate::pair::{Pair, Peer, PeerState, Phase};

/// The tasks of the pairs, of those as well that are being taken down.
type Pairs = BTreeMap<NodeName, JoinHandle<()>>;

/// All peers and strangers. Locked in the order of the fields.
#[derive(Debug)]
pub(crate) struct Peers {
    /// `None` once the endpoint is being stopped.
    pairs: Mutex<Option<Pairs>>,
    /// Of strangers at most `strangers_max`.
    known: RwLock<BTreeMap<NodeName, Arc<Peer>>>,
    strangers_max: usize,
}

impl Peers {
    pub(crate) fn new(strangers_max: usize) -> Self {
        let pairs = Mutex::new(Some(Pairs::new()));
        Self { pairs, known: RwLock::default(), strangers_max }
    }

    /// All of them, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.known.read().values().cloned().collect()
    }

    /// The link with this node, if one stands.
    pub(crate) fn link(&self, name: &NodeName) -> Option<Arc<Link>> {
        self.known.read().get(name)?.state.lock().link.clone()
    }

    /// Sets the list of peers. A stranger in it becomes a peer, with its link.
    pub(crate) fn set(&self, shared: &Arc<Shared>, peers: Vec<PeerAddress>) {
        let mut wanted: BTreeMap<NodeName, String> =
            peers.into_iter().map(|peer| (peer.name, peer.address)).collect();
        wanted.remove(&shared.name);
        let mut pairs = self.pairs.lock();
        let Some(pairs) = pairs.as_mut() else {
            return;
        };
        let mut known = self.known.write();
        known.retain(|name, peer| {
            let stays = wanted.contains_key(name) || peer.is_stranger();
            if !stays {
                peer.end(DownReason::Removed, None);
            }
            stays
        });
        for (name, address) in wanted {
            match known.get(&name) {
                Some(peer) => peer.phase.send_modify(|phase| phase.address = Some(address)),
                None => {
                    let peer = start_pair(shared, pairs, name.clone(), Some(address));
                    known.insert(name, peer);
                }
            }
        }
    }

    /// Whether connections of this node are taken now.
    pub(crate) fn admits(&self, name: &NodeName) -> Result<(), Refusal> {
        let known = self.known.read();
        if known.contains_key(name) { Ok(()) } else { self.admits_stranger(&known) }
    }

    fn admits_stranger(&self, known: &BTreeMap<NodeName, Arc<Peer>>) -> Result<(), Refusal> {
        if self.strangers_max == 0 {
            return Err(Refusal::UnknownName);
        }
        let strangers = known.values().filter(|peer| peer.is_stranger()).count();
        if strangers < self.strangers_max { Ok(()) } else { Err(Refusal::TooManyStrangers) }
    }

    /// Gives a connection to the pair that it belongs to, which begins with it if the node is a
    /// new stranger.
    pub(crate) fn hand_over(&self, shared: &Arc<Shared>, name: &NodeName, offer: Offer) {
        // The lock is held while it is handed over, so that nobody is forgotten in between.
        if let Some(peer) = self.known.read().get(name) {
            return give(shared, peer, offer);
        }
        let mut pairs = self.pairs.lock();
        let Some(pairs) = pairs.as_mut() else {
            return offer.refuse(Close::Stopped, "this node was stopped");
        };
        let mut known = self.known.write();
        if let Some(peer) = known.get(name) {
            return give(shared, peer, offer);
        }
        if let Err(refusal) = self.admits_stranger(&known) {
            shared.meters.refuse(refusal, name);
            return offer.refuse(Close::Refused, &shared.words(refusal));
        }
        let peer = start_pair(shared, pairs, name.clone(), None);
        // Into the channel before it is known, so that its task does not find that it has nothing
        // to do.
        give(shared, &peer, offer);
        known.insert(name.clone(), peer);
    }

    /// Forgets a stranger with which nothing is going on; whether it is forgotten. It is not if it
    /// has become a peer, or has connected again.
    pub(crate) fn forget(&self, stranger: &Arc<Peer>, offers: &mpsc::Receiver<Offer>) -> bool {
        let mut known = self.known.write();
        let is_over = stranger.is_stranger() && offers.is_empty();
        if is_over {
            known.retain(|_, peer| !Arc::ptr_eq(peer, stranger));
        }
        is_over
    }

    /// Begins to end all links. Returns the tasks that are still at it; `None` if that had begun
    /// before.
    pub(crate) fn stop(&self, flush_until: Option<Instant>) -> Option<Vec<JoinHandle<()>>> {
        let pairs = self.pairs.lock().take()?;
        for peer in self.known.read().values() {
            peer.end(DownReason::Stopped, flush_until);
        }
        Some(pairs.into_values().collect())
    }
}

fn give(shared: &Shared, peer: &Peer, offer: Offer) {
    if let Err(refused) = peer.offers.try_send(offer) {
        shared.meters.refuse(Refusal::Busy, &peer.name);
        refused.into_inner().refuse(Close::Busy, "too many attempts at once");
    }
}

/// Starts the task of a pair, after the one before it with the same node has ended.
fn start_pair(
    shared: &Arc<Shared>,
    pairs: &mut Pairs,
    name: NodeName,
    address: Option<String>,
) -> Arc<Peer> {
    pairs.retain(|_, pair| !pair.is_finished());
    let before = pairs.remove(&name);
    let (offers, offered) = mpsc::channel(OFFERS_MAX);
    let peer = Arc::new(Peer {
        name: name.clone(),
        state: Mutex::new(PeerState::new()),
        offers,
        phase: watch::Sender::new(Phase { address, end: None::<End> }),
    });
    let pair = Pair::new(shared.clone(), peer.clone());
    let task = shared.spawn(async move {
        if let Some(before) = before {
            let _ = before.await;
        }
        pair.run(offered).await;
    });
    pairs.insert(name, task);
    peer
}
