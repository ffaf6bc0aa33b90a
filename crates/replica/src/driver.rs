//! Drives the shards of this process: one command or one message at a time into a shard, what
//! comes out of it to the network and to whoever waits.
//!
//! A shard is locked for one call into its state machine and for taking out what that produced.
//! Encoding, sending and answering happen afterwards, and nothing is awaited under a lock.

mod hang;
mod members;
mod pending;
mod shard;
mod tick;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use protocol::wire::Frame;
use protocol::{
    Ack, Commit, Lane, Life, LivenessEvent, Node, Opened, Options, Outcome, Ticket, Transmit, View,
};
use session::{Core, Edit, Inc, SessionKey, Slot, Time, Token, User, Version};
use tokio::sync::{mpsc, watch};
use transport::{Endpoint, NodeName, SendError};

pub(crate) use self::hang::HUNG;
use self::hang::Hang;
use self::pending::{Answer, Pending};
use self::shard::{Output, Shard};
use crate::clock::Clock;
use crate::limits::{COMMIT_TIMEOUT, OPEN_TIMEOUT, SHARDS};
use crate::links::{Agreed, Links, member_name};
use crate::meters::Meters;

/// All shards of this process, and what they share.
pub(crate) struct Driver {
    /// None while this process is not a member. Written only by whoever has locked what is agreed.
    shards: RwLock<Vec<Mutex<Shard>>>,
    /// Those of shard 0.
    options: Options,
    pub(crate) clock: Clock,
    pub(crate) endpoint: Endpoint,
    pub(crate) links: Links,
    pub(crate) meters: Meters,
    /// How often this process has become a member.
    starts: watch::Sender<u64>,
    /// True once all shards have caught up with the others.
    synced: watch::Sender<bool>,
    /// How many shards have caught up in the layout of each epoch.
    synced_in: Mutex<BTreeMap<u64, u16>>,
    hang: Mutex<Hang>,
    /// Takes what concerns membership, where members are agreed on.
    notices: Option<mpsc::Sender<Notice>>,
    /// True once no more requests are taken, so that what there is can be brought to the others.
    is_closed: AtomicBool,
    /// True while the wall clock is far off and not followed.
    refuses_wall_clock: AtomicBool,
    /// What was heard that only the trial of a next release says.
    #[cfg(feature = "next")]
    pub(crate) trials: crate::meters::Meter,
}

/// What `agreement` is told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A link with that node stands.
    Up(NodeName),
    /// It does not any more.
    Down(NodeName),
    /// That node has sent a letter.
    Letter(NodeName, Vec<u8>),
    /// Something else that is to be looked at: a shard has caught up, somebody goes by a later
    /// view.
    Look,
}

/// What a new session is made with.
pub(crate) struct Creation {
    pub(crate) user: Option<User>,
    pub(crate) absolute_ms: u64,
    pub(crate) idle_ms: u64,
}

impl Driver {
    /// A process that has just started; it has shards if the configuration makes it a member.
    /// `options` are those of shard 0.
    pub(crate) fn new(
        options: Options,
        links: Links,
        clock: Clock,
        endpoint: Endpoint,
        notices: Option<mpsc::Sender<Notice>>,
    ) -> Self {
        let driver = Self {
            shards: RwLock::default(),
            options,
            clock,
            endpoint,
            links,
            meters: Meters::default(),
            starts: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            synced_in: Mutex::default(),
            hang: Mutex::default(),
            notices,
            is_closed: AtomicBool::new(false),
            refuses_wall_clock: AtomicBool::new(false),
            #[cfg(feature = "next")]
            trials: crate::meters::Meter::default(),
        };
        if driver.links.is_fixed() {
            let view = driver.links.agreed().view.clone();
            driver.start_shards(driver.options.inc, &view);
        }
        driver
    }

