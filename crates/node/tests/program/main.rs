//! The program as people meet it: its commands, its messages, its life, its pages.

// What fails here fails the test.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod certificates;
mod configuration;
mod contract;
mod demonstration;
mod life;
mod support;
