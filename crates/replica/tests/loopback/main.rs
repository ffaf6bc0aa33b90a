//! Three replicas in one process over real QUIC: what a browser behind a balancer experiences.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreed;
mod cookies;
mod endings;
mod handles;
mod log;
mod login;
mod nodes;
mod nonsense;
mod support;
mod writes;
