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

    /// Whom this node is to have links with: the members; while it knows of none or is linked with
    /// nobody the seeds as well, where they have just answered. A seed that is linked stays so,
    /// member or not: it may be about to join.
    pub(super) fn peers(&self, linked: &[NodeName]) -> Vec<PeerAddress> {
        let is_lost = linked.is_empty() || self.members.is_empty();
        let mut known = self.members.clone();
        for (name, address) in &self.seeds {
            if is_lost {
                known.insert(name.clone(), address.clone());
            } else if linked.contains(name) {
                known.entry(name.clone()).or_insert_with(|| address.clone());
            }
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

#[cfg(test)]
mod tests {
    use protocol::{Copies, Member, MemberName};

    use super::*;

    fn view(names: &[&str]) -> View {
        let member = |name: &&str| Member {
            address: format!("{name}:1").into(),
            ..Member::unheard(MemberName::from(*name))
        };
        View { members: names.iter().map(member).collect(), ..View::fixed([], Copies::All) }
    }

    fn book(members: &[&str], seeds: &[&str]) -> Book {
        let mut book = Book::default();
        book.note_view(&view(members), &BTreeMap::new());
        for seed in seeds {
            let address = "127.0.0.1:7".parse().unwrap();
            assert!(book.note_seed(Found { name: seed.parse().unwrap(), address }));
        }
        book
    }

    fn peers(book: &Book, linked: &[&str]) -> Vec<String> {
        let linked: Vec<NodeName> = linked.iter().map(|name| name.parse().unwrap()).collect();
        book.peers(&linked).into_iter().map(|p| format!("{} {}", p.name, p.address)).collect()
    }

    #[test]
    fn seeds_are_of_use_until_there_are_members_and_when_nobody_answers() {
        let book = book(&["a", "b"], &["b", "c"]);
        assert_eq!(peers(&book, &["a"]), ["a a:1", "b b:1"]);
        assert_eq!(peers(&book, &[]), ["a a:1", "b 127.0.0.1:7", "c 127.0.0.1:7"]);
        assert_eq!(peers(&book, &["c"]), ["a a:1", "b b:1", "c 127.0.0.1:7"], "it is kept");
        let lost = self::book(&[], &["c"]);
        assert_eq!(peers(&lost, &["c"]), ["c 127.0.0.1:7"]);
        assert!(lost.needs_seeds() && !book.needs_seeds());
    }

    #[test]
    fn a_voter_that_is_no_member_any_more_is_still_reached() {
        let mut book = book(&["a", "b"], &[]);
        let place = Place { name: "b".into(), zone: "".into() };
        book.note_view(&view(&["a"]), &BTreeMap::from([(RaftId(1), place)]));
        assert_eq!(peers(&book, &["a"]), ["a a:1", "b b:1"]);
        book.note_view(&view(&["a"]), &BTreeMap::new());
        assert_eq!(peers(&book, &["a"]), ["a a:1"]);
    }
}
