//! The agreed view: Raft around the roster of `protocol`.
//!
//! Raft agrees on who is a member, and on nothing else; no session ever waits for it. One, three or
//! five nodes are voters; the others follow the view without being part of Raft. This crate is the
//! only one that names openraft. It knows neither sessions nor how bytes travel: what it sends goes
//! through [`Link`], which `replica` will implement over the transport.
//!
//! ```text
//!  bootstrap.rs   how a cluster comes into being once                            pure
//!  voters.rs      who votes, and the next change of that                         pure
//!  suspects.rs    who is removed because nobody hears it                         pure
//!  watchdog.rs    what openraft leaves to its user                               pure
//!  letter.rs      what nodes tell each other of membership
//!  outsider.rs    a node that does not vote has decisions made
//!  voter.rs       the handle: propose, views, status ── supervisor.rs keeps it running
//!       │
//!    openraft ─── log.rs, machine.rs ─── store/   vote, log, snapshot on the disk
//!       └──────── network.rs, wire.rs ── link.rs  bytes to another node and back
//! ```

pub mod bootstrap;
#[cfg(test)]
mod golden_tests;
mod letter;
mod link;
mod log;
mod machine;
mod network;
mod outsider;
mod raft_types;
mod settings;
#[cfg(test)]
mod slow_disk_tests;
mod store;
#[cfg(test)]
mod suite_tests;
mod supervisor;
#[cfg(test)]
mod supervisor_tests;
pub mod suspects;
mod voter;
pub mod voters;
mod watchdog;
mod wire;

pub use letter::{Chart, Letter, News, Seen};
pub use link::{Answering, Link, LinkError};
pub use outsider::Outsider;
pub use raft_types::{Group, Outcome, Place, RaftId};
pub use settings::Settings;
pub use store::{Damage, Identity, OpenError, RecoverError, Store, StoreError};
pub use supervisor::LaunchError;
pub use voter::{ChangeError, ProposeError, RaftStatus, StartError, Status, Voter};
