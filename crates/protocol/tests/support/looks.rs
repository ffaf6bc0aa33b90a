//! What a test can see of the nodes.

use protocol::{Envelope, Node};
use session::{Inc, Session, SessionKey, State, Time, Version};

use super::{Net, name};

impl Net {
    pub(crate) fn node(&self, host: usize) -> &Node {
        self.hosts[host].node.as_ref().expect("it runs")
    }

    /// To tell a node what the others of its process would not.
    pub(crate) fn node_mut(&mut self, host: usize) -> &mut Node {
        self.hosts[host].node.as_mut().expect("it runs")
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.hosts.iter().filter_map(|host| host.node.as_ref())
    }

    pub(crate) fn runs(&self, host: usize) -> bool {
        self.hosts[host].node.is_some()
    }

    pub(crate) fn inc(&self, host: usize) -> Inc {
        self.node(host).inc()
    }

    /// What a node's clock says.
    pub(crate) fn time(&self, host: usize) -> Time {
        self.now.plus(self.hosts[host].ahead_ms)
    }

    pub(crate) fn session(&self, host: usize, key: SessionKey) -> Option<&Session> {
        self.node(host).store().session(key)
    }

    pub(crate) fn version(&self, host: usize, key: SessionKey) -> Version {
        self.node(host).store().version(key)
    }

    /// The value of a register; empty if there is none.
    pub(crate) fn register(&self, host: usize, key: SessionKey, text: &str) -> String {
        match self.session(host, key).map(|session| session.content(&name(text))) {
            Some(session::Content::Register(value)) => {
                String::from_utf8(value.bytes().to_vec()).expect("text")
            }
            _ => String::new(),
        }
    }

    pub(crate) fn counter(&self, host: usize, key: SessionKey, text: &str) -> i64 {
        match self.session(host, key).map(|session| session.content(&name(text))) {
            Some(session::Content::Counter(counter)) => counter.value(),
            _ => 0,
        }
    }

    pub(crate) fn has_ended(&self, host: usize, key: SessionKey) -> bool {
        matches!(self.node(host).store().get(key), Some(State::Ended(_)))
    }

    /// True if all nodes hold the same, and nobody is known to lack anything.
    pub(crate) fn is_calm(&self) -> bool {
        let mut roots = self.nodes().map(|node| node.store().root());
        let first = roots.next();
        roots.all(|root| Some(root) == first) && self.nodes().all(Node::is_drained)
    }

    /// The messages sent from one host to another that `matching` finds.
    pub(crate) fn count(&self, matching: impl Fn(&Envelope) -> bool) -> usize {
        self.log.iter().filter(|envelope| matching(envelope)).count()
    }
}
