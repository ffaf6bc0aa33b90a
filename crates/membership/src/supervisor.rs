//! Keeps Raft running: starts it, watches over it, and starts it again when its disk has failed.
//! openraft ends for good at the first error of its storage; a full disk is to stop voting until
//! there is space, and not the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::Fatal;
use openraft::{Config, ConfigError, ServerState, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use protocol::{View, Zone};
use smol_str::{SmolStr, ToSmolStr};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::bootstrap::Standing;
use crate::log::Log;
use crate::machine::Machine;
use crate::network::Network;
use crate::raft_types::{Group, Place, RaftId, TypeConfig};
use crate::settings::Settings;
use crate::store::{OpenError, Store, StoreError};
use crate::watchdog::{Orders, Sight, Watchdog};

pub(crate) type Raft = openraft::Raft<TypeConfig>;
type RaftMetrics = openraft::RaftMetrics<RaftId, Place>;

/// So many times as long as a voter waits for a leader, a slow write counts against its disk. For
/// ever it must not: who holds back while nobody leads writes nothing any more, and openraft goes on
/// to name a leader that has crashed, so that nothing else would have it stand for election again.
const SLOW_WRITE_KEPT: u32 = 10;

/// Why openraft does not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The disk fails. Make space; the voter tries again by itself if it has run before.
    #[error("Raft cannot read or write its directory: {0}")]
    Store(#[from] StoreError),
    /// openraft found fault with its directory or ended at once.
    #[error("Raft did not start: {0}")]
    Raft(Box<Fatal<RaftId>>),
    /// Timings that do not fit each other: an election has to take longer than a heartbeat, and its
    /// longest time longer than its shortest. Correct them.
    #[error("the timings of Raft do not fit each other: {0}")]
    Settings(#[from] ConfigError),
}

impl From<Fatal<RaftId>> for LaunchError {
    fn from(fatal: Fatal<RaftId>) -> Self {
        Self::Raft(Box::new(fatal))
    }
}

/// What a handle and its supervisor have in common.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) me: Place,
    pub(crate) raft_id: RaftId,
    pub(crate) group: Group,
    pub(crate) network: Network,
    pub(crate) views: Arc<watch::Sender<Arc<View>>>,
    pub(crate) settings: Settings,
    /// None while the disk does not work. Set by `launch`, taken by `run`.
    raft: RwLock<Option<Raft>>,
    /// True while it leads and hears from no majority.
    mute: AtomicBool,
    /// True while it was replaced, as others say, and does not stand for election.
    stands_down: AtomicBool,
    /// True while its disk is slow, and others may stand for election before it.
    holds_back: AtomicBool,
    /// The latest that others know of who votes.
    told: Mutex<Option<Told>>,
    trouble: Mutex<Option<SmolStr>>,
}

/// What others know of this voter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Index of the entry of the log that has made the voters what they are.
    pub(crate) voters_at: u64,
    /// Whether this one is among them.
    pub(crate) votes: bool,
}

impl Shared {
    pub(crate) fn new(
        store: Store,
        me: Place,
        raft_id: RaftId,
        group: Group,
        network: Network,
        views: Arc<watch::Sender<Arc<View>>>,
        settings: Settings,
    ) -> Self {
        Self {
            store,
            me,
            raft_id,
            group,
            network,
            views,
            settings,
            raft: RwLock::new(None),
            mute: AtomicBool::new(false),
            stands_down: AtomicBool::new(false),
            holds_back: AtomicBool::new(false),
            told: Mutex::new(None),
            trouble: Mutex::new(None),
        }
    }

    pub(crate) fn raft(&self) -> Option<Raft> {
        self.raft.read().clone()
    }

    pub(crate) fn is_mute(&self) -> bool {
        self.mute.load(Ordering::Relaxed)
    }

    pub(crate) fn stands_down(&self) -> bool {
        self.stands_down.load(Ordering::Relaxed)
    }

    /// The latest counts, whoever has said it.
    pub(crate) fn note_told(&self, told: Told) {
        let mut known = self.told.lock();
        if known.is_none_or(|known| known.voters_at < told.voters_at) {
            *known = Some(told);
        }
    }

