//! A member whose process breaks the protocol, and is disconnected and counted while nobody else
//! notices; and one that goes away with what it was asked to do.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use protocol::wire::{Frame, Hello, WIRE_VERSION};
use protocol::{Envelope, Life, Message, Room};
use replica::{CommitError, Counter, Error};
use session::{Inc, SessionKey, Version};
use transport::{DownReason, Endpoint, EndpointConfig, Event, Events, Lane, Limits, NodeName};

use crate::support::{Browser, Cluster, until};

/// A process that speaks as the member n3, whatever it says.
struct Impostor {
    cluster: Cluster,
    victim: NodeName,
    hello: Hello,
    theirs: Inc,
    endpoint: Endpoint,
    events: Events,
}

impl Impostor {
    /// Takes the place of n3, after listening to how members introduce themselves.
    async fn new() -> Self {
        let mut cluster = Cluster::start().await;
        let old = Inc(cluster.nodes[2].status().inc);
        cluster.take_down(2);
        let victim: NodeName = "n1".parse().unwrap();
        let (endpoint, mut events) = start(&cluster, Bytes::from_static(b"no introduction"));
        let hello = loop {
            if let Some(Event::Up { peer, hello }) = events.next().await
                && peer == victim
            {
                break Hello::decode(&hello).unwrap();
            }
        };
        let refused = || cluster.nodes[0].status().meters.hellos_refused;
        until("it is refused", || refused() > 0).await;
        let theirs = hello.inc;
        let hello = Hello { inc: Inc(old.0 + Inc::MEMBERS_MAX), ..hello };
        drop((endpoint, events));
        let (endpoint, events) = start(&cluster, hello.encode().into());
        Self { cluster, victim, hello, theirs, endpoint, events }
    }

    /// Ends its process, and starts another one, which finds the victim at this address.
    async fn start_again(&mut self, victim: SocketAddr) {
        self.endpoint.shutdown(Duration::ZERO).await;
        self.hello.inc = Inc(self.hello.inc.0 + Inc::MEMBERS_MAX);
        let mut config = config(&self.cluster, self.hello.encode().into());
        for peer in config.peers.iter_mut().filter(|peer| peer.name == self.victim) {
            peer.address = victim.to_string();
        }
        (self.endpoint, self.events) = Endpoint::start(config).unwrap();
    }

    /// Waits until it is asked to begin a session.
    async fn hear_of_a_creation(&mut self) -> SessionKey {
        while let Some(event) = self.events.next().await {
            if let Event::Frame { frame, .. } = event
                && let Ok(Frame::Envelope(envelope)) = Frame::decode(&frame)
                && let Message::Forward { commit, .. } = envelope.message
                && matches!(commit.life, Life::Create(_))
            {
                return commit.key;
            }
        }
        panic!("no more events");
    }

    /// Says something on a lane, and is shut out for it.
    async fn says(&mut self, lane: Lane, frame: Vec<u8>) {
        self.hear(|event| matches!(event, Event::Up { .. })).await;
        self.endpoint.try_send(&self.victim, lane, frame.into()).unwrap();
        self.hear(|event| matches!(event, Event::Down { reason: DownReason::PeerClosed(_), .. }))
            .await;
    }

    /// Waits for an event about the victim.
    async fn hear(&mut self, is_awaited: impl Fn(&Event) -> bool) {
        while let Some(event) = self.events.next().await {
            let (Event::Up { peer, .. } | Event::Down { peer, .. } | Event::Frame { peer, .. }) =
                &event;
            if *peer == self.victim && is_awaited(&event) {
                return;
            }
        }
    }

    fn envelope(&self, from: Inc, shard: u16, message: Message) -> Vec<u8> {
        let envelope = Envelope {
            generation: 0,
            epoch: 1,
            from,
            to: self.theirs,
            shard,
            room: Room::Ample,
            message,
        };
        Frame::Envelope(envelope).encode(WIRE_VERSION)
    }
}

/// On a port of its own: the members take a link from whoever has the certificate.
fn start(cluster: &Cluster, hello: Bytes) -> (Endpoint, Events) {
    Endpoint::start(config(cluster, hello)).unwrap()
}

fn config(cluster: &Cluster, hello: Bytes) -> EndpointConfig {
    let (identity, peers) = cluster.place_of(2);
    let listen = "127.0.0.1:0".parse().unwrap();
    let limits = Limits { backoff_max: Limits::default().backoff_min, ..Limits::default() };
    let reload_interval = transport::RELOAD_INTERVAL_DEFAULT;
    EndpointConfig { listen, identity, hello, peers, strangers_max: 0, limits, reload_interval }
}

/// Promise P9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_speaks_nonsense_is_shut_out() {
    let mut impostor = Impostor::new().await;
    let own = impostor.hello.inc;
    impostor.says(Lane::Live, b"garbage".to_vec()).await;
    impostor.says(Lane::Live, Vec::new()).await;
    impostor.says(Lane::Control, impostor.envelope(own, 0, Message::Pull)).await;
    impostor.says(Lane::Live, impostor.envelope(own, 16, Message::Pull)).await;
    let meters = |impostor: &Impostor| impostor.cluster.nodes[0].status().meters;
    assert_eq!((meters(&impostor).frames_undecodable, meters(&impostor).violations), (4, 0));
    impostor.says(Lane::Live, impostor.envelope(Inc(7), 0, Message::Pull)).await;
    let wants = vec![(SessionKey([0; 16]), Version::new()); 10_000];
    let flood = Message::Need { request: 1, wants };
    impostor.says(Lane::Bulk, impostor.envelope(own, 0, flood)).await;
    assert_eq!(meters(&impostor).violations, 2);
    let mut browser = Browser::default();
    browser.ok(&impostor.cluster.apps[0], "/incr").await;
    assert_eq!(browser.ok(&impostor.cluster.apps[1], "/incr").await, "2");
}

/// Rule A5: whether a session has begun that was asked of a node that went away is not known, so
/// that under its id nothing is tried again: counters would count twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncertain_session_is_not_begun_again_under_its_id() {
    const COUNT: Counter = Counter::new("count");
    let mut impostor = Impostor::new().await;
    // Alone with a member with which it cannot catch up, it has all its edits done by that one.
    impostor.cluster.take_down(1);
    impostor.cluster.restart(0).await;
    let node = impostor.cluster.nodes[0].clone();
    impostor.start_again(node.local_addr()).await;
    let reached = || node.status().peers.iter().any(|peer| peer.reachable);
    until("they are linked", reached).await;
    let session = node.new_session();
    let mut keys = Vec::new();
    for _ in 0..2 {
        session.add(COUNT, 1).unwrap();
        let saving = tokio::spawn({
            let session = session.clone();
            async move { session.save().await }
        });
        keys.push(impostor.hear_of_a_creation().await);
        impostor.start_again(node.local_addr()).await;
        let error = saving.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Commit(CommitError::Unknown)), "{error}");
    }
    assert_ne!(keys[0], keys[1]);
}
