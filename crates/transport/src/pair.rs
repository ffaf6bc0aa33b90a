//! This node and one peer: exactly one link, whoever dials.
//!
//! Both nodes dial, so that one of them being able to reach the other is enough; only one does
//! where the other one regards it as a stranger, and nothing else differs. The node with
//! the smaller name chooses among the attempts of both: the first one that is complete, unless a
//! link stands that the peer has not lost. It says so on the control connection, and only then
//! does either side regard the link as standing. So there is one place where the tie is decided,
//! and timing does not matter.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quinn::Side;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use crate::attempt::{Attempt, Candidate, Offer};
use crate::endpoint::Shared;
use crate::error::AttemptError;
use crate::event::{Close, DownReason};
use crate::inbox::LinkInbox;
use crate::lane::Lane;
use crate::limits::ATTEMPTS_MAX;
use crate::link::{End, Link, Standing, joined};
use crate::name::NodeName;
use crate::preface;
use crate::random::Backoff;

/// A peer or a stranger as the endpoint sees it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: NodeName,
    pub(crate) state: Mutex<PeerState>,
    pub(crate) offers: mpsc::Sender<Offer>,
    pub(crate) phase: watch::Sender<Phase>,
}

impl Peer {
    pub(crate) fn address(&self) -> Option<String> {
        self.phase.borrow().address.clone()
    }

    /// Whether it has come by itself and is in no list.
    pub(crate) fn is_stranger(&self) -> bool {
        self.phase.borrow().address.is_none()
    }

    /// Ends the link with it, and all attempts to make one.
    pub(crate) fn end(&self, reason: DownReason, flush_until: Option<Instant>) {
        self.phase.send_modify(|phase| phase.end = Some(End { reason, flush_until }));
    }
}

/// Whether there is a link, since when, and why not.
#[derive(Debug)]
pub(crate) struct PeerState {
    pub(crate) link: Option<Arc<Link>>,
    pub(crate) since: Instant,
    pub(crate) last_error: Option<String>,
}

impl PeerState {
    pub(crate) fn new() -> Self {
        Self { link: None, since: Instant::now(), last_error: None }
    }
}

/// How a node is to be linked with.
#[derive(Debug, Clone)]
pub(crate) struct Phase {
    /// Where it is dialled, which makes it a peer; `None`: a stranger. Never becomes `None` again.
    pub(crate) address: Option<String>,
    /// Not at all any more.
    pub(crate) end: Option<End>,
}

/// An attempt that has ended.
#[derive(Debug)]
struct Outcome {
    dialed: bool,
    result: Result<Candidate, AttemptError>,
}

/// The task that brings about links with one node, one after the other.
pub(crate) struct Pair {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    inbox: LinkInbox,
    /// Connections of the peer whose other half has not arrived, and until when to wait for it.
    halves: Vec<(Offer, Instant)>,
    attempts: JoinSet<Outcome>,
    /// The link that stands, or is being taken down.
    current: Option<(Arc<Link>, Instant, JoinHandle<DownReason>)>,
    /// Identity of the last link that ended.
    lost: u64,
    backoff: Backoff,
    dial_at: Instant,
    dials: usize,
}

impl Pair {
    pub(crate) fn new(shared: Arc<Shared>, peer: Arc<Peer>) -> Self {
        let backoff = Backoff::new(shared.limits.backoff_min, shared.limits.backoff_max);
        Self {
            inbox: LinkInbox::new(shared.inbox.clone()),
            shared,
            peer,
            halves: Vec::new(),
            attempts: JoinSet::new(),
            current: None,
            lost: 0,
            backoff,
            dial_at: Instant::now(),
            dials: 0,
        }
    }

    pub(crate) async fn run(mut self, mut offers: mpsc::Receiver<Offer>) {
        let mut phase = self.peer.phase.subscribe();
        let End { reason, flush_until } = loop {
            let Phase { address, end } = phase.borrow_and_update().clone();
            if let Some(end) = end {
                break end;
            }
            let is_idle = self.current.is_none() && self.attempts.is_empty();
            let may_dial = is_idle && address.is_some();
            let is_over = is_idle && address.is_none() && self.halves.is_empty();
            let half_until = self.halves.first().map(|(_, until)| *until);
            tokio::select! {
                Ok(()) = phase.changed() => {}
                Some(offer) = offers.recv() => self.handle_offer(offer),
                Some(end) = self.attempts.join_next() => {
                    if let Some(outcome) = joined(end) {
                        self.handle_outcome(outcome).await;
                    }
                }
                reason = ended(&mut self.current) => self.handle_down(&reason),
                () = sleep_until(self.dial_at.into()), if may_dial => self.dial(),
                () = sleep_until(half_until.unwrap_or(self.dial_at).into()),
                    if half_until.is_some() => self.drop_old_halves(),
                // Not before its last event is taken: a stranger that comes again and again must
                // not fill the inbox.
                () = self.inbox.taken(), if is_over => {
                    if self.shared.peers.forget(&self.peer, &offers) {
                        return;
                    }
                }
            }
        };
        self.attempts.shutdown().await;
        if let Some((link, _, task)) = self.current.take() {
            link.end(reason, flush_until);
            joined(task.await);
        }
    }

    fn attempt(&self) -> Attempt {
        let (shared, peer) = (self.shared.clone(), self.peer.name.clone());
        Attempt { shared, peer, lost: self.lost }
    }