    pub(crate) fn trouble(&self) -> Option<SmolStr> {
        let slow = || {
            let is_slow = self.holds_back.load(Ordering::Relaxed);
            let bound = self.settings.election_ms_max;
            is_slow.then(|| format!("its disk is slow: a write takes more than {bound} ms").into())
        };
        self.trouble.lock().clone().or_else(slow)
    }

    fn note_trouble(&self, trouble: &dyn std::fmt::Display) {
        tracing::error!(voter = %self.raft_id, "Raft does not run: {trouble}");
        *self.trouble.lock() = Some(trouble.to_smolstr());
    }

    /// Starts openraft on the store as it is.
    pub(crate) async fn launch(&self) -> Result<(), LaunchError> {
        let config = Arc::new(config(&self.settings).validate()?);
        let store = self.store.for_one_run();
        // Also after a restart in between: who votes first was written down before.
        let is_new = match self.first_voters() {
            Some(voters) => store.begin(voters)?,
            None => false,
        };
        let views = Arc::clone(&self.views);
        let machine = Machine::load(store.clone(), self.settings.slots, views)?;
        let log = Log::new(store);
        let raft = Raft::new(self.raft_id, config, self.network.clone(), log, machine).await?;
        // The others of the first voters wait as long as after any start: each that stood at once
        // would take the lead away from the one before.
        if is_new && self.group.founder == self.raft_id {
            raft.trigger().elect().await?;
        }
        self.mute.store(false, Ordering::Relaxed);
        self.stands_down.store(false, Ordering::Relaxed);
        self.holds_back.store(false, Ordering::Relaxed);
        *self.raft.write() = Some(raft);
        Ok(())
    }

    /// Who votes first, if this voter is one of them.
    fn first_voters(&self) -> Option<BTreeMap<RaftId, Place>> {
        let voters = match self.store.identity().standing {
            // The same for all of them: it is in the first entry of each log.
            Standing::Founded { voters, .. } => {
                let place = |name| Place { name, zone: Zone::default() };
                voters.into_iter().map(|(id, name)| (id, place(name))).collect()
            }
            Standing::Inside(group) => BTreeMap::from([(group.founder, self.me.clone())]),
            Standing::Outside { .. } => BTreeMap::new(),
        };
        voters.contains_key(&self.raft_id).then_some(voters)
    }

    /// Reads the disk anew, and starts openraft on what is there. False if that is hopeless.
    async fn relaunch(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || shared.store.reopen()).await;
        match opened {
            Ok(Ok(())) => {}
            Ok(Err(error @ OpenError::Io { .. })) => {
                self.note_trouble(&error);
                return true;
            }
            // Whatever else is wrong with the directory does not get better by waiting: this node
            // must not be this voter any more.
            Ok(Err(error)) => {
                self.note_trouble(&error);
                return false;
            }
            Err(_) => return false,
        }
        if self.store.identity().raft_id != self.raft_id {
            self.note_trouble(&"its directory has been made over for another voter");
            return false;
        }
        match self.launch().await {
            Ok(()) => *self.trouble.lock() = None,
            Err(error) => self.note_trouble(&error),
        }
        true
    }

    fn obey(&self, raft: &Raft, orders: Orders) {
        if self.mute.swap(orders.mute, Ordering::Relaxed) != orders.mute {
            tracing::warn!(voter = %self.raft_id, silent = orders.mute, "leader and its majority");
            raft.runtime_config().heartbeat(!orders.mute);
        }
        let before = self.stands_down.swap(orders.stand_down, Ordering::Relaxed);
        if before != orders.stand_down {
            tracing::info!(voter = %self.raft_id, replaced = orders.stand_down, "whether it votes");
        }
        if self.holds_back.swap(orders.hold_back, Ordering::Relaxed) != orders.hold_back {
            let slow = orders.hold_back;
            tracing::warn!(voter = %self.raft_id, slow, "the disk of the Raft directory");
        }
        raft.runtime_config().elect(!orders.stand_down && !orders.hold_back);
    }
}

