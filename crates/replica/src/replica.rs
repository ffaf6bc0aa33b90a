//! The handle of this node: starts it, opens sessions, says how it is doing, stops it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use protocol::{Opened, Options, Rules};
use session::{EndReason, Inc, SessionId, TokenKeys, Tombstone, Version};
use tokio::sync::{mpsc, watch};
use transport::{Endpoint, EndpointConfig, Identity, NodeName, PeerAddress};

use crate::agreement::{Agreement, Me, NOTICES_MAX};
use crate::clock::Clock;
use crate::config::{Config, ReplicationSection};
use crate::driver::{Driver, millis};
use crate::error::{OpenError, StartError, StopError};
use crate::health::Health;
use crate::limits::{
    CLOSE_TIMEOUT, FLUSH_LOOK, FLUSH_REPORT_INTERVAL, FLUSH_TIMEOUT, ID_DRAWS_MAX, SHARDS,
    STRANGERS_MAX,
};
use crate::links::{Links, hash_of};
use crate::operate;
use crate::rotated::Rotated;
use crate::session::Session;
use crate::tasks::{Fatal, Tasks};
use crate::working::{Standing, Working};

/// This node of the cluster. Clones are the same node; when the last one and the last [`Session`]
/// are dropped, it stops at once; [`stop`](Self::stop) stops it in good order.
#[derive(Clone)]
pub struct Replica {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of a node share.
pub(crate) struct Shared {
    pub(crate) driver: Arc<Driver>,
    /// How this node is a member, unless the configuration says so.
    pub(crate) agreement: Option<Agreement>,
    pub(crate) config: Config,
    pub(crate) name: NodeName,
    pub(crate) keys: Arc<RwLock<TokenKeys>>,
    /// Ids that requests bring although a login has replaced them.
    rotated: Mutex<Rotated>,
    fatal: watch::Receiver<Option<String>>,
    is_draining: AtomicBool,
    /// Set when an operator asks this node to drain.
    pub(crate) drain_asked: watch::Sender<bool>,
    /// True once it was said that cookies leave over plain HTTP.
    #[cfg(feature = "axum")]
    is_warned: AtomicBool,
    tasks: Tasks,
}

impl Replica {
    /// Starts this node: it finds the others, becomes a member of their cluster or founds one with
    /// them, and catches up with them. Sessions are unavailable until it is a member;
    /// [`ready`](Self::ready) tells when it serves by itself.
    ///
    /// # Errors
    /// Each [`StartError`] is one line a problem, with its remedy.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled.
    #[expect(clippy::unused_async, reason = "so that more can be waited for in later releases")]
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let cluster = config.cluster();
        let identity = config.identity()?;
        let (key_file, keys) = config.open_token_keys()?;
        let store = config.open_store()?;
        let clock = Clock::new();
        let name = identity.name().clone();
        let links = links(&config, &name, &clock)?;
        let options = options(&config, &name, links.hello().inc)?;
        let started = Endpoint::start(endpoint_config(&config, identity, &links));
        let (endpoint, events) = started.map_err(|error| config.refused_start(error))?;
        let is_agreed = !cluster.is_fixed();
        let (notices, noticed) = is_agreed.then(|| mpsc::channel(NOTICES_MAX)).unzip();
        let start = links.hello().inc.0;
        let driver = Arc::new(Driver::new(options, links, clock, endpoint, notices));
        let keys = Arc::new(RwLock::new(keys));
        let fatal = Fatal::new();
        let every = config.node().reload_interval;
        let mut tasks = Tasks::start(&driver, events, keys.clone(), key_file, every, &fatal);
        let agreement = noticed.map(|noticed| {
            let me = me(&config, &name, &driver, start);
            let (agreement, task) =
                Agreement::new(&driver, me, config.cluster(), store, &fatal, noticed);
            tasks.add(&fatal, task);
            agreement
        });
        let shared = Shared {
            driver,
            agreement,
            config,
            name,
            keys,
            rotated: Mutex::default(),
            fatal: fatal.subscribe(),
            is_draining: AtomicBool::new(false),
            drain_asked: watch::Sender::new(false),
            #[cfg(feature = "axum")]
            is_warned: AtomicBool::new(false),
            tasks,
        };
        let shared = Arc::new(shared);
        if let Some(operators) = shared.driver.endpoint.operators() {
            // It ends with the endpoint.
            tokio::spawn(operate::serve(Arc::downgrade(&shared), operators));
        }
        Ok(Self { shared })
    }

