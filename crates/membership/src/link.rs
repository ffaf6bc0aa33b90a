//! How voters reach each other, as far as this crate knows: bytes to a node, and bytes back. The
//! transport's control lane is one such link; tests have one in memory.

use std::pin::Pin;

use protocol::MemberName;

/// An answer under way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, LinkError>> + Send + 'a>>;

/// Carries requests to other nodes. What arrives is given to [`crate::Voter::handle_request`], with
/// the name that the link has verified.
pub trait Link: Send + Sync + 'static {
    /// Sends a request to the node of that name and waits for its answer. The link has to verify
    /// that it is that node which answers, as the transport does by its certificate: two quorums
    /// are possible otherwise. It may wait as long as it likes; whoever asks gives up by dropping
    /// the future.
    fn request<'a>(&'a self, to: &'a MemberName, request: Vec<u8>) -> Answering<'a>;

    /// The version of the wire in which that node is to be talked to now: at most what its members
    /// have agreed on, and what both ends of the link speak.
    // Rule W2.
    fn speaks(&self, to: &MemberName) -> u8;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no connection to the node: it has certainly not seen the request. Asked again
    /// later, it may.
    #[error("{0} is not reachable")]
    Unreachable(MemberName),
    /// The connection ended while the answer was awaited: the node may have acted on the request.
    #[error("the connection to {0} was lost before it had answered")]
    Lost(MemberName),
}