    /// The shards of the member `inc`, which hold nothing yet, in the place of those before.
    fn start_shards(&self, inc: Inc, view: &View) {
        let now = self.clock.now();
        let shard = |shard| {
            let noise_seed = self.options.noise_seed.wrapping_add(u64::from(shard));
            let options = Options { inc, shard, noise_seed, ..self.options.clone() };
            let node = Node::new(options, view.clone(), now);
            Mutex::new(Shard { node, waiting: HashMap::new(), tickets: 0 })
        };
        let shards = (0..SHARDS).map(shard).collect();
        // Whoever waits for an answer of the shards before learns that there will be none.
        *self.shards.write() = shards;
        self.starts.send_modify(|starts| *starts += 1);
    }

    // --- commands of the application ---

    /// Opens a session for a request that has seen `token`. A process that was removed though it
    /// lives is a member anew in a moment, with other shards: the request waits for that, and asks
    /// them.
    pub(crate) async fn open(&self, key: SessionKey, token: Option<Token>) -> Opened {
        let deadline = self.clock.now().plus(millis(OPEN_TIMEOUT));
        let mut starts = self.starts.subscribe();
        loop {
            let token = token.clone();
            let pending = self.ask(key, |node, ticket, now| {
                node.open(ticket, key, token, deadline, now);
            });
            if let Some(opened) = pending.opened().await {
                return opened;
            }
            if !self.is_let_in(&mut starts).await {
                return Opened::Unavailable;
            }
        }
    }

    /// Executes the edits of one request, or has them executed, when this is called.
    pub(crate) fn commit(&self, commit: Commit) -> impl Future<Output = Outcome> + use<> {
        let pending = self.ask(commit.key, |node, ticket, now| {
            node.commit(ticket, commit, now.plus(millis(COMMIT_TIMEOUT)), now);
        });
        async move { pending.outcome().await }
    }

    /// The same for edits that nobody waits for; true if they are known to have taken effect.
    pub(crate) fn commit_at_ease(&self, commit: Commit) -> bool {
        let pending = self.ask(commit.key, |node, ticket, now| {
            node.commit(ticket, commit, now.plus(millis(COMMIT_TIMEOUT)), now);
        });
        matches!(pending, Pending::Answered(Answer::Committed(Outcome::Done(_))))
    }

    /// Begins the session under `key`, which was drawn by this node; tells its core as well. Where
    /// this process is no member it has begun nothing, and may ask again when it is.
    pub(crate) async fn create(
        &self,
        key: SessionKey,
        creation: &Creation,
        edits: Vec<Edit>,
        level: Ack,
    ) -> (Option<Core>, Outcome) {
        let mut starts = self.starts.subscribe();
        loop {
            let (mut made, edits) = (None, edits.clone());
            let pending = self.ask(key, |node, ticket, now| {
                let created = node.stamp(now);
                let hard_deadline = created.hlc.time().plus(creation.absolute_ms);
                let (idle_ms, user) = (creation.idle_ms, creation.user.clone());
                let core = Core { created, hard_deadline, idle_ms, user };
                made = Some(core.clone());
                let at = Version::new();
                let commit = Commit { key, life: Life::Create(core), at, edits, level };
                node.commit(ticket, commit, now.plus(millis(COMMIT_TIMEOUT)), now);
            });
            if !matches!(pending, Pending::NoMember) || !self.is_let_in(&mut starts).await {
                return (made, pending.outcome().await);
            }
        }
    }

    /// True if this node owns the slot of `key`.
    pub(crate) fn owns(&self, key: SessionKey) -> bool {
        self.shards.read().get(shard_of(key)).is_some_and(|shard| shard.lock().node.owns(key))
    }

    /// Calls one command; its answer comes at once or is waited for.
    fn ask(&self, key: SessionKey, command: impl FnOnce(&mut Node, Ticket, Time)) -> Pending {
        let (output, pending) = {
            let shards = self.shards.read();
            let Some(shard) = shards.get(shard_of(key)) else {
                return if self.is_closed() { Pending::Closed } else { Pending::NoMember };
            };
            let mut shard = shard.lock();
            // Under the lock, as `close` relies on.
            if self.is_closed() {
                return Pending::Closed;
            }
            let now = self.clock.now();
            shard.tickets += 1;
            let ticket = Ticket(shard.tickets);
            command(&mut shard.node, ticket, now);
            let mut output = shard.drain(now);
            let pending = match output.own.take() {
                Some(answer) => Pending::Answered(answer),
                None => Pending::Waiting(shard.wait(ticket)),
            };
            (output, pending)
        };
        self.dispatch(output);
        pending
    }

