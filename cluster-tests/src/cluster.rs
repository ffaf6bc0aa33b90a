//! A cluster of real processes on loopback, with throw-away certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::addresses::Addresses;
use crate::client::Client;
use crate::ports::free_udp;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::service::Service;
use crate::wait::{PATIENCE, wait_for_within};

mod said;

pub(crate) use said::{is_whole, lacks_nothing};
pub use said::{members, voters};

/// Between two looks at all nodes, for each of them: a look costs them something.
const LOOK: Duration = Duration::from_millis(2);

/// Nodes `n1`, `n2` …, counted from 0 here. All of them end with it.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    service: Service,
    /// What each node runs.
    releases: Vec<Service>,
    /// Variables of single nodes.
    own_variables: BTreeMap<usize, Vec<(String, String)>>,
    variables: Vec<(String, String)>,
    /// Where each node listens.
    members: Vec<SocketAddr>,
    /// Between the nodes, if they reach each other through it.
    proxy: Option<Arc<Proxy>>,
    /// `None` where no process runs.
    processes: Vec<Option<Process>>,
    addresses: Addresses,
}

impl Cluster {
    /// Starts so many nodes and waits until each of them serves.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(service: &Service, nodes: usize) -> Result<Self> {
        Self::start_with(service, nodes, &[])
    }

    /// The same, with variables over the configuration that `cert node` writes.
    ///
    /// # Errors
    /// One does not start.
    pub fn start_with(service: &Service, nodes: usize, over: &[(&str, &str)]) -> Result<Self> {
        let mut cluster = Self::prepare(service, nodes, over)?;
        let all: Vec<usize> = (0..nodes).collect();
        cluster.start_nodes(&all)?;
        cluster.whole()?;
        Ok(cluster)
    }

    /// Certificates and configurations of so many nodes, none of which runs yet.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare(service: &Service, nodes: usize, over: &[(&str, &str)]) -> Result<Self> {
        Self::prepare_with(service, nodes, 0, over, &[])
    }

    /// The same with `later` further nodes, which are not waited for when the cluster is founded.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare_growing(
        service: &Service,
        nodes: usize,
        later: usize,
        over: &[(&str, &str)],
    ) -> Result<Self> {
        Self::prepare_with(service, nodes, later, over, &[])
    }

    /// The same as [`prepare`](Self::prepare), with nodes that reach each other through a
    /// [`Proxy`]. Operators do not.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare_behind_proxy(
        service: &Service,
        nodes: usize,
        over: &[(&str, &str)],
        seed: u64,
    ) -> Result<Self> {
        let mut cluster = Self::without_certificates(service, nodes, over)?;
        cluster.proxy = Some(Arc::new(Proxy::start(&cluster.members, seed)?));
        cluster.make_certificates(nodes, &[])?;
        Ok(cluster)
    }

    /// The same for members that the configuration fixes.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare_fixed(service: &Service, nodes: usize) -> Result<Self> {
        Self::prepare_with(service, nodes, 0, &[], &["--fixed"])
    }

    fn prepare_with(
        service: &Service,
        founders: usize,
        later: usize,
        over: &[(&str, &str)],
        cert_args: &[&str],
    ) -> Result<Self> {
        let cluster = Self::without_certificates(service, founders + later, over)?;
        cluster.make_certificates(founders, cert_args)?;
        Ok(cluster)
    }

    fn without_certificates(
        service: &Service,
        nodes: usize,
        over: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut variables = vec![("REPLICA__NODE__DRAIN_GRACE".to_owned(), "0s".to_owned())];
        variables.extend(over.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let members = free_udp(nodes)?;
        Ok(Self {
            folder,
            service: service.clone(),
            releases: vec![service.clone(); nodes],
            own_variables: BTreeMap::new(),
            variables,
            members,
            proxy: None,
            processes: (0..nodes).map(|_| None).collect(),
            addresses: Addresses::nowhere(nodes),
        })
    }

    fn make_certificates(&self, founders: usize, more: &[&str]) -> Result<()> {
        let ca = self.path("ca");
        let ca = ca.to_str().context("the folder has a strange name")?;
        self.service.run(["cert", "ca", "--cluster", "test", "--out", ca])?;
        let member = |node| Ok(format!("--member={}={}", name(node), self.reached_at(node)?));
        let members = (0..founders).map(member).collect::<Result<Vec<String>>>()?;
        for node in 0..self.members.len() {
            let (name, out) = (name(node), self.path(&name(node)));
            let out = out.to_str().context("the folder has a strange name")?;
            let listen = format!("--listen={}", self.members[node]);
            let mut args = vec!["cert", "node", &name, &listen, "--http", "127.0.0.1:0"];
            args.extend(["--ca", ca, "--out", out]);
            args.extend(members.iter().map(String::as_str));
            args.extend(more);
            self.service.run(args)?;
        }
        Ok(())
    }

    /// A file or folder of the cluster: `ca`, `n1`, `n2` …
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts nodes that do not run, at once, and waits until each of them serves.
    ///
    /// # Errors
    /// One does not start.
    pub fn start_nodes(&mut self, nodes: &[usize]) -> Result<()> {
        for &node in nodes {
            self.launch(node)?;
        }
        for &node in nodes {
            self.serves(node)?;
        }
        Ok(())
    }

    /// Starts a node that does not run, and does not wait for anything.
    ///
    /// # Errors
    /// The system refuses.
    pub fn launch(&mut self, node: usize) -> Result<()> {
        let config = self.path(&name(node)).join("node.toml");
        let mut command = self.releases[node].command(["run", "--end-with-stdin", "--config"]);
        let own = self.own_variables.get(&node).into_iter().flatten();
        command.arg(config).envs(self.variables.iter().chain(own).cloned());
        self.processes[node] = Some(Process::start(&mut command)?);
        Ok(())
    }

    /// A node runs another program from its next start on.
    pub fn set_release(&mut self, node: usize, service: &Service) {
        self.releases[node] = service.clone();
    }

    /// A node has further variables from its next start on.
    pub fn set_variables(&mut self, node: usize, variables: Vec<(String, String)>) {
        self.own_variables.insert(node, variables);
    }

    /// Waits until a node that was launched serves.
    ///
    /// # Errors
    /// It does not.
    pub fn serves(&self, node: usize) -> Result<()> {
        let line = self.process(node)?.line_with("ready ")?;
        let http = line.split(' ').find_map(|field| field.strip_prefix("http="));
        self.addresses.set(node, http.context("no address in the ready line")?.parse()?);
        Ok(())
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        self.start_nodes(&[node])
    }

    /// How many nodes there are, running or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where a node serves HTTP.
    #[must_use]
    pub fn http(&self, node: usize) -> SocketAddr {
        self.addresses.of(node)
    }

    /// Where a node listens for the others.
    #[must_use]
    pub fn quic(&self, node: usize) -> SocketAddr {
        self.members[node]
    }

    /// Where the other nodes reach a node.
    fn reached_at(&self, node: usize) -> Result<SocketAddr> {
        self.proxy.as_ref().map_or(Ok(self.members[node]), |proxy| proxy.front(node))
    }

    /// The lines between the nodes.
    ///
    /// # Errors
    /// There is no proxy between them.
    pub fn proxy(&self) -> Result<&Arc<Proxy>> {
        self.proxy.as_ref().context("these nodes reach each other directly")
    }

    /// Where all nodes serve HTTP, for those who send requests meanwhile.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// The process of a node.
    ///
    /// # Errors
    /// None runs.
    pub fn process(&self, node: usize) -> Result<&Process> {
        self.processes[node].as_ref().with_context(|| format!("{} does not run", name(node)))
    }

    /// `kill -9`, as if the machine had failed.
    ///
    /// # Errors
    /// The node does not run.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.process(node)?;
        self.processes[node].take().map_or(Ok(()), |mut process| process.kill())
    }

    /// The same for several nodes in one moment.
    ///
    /// # Errors
    /// One does not run.
    pub fn kill_at_once(&mut self, nodes: &[usize]) -> Result<()> {
        for &node in nodes {
            self.process(node)?.signal(Signal::KILL)?;
        }
        nodes.iter().try_for_each(|node| self.kill(*node))
    }

    /// The node hangs from now on.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.process(node)?.pause()
    }

    /// The node goes on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self, node: usize) -> Result<()> {
        self.process(node)?.signal(Signal::CONT)
    }

    /// The process of a node, which does not belong to the cluster any more.
    ///
    /// # Errors
    /// None runs.
    pub fn let_go(&mut self, node: usize) -> Result<Process> {
        self.processes[node].take().with_context(|| format!("{} does not run", name(node)))
    }

    /// Asks the node to end in good order and waits until it has.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn terminate(&mut self, node: usize) -> Result<ExitStatus> {
        self.process(node)?.signal(Signal::TERM)?;
        self.ended(node)
    }

    /// Waits until a node has ended that was told to.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn ended(&mut self, node: usize) -> Result<ExitStatus> {
        self.processes[node].take().context("it runs").and_then(|mut process| process.ended())
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn ended_within(&mut self, node: usize, patience: Duration) -> Result<ExitStatus> {
        let process = self.processes[node].take().context("it runs");
        process.and_then(|mut process| process.ended_within(patience))
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self, node: usize) -> Result<Value> {
        let answer = Client::new().get(self.http(node), "/status.json")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// One number out of what a node says of itself, by the way to it: `network.datagrams`.
    ///
    /// # Errors
    /// It does not answer, or says no such number.
    pub fn count(&self, node: usize, way: &str) -> Result<u64> {
        let status = self.status(node)?;
        let found = way.split('.').try_fold(&status, |value, key| value.get(key));
        found.and_then(Value::as_u64).with_context(|| format!("no number {way} in {status}"))
    }

    /// The nodes of which a process runs.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        (0..self.len()).filter(|node| self.processes[*node].is_some()).collect()
    }

    /// Waits until no node lacks anything that another one has, as far as they know.
    ///
    /// # Errors
    /// It takes too long.
    pub fn settled(&self) -> Result<()> {
        self.wait_until("every node has everything", || self.is_settled())
    }

    /// Whether no node lacks anything that another one has, as far as they know.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.all(|status| is_whole(status, lacks_nothing))
    }

    /// Waits until every node serves every session and reaches every other one. Possible under
    /// load, when somebody always lacks the last writes of somebody else.
    ///
    /// # Errors
    /// It takes too long.
    pub fn whole(&self) -> Result<()> {
        self.wait_until("every node serves and reaches every other one", || self.is_whole())
    }

    /// Whether every running node serves every session and reaches every other member.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.all(|status| is_whole(status, |_| true))
    }

    /// Whether the members are those that run, and all of them have all copies that they are to
    /// have: those that do not run are out, and what they held is elsewhere.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let running = self.running_names();
        self.all(|status| {
            members(status) == running && is_whole(status, |peer| peer["lag_slots"] == 0)
        })
    }

    /// True if the nodes that run are the members, by the view of each of them.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let running = self.running_names();
        self.all(|status| members(status) == running)
    }

    /// True if no process that runs has lately been too slow to judge others.
    #[must_use]
    pub fn is_swift(&self) -> bool {
        self.all(|status| status["local_health"] == 1)
    }

    fn running_names(&self) -> BTreeSet<String> {
        self.running().into_iter().map(name).collect()
    }

    fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let every = LOOK.saturating_mul(u32::try_from(self.len())?);
        wait_for_within(what, PATIENCE, every, || is_so().then_some(()))
    }

    fn all(&self, is_so: impl Fn(&Value) -> bool) -> bool {
        self.running().into_iter().all(|node| self.status(node).is_ok_and(|status| is_so(&status)))
    }

    /// Runs a command of an operator against a node, and returns what it says.
    ///
    /// # Errors
    /// It fails.
    pub fn operate(&self, node: usize, words: &[&str]) -> Result<String> {
        let (ca, operator) = (self.path("ca"), self.path("operator"));
        let strange = "the folder has a strange name";
        let out = operator.to_str().context(strange)?;
        if !operator.exists() {
            let ca = ca.to_str().context(strange)?;
            self.service.run(["cert", "operator", "ann", "--ca", ca, "--out", out])?;
        }
        let address = self.quic(node).to_string();
        let mut args = words.to_vec();
        args.extend(["--node", &address, "--as", out]);
        self.service.run(args)
    }

    /// The last lines that the nodes logged.
    #[must_use]
    pub fn logs(&self) -> String {
        let running = self.processes.iter().enumerate();
        let running = running.filter_map(|(node, process)| Some((node, process.as_ref()?)));
        running.map(|(node, process)| format!("{}:\n{}", name(node), process.errors())).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// The name of a node.
#[must_use]
pub fn name(node: usize) -> String {
    format!("n{}", node + 1)
}
