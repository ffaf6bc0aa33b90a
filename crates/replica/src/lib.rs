//! Web sessions that live on every node of a service: embed this crate, and any node can answer
//! any request.
#![cfg_attr(feature = "axum", doc = "\n```no_run")]
#![cfg_attr(feature = "axum", doc = include_str!("../examples/counter.rs"))]
#![cfg_attr(feature = "axum", doc = "```")]
//!
//! ```text
//!  handler ── reads, edits ──► Session      an own copy; nothing waits, nothing is contended
//!                                 │ commit, one a request
//!  layer ──── cookies ──────► Replica ──► Driver ──► 16 shards ──► peers
//! ```
//!
//! Everything public but the types for axum is at home without HTTP: [`Replica::open`] and
//! [`Session::save`] serve programs of any kind.

mod agreement;
mod clock;
mod commit;
pub mod config;
mod driver;
mod error;
mod health;
mod key;
pub mod limits;
mod links;
mod meters;
mod network;
pub mod operate;
mod replica;
mod rotated;
mod session;
mod signal;
mod status;
mod tasks;
mod uptime;
mod users;
#[cfg(feature = "axum")]
mod web;
mod working;

pub use ::session::{EndReason, Kind, Name, NameError, SessionId, User};
pub use config::Config;
pub use error::{
    CommitError, EditError, EndAllError, Error, OpenError, ReadError, Result, StartError, StopError,
};
pub use health::Health;
pub use key::{Codec, Counter, Json, Key, Raw, Register, Set};
pub use meters::MeterStatus;
pub use network::{LaneStatus, NetworkStatus};
pub use protocol::wire::WIRE_VERSION;
pub use protocol::{Ack, Report};
pub use replica::Replica;
pub use session::Session;
pub use signal::shutdown_signal;
pub use status::{MemberStatus, PeerStatus, Status};
pub use users::{EndedAll, SessionSummary};
#[cfg(feature = "axum")]
pub use web::{SessionLayer, SessionService};
