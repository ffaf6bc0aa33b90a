//! Named scenarios on containers, each with an address of its own: what processes on one loopback
//! cannot show. `cluster-tests/compose.yaml` says what runs.
//!
//! ```text
//!  visitors ──► 127.0.0.1:PORT ══ front ══► n1 … n5 ══ cluster ══ QUIC between them
//!  (load, check)                  balancer               a node can be taken off this one
//! ```
//!
//! `engine` calls the engine, `image` makes the image, `folder` what is mounted, `project` speaks to
//! Compose, `fleet` are the nodes, `stage` puts them under load; the rest are the scenarios, and `front` the balancer that
//! runs beside the nodes.

mod cuts;
mod ends;
pub mod engine;
pub mod fleet;
mod folder;
pub mod front;
mod growth;
pub mod image;
mod login;
pub mod project;
mod scarce;
mod stage;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::scenario::{Row, Spread, Watch};
use crate::service::Service;
use engine::Engine;
use fleet::Fleet;
use image::Places;
use project::Plan;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A session is begun on one node and used on all; its node is killed, it is still there
    Login,
    /// The leader is killed, then another node: left out of the view, and back
    Kill,
    /// The leader hangs for half a minute
    Pause,
    /// The leader is taken off the network of the nodes
    CutOne,
    /// Two of five nodes are taken off
    CutMinority,
    /// Two of four nodes are taken off: nobody can be removed
    CutHalf,
    /// One node after another is taken off, and back
    CutEach,
    /// Each node is stopped and started again
    Restart,
    /// Three nodes become five, and three again
    Grow,
    /// All nodes are stopped and started, then killed and started
    AllDown,
    /// One node has little memory and a fifth of a processor
    Limits,
    /// The disk of one voter is full, and has room again
    FullDisk,
}

impl Scenario {
    /// All of them, in the order in which they run.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As it is written in a command.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Runs it.
    ///
    /// # Errors
    /// It cannot be brought about, or what should come of it does not come.
    pub fn run(self, setting: &Setting<'_>) -> Result<Row> {
        setting.watch.begin(&format!("{} {}", self.name(), setting.spread.name()));
        let row = match self {
            Self::Login => login::on_one_used_on_all(setting),
            Self::Kill => ends::kill(setting),
            Self::Pause => ends::pause(setting),
            Self::CutOne => cuts::one(setting),
            Self::CutMinority => cuts::minority(setting),
            Self::CutHalf => cuts::half(setting),
            Self::CutEach => cuts::each(setting),
            Self::Restart => ends::restart(setting),
            Self::Grow => growth::there_and_back(setting),
            Self::AllDown => growth::all_down(setting),
            Self::Limits => scarce::limits(setting),
            Self::FullDisk => scarce::full_disk(setting),
        };
        setting.watch.end();
        row
    }
}

/// With what a scenario is run.
pub struct Setting<'s> {
    /// Runs the containers.
    pub engine: &'s Engine,
    /// Where things lie.
    pub places: &'s Places,
    /// Makes the certificates.
    pub service: &'s Service,
    /// How copies of sessions are spread.
    pub spread: Spread,
    /// How long a node hangs.
    pub pause: Duration,
    /// Says how far it is.
    pub watch: &'s Watch,
}

impl<'s> Setting<'s> {
    /// So many nodes, which end with the handle.
    fn fleet(&self, nodes: usize) -> Result<Fleet<'s>> {
        self.fleet_with(nodes, false)
    }

    fn fleet_with(&self, nodes: usize, has_small_disks: bool) -> Result<Fleet<'s>> {
        // What ran before under this number is gone, or about to go.
        let project = format!("{}{:04x}", projects_of_this_process(), fastrand::u16(..));
        let plan = Plan { project, spread: self.spread, is_test: true, has_small_disks };
        Fleet::start(self.engine, self.places, self.service, plan, nodes)
    }
}

/// What the names of all projects begin with that are tested by this process.
#[must_use]
pub fn projects_of_this_process() -> String {
    format!("replica-test-{}-", std::process::id())
}
