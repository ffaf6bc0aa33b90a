//! Whoever does not get as far as a link: without a certificate that counts, or without a word.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use transport::hostile::HostileConnection;
use transport::issue::{Ca, CertAndKey, Validity};

use super::relay::{Relay, Way};
use crate::cluster::{Cluster, name};

/// Attempts at once of those who are refused: more than a node takes without having them prove
/// their address.
const REFUSED_AT_ONCE: usize = 24;

/// Attempts at once of those who hold on: more than a node has places for handshakes.
const HELD_AT_ONCE: usize = 160;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why somebody must not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outsider {
    /// Shows no certificate.
    NoCertificate,
    /// Has one for a member's name, of another authority.
    OtherAuthority,
    /// Has one of this authority, for another cluster.
    OtherCluster,
    /// Has one that was valid until yesterday.
    Expired,
    /// Has one for the name of the very node that it calls.
    SameName,
    /// Has a right one, and says nothing after the handshake.
    Silent,
    /// Begins handshakes and never ends them.
    HalfOpen,
}

impl Outsider {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoCertificate,
        Self::OtherAuthority,
        Self::OtherCluster,
        Self::Expired,
        Self::SameName,
        Self::Silent,
        Self::HalfOpen,
    ];

    /// In a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no certificate",
            Self::OtherAuthority => "another authority",
            Self::OtherCluster => "another cluster",
            Self::Expired => "an expired certificate",
            Self::SameName => "the node's own name",
            Self::Silent => "silent connections",
            Self::HalfOpen => "half-open handshakes",
        }
    }

    /// Where the node counts it, as a way into its status.
    #[must_use]
    pub const fn counted_as(self) -> &'static str {
        match self {
            Self::NoCertificate => "network.refused.no_certificate",
            Self::OtherAuthority => "network.refused.other_authority",
            Self::OtherCluster => "network.refused.other_cluster",
            Self::Expired => "network.refused.outside_validity",
            Self::SameName => "network.refused.other_name",
            Self::Silent => "network.refused.slow",
            // There are more than a node takes without proof of their address, and they never hear
            // that they are asked for it.
            Self::HalfOpen => "network.retries",
        }
    }

    const fn at_once(self) -> usize {
        match self {
            Self::NoCertificate
            | Self::OtherAuthority
            | Self::OtherCluster
            | Self::Expired
            | Self::SameName => REFUSED_AT_ONCE,
            Self::Silent | Self::HalfOpen => HELD_AT_ONCE,
        }
    }
}

/// Attempts at one node, until they are over.
#[derive(Debug)]
pub struct Outsiders {
    tasks: Vec<JoinHandle<()>>,
    begun: Arc<AtomicU64>,
    /// Kept, because nothing passes without it.
    _relay: Option<Relay>,
}

impl Outsiders {
    /// Many at once try again and again until then; to be called in a runtime of tokio.
    ///
    /// # Errors
    /// The certificates cannot be made.
    pub fn start(
        cluster: &Cluster,
        node: usize,
        outsider: Outsider,
        until: Instant,
    ) -> Result<Self> {
        let credentials = Arc::new(certificate(cluster, node, outsider)?);
        let at = cluster.quic(node);
        let relay = match outsider {
            Outsider::HalfOpen => Some(Relay::start(at, Way::NothingBack)?),
            Outsider::NoCertificate
            | Outsider::OtherAuthority
            | Outsider::OtherCluster
            | Outsider::Expired
            | Outsider::SameName
            | Outsider::Silent => None,
        };
        let at = relay.as_ref().map_or(at, Relay::address);
        let begun = Arc::new(AtomicU64::new(0));
        let attempt = |_| {
            let (credentials, begun) = (Arc::clone(&credentials), Arc::clone(&begun));
            tokio::spawn(async move { attempt(at, (*credentials).as_ref(), until, &begun).await })
        };
        let tasks = (0..outsider.at_once()).map(attempt).collect();
        Ok(Self { tasks, begun, _relay: relay })
    }

    /// Whether the time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }

    /// Connections that were begun.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }
}

/// Connects, holds on until the node ends it, and begins again.
async fn attempt(
    node: SocketAddr,
    credentials: Option<&CertAndKey>,
    until: Instant,
    begun: &AtomicU64,
) {
    while Instant::now() < until {
        begun.fetch_add(1, Ordering::Relaxed);
        let _ = timeout_at(until, async {
            if let Ok(connection) = HostileConnection::connect(node, credentials).await {
                connection.closed().await;
            }
        })
        .await;
    }
}

fn certificate(cluster: &Cluster, node: usize, outsider: Outsider) -> Result<Option<CertAndKey>> {
    let files = ["ca.pem", "ca.key"].map(|file| cluster.path("ca").join(file));
    let ours = Ca::load(&files[0], &files[1])?;
    let (now, days) = (SystemTime::now(), Validity::days(1));
    // The last one never runs: a node of this cluster that is about to join, or so it seems.
    let last = name(cluster.len().checked_sub(1).context("a cluster of nobody")?).parse()?;
    Ok(match outsider {
        Outsider::NoCertificate => None,
        Outsider::OtherAuthority => Some(Ca::create(ours.cluster(), days)?.node(&last, days)?),
        Outsider::OtherCluster => Some(ours.forge(&["n1.other.replica.internal"], days)?),
        Outsider::Expired => {
            let past = Validity { from: now - 3 * DAY, until: now - DAY };
            Some(ours.node(&last, past)?)
        }
        Outsider::SameName => Some(ours.node(&name(node).parse()?, days)?),
        Outsider::Silent | Outsider::HalfOpen => Some(ours.node(&last, days)?),
    })
}
