//! A balancer as its clients notice it: a node whose `/health` is not 200 gets no new requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::addresses::Addresses;
use crate::client::Client;

/// Between two questions for `/health`: as often as balancers ask at most, and far less than any
/// `node.drain_grace`.
const ASK: Duration = Duration::from_millis(100);

/// A node that has not answered within this time does not serve.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which nodes get new requests.
#[derive(Debug)]
pub struct Balancer {
    addresses: Addresses,
    /// Whether each node said that it serves when it was asked last.
    serves: Vec<AtomicBool>,
}

impl Balancer {
    /// In front of nodes that all serve.
    #[must_use]
    pub fn new(addresses: &Addresses) -> Self {
        let serves = (0..addresses.len()).map(|_| AtomicBool::new(true)).collect();
        Self { addresses: addresses.clone(), serves }
    }

    /// Where the nodes are.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Asks all nodes again and again how they are, until it is over. One that hangs does not delay
    /// what is heard of the others.
    pub fn follow(&self, is_over: &AtomicBool) {
        std::thread::scope(|scope| {
            for (node, serves) in self.serves.iter().enumerate() {
                scope.spawn(move || {
                    let mut client = Client::new().with_patience(PATIENCE);
                    while !is_over.load(Ordering::Relaxed) {
                        let answer = client.get(self.addresses.of(node), "/health");
                        let is_well = answer.is_ok_and(|answer| answer.status == 200);
                        serves.store(is_well, Ordering::Relaxed);
                        std::thread::park_timeout(ASK);
                    }
                });
            }
        });
    }

    /// The first node from `from` on that serves; `from` itself if none does.
    #[must_use]
    pub fn choose(&self, from: usize) -> usize {
        let nodes = self.serves.len();
        let turns = (from..from + nodes).map(|turn| turn % nodes);
        let serves = |node: &usize| self.serves[*node].load(Ordering::Relaxed);
        turns.clone().find(serves).unwrap_or(from % nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_serve_is_passed_over() {
        let balancer = Balancer::new(&Addresses::nowhere(3));
        assert_eq!([0, 1, 2].map(|turn| balancer.choose(turn)), [0, 1, 2]);
        balancer.serves[1].store(false, Ordering::Relaxed);
        assert_eq!([0, 1, 2].map(|turn| balancer.choose(turn)), [0, 2, 2]);
        balancer.serves[2].store(false, Ordering::Relaxed);
        assert_eq!([0, 1, 2].map(|turn| balancer.choose(turn)), [0, 0, 0]);
        balancer.serves[0].store(false, Ordering::Relaxed);
        assert_eq!([0, 1, 2].map(|turn| balancer.choose(turn)), [0, 1, 2]);
    }
}
