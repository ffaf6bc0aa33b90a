//! The agreed view: Raft around the roster of `protocol`.
//!
//! Raft agrees on who is a member, and on nothing else; no session ever waits for it. One, three or
//! five nodes are voters; the others follow the view without being part of Raft. This crate is the
//! only one that names openraft. It knows neither sessions nor how bytes travel: what it sends goes
//! through [`Link`], which `replica` will implement over the transport.
//!
//! | part | owns |
//! |---|---|
//! | `store/` | the Raft directory: identity, vote, log, snapshot; whether it can be trusted |
//! | `log.rs`, `machine.rs` | nothing: openraft's traits over the store and the roster |
//! | `bootstrap.rs` | how a cluster comes into being once; pure |
//! | `voters.rs` | who votes, and the next change of that; pure |

pub mod bootstrap;
mod link;
mod log;
mod machine;
mod network;
mod raft_types;
mod store;
pub mod voters;
mod wire;
#[cfg(test)]
mod suite_tests;

pub use link::{Answering, Link, LinkError};
pub use raft_types::{Group, Outcome, Place, RaftId};
pub use store::{Damage, Identity, OpenError, Store, StoreError};
