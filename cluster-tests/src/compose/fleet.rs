//! Nodes in containers, and what can be done to them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::engine::Engine;
use super::image::Places;
use super::project::{Plan, Project};
use crate::addresses::Addresses;
use crate::client::Client;
use crate::cluster::{is_whole, lacks_nothing, members, name};
use crate::scenario::Spread;
use crate::service::Service;
use crate::wait::wait_for_within;

/// Nodes in compose.yaml.
pub const NODES_MAX: usize = 5;

/// Those who found a cluster, as the configurations say.
pub(super) const FOUNDERS: usize = 3;

/// Voters of three nodes or more.
const VOTERS: usize = 3;

/// Longest wait for a condition: a member is removed only so long after others.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks at all nodes.
const LOOK: Duration = Duration::from_millis(100);

/// Longest wait for what a node says of itself.
const STATUS_PATIENCE: Duration = Duration::from_secs(3);

/// Nobody is there.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How it is with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no container, or it has ended.
    Down,
    /// It runs.
    Runs,
    /// It runs, and is not on the network of the nodes.
    Cut,
}

/// Nodes `n1` to `n5`, counted from 0 here.
#[derive(Debug)]
pub struct Fleet<'e> {
    project: Project<'e>,
    states: Vec<State>,
    /// Where each node serves HTTP, cut off or not.
    http: Vec<SocketAddr>,
    /// The same for visitors, to whom a node that is cut off is not there either.
    addresses: Addresses,
    /// Whether all ends with this handle.
    is_ours: bool,
}

impl<'e> Fleet<'e> {
    /// Of nodes that may run already, and go on when this handle is dropped.
    ///
    /// # Errors
    /// Certificates cannot be made.
    pub fn new(engine: &'e Engine, places: &Places, service: &Service, plan: Plan) -> Result<Self> {
        Ok(Self {
            project: Project::new(engine, places, service, plan)?,
            states: vec![State::Down; NODES_MAX],
            http: vec![NOWHERE; NODES_MAX],
            addresses: Addresses::nowhere(NODES_MAX),
            is_ours: false,
        })
    }

    /// Starts so many nodes that end with this handle, and waits until each of them serves and
    /// they can do without one of them.
    ///
    /// # Errors
    /// They do not come about.
    pub fn start(
        engine: &'e Engine,
        places: &Places,
        service: &Service,
        plan: Plan,
        nodes: usize,
    ) -> Result<Self> {
        let mut fleet = Self::new(engine, places, service, plan)?;
        fleet.is_ours = true;
        let started = fleet.create(&(0..nodes).collect::<Vec<_>>(), &[]);
        let whole = started.and_then(|()| fleet.whole());
        whole.with_context(|| fleet.logs())?;
        Ok(fleet)
    }

    /// Makes containers of nodes and of other services, and waits until the nodes serve.
    ///
    /// # Errors
    /// The engine refuses, or one does not serve.
    pub fn create(&mut self, nodes: &[usize], more: &[&str]) -> Result<()> {
        let names: Vec<String> = nodes.iter().copied().map(name).collect();
        let mut words = vec!["up", "-d"];
        words.extend(names.iter().map(String::as_str).chain(more.iter().copied()));
        self.project.compose(&words)?;
        nodes.iter().try_for_each(|node| self.serves(*node))
    }

    /// Waits until a node serves that was started.
    fn serves(&mut self, node: usize) -> Result<()> {
        let found = wait_for_within(&format!("{} serves", name(node)), PATIENCE, LOOK, || {
            let look = || {
                let http = self.project.published(&name(node))?;
                let answer = client().get(http, "/health")?;
                Ok((answer.status == 200).then_some(http))
            };
            match (look(), self.project.inspect(node, "{{.State.Status}}")) {
                (Ok(http), _) => http.map(Ok),
                (Err(error), Ok(state)) if state == "exited" => Some(Err(error)),
                (Err::<_, anyhow::Error>(_), _) => None,
            }
        });
        let http = found.and_then(|found| found.context("it has ended"));
        self.http[node] = http.with_context(|| self.logs())?;
        self.states[node] = State::Runs;
        self.addresses.set(node, self.http[node]);
        Ok(())
    }

    /// Starts containers again, at once, and waits until each of them serves.
    ///
    /// # Errors
    /// One does not.
    pub fn start_again(&mut self, nodes: &[usize]) -> Result<()> {
        self.project.on_all(nodes, &["start"])?;
        nodes.iter().try_for_each(|node| self.serves(*node))
    }