    /// Takes no more commands of the application. What was taken is in the shards when this
    /// returns, so that whoever looks afterwards what others lack sees all of it.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // A command looks at the flag under its shard's lock. One that found it unset holds the lock
        // still, or has let go of it after its write was marked for the others; one that takes the
        // lock after this finds the flag set. No test can bring about the moment between the look
        // and the lock, which was there when the look came first.
        for shard in &*self.shards.read() {
            drop(shard.lock());
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    // --- what arrives ---

    /// A frame arrived over the link with `peer`.
    pub(crate) fn handle_frame(&self, peer: &NodeName, lane: transport::Lane, bytes: &[u8]) {
        match (Frame::decode(bytes), lane) {
            (Ok(Frame::Heartbeat(beat)), transport::Lane::Control) => {
                let name = member_name(peer);
                self.with_agreed(|agreed, now| agreed.liveness.handle_heartbeat(&name, beat, now));
            }
            (Ok(Frame::Envelope(envelope)), transport::Lane::Live | transport::Lane::Bulk)
                if envelope.shard < SHARDS =>
            {
                let Some(inc) = self.links.sender(peer) else {
                    // It is not a member yet, or not any more, or this node does not know yet.
                    self.meters.frames_of_strangers.count();
                    return;
                };
                let shard = usize::from(envelope.shard);
                self.with_shard(shard, |node, now| node.handle_message(inc, envelope, now));
            }
            (Ok(Frame::Letter(letter)), transport::Lane::Control) if self.notices.is_some() => {
                // It shows that a member is there, whoever it is.
                let _ = self.links.sender(peer);
                self.notify(Notice::Letter(peer.clone(), letter));
            }
            #[cfg(feature = "next")]
            (Ok(Frame::Trial(_)), _) => self.trials.count(),
            (Ok(Frame::Heartbeat(_) | Frame::Envelope(_) | Frame::Letter(_)), _) => {
                self.meters.frames_undecodable.count();
                self.endpoint.disconnect(peer, "a frame on the wrong lane or of no shard");
            }
            (Err(error), _) => {
                self.meters.frames_undecodable.count();
                tracing::error!("{peer}: {error}; disconnecting");
                self.endpoint.disconnect(peer, &error.to_string());
            }
        }
    }

    // --- getters ---

    /// Whether all shards have caught up, to be waited for.
    pub(crate) fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Looks at every shard, one after the other; at none while this process is no member.
    pub(crate) fn each(&self, mut look: impl FnMut(&Node)) {
        for shard in &*self.shards.read() {
            look(&shard.lock().node);
        }
    }

    /// True if this process is a member.
    pub(crate) fn is_member(&self) -> bool {
        !self.shards.read().is_empty()
    }

    /// Says what only the trial of a next release says, to whoever understands it.
    #[cfg(feature = "next")]
    fn try_out(&self, peer: &NodeName) {
        if self.links.version_for(peer) == protocol::wire::WIRE_VERSION {
            self.send(peer, transport::Lane::Control, &Frame::Trial(0));
        }
    }

    // --- how the parts meet ---

    /// Changes what is agreed, and tells all shards what follows before the next change.
    fn with_agreed(&self, change: impl FnOnce(&mut Agreed, Time)) {
        let mut agreed = self.links.agreed();
        change(&mut agreed, self.clock.now());
        while let Some(event) = agreed.liveness.poll_event() {
            match event {
                LivenessEvent::Send(name, beat) => {
                    if let Ok(peer) = name.0.parse() {
                        self.send(&peer, transport::Lane::Control, &Frame::Heartbeat(beat));
                        #[cfg(feature = "next")]
                        self.try_out(&peer);
                    }
                }
                LivenessEvent::Reachable(name, inc) => {
                    tracing::info!("{name} is reachable");
                    self.with_all(|node, now| node.handle_reachable(inc, true, now));
                }
                LivenessEvent::Suspected(name, inc) => {
                    tracing::warn!("{name} does not answer");
                    self.with_all(|node, now| node.handle_reachable(inc, false, now));
                }
                LivenessEvent::ClockFault(fault) => {
                    if fault {
                        tracing::error!(
                            "this machine's clock is off against most of the others: \
                             nothing is written here until it is right again"
                        );
                    } else {
                        tracing::warn!("this machine's clock agrees with the others again");
                    }
                    self.with_all(|node, _| node.handle_clock_fault(fault));
                }
            }
        }
    }

    fn with_all(&self, mut call: impl FnMut(&mut Node, Time)) {
        for shard in 0..usize::from(SHARDS) {
            self.with_shard(shard, &mut call);
        }
    }

    fn with_shard(&self, shard: usize, call: impl FnOnce(&mut Node, Time)) {
        let output = {
            let shards = self.shards.read();
            let Some(shard) = shards.get(shard) else { return };
            let mut shard = shard.lock();
            let now = self.clock.now();
            call(&mut shard.node, now);
            shard.drain(now)
        };
        self.dispatch(output);
    }

    fn dispatch(&self, output: Output) {
        for (asker, answer) in output.resolved {
            // Whoever asked may have gone away meanwhile.
            let _ = asker.send(answer);
        }
        for Transmit { to, lane, envelope } in output.transmits {
            let Some((peer, version)) = self.links.route(to, &envelope.message) else {
                self.meters.sends_unlinked.count();
                continue;
            };
            let lane = match lane {
                Lane::Live => transport::Lane::Live,
                Lane::Bulk => transport::Lane::Bulk,
            };
            self.send_bytes(&peer, lane, Frame::Envelope(envelope).encode(version));
        }
        for (inc, violation) in output.violations {
            self.meters.violations.count();
            if let Some(peer) = self.links.name_of(inc) {
                tracing::error!("{peer} broke the protocol: {violation}; disconnecting");
                self.endpoint.disconnect(&peer, &violation.to_string());
            }
        }
        if !output.lost.is_empty() {
            let slots = output.lost.len();
            tracing::error!("all members that held {slots} slots of 4096 are gone: sessions lost");
        }
        if !output.synced.is_empty() {
            {
                let mut synced_in = self.synced_in.lock();
                output.synced.iter().for_each(|epoch| *synced_in.entry(*epoch).or_default() += 1);
            }
            self.look_synced();
        }
        if output.behind || !output.synced.is_empty() {
            self.notify(Notice::Look);
        }
    }

    /// What cannot be sent now is dropped: deltas are extracted anew, questions asked again. False
    /// if it is.
    fn send(&self, peer: &NodeName, lane: transport::Lane, frame: &Frame) -> bool {
        self.send_bytes(peer, lane, frame.encode(self.links.version_for(peer)))
    }

    fn send_bytes(&self, peer: &NodeName, lane: transport::Lane, frame: Vec<u8>) -> bool {
        let bytes = frame.len();
        // Without what it was allocated beyond its length: queues charge a frame by that, and a peer
        // that asks much and reads nothing would make it several times as much.
        let frame = Bytes::from(frame.into_boxed_slice());
        let sent = self.endpoint.try_send(peer, lane, frame);
        match sent {
            Ok(()) => {}
            Err(SendError::Full) => self.meters.sends_full.count(),
            Err(SendError::NotConnected) => self.meters.sends_unlinked.count(),
            Err(SendError::TooLarge) => {
                self.meters.sends_too_large.count();
                tracing::error!(
                    "a message of {bytes} bytes for {peer} exceeds limits.frame_bytes_max"
                );
            }
        }
        sent.is_ok()
    }
}

/// The shard that holds the slot of `key`.
fn shard_of(key: SessionKey) -> usize {
    usize::from(key.slot().number() / (Slot::COUNT / SHARDS))
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
