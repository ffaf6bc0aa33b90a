//! Rules of the protocol between a few nodes, each test a promise.

#[path = "../support/mod.rs"]
mod support;

mod deltas;