    /// `kill -9`, all of them with one command.
    ///
    /// # Errors
    /// One does not run.
    pub fn kill(&mut self, nodes: &[usize]) -> Result<()> {
        nodes.iter().for_each(|node| self.states[*node] = State::Down);
        self.project.on_all(nodes, &["kill"])
    }

    /// Stops nodes in good order, at once, each within its `stop_grace_period`.
    ///
    /// # Errors
    /// One does not run, or does not end as it should.
    pub fn stop(&mut self, nodes: &[usize]) -> Result<()> {
        std::thread::scope(|scope| {
            let stops = nodes.iter().map(|node| {
                let fleet = &*self;
                scope.spawn(move || fleet.project.on(*node, &["stop"]).map(drop))
            });
            let stops: Vec<_> = stops.collect();
            stops.into_iter().try_for_each(|stop| stop.join().expect("a stop panicked"))
        })?;
        for node in nodes {
            let code = self.project.inspect(*node, "{{.State.ExitCode}}")?;
            ensure!(
                code == "0",
                "{} ended with status {code}:\n{}",
                name(*node),
                self.project.log(*node)
            );
            self.states[*node] = State::Down;
        }
        Ok(())
    }

    /// A node hangs from now on.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.project.on(node, &["pause"]).map(drop)
    }

    /// It goes on.
    ///
    /// # Errors
    /// It does not hang.
    pub fn resume(&self, node: usize) -> Result<()> {
        self.project.on(node, &["unpause"]).map(drop)
    }

    /// Takes a node away from its visitors, and then off the network of the nodes.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn cut(&mut self, node: usize) -> Result<()> {
        self.addresses.set(node, NOWHERE);
        self.states[node] = State::Cut;
        let network = self.project.network();
        self.project.on(node, &["network", "disconnect", &network]).map(drop)
    }

    /// Brings it back to the other nodes. It may have another address now.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn mend(&mut self, node: usize) -> Result<()> {
        let network = self.project.network();
        let alias = format!("{}-cluster", name(node));
        self.project.on(node, &["network", "connect", "--alias", &alias, &network])?;
        self.states[node] = State::Runs;
        Ok(())
    }

    /// Brings it back to its visitors.
    pub fn readmit(&self, node: usize) {
        self.addresses.set(node, self.http[node]);
    }

    /// Takes memory and processor time from a node; it is started again with what is left.
    ///
    /// # Errors
    /// It does not run, or the engine refuses.
    pub fn limit(&self, node: usize, memory: &str, cpus: &str) -> Result<()> {
        let words = ["update", "--memory", memory, "--memory-swap", memory, "--cpus", cpus];
        self.project.on(node, &words).map(drop)
    }

    /// Copies a file of this machine to the disk of a node.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn put(&self, node: usize, file: &Path) -> Result<()> {
        self.project.put(node, file)
    }

    /// What the engine knows of a node's container, in the words of its templates.
    ///
    /// # Errors
    /// There is none.
    pub fn inspect(&self, node: usize, template: &str) -> Result<String> {
        self.project.inspect(node, template)
    }

    /// Asks a node how it is as its container's health check does, and returns what it says.
    ///
    /// # Errors
    /// It is not well.
    pub fn health(&self, node: usize) -> Result<String> {
        Ok(self.project.run_in(node, &["health"])?.trim().to_owned())
    }

    /// Where a service is published on this machine; another port after each start.
    ///
    /// # Errors
    /// It does not run.
    pub fn published(&self, service: &str) -> Result<SocketAddr> {
        self.project.published(service)
    }

    /// Where a node serves HTTP, cut off or not.
    #[must_use]
    pub fn http(&self, node: usize) -> SocketAddr {
        self.http[node]
    }

    /// Where visitors find the nodes.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Where copies of sessions are.
    #[must_use]
    pub const fn spread(&self) -> Spread {
        self.project.spread()
    }

    /// A folder on this machine for what belongs to this fleet.
    #[must_use]
    pub const fn folder(&self) -> &PathBuf {
        self.project.folder()
    }

    /// The nodes that run and are not cut off.
    #[must_use]
    pub fn connected(&self) -> Vec<usize> {
        (0..NODES_MAX).filter(|node| self.states[*node] == State::Runs).collect()
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self, node: usize) -> Result<Value> {
        let answer = client().get(self.http(node), "/status.json")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    fn all(&self, is_so: impl Fn(&Value) -> bool) -> bool {
        let mut connected = self.connected().into_iter();
        connected.all(|node| self.status(node).is_ok_and(|status| is_so(&status)))
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It takes too long; with what the nodes say of themselves.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let waited = wait_for_within(what, PATIENCE, LOOK, || is_so().then_some(()));
        waited.with_context(|| self.pictures())
    }

    /// Waits until the members are those that are connected, all of them have what they are to
    /// have, and as many vote as are to.
    ///
    /// # Errors
    /// It takes too long.
    pub fn whole(&self) -> Result<()> {
        self.full()?;
        let names: BTreeSet<String> = self.connected().into_iter().map(name).collect();
        self.until("three nodes vote", || {
            self.all(|status| {
                let voters = voters(status);
                voters.len() == VOTERS.min(names.len()) && voters.is_subset(&names)
            })
        })
    }

    /// Waits until the members are those that are connected, and all of them have all copies that
    /// they are to have.
    ///
    /// # Errors
    /// It takes too long.
    pub fn full(&self) -> Result<()> {
        let connected: BTreeSet<String> = self.connected().into_iter().map(name).collect();
        self.until("all copies are where they belong", || {
            self.all(|status| {
                members(status) == connected && is_whole(status, |peer| peer["lag_slots"] == 0)
            })
        })
    }

    /// Waits until no node lacks anything that another one has, as far as they know.
    ///
    /// # Errors
    /// It takes too long.
    pub fn settled(&self) -> Result<()> {
        self.until("every node has everything", || {
            self.all(|status| is_whole(status, lacks_nothing))
        })
    }

    /// Who leads those who decide, who else does, and who does not, of the nodes that are connected.
    ///
    /// # Errors
    /// Nobody leads.
    pub fn roles(&self) -> Result<Roles> {
        let connected = self.connected();
        let first = *connected.first().context("nobody runs")?;
        let found = wait_for_within("somebody leads", PATIENCE, LOOK, || {
            let status = self.status(first).ok()?;
            let (leader, voters) = (status["leader"].as_str()?, voters(&status));
            let leads = |node: &usize| name(*node) == leader;
            let votes = |node: &usize| voters.contains(&name(*node));
            Some(Roles {
                leader: connected.iter().copied().find(leads)?,
                voters: connected.iter().copied().filter(|it| votes(it) && !leads(it)).collect(),
                others: connected.iter().copied().filter(|node| !votes(node)).collect(),
            })
        });
        found.with_context(|| self.pictures())
    }

    /// What each node says of the cluster, for when it is not as it should be.
    fn pictures(&self) -> String {
        let picture = |node: usize| {
            let status = self.status(node).unwrap_or_default();
            let peers = status["peers"].as_array().into_iter().flatten().map(|peer| {
                let [name, reachable, slots, sessions, error] =
                    ["name", "reachable", "lag_slots", "lag_sessions", "error"]
                        .map(|key| &peer[key]);
                format!("{name} reachable={reachable} slots={slots} sessions={sessions} {error}")
            });
            let [health, epoch, voters, leader, trouble] =
                ["health", "epoch", "voters", "leader", "raft_trouble"].map(|key| &status[key]);
            format!(
                "{} ({:?}): {health} epoch={epoch} members={:?} voters={voters} leader={leader} \
                 trouble={trouble} peers: {}",
                name(node),
                self.states[node],
                members(&status),
                peers.collect::<Vec<_>>().join("; ")
            )
        };
        (0..NODES_MAX).map(picture).collect::<Vec<_>>().join("\n")
    }

    /// The last lines that all nodes logged.
    #[must_use]
    pub fn logs(&self) -> String {
        let logs = (0..NODES_MAX).map(|node| (node, self.project.log(node)));
        let logs = logs.filter(|(_, log)| !log.is_empty());
        logs.map(|(node, log)| format!("{}:\n{log}", name(node))).collect()
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = self.project.remove()
        {
            eprintln!("{error:#}\n`cargo x compose down` removes what is left");
        }
    }
}

/// What the connected nodes are for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// Leads the voters.
    pub leader: usize,
    /// Vote and do not lead.
    pub voters: Vec<usize>,
    /// Do not vote.
    pub others: Vec<usize>,
}

fn voters(status: &Value) -> BTreeSet<String> {
    let voters = status["voters"].as_array().into_iter().flatten();
    voters.filter_map(|voter| voter.as_str().map(str::to_owned)).collect()
}

fn client() -> Client {
    Client::new().with_patience(STATUS_PATIENCE)
}
