//! Authenticated links between the nodes of a cluster, and lanes of frames on them.
//!
//! The only crate that names quinn, rustls and rcgen. It moves bytes and does not know what they
//! mean.
//!
//! ```text
//!  try_send ─► LaneQueue ─► writer ─► stream ═══ QUIC ═══ stream ─► reader ─► Inbox ─► Events
//!                 (lane)     (lane)                                 (lane)   (inbox)
//!
//!  accept ──► offers ──┐
//!                      ├─► pair: one attempt becomes the link (link) ─► Up … Down
//!  dial (attempt) ─────┘
//! ```
//!
//! - A *link* is two connections to one peer: one for control, one for data. [`Event::Up`] says
//!   that both stand, [`Event::Down`] that one of them has ended; the other is then closed.
//! - A *stranger* is a node of this cluster that is in no list of peers and has connected by itself.
//!   If the endpoint admits any, its link is like a peer's, but it is never dialled.
//! - A *lane* is an ordered flow of frames in each direction. Nothing on a lane is repeated after
//!   a link has ended: what was not received is lost, and the user of this crate sends again what
//!   still matters.
//! - An *operator* has a certificate of its own kind, can never be a peer or a stranger, and makes
//!   requests ([`Operator`]) that the embedding program answers ([`Endpoint::operators`]). No node
//!   can make any.
//! - Everything is bounded, see [`Limits`]. A peer that does not read makes
//!   [`Endpoint::try_send`] say [`SendError::Full`]; a user that does not call [`Events::next`]
//!   makes its peers wait.
//! - TLS 1.3 with certificates on both sides. A node is who its certificate says: the DNS name
//!   `NODE.CLUSTER.replica.internal`.

mod accept;
mod attempt;
mod counters;
mod credentials;
mod endpoint;
mod error;
mod event;
mod exchange;
mod frame;
#[cfg(feature = "hostile-testing")]
pub mod hostile;
mod identify;
mod identity;
mod inbox;
#[cfg(feature = "issue")]
pub mod issue;
mod lane;
mod limits;
mod link;
mod name;
mod operator_client;
mod operators;
mod pair;
mod peers;
mod preface;
mod random;
mod reload;
mod socket;
mod subject;
mod tls;

pub use counters::{Counters, LaneCounters, Refusal};
pub use endpoint::{
    Endpoint, EndpointConfig, Events, PeerAddress, PeerStatus, RELOAD_INTERVAL_DEFAULT,
};
pub use error::{SendError, StartError, TlsError};
pub use event::{DownReason, Event, FrameViolation};
pub use exchange::Unanswered;
pub use identify::{DialError, IdentifyError};
pub use identity::{
    Holder, Identity, IdentityError, NoHolderName, OperatorIdentity, PEM_BYTES_MAX, TlsFile,
    TlsPaths,
};
pub use lane::Lane;
pub use limits::{HELLO_BYTES_MAX, Limits, OPERATOR_ANSWER_BYTES_MAX, OPERATOR_REQUEST_BYTES_MAX};
pub use name::{ClusterName, NAME_BYTES_MAX, NameError, NodeName};
pub use operator_client::{Operator, OperatorError};
pub use operators::{OperatorRequest, Operators};
