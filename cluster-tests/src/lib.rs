//! Proof on real processes: clusters on loopback, clients that obey the contract of the service,
//! and a checker that reads the history of their calls afterwards.
//!
//! ```text
//!  load ──► Client ──HTTP──► node n1 ══ n2 ══ n3   real processes (cluster, process, service)
//!    │         │                    ▲   ▲
//!    │         │                    │   └── loss, delay, cuts (proxy)
//!    │         ▼                    └── kill -9, SIGSTOP, SIGTERM (faults), bad bytes (hostile)
//!    └──► History ──► check ──► report
//! ```

pub mod addresses;
pub mod balancer;
pub mod chaos;
pub mod check;
pub mod client;
pub mod cluster;
pub mod compose;
pub mod faults;
pub mod history;
pub mod hostile;
pub mod load;
pub mod picture;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod report;
pub mod scenario;
pub mod service;
pub mod system;
pub mod wait;
pub mod webdriver;
