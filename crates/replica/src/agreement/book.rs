//! Where the others are: the addresses of members, from the view, and of seeds, from the
//! configuration and DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use membership::{Place, RaftId};
use protocol::View;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};
use transport::{Endpoint, NodeName, PeerAddress};

use crate::config::Address;

/// Addresses of one seed that are tried: a DNS name may have many.
const ADDRESSES_PER_SEED_MAX: usize = 64;

/// So long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at the seeds.
const SEEDS_INTERVAL: Duration = Duration::from_millis(500);

/// A node that answered at an address.
pub(super) struct Found {
    pub(super) name: NodeName,
    pub(super) address: SocketAddr,
}

/// The addresses that are known, and whom this node is to have links with.
#[derive(Debug, Default)]
pub(super) struct Book {
    members: BTreeMap<NodeName, String>,
    seeds: BTreeMap<NodeName, String>,
}

impl Book {
    /// A node answers at that address; true if that is news.
    pub(super) fn note_seed(&mut self, found: Found) -> bool {
        let address = found.address.to_string();
        self.seeds.insert(found.name, address.clone()) != Some(address)
    }

    /// The members are those of that view, and voters that are none any more are still reached
    /// where they were.
    pub(super) fn note_view(&mut self, view: &View, voters: &BTreeMap<RaftId, Place>) {
        let voters: BTreeSet<&str> = voters.values().map(|place| place.name.0.as_str()).collect();
        self.members.retain(|name, _| voters.contains(name.as_str()));
        for member in view.members.iter().filter(|member| !member.address.is_empty()) {
            if let Ok(name) = member.name.0.parse() {
                self.members.insert(name, member.address.to_string());
            }
        }
    }

    /// Whom this node is to have links with: the members; and while it knows of none, or is
    /// `alone`, the seeds, where they have just answered.
    pub(super) fn peers(&self, alone: bool) -> Vec<PeerAddress> {
        let mut known = self.members.clone();
        if alone || known.is_empty() {
            known.extend(self.seeds.clone());
        }
        known.into_iter().map(|(name, address)| PeerAddress { name, address }).collect()
    }

    /// True as long as seeds are of use.
    pub(super) fn needs_seeds(&self) -> bool {
        self.members.is_empty()
    }
}

/// Looks for the nodes behind the seeds, again and again while `wanted` says so.
pub(super) async fn look_for_seeds(
    endpoint: Endpoint,
    seeds: Vec<Address>,
    wanted: Arc<AtomicBool>,
    found: mpsc::Sender<Found>,
) {
    let mut looks = tokio::time::interval(SEEDS_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if !wanted.load(Ordering::Relaxed) {
            continue;
        }
        let mut asked = JoinSet::new();
        for seed in &seeds {
            for address in resolve(seed).await {
                let endpoint = endpoint.clone();
                asked.spawn(async move {
                    let name = endpoint.identify(address).await;
                    (address, name)
                });
            }
        }
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((address, Ok(name))) => {
                    if found.send(Found { name, address }).await.is_err() {
                        return;
                    }
                }
                Ok((address, Err(error))) => tracing::debug!("seed {address}: {error}"),
                Err(_) => return,
            }
        }
    }
}

async fn resolve(seed: &Address) -> Vec<SocketAddr> {
    let resolved = tokio::net::lookup_host((seed.host(), seed.port()));
    match timeout(RESOLVE_TIMEOUT, resolved).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESSES_PER_SEED_MAX).collect(),
        Ok(Err(error)) => {
            tracing::debug!("seed {seed}: {error}");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
