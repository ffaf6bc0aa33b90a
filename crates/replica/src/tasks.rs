//! The tasks of a process: one reads what arrives, one ticks, one looks at the token keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use protocol::limits::TICK_MS;
use session::{Inc, TokenKeys};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use transport::{DownReason, Event, Events, NodeName};

use crate::config::TokenKeyFile;
use crate::driver::Driver;
use crate::limits::KEYS_RELOAD_INTERVAL;
use crate::links::SUPERSEDED;

/// The tasks; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    pub(crate) fn start(
        driver: &Arc<Driver>,
        events: Events,
        keys: Arc<RwLock<TokenKeys>>,
        key_file: TokenKeyFile,
        fatal: watch::Sender<Option<String>>,
    ) -> Self {
        Self(vec![
            tokio::spawn(read(driver.clone(), events, fatal)),
            tokio::spawn(tick(driver.clone())),
            tokio::spawn(reload(keys, key_file)),
        ])
    }
}

impl Tasks {
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

/// Takes everything that arrives to the driver, in order.
async fn read(driver: Arc<Driver>, mut events: Events, fatal: watch::Sender<Option<String>>) {
    let mut reader = Reader { driver, fatal, linked: BTreeMap::new(), refused: BTreeMap::new() };
    while let Some(event) = events.next().await {
        match event {
            Event::Up { peer, hello } => reader.up(&peer, &hello),
            Event::Down { peer, reason } => reader.down(&peer, &reason),
            Event::Frame { peer, lane, frame } => {
                if let Some(inc) = reader.linked.get(&peer) {
                    reader.driver.handle_frame(&peer, *inc, lane, &frame);
                }
            }
        }
    }
}

struct Reader {
    driver: Arc<Driver>,
    fatal: watch::Sender<Option<String>>,
    /// The processes at the other ends of the links.
    linked: BTreeMap<NodeName, Inc>,
    /// Why a link was refused last, so that the same is logged once.
    refused: BTreeMap<NodeName, String>,
}

impl Reader {
    fn up(&mut self, peer: &NodeName, hello: &[u8]) {
        match self.driver.links.accept(peer, hello) {
            Ok(inc) => {
                self.refused.remove(peer);
                self.linked.insert(peer.clone(), inc);
                self.driver.handle_up(peer, inc);
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
        if self.linked.remove(peer).is_some() {
            tracing::info!("link with {peer} ended: {reason}");
            self.driver.handle_down(peer);
        }
        if let DownReason::PeerClosed(words) = reason
            && words.contains(SUPERSEDED)
        {
            let why = format!(
                "{peer} knows a later start of this node: another process runs under this name, \
                 or this machine's clock was ahead before; stop the other one, then start this \
                 one again"
            );
            if self.fatal.borrow().is_none() {
                tracing::error!("{why}");
                self.fatal.send_replace(Some(why));
            }
        }
    }
}

async fn tick(driver: Arc<Driver>) {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        driver.handle_tick();
    }
}

/// Looks at the file of token keys now and then; a wrong file is reported once, and the old keys
/// hold.
async fn reload(keys: Arc<RwLock<TokenKeys>>, mut file: TokenKeyFile) {
    let mut ticks = interval(KEYS_RELOAD_INTERVAL);
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
