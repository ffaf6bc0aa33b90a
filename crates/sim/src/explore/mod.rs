//! Small scopes, exhaustively: every order of events in a cluster of two or three real nodes with
//! one session, up to a number of events.
//!
//! ```text
//! plan     what is explored, and how much of what may happen
//! cluster  a state: real nodes, messages in flight, the log of membership
//! step     the events, and what they do
//! ledger   what is remembered of the way, and what must hold of every state
//! rest     what must come about if nothing more happens
//! search   breadth first over hashed states; what it finds has the shortest trace
//! ```
//!
//! Storms ([`crate::World`]) look far and see little of what is near; this sees everything that is
//! near. A message in flight may arrive at any later moment, in any order, so that losing it differs
//! only in that there is room for another.

mod cluster;
mod ledger;
mod plan;
mod print;
mod rest;
mod search;
mod step;

pub use cluster::Breach;
pub use plan::{Allowance, Plan, Resolve};
pub use search::{Bounds, Explored, Found, explore};
