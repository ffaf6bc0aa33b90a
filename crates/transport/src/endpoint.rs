//! The endpoint: one UDP socket, links with all peers, and the methods of the public API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::RwLock;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::counters::{Counters, Meters, Refusal};
use crate::error::{SendError, StartError, TlsError};
use crate::event::{Close, Event};
use crate::identify::IdentifyError;
use crate::identity::Identity;
use crate::inbox::Inbox;
use crate::lane::Lane;
use crate::limits::{GOODBYE_WAIT_MAX, HELLO_BYTES_MAX, Limits};
use crate::name::{ClusterName, NodeName};
use crate::operators::{Desk, Operators};
use crate::pair::Peer;
use crate::peers::Peers;
use crate::socket::{self, CountingSocket};
use crate::tls::Settings;
use crate::{accept, frame, identify, random, reload, subject};

/// How often the certificate files are looked at, unless configured otherwise.
pub const RELOAD_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

/// The part of the time for stopping in which what waits is still sent.
const FLUSH_PART: f64 = 0.9;

/// A peer and where to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its name, which its certificate must carry.
    pub name: NodeName,
    /// `host:port`, resolved again at each attempt.
    pub address: String,
}

/// What an endpoint is started with.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// UDP address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Who this node is; its cluster is the one whose nodes are accepted.
    pub identity: Identity,
    /// Sent to each peer on connecting; at most [`HELLO_BYTES_MAX`] bytes.
    pub hello: Bytes,
    /// The peers; this node itself may be among them and is left out.
    pub peers: Vec<PeerAddress>,
    /// Strangers at once: nodes of this cluster that are not in the list of peers and connect to
    /// this one. Linked with like peers, but never dialled, and forgotten when the link has ended.
    /// More are refused; 0 refuses all.
    pub strangers_max: usize,
    /// All bounds.
    pub limits: Limits,
    /// How often the certificate files are looked at for changes.
    pub reload_interval: Duration,
}

/// Links with all peers. A handle: clones are the same endpoint. When the last one is dropped
/// the endpoint stops at once; [`shutdown`](Self::shutdown) stops it in good order.
#[derive(Debug, Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
    _guard: Arc<Guard>,
}

/// What happens, to be taken out one by one. See [`Event`].
#[derive(Debug)]
pub struct Events {
    inbox: Arc<Inbox>,
}

/// How a peer or a stranger is doing.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// The node.
    pub name: NodeName,
    /// Where it is dialled; `None`: it is a stranger, and is not.
    pub address: Option<String>,
    /// Whether a link stands.
    pub up: bool,
    /// Since when it stands, or does not.
    pub since: Instant,
    /// Why there is no link, if that is known: `no answer from n2 on UDP 192.0.2.7:7001`.
    pub last_error: Option<String>,
    /// Round trip time; `None` while there is no link.
    pub rtt: Option<Duration>,
    /// Bytes waiting to be sent, in the order of [`Lane::ALL`].
    pub queue_bytes: [usize; 3],
}

/// What the tasks of one endpoint share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where the tasks run, whoever starts them.
    runtime: Handle,
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) local_addr: SocketAddr,
    pub(crate) name: NodeName,
    pub(crate) cluster: ClusterName,
    /// This process start, to tell it from the one before.
    pub(crate) instance: u64,
    pub(crate) hello: Bytes,
    pub(crate) limits: Limits,
    pub(crate) settings: RwLock<Settings>,
    pub(crate) peers: Peers,
    pub(crate) desk: Desk,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) meters: Arc<Meters>,
    stopping: watch::Sender<bool>,
}