    fn dial(&mut self) {
        let Some(address) = self.peer.address() else {
            return;
        };
        let attempt = self.attempt();
        let nth = self.dials;
        self.dials = self.dials.wrapping_add(1);
        self.attempts.spawn(async move {
            let result = Box::pin(attempt.dial(address, nth)).await;
            Outcome { dialed: true, result }
        });
    }

    /// One connection of a peer that dials; an attempt once both are there.
    fn handle_offer(&mut self, offer: Offer) {
        let link = offer.preface.link;
        let other = |(half, _): &(Offer, Instant)| half.preface.link == link;
        let Some(at) = self.halves.iter().position(other) else {
            if self.halves.len() >= ATTEMPTS_MAX {
                self.halves.remove(0).0.refuse(Close::Busy, "too many attempts at once");
            }
            let until = Instant::now() + self.shared.limits.connect_timeout;
            self.halves.push((offer, until));
            return;
        };
        let (half, _) = self.halves.remove(at);
        let (control, data) = match (half.lane, offer.lane) {
            (Lane::Control, Lane::Live) => (half, offer),
            (Lane::Live, Lane::Control) => (offer, half),
            _ => {
                half.refuse(Close::Violation, "the same half twice");
                return offer.refuse(Close::Violation, "the same half twice");
            }
        };
        if self.attempts.len() >= ATTEMPTS_MAX {
            control.refuse(Close::Busy, "too many attempts at once");
            return data.refuse(Close::Busy, "too many attempts at once");
        }
        let attempt = self.attempt();
        self.attempts.spawn(async move {
            let result = Box::pin(attempt.answer(control, data)).await;
            Outcome { dialed: false, result }
        });
    }

    fn drop_old_halves(&mut self) {
        let now = Instant::now();
        while self.halves.first().is_some_and(|(_, until)| *until <= now) {
            self.halves.remove(0).0.refuse(Close::Abandoned, "the other half did not come");
        }
    }

    async fn handle_outcome(&mut self, outcome: Outcome) {
        match outcome.result {
            Ok(candidate) if self.is_wanted(&candidate) => self.establish(candidate).await,
            Ok(candidate) => candidate.refuse(),
            Err(error) => self.handle_failure(&error, outcome.dialed),
        }
    }

    /// Whether this candidate becomes the link. The node that does not choose takes what was
    /// chosen.
    fn is_wanted(&self, candidate: &Candidate) -> bool {
        let Some((current, ..)) = &self.current else {
            return true;
        };
        let ended = self.peer.state.lock().link.is_none();
        let preface = &candidate.control.preface;
        let restarted = preface.instance != current.instance;
        let lost = preface.lost == current.id;
        !self.shared.chooses(&self.peer.name) || ended || restarted || lost
    }

    fn handle_failure(&mut self, error: &AttemptError, dialed: bool) {
        let side = if dialed { Side::Client } else { Side::Server };
        if let Some(refusal) = error.refusal(side) {
            self.shared.meters.refuse(refusal, &self.peer.name);
        }
        if dialed {
            self.dial_at = Instant::now() + self.backoff.pause();
        }
        if dialed && !error.is_superseded() {
            let words = error.describe(&self.peer.name);
            tracing::debug!("{words}");
            self.peer.state.lock().last_error = Some(words);
        }
    }

    /// Makes a candidate the link; one that stands already gives way.
    async fn establish(&mut self, mut candidate: Candidate) {
        if self.shared.chooses(&self.peer.name) {
            let told = preface::send_chosen(&mut candidate.control.send).await;
            if let Err(error) = told {
                return self.handle_failure(&error, true);
            }
        }
        // What else was tried is not needed any more; dropping it closes its connections.
        self.attempts.shutdown().await;
        if let Some((old, _, task)) = self.current.take() {
            self.lost = old.id;
            old.end(DownReason::Superseded, None);
            joined(task.await);
        }
        let standing = Standing::new(
            candidate,
            self.peer.name.clone(),
            self.shared.limits.clone(),
            self.inbox.clone(),
            self.shared.meters.clone(),
        );
        let link = standing.link.clone();
        let now = Instant::now();
        *self.peer.state.lock() =
            PeerState { link: Some(link.clone()), since: now, last_error: None };
        let peer = self.peer.clone();
        let task = self.shared.spawn(standing.run(move |reason| {
            let words = Some(format!("{}: {reason}", peer.name));
            *peer.state.lock() = PeerState { link: None, since: Instant::now(), last_error: words };
        }));
        self.current = Some((link, now, task));
    }

    fn handle_down(&mut self, reason: &DownReason) {
        let Some((link, since, _)) = self.current.take() else {
            return;
        };
        self.lost = link.id;
        // A link that breaks as soon as it stands must not be tried again at once, for ever.
        if since.elapsed() >= self.shared.limits.backoff_max {
            self.backoff.reset();
        }
        let pause = self.backoff.pause();
        self.dial_at = Instant::now() + pause;
        tracing::debug!(peer = %self.peer.name, "dialing again in {pause:?} after: {reason}");
    }
}

/// Waits until the current link has ended; for ever if there is none.
async fn ended(current: &mut Option<(Arc<Link>, Instant, JoinHandle<DownReason>)>) -> DownReason {
    match current {
        Some((_, _, task)) => joined(task.await).unwrap_or(DownReason::Stopped),
        None => std::future::pending().await,
    }
}