    /// Opens the session that a client names, with the token that it brings. If there is none any
    /// more, this is a session that is yet to begin.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`] if somebody who does not answer may know more.
    pub async fn open(&self, id: SessionId, token: Option<&str>) -> Result<Session, OpenError> {
        let shared = &self.shared;
        let key = id.key();
        let verified = token.map(|text| shared.keys.read().verify(key, text));
        let token = verified.and_then(|verified| {
            // Rule K4.
            verified.inspect_err(|_| shared.driver.meters.tokens_refused.count()).ok()
        });
        let working = match shared.driver.open(key, token.clone()).await {
            Opened::Session { session, lost } => {
                let mut seen = token.as_ref().map_or_else(Version::new, |t| t.version.clone());
                seen.retain(|inc| lost.get(inc).is_none());
                Working::opened(id, *session, seen)
            }
            Opened::Ended(Tombstone { reason: EndReason::Rotated, .. })
                if !shared.rotated.lock().is_recent(key, shared.driver.clock.now()) =>
            {
                self.unborn(Standing::New)
            }
            Opened::Ended(tombstone) => self.unborn(Standing::Ended(tombstone.reason)),
            Opened::NotFound => self.unborn(Standing::New),
            Opened::Unavailable => return Err(OpenError::Unavailable),
        };
        Ok(Session::new(shared.clone(), working, token))
    }

    /// A session that begins with its first commit.
    #[must_use]
    pub fn new_session(&self) -> Session {
        Session::new(self.shared.clone(), self.unborn(Standing::New), None)
    }

    fn unborn(&self, standing: Standing) -> Working {
        let shared = &self.shared;
        let idle_ms = millis(shared.config.session().idle_timeout);
        Working::new(shared.draw_id(), standing, idle_ms, shared.driver.clock.now())
    }

