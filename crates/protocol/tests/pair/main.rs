//! Rules of the protocol between a few nodes, each test a promise.

#[path = "../support/mod.rs"]
mod support;

mod commits;
mod deltas;
mod endings;
mod hostile;
mod opening;
mod repair;
