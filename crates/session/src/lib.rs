//! Sessions as mergeable values: what a session *is*, and nothing about how it travels.
//!
//! A session is an element of a join semilattice. With `⊔` for [`State::join`]:
//!
//! ```text
//! a ⊔ b = b ⊔ a        a ⊔ (b ⊔ c) = (a ⊔ b) ⊔ c        a ⊔ a = a        a ≤ a ⊔ b
//! apply(s, extract(t, v)) = s ⊔ t     whenever  version(s) ≥ v                 (rule R3)
//! version(s) = version(t)  ⇒  s = t,  last access aside                        (rule R4)
//! ```
//!
//! The first line says that copies meet in one value whatever the order, number or grouping of the
//! deltas they receive; the second that a small delta does the work of the whole state; the third
//! that two copies can be compared by their versions alone.
//!
//! This crate knows no clock, no randomness, no node but as an opaque writer ([`Inc`]), no task and
//! no socket. Time arrives as an argument ([`Time`]), random bytes as well.

mod attribute;
mod clock;
mod counter;
mod delta;
mod edit;
mod expiry;
mod id;
mod limits;
mod name;
mod set;
mod stamp;
mod state;
mod time;
mod token;
mod value;
mod version;

pub use attribute::{Attribute, Content, Kind};
pub use clock::Clock;
pub use counter::{Counter, Tally};
pub use delta::{Body, Change, Delta, Gap};
pub use edit::{Edit, EditError};
pub use expiry::{purge_after, touch_granularity_ms};
pub use id::{Inc, ParseIdError, SessionId, SessionKey, Slot};
pub use limits::{
    ABSOLUTE_TIMEOUT_MS_MAX, ATTRIBUTES_MAX, LIMITS_DEFAULT, Limits, NAME_BYTES_MAX,
    SESSION_BYTES_MAX, SKEW_MS_MAX, TOKEN_ENTRIES_MAX,
};
pub use name::{Name, NameError, User};
pub use set::Set;
pub use stamp::{Hlc, Stamp};
pub use state::{Core, EndReason, Session, State, Tombstone};
pub use time::Time;
pub use token::{Token, TokenError, TokenKeys};
pub use value::Value;
pub use version::{Unordered, Version};