    /// This node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.name.as_str()
    }

    /// What this node was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The UDP address that the other members reach this node on.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.shared.driver.endpoint.local_addr()
    }

    /// Whether this node can serve every session.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.shared.is_draining.load(Ordering::Relaxed) {
            return Health::Draining;
        }
        if let Some(reason) = self.shared.fatal.borrow().clone() {
            return Health::Starting { reason };
        }
        if !self.shared.driver.is_member() {
            let progress = self.shared.agreement.as_ref().map(Agreement::progress);
            let waits_for = progress.and_then(|progress| progress.waits_for);
            let reason = waits_for.unwrap_or_else(|| "joining the cluster".to_owned());
            return Health::Starting { reason };
        }
        if self.shared.driver.is_coming_back() {
            let reason = "it hung, and waits until the others answer it".to_owned();
            return Health::Starting { reason };
        }
        let mut behind = 0;
        let mut is_synced = true;
        self.shared.driver.each(|node| {
            is_synced &= node.is_synced();
            behind = behind.max(node.sync_pending());
        });
        if is_synced {
            return Health::Ready;
        }
        let members = if behind == 1 { "member" } else { "members" };
        Health::Starting { reason: format!("catching up with {behind} {members}") }
    }

    /// Completes once this node has caught up with the others and serves by itself.
    pub async fn ready(&self) {
        // The sender lives as long as the driver, which this handle holds.
        let _ = self.shared.driver.synced().wait_for(|synced| *synced).await;
    }

    /// Completes if this node cannot go on, with the reason: another process runs under its name,
    /// or a part of it has failed. End it then.
    pub async fn failed(&self) -> String {
        let mut fatal = self.shared.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "a task of this node has ended".to_owned(),
        }
    }

    /// Waits for `signal`, or for an operator who asks this node to drain; tells balancers to send no more requests, and gives them the time
    /// `node.drain_grace` to learn of it. For a server's graceful shutdown; afterwards
    /// [`stop`](Self::stop).
    pub fn drain_on<S>(&self, signal: S) -> impl Future<Output = ()> + Send + 'static + use<S>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let shared = self.shared.clone();
        async move {
            let mut asked = shared.drain_asked.subscribe();
            tokio::select! {
                () = signal => {}
                // The sender lives as long as `shared`.
                _ = asked.wait_for(|asked| *asked) => {}
            }
            let grace = shared.config.node().drain_grace;
            shared.is_draining.store(true, Ordering::Relaxed);
            tracing::info!("draining: no new requests, please; serving for another {grace:?}");
            tokio::time::sleep(grace).await;
        }
    }

    /// Stops this node in good order: takes no more requests for sessions; hands over what only it
    /// and too few others hold, and leaves the cluster, at most `node.drain_timeout`; waits until
    /// all nodes that answer have what was written here, at most [`FLUSH_TIMEOUT`]; then closes.
    ///
    /// # Errors
    /// [`StopError`] if others still lack something; it is stopped nevertheless.
    pub async fn stop(&self) -> Result<(), StopError> {
        self.shared.is_draining.store(true, Ordering::Relaxed);
        self.shared.driver.close();
        let left = self.leave().await;
        let flushed = self.flush().await;
        if let Some(agreement) = &self.shared.agreement {
            agreement.stop().await;
        }
        self.shared.driver.endpoint.shutdown(CLOSE_TIMEOUT).await;
        self.shared.tasks.abort();
        left.and(flushed)
    }

    /// Hands over and leaves, where members are agreed on.
    async fn leave(&self) -> Result<(), StopError> {
        let Some(agreement) = &self.shared.agreement else { return Ok(()) };
        let patience = self.shared.config.node().drain_timeout;
        let mut reports = tokio::time::interval(FLUSH_REPORT_INTERVAL);
        reports.tick().await;
        let until = tokio::time::Instant::now() + patience;
        let leave = agreement.leave();
        tokio::pin!(leave);
        loop {
            tokio::select! {
                () = &mut leave => return Ok(()),
                () = tokio::time::sleep_until(until) => break,
                _ = reports.tick() => {
                    let (owned, sessions) = self.shared.left_over();
                    tracing::warn!("still handing over: {owned} slots, {sessions} sessions");
                }
            }
        }
        let (slots, sessions) = self.shared.left_over();
        Err(StopError::NotHandedOver { slots, sessions })
    }

    async fn flush(&self) -> Result<(), StopError> {
        let until = Instant::now() + FLUSH_TIMEOUT;
        let mut looks = tokio::time::interval(FLUSH_LOOK);
        let mut report = Instant::now() + FLUSH_REPORT_INTERVAL;
        loop {
            looks.tick().await;
            let backlog = self.shared.backlog();
            if backlog.sessions == 0 && backlog.slots == 0 {
                if backlog.unreachable > 0 {
                    let peers = backlog.unreachable;
                    tracing::warn!("{peers} members do not answer: what they lack they cannot get");
                }
                return Ok(());
            }
            let (sessions, slots) = (backlog.sessions, backlog.slots);
            if Instant::now() >= until {
                return Err(StopError::NotFlushed { sessions, slots });
            }
            if Instant::now() >= report {
                report += FLUSH_REPORT_INTERVAL;
                tracing::warn!("still stopping: others lack {sessions} sessions and {slots} slots");
            }
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// What others lack of this node.
#[derive(Default)]
struct Backlog {
    sessions: usize,
    slots: usize,
    /// Members that lack something and do not answer.
    unreachable: usize,
}

impl Shared {
    /// An id whose slot this node owns, so that a visitor who stays here is served without asking
    /// others.
    pub(crate) fn draw_id(&self) -> SessionId {
        let draw = || {
            let mut bytes = [0; SessionId::BYTES];
            getrandom::fill(&mut bytes).expect("without randomness no id can be kept secret");
            SessionId::from_random(bytes)
        };
        let mut id = draw();
        for _ in 0..ID_DRAWS_MAX {
            if self.driver.owns(id.key()) {
                break;
            }
            id = draw();
        }
        id
    }

    /// Says once that browsers will not keep the cookies.
    #[cfg(feature = "axum")]
    pub(crate) fn warn_of_plain_http(&self) {
        if !self.is_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a Secure cookie leaves over plain HTTP, and browsers will drop it: let the proxy \
                 in front say X-Forwarded-Proto: https, or set session.cookie.secure = false"
            );
        }
    }

    /// Slots that this node still owns, and sessions of slots that it does not and still holds.
    fn left_over(&self) -> (usize, usize) {
        let (mut slots, mut sessions) = (0, 0);
        self.driver.each(|node| {
            let handover = node.handover();
            slots += handover.owned;
            sessions += handover.sessions;
        });
        (slots, sessions)
    }

    fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        let mut unreachable = std::collections::BTreeSet::new();
        self.driver.each(|node| {
            for lag in node.lags().filter(|lag| lag.sessions + lag.slots > 0) {
                if lag.reachable {
                    backlog.sessions += lag.sessions;
                    backlog.slots += lag.slots;
                } else {
                    unreachable.insert(lag.peer);
                }
            }
        });
        backlog.unreachable = unreachable.len();
        backlog
    }
}

