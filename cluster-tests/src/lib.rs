//! Proof on real processes: clusters on loopback, clients that obey the contract of the service,
//! and a checker that reads the history of their calls afterwards.
//!
//! ```text
//!  load ──► Client ──HTTP──► node n1 ══ n2 ══ n3   real processes (cluster, service)
//!    │         │                    ▲
//!    │         ▼                    └── kill -9, SIGSTOP, SIGTERM, bad datagrams (hostile)
//!    └──► History ──► check ──► violations
//! ```

//pub mod check;
pub mod client;
pub mod cluster;

//pub mod history;
//pub mod hostile;
pub mod process;
//pub mod load;
pub mod service;
pub mod wait;
