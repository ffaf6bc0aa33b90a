//! Three replicas in one process over real QUIC: what a browser behind a balancer experiences.

mod login;
mod support;
mod writes;
