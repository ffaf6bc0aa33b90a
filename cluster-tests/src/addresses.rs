//! Where nodes serve HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the nodes serve HTTP now: changes when one is started again. Shared with those who send
/// requests while nodes come and go.
#[derive(Debug, Clone)]
pub struct Addresses(Arc<Mutex<Vec<SocketAddr>>>);

impl Addresses {
    /// The address of a node, the last one if it does not run.
    #[must_use]
    pub fn of(&self, node: usize) -> SocketAddr {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[node]
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of nodes none of which has run yet.
    pub(crate) fn nowhere(nodes: usize) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self(Arc::new(Mutex::new(vec![nowhere; nodes])))
    }

    pub(crate) fn set(&self, node: usize, http: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[node] = http;
    }
}