/// Who the others are, as far as the configuration tells.
fn links(config: &Config, name: &NodeName, clock: &Clock) -> Result<Links, StartError> {
    let cluster = config.cluster();
    if !cluster.is_fixed() {
        // 0 would be the number of nobody.
        let start = getrandom::u64().map_err(StartError::Random)?.max(1);
        return Ok(Links::agreed_on(name, start, &cluster.name));
    }
    let members: Vec<NodeName> = cluster.members.keys().cloned().collect();
    let index = members.iter().take_while(|member| *member != name).count();
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    let inc = Inc::of_start(clock.now(), index);
    let ReplicationSection { copies, .. } = *config.replication();
    Ok(Links::fixed(name, inc, &cluster.name, &members, copies))
}

/// What this process tells others of itself when it joins.
fn me(config: &Config, name: &NodeName, driver: &Driver, start: u64) -> Me {
    let node = config.node();
    let bound = || SocketAddr::new(node.listen.ip(), driver.endpoint.local_addr().port());
    Me {
        name: name.clone(),
        address: node.advertise.as_ref().map_or_else(|| bound().to_string(), ToString::to_string),
        zone: node.zone.as_deref().unwrap_or_default().into(),
        start,
        replication: config.replication().clone(),
    }
}

/// The options of the first shard.
fn options(config: &Config, name: &NodeName, inc: Inc) -> Result<Options, StartError> {
    let limits = config.limits();
    let members: Vec<NodeName> = config.cluster().members.keys().cloned().collect();
    let shards = usize::from(SHARDS);
    let memory = usize::try_from(limits.memory.bytes()).unwrap_or(usize::MAX);
    Ok(Options {
        inc,
        name: name.as_str().into(),
        shard: 0,
        shards: SHARDS,
        digest_seed: hash_of(&config.cluster().name, &members, "digests"),
        noise_seed: getrandom::u64().map_err(StartError::Random)?,
        outbox_sessions_max: limits.outbox_sessions_max.div_ceil(shards),
        repair_interval_ms: millis(limits.repair_interval),
        repair_bytes_per_second: limits.repair_bytes_per_second.div_ceil(u64::from(SHARDS)),
        ack_timeout_ms: millis(config.replication().ack_timeout),
        bytes_max: memory / shards,
        limits: config.session().limits,
        rules: Rules::default(),
    })
}

fn endpoint_config(config: &Config, identity: Identity, links: &Links) -> EndpointConfig {
    let members = config.cluster().members.iter();
    let peers = members
        .map(|(name, address)| PeerAddress { name: name.clone(), address: address.to_string() });
    let limits = config.limits();
    EndpointConfig {
        listen: config.node().listen,
        identity,
        hello: links.hello().encode().into(),
        peers: peers.collect(),
        strangers_max: if config.cluster().is_fixed() { 0 } else { STRANGERS_MAX },
        limits: transport::Limits {
            frame_bytes_max: limits.frame_bytes_max,
            lane_queue_bytes_max: limits.lane_queue_bytes_max,
            lane_inbox_bytes_max: limits.lane_inbox_bytes_max,
            handshakes_max: limits.handshakes_max,
            handshakes_before_retry: limits.handshakes_before_retry,
            connections_max: limits.connections_max,
            ..transport::Limits::default()
        },
        reload_interval: config.node().reload_interval,
    }
}
