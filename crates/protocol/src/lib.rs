//! How sessions spread: one shard of one node as a state machine without I/O.
//!
//! ```text
//!            open · commit                               poll_event
//!  application ───────────►┌───────────────────────────┐───────────► application
//!                          │ Node   loads    commits   │
//!                          │        forwards outbox    │
//!            handle_*      │        store    repair    │  poll_transmit
//!  network, clock ────────►└───────────────────────────┘───────────► network
//! ```
//!
//! Two kinds of message carry data: *deltas* at once, and *repair* (compare digests, ask, receive
//! deltas). Whatever arrives ends in [`Store::apply`], as a local write does.
//!
//! The crate is a function of its inputs: time, randomness, views and messages come in as
//! arguments; messages and events go out. `handle_*` never fails: what a peer does wrong becomes an
//! [`Event::Violation`]. The rules it follows are numbered in `docs/protocol.md`.
//!
//! Beside [`Node`] there is [`Liveness`], once a process: heartbeats, suspicion, clock offsets.

mod budget;
pub mod codec;
mod counters;
mod digest;
mod event;
#[cfg(test)]
mod fixtures;
mod forwards;
pub mod limits;
mod liveness;
mod loads;
mod message;
mod node;
mod outbox;
mod placement;
mod quorum;
mod repair;
mod retries;
mod roster;
mod rules;
mod store;
mod sync;
mod view;
mod violation;
mod waiters;
pub mod wire;

pub use counters::Counters;
pub use digest::Digest;
pub use event::{Ack, Acked, Event, Opened, Outcome, Report, Ticket};
pub use liveness::{Heartbeat, Liveness, LivenessEvent, neighbours};
pub use message::{Batch, Commit, Envelope, Lane, Life, Message, Refusal, Room, Supply};
pub use node::{Handover, Lag, Node, Options, Transmit};
pub use placement::Placement;
pub use roster::{Decision, Refused, Roster};
#[cfg(feature = "mutants")]
pub use rules::Rule;
pub use rules::Rules;
pub use store::{Store, Verdict};
pub use view::{Copies, Layout, Member, MemberName, View, Zone};
pub use violation::Violation;