/// Runs until it is told to stop, or until the directory is of no use any more.
pub(crate) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let settings = shared.settings;
    let mut ticks = tokio::time::interval(Duration::from_millis(settings.heartbeat_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watchdog = Watchdog::new(&settings);
    let begin = Instant::now();
    let mut last_said = LastSaid::default();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        let Some(raft) = shared.raft() else {
            if !shared.relaunch().await {
                break;
            }
            if shared.raft().is_none() {
                let pause = Duration::from_millis(settings.reopen_ms);
                let _ = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
            }
            continue;
        };
        if let Some(fatal) = has_ended(&raft) {
            shared.note_trouble(&fatal);
            shut_down(&shared, &raft).await;
            watchdog = Watchdog::new(&settings);
            continue;
        }
        let quiet = last_said.quiet_for(&raft);
        let chance = |bound: u64| fastrand::u64(..bound.max(1));
        let orders = watchdog.look(sight(&shared, &raft, quiet), millis(begin.elapsed()), chance);
        shared.obey(&raft, orders);
        if orders.elect {
            tracing::info!(voter = %shared.raft_id, "no leader for long: standing for election");
            // That it has ended is seen at the next tick.
            let _ = raft.trigger().elect().await;
        }
    }
    if let Some(raft) = shared.raft() {
        shut_down(&shared, &raft).await;
    }
}

/// When Raft has last said anything. It does with everything that it does, and does something a few
/// times a second.
#[derive(Default)]
struct LastSaid(Option<(watch::Receiver<RaftMetrics>, Instant)>);

impl LastSaid {
    /// For how long it has said nothing.
    fn quiet_for(&mut self, raft: &Raft) -> Duration {
        let now = Instant::now();
        let metrics = raft.metrics();
        let (last, at) = self.0.get_or_insert_with(|| (metrics.clone(), now));
        if !last.same_channel(&metrics) {
            *last = metrics;
            *at = now;
        } else if last.has_changed().unwrap_or(false) {
            last.mark_unchanged();
            *at = now;
        }
        now.duration_since(*at)
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

async fn shut_down(shared: &Shared, raft: &Raft) {
    *shared.raft.write() = None;
    if let Err(error) = raft.shutdown().await {
        tracing::error!(voter = %shared.raft_id, %error, "Raft did not end in order");
    }
}

fn has_ended(raft: &Raft) -> Option<Fatal<RaftId>> {
    let metrics = raft.metrics();
    let state = metrics.borrow().running_state.clone();
    // Whoever tells the metrics is gone only if its task has ended.
    state.err().or_else(|| metrics.has_changed().is_err().then_some(Fatal::Panicked))
}

fn sight(shared: &Shared, raft: &Raft, quiet: Duration) -> Sight {
    let patience = Duration::from_millis(shared.settings.election_ms_max);
    let kept = patience.saturating_mul(SLOW_WRITE_KEPT);
    let metrics = raft.metrics();
    let metrics = metrics.borrow();
    let voters: Vec<RaftId> = metrics.membership_config.membership().voter_ids().collect();
    let voters_at = metrics.membership_config.log_id().map(|log| log.index);
    let told = *shared.told.lock();
    Sight {
        is_leader: metrics.state == ServerState::Leader,
        has_leader: metrics.current_leader.is_some(),
        is_voter: voters.contains(&metrics.id),
        voters: voters.len(),
        is_replaced: told.is_some_and(|told| !told.votes && Some(told.voters_at) > voters_at),
        quorum_ack_ms: metrics.millis_since_quorum_ack,
        quiet_ms: millis(quiet),
        write_ms: millis(shared.store.write_took(kept)),
    }
}

fn config(settings: &Settings) -> Config {
    Config {
        cluster_name: "membership".to_owned(),
        heartbeat_interval: settings.heartbeat_ms,
        election_timeout_min: settings.election_ms_min,
        election_timeout_max: settings.election_ms_max,
        install_snapshot_timeout: settings.snapshot_ms,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_entries),
        max_in_snapshot_log_to_keep: settings.kept_entries,
        replication_lag_threshold: settings.snapshot_entries.saturating_mul(2),
        ..Config::default()
    }
}
