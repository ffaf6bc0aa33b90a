//! One project of Compose: its services, their containers, and what the engine says of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::engine::Engine;
use super::folder;
use super::image::{Places, owner, text};
use crate::cluster::name;
use crate::scenario::Spread;
use crate::service::Service;

/// Lines of each node's log that are shown when something is wrong.
const LOG_LINES: &str = "40";

/// The port of HTTP in a container.
const HTTP: &str = "8080";

/// Between two questions of the engine how a node is: each is a process of its own, and who tests
/// asks by itself.
const HEALTH_INTERVAL: &str = "5m";

/// What is to run, and under which name.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name of the project, which containers, networks and volumes begin with.
    pub project: String,
    /// How copies of sessions are spread.
    pub spread: Spread,
    /// Whether it is tested, and not used.
    pub is_test: bool,
    /// Whether a few megabytes fill the disk of a node.
    pub has_small_disks: bool,
}

/// A project, whether anything of it runs or not.
#[derive(Debug)]
pub(super) struct Project<'e> {
    engine: &'e Engine,
    places: Places,
    plan: Plan,
    folder: PathBuf,
}

impl<'e> Project<'e> {
    /// Makes certificates if there are none yet, and nothing else.
    pub(super) fn new(
        engine: &'e Engine,
        places: &Places,
        service: &Service,
        plan: Plan,
    ) -> Result<Self> {
        let folder = places.made(&plan.project);
        folder::fill(service, &folder)?;
        Ok(Self { engine, places: places.clone(), plan, folder })
    }

    pub(super) const fn spread(&self) -> Spread {
        self.plan.spread
    }

    /// A folder on this machine for what belongs to it.
    pub(super) const fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// The network of the nodes.
    pub(super) fn network(&self) -> String {
        format!("{}_cluster", self.plan.project)
    }

    /// A command of Compose.
    pub(super) fn compose(&self, words: &[&str]) -> Result<String> {
        let package = &self.places.package;
        let (file, over) = (package.join("compose.yaml"), package.join("compose.small-disks.yaml"));
        let mut line = vec!["-p", &self.plan.project, "-f", text(&file)?];
        if self.plan.has_small_disks {
            line.extend(["-f", text(&over)?]);
        }
        line.extend(words);
        let mut variables = vec![
            ("REPLICA_FOLDER", text(&self.folder)?.to_owned()),
            ("REPLICA_CONFIG", self.plan.spread.name().to_owned()),
            ("REPLICA_OWNER", owner().to_string()),
        ];
        if self.plan.is_test {
            variables.push(("REPLICA_HEALTH_INTERVAL", HEALTH_INTERVAL.to_owned()));
        }
        self.engine.compose(&line, &variables)
    }

    /// The container of a service.
    pub(super) fn container(&self, service: &str) -> Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.plan.project);
        let service_label = format!("label=com.docker.compose.service={service}");
        let words = ["ps", "-aq", "--no-trunc", "--filter", &project, "--filter", &service_label];
        let found = self.engine.docker(&words)?;
        let first = found.split_whitespace().next();
        first.map(str::to_owned).with_context(|| format!("there is no container of {service}"))
    }

    /// A command of the engine on the container of a node: the words, and the container after them.
    pub(super) fn on(&self, node: usize, words: &[&str]) -> Result<String> {
        let container = self.container(&name(node))?;
        self.engine.docker(&[words, &[container.as_str()]].concat())
    }

    /// The same on several containers at once.
    pub(super) fn on_all(&self, nodes: &[usize], words: &[&str]) -> Result<()> {
        let containers: Result<Vec<String>> =
            nodes.iter().map(|node| self.container(&name(*node))).collect();
        let containers = containers?;
        let mut line = words.to_vec();
        line.extend(containers.iter().map(String::as_str));
        self.engine.docker(&line).map(drop)
    }

    /// Runs the program in the container of a node beside the one that is there.
    pub(super) fn run_in(&self, node: usize, words: &[&str]) -> Result<String> {
        let container = self.container(&name(node))?;
        self.engine.docker(&[&["exec", &container, "/replica-node"], words].concat())
    }

    /// What the engine knows of a node's container, in the words of its templates.
    pub(super) fn inspect(&self, node: usize, template: &str) -> Result<String> {
        Ok(self.on(node, &["inspect", "--format", template])?.trim().to_owned())
    }

    /// Where a service is published on this machine; another port after each start.
    pub(super) fn published(&self, service: &str) -> Result<SocketAddr> {
        let container = self.container(service)?;
        let said = self.engine.docker(&["port", &container, HTTP])?;
        let address = said.lines().next().unwrap_or_default();
        address.trim().parse().with_context(|| format!("{service} is published nowhere: {said}"))
    }

    /// Copies a file of this machine to the disk of a node.
    pub(super) fn put(&self, node: usize, file: &Path) -> Result<()> {
        let to = format!("{}:/data/", self.container(&name(node))?);
        self.engine.docker(&["cp", text(file)?, &to]).map(drop)
    }

    /// The last lines that a node logged.
    pub(super) fn log(&self, node: usize) -> String {
        let Ok(container) = self.container(&name(node)) else { return String::new() };
        self.engine.said_by(&["logs", "--tail", LOG_LINES, &container])
    }

    /// Ends everything and removes it, volumes and certificates too.
    pub(super) fn remove(&self) -> Result<()> {
        self.compose(&["down", "-v", "--remove-orphans", "-t", "1"])?;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
