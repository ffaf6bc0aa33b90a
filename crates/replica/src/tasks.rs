//! The tasks of a process: one reads what arrives, one ticks, one looks at the token keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use protocol::limits::TICK_MS;
use session::TokenKeys;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use transport::{DownReason, Event, Events, NodeName};

use crate::config::TokenKeyFile;
use crate::driver::{Driver, HUNG};
use crate::links::SUPERSEDED;
use crate::uptime::Moment;

/// The tasks; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    pub(crate) fn start(
        driver: &Arc<Driver>,
        events: Events,
        keys: Arc<RwLock<TokenKeys>>,
        key_file: TokenKeyFile,
        reload_interval: Duration,
        fatal: &Fatal,
    ) -> Self {
        Self(vec![
            spawn(fatal, read(driver.clone(), events, fatal.clone())),
            spawn(fatal, tick(driver.clone())),
            spawn(fatal, reload(keys, key_file, reload_interval)),
        ])
    }
}

impl Tasks {
    /// Adds one.
    pub(crate) fn add(&mut self, fatal: &Fatal, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(spawn(fatal, task));
    }

    /// Ends them at the next point at which each waits.
    pub(crate) fn abort(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Why this node cannot go on, once it cannot.
#[derive(Clone, Debug)]
pub(crate) struct Fatal(watch::Sender<Option<String>>);

impl Fatal {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// Notes the reason; the first one stays.
    pub(crate) fn note(&self, reason: String) {
        if self.0.borrow().is_none() {
            tracing::error!("{reason}");
            self.0.send_replace(Some(reason));
        }
    }
}

/// Starts a task. If it panics this node says that it cannot go on: having lost one of its parts
/// it must not seem whole.
fn spawn(fatal: &Fatal, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let alarm = Alarm(fatal.clone());
    tokio::spawn(async move {
        let _alarm = alarm;
        task.await;
    })
}

struct Alarm(Fatal);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note("a task of this node has failed; start it again".to_owned());
        }
    }
}

/// Takes everything that arrives to the driver, in order.
async fn read(driver: Arc<Driver>, mut events: Events, fatal: Fatal) {
    let mut reader = Reader { driver, fatal, linked: BTreeSet::new(), refused: BTreeMap::new() };
    while let Some(event) = events.next().await {
        match event {
            Event::Up { peer, hello } => reader.up(&peer, &hello),
            Event::Down { peer, reason } => reader.down(&peer, &reason),
            Event::Frame { peer, lane, frame } => {
                if reader.linked.contains(&peer) {
                    reader.driver.handle_frame(&peer, lane, &frame);
                }
            }
        }
    }
    if !reader.driver.is_closed() {
        reader.fatal.note("the network part of this node has failed; start it again".to_owned());
    }
}

struct Reader {
    driver: Arc<Driver>,
    fatal: Fatal,
    /// Whose links were accepted.
    linked: BTreeSet<NodeName>,
    /// Why a link was refused last, so that the same is logged once.
    refused: BTreeMap<NodeName, String>,
}

impl Reader {
    fn up(&mut self, peer: &NodeName, hello: &[u8]) {
        match self.driver.links.accept(peer, hello) {
            Ok(said) => {
                self.refused.remove(peer);
                self.linked.insert(peer.clone());
                self.driver.handle_up(peer, said);
            }
            Err(mismatch) => {
                let why = mismatch.to_string();
                self.driver.meters.hellos_refused.count();
                self.driver.endpoint.disconnect(peer, &why);
                if self.refused.get(peer) != Some(&why) {
                    tracing::error!("no link with {peer}: {why}");
                    self.refused.insert(peer.clone(), why);
                }
            }
        }
    }

    fn down(&mut self, peer: &NodeName, reason: &DownReason) {
        if self.linked.remove(peer) {
            tracing::info!("link with {peer} ended: {reason}");
            self.driver.handle_down(peer);
        }
        if let DownReason::PeerClosed(words) = reason
            && words.contains(SUPERSEDED)
        {
            self.fatal.note(format!(
                "{peer} knows a later start of this node: another process runs under this name, \
                 or this machine's clock was ahead before; stop the other one, then start this \
                 one again"
            ));
        }
    }
}

async fn tick(driver: Arc<Driver>) {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Moment::now();
    loop {
        ticks.tick().await;
        let now = Moment::now();
        // Also if its machine slept: to the others that is the same.
        if now.since(last) > HUNG {
            driver.note_hung(Instant::now());
        }
        last = now;
        driver.handle_tick();
    }
}

/// Looks at the file of token keys now and then; a wrong file is reported once, and the old keys
/// hold.
async fn reload(keys: Arc<RwLock<TokenKeys>>, mut file: TokenKeyFile, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_wrong = false;
    loop {
        ticks.tick().await;
        let read = tokio::task::spawn_blocking(move || {
            let read = file.reload();
            (file, read)
        });
        let Ok((same, read)) = read.await else {
            return;
        };
        file = same;
        match read {
            Ok(None) => is_wrong = false,
            Ok(Some(new)) => {
                is_wrong = false;
                *keys.write() = new;
                tracing::info!("took over changed token keys");
            }
            Err(error) if !is_wrong => {
                is_wrong = true;
                tracing::warn!("changed token keys are not taken over, the old ones hold: {error}");
            }
            Err(_) => {}
        }
    }
}