impl Endpoint {
    /// Binds the socket and begins to link with the peers.
    ///
    /// # Errors
    /// Each [`StartError`] names the problem and the remedy.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and I/O enabled.
    pub fn start(config: EndpointConfig) -> Result<(Self, Events), StartError> {
        if config.hello.len() > HELLO_BYTES_MAX {
            return Err(StartError::Hello { bytes: config.hello.len() });
        }
        let meters = Arc::new(Meters::default());
        let settings = Settings::new(&config.identity, &config.limits).map_err(TlsError::from)?;
        let endpoint = listen(&config, &settings, meters.clone())?;
        let address = config.listen;
        let local_addr =
            endpoint.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let inbox = Arc::new(Inbox::default());
        let shared = Arc::new(Shared {
            runtime: Handle::current(),
            endpoint,
            local_addr,
            name: config.identity.name().clone(),
            cluster: config.identity.cluster().clone(),
            instance: random::nonzero()?,
            hello: config.hello,
            limits: config.limits,
            settings: RwLock::new(settings),
            peers: Peers::new(config.strangers_max),
            desk: Desk::new(),
            inbox: inbox.clone(),
            meters,
            stopping: watch::Sender::new(false),
        });
        shared.spawn(accept::run(shared.clone()));
        shared.spawn(reload::run(shared.clone(), config.identity, config.reload_interval));
        let endpoint = Self { _guard: Arc::new(Guard(shared.clone())), shared };
        endpoint.set_peers(config.peers);
        Ok((endpoint, Events { inbox }))
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Puts a frame into the queue of a lane. Never waits.
    ///
    /// # Errors
    /// See [`SendError`]; the frame is not sent. An accepted frame can still be lost if the link
    /// ends.
    pub fn try_send(&self, peer: &NodeName, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > self.shared.limits.frame_bytes_max || frame::header(&frame).is_none() {
            return Err(SendError::TooLarge);
        }
        let link = self.shared.peers.link(peer).ok_or(SendError::NotConnected)?;
        let sent = link.send(lane, frame);
        if sent == Err(SendError::Full) {
            self.shared.meters.full(lane);
        }
        sent
    }

    /// Sets the list of peers: new ones are linked with, those that are gone are taken down,
    /// changed addresses hold from the next attempt on. A stranger that is in it now becomes a
    /// peer and keeps its link; the other strangers stay what they are.
    pub fn set_peers(&self, peers: Vec<PeerAddress>) {
        self.shared.peers.set(&self.shared, peers);
    }

    /// How each peer and each stranger is doing, sorted by name.
    pub fn status(&self) -> Vec<PeerStatus> {
        self.shared.peers.all().iter().map(|peer| peer_status(peer)).collect()
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> Counters {
        self.shared.meters.snapshot()
    }

    /// Asks who answers at an address, for one of which no name is known: a node of this cluster,
    /// this one included. Nothing comes of it but the name; to link with that node it has to be
    /// made a peer. Takes no longer than [`Limits::connect_timeout`].
    ///
    /// # Errors
    /// [`IdentifyError`]: nobody answers, or it is no node of this cluster.
    pub async fn identify(&self, address: SocketAddr) -> Result<NodeName, IdentifyError> {
        identify::ask(&self.shared, address).await
    }

    /// The requests of operators, who are served as soon as this is called; until then, and when
    /// what it returned is dropped, they are refused. `None` from the second call on.
    pub fn operators(&self) -> Option<Operators> {
        self.shared.desk.operators(self.shared.stopping.subscribe())
    }

    /// Ends the link with a peer, if there is one; a new one is made after a pause. For a peer
    /// that broke the rules of what the frames contain, or that does not answer: what else has arrived from it is dropped,
    /// and the next event of this peer is [`Event::Down`](crate::Event::Down).
    pub fn disconnect(&self, peer: &NodeName, reason: &str) {
        if let Some(link) = self.shared.peers.link(peer) {
            link.cut(reason);
        }
    }

    /// Stops in good order: accepts no more frames, waits until the peers have received those
    /// that were accepted, closes the connections, and returns after `deadline` at the latest.
    /// [`Events::next`] then gives what had arrived, and after it `None`, without `Down` events.
    pub async fn shutdown(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        // The rest is for closing the connections, so that the peers are told.
        let flush_until = Instant::now() + deadline.mul_f64(FLUSH_PART);
        let Some(pairs) = self.shared.stop(Some(flush_until)) else {
            // Somebody else is at it, and must not be disturbed.
            let _ = timeout_at(until.into(), self.shared.endpoint.wait_idle()).await;
            return;
        };
        for mut pair in pairs {
            if timeout_at(until.into(), &mut pair).await.is_err() {
                pair.abort();
            }
        }
        // Those whose requests were answered by now are still told.
        let _ = timeout_at(flush_until.into(), self.shared.desk.left()).await;
        self.shared.close();
        let until = until.min(Instant::now() + GOODBYE_WAIT_MAX);
        let _ = timeout_at(until.into(), self.shared.endpoint.wait_idle()).await;
    }
}

impl Events {
    /// The next event; waits for it. `None`: the endpoint has stopped, by
    /// [`Endpoint::shutdown`], or because it failed, which is logged. A call that is dropped
    /// before it is done takes nothing.
    ///
    /// While events are not taken, the peers' streams are read no further than the inbox of each
    /// lane allows. Nothing is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        self.inbox.take().await
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Option<Event> {
        self.inbox.try_take()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.inbox.discard();
    }
}

fn listen(
    config: &EndpointConfig,
    settings: &Settings,
    meters: Arc<Meters>,
) -> Result<quinn::Endpoint, StartError> {
    let address = config.listen;
    let failed = |source| StartError::Listen { address, source };
    let identity = &config.identity;
    // Both keys come from the private key: after a restart this node still recognises packets of
    // connections from before, and can prove to the sender that it has forgotten them.
    let id_key = {
        let [a, b, c, d, e, f, g, h, ..] = identity.derive("connection ids");
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    };
    let reset_key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        &identity.derive("stateless reset"),
    );
    let mut quic = quinn::EndpointConfig::new(Arc::new(reset_key));
    quic.cid_generator(move || Box::new(socket::connection_ids(id_key)));
    let runtime = Arc::new(TokioRuntime);
    let socket = socket::bind(address, &meters)?;
    let socket: Arc<dyn AsyncUdpSocket> = runtime.wrap_udp_socket(socket).map_err(failed)?;
    let socket = Arc::new(CountingSocket::new(socket, id_key, meters));
    let server = Some(settings.server.clone());
    quinn::Endpoint::new_with_abstract_socket(quic, server, socket, runtime).map_err(failed)
}

fn peer_status(peer: &Peer) -> PeerStatus {
    let state = peer.state.lock();
    PeerStatus {
        name: peer.name.clone(),
        address: peer.address(),
        up: state.link.is_some(),
        since: state.since,
        last_error: state.last_error.clone(),
        rtt: state.link.as_ref().map(|link| link.rtt()),
        queue_bytes: state.link.as_ref().map_or([0; 3], |link| link.queue_bytes()),
    }
}

impl Shared {
    /// Whether this node chooses the link with this peer; exactly one of the two does.
    pub(crate) fn chooses(&self, peer: &NodeName) -> bool {
        self.name < *peer
    }

