//! The face towards axum: the layer that carries cookies and commits, the extractor, the answers
//! to errors. It uses what is public and what the handle tells about cookies; nothing else of this
//! crate knows HTTP.

mod cookies;
mod csrf;
mod error;
mod extract;
mod health;
mod layer;
mod visit;

pub use layer::{SessionLayer, SessionService};