    /// What a node is told that is refused.
    pub(crate) fn words(&self, refusal: Refusal) -> String {
        if refusal == Refusal::TooManyStrangers {
            // The remedy is at this node, so it is named.
            return format!("{} admits no more nodes that it does not know", self.name);
        }
        refusal.to_string()
    }

    /// The name that the certificate of a peer must carry.
    pub(crate) fn dns_name(&self, peer: &NodeName) -> String {
        subject::node_dns_name(peer, &self.cluster)
    }

    /// Completes when the endpoint is being stopped.
    pub(crate) async fn stopped(&self) {
        // An error would mean that the sender is gone, and it is in `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Starts a task. If it panics the endpoint ends, and [`Events::next`] says so: a node that
    /// has lost one of its parts must not go on as if it were whole.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let alarm = Alarm { inbox: self.inbox.clone(), endpoint: self.endpoint.clone() };
        self.runtime.spawn(async move {
            let _alarm = alarm;
            task.await
        })
    }

    /// Begins to stop. Returns the tasks that are still at it; `None` if it had begun before.
    fn stop(&self, flush_until: Option<Instant>) -> Option<Vec<JoinHandle<()>>> {
        self.stopping.send_replace(true);
        self.peers.stop(flush_until)
    }

    fn close(&self) {
        self.endpoint.close(Close::Stopped.code(), b"this node was stopped");
        self.inbox.close();
    }
}

/// Ends the endpoint when a task panics.
struct Alarm {
    inbox: Arc<Inbox>,
    endpoint: quinn::Endpoint,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a task of the transport failed; it stops");
            self.endpoint.close(Close::Stopped.code(), b"this node failed");
            self.inbox.close();
        }
    }
}

/// Stops the endpoint when the last handle is dropped.
#[derive(Debug)]
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        for pair in self.0.stop(None).unwrap_or_default() {
            pair.abort();
        }
        self.0.close();
    }
}
