//! A link that stands: two connections to one peer and the lanes on them, from `Up` to `Down`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::attempt::Candidate;
use crate::counters::{Meters, count};
use crate::error::SendError;
use crate::event::{DownReason, Event, FrameViolation, reason_bytes};
use crate::inbox::{LaneInbox, LinkInbox};
use crate::lane::{self, Lane, LaneQueue, ReadEnd};
use crate::limits::Limits;
use crate::name::NodeName;
use crate::random;

/// Time for sending what waits when a link has reached its greatest age.
const AGED_FLUSH: Duration = Duration::from_secs(1);

/// What others may do with a link that stands.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: u64,
    /// The process of the peer.
    pub(crate) instance: u64,
    control: Connection,
    data: Connection,
    queues: [Arc<LaneQueue>; 3],
    end: watch::Sender<Option<End>>,
    /// True once frames of it that have arrived are not wanted any more.
    is_cut: Arc<AtomicBool>,
}

/// That this side ends the link, and why.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) reason: DownReason,
    /// Send what waits, but no longer than until then.
    pub(crate) flush_until: Option<Instant>,
}

impl Link {
    pub(crate) fn send(&self, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.queues[lane.index()].push(frame)
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.control.rtt()
    }

    pub(crate) fn queue_bytes(&self) -> [usize; 3] {
        self.queues.each_ref().map(|queue| queue.bytes())
    }

    /// Ends the link. The first reason holds.
    pub(crate) fn end(&self, reason: DownReason, flush_until: Option<Instant>) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(End { reason, flush_until });
            }
            first
        });
    }

    /// Ends the link for what came over it: nothing more of it is given out.
    pub(crate) fn cut(&self, words: &str) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.end(DownReason::Disconnected(words.to_owned()), None);
    }

    fn close(&self, reason: &DownReason) {
        let words = reason.to_string();
        let code = reason.close().code();
        self.control.close(code, reason_bytes(&words));
        self.data.close(code, reason_bytes(&words));
    }
}

/// A link together with its streams, to be [`run`](Self::run) once.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) link: Arc<Link>,
    pub(crate) hello: Bytes,
    peer: NodeName,
    limits: Limits,
    inbox: LinkInbox,
    meters: Arc<Meters>,
    control: (SendStream, RecvStream),
    live: (SendStream, RecvStream),
}

impl Standing {
    pub(crate) fn new(
        candidate: Candidate,
        peer: NodeName,
        limits: Limits,
        inbox: LinkInbox,
        meters: Arc<Meters>,
    ) -> Self {
        let Candidate { control, data } = candidate;
        let queue = || Arc::new(LaneQueue::new(limits.lane_queue_bytes_max));
        let link = Link {
            id: control.preface.link,
            instance: control.preface.instance,
            control: control.connection,
            data: data.connection,
            queues: [queue(), queue(), queue()],
            end: watch::Sender::new(None),
            is_cut: Arc::default(),
        };
        Self {
            link: Arc::new(link),
            hello: control.preface.hello,
            peer,
            limits,
            inbox,
            meters,
            control: (control.send, control.receive),
            live: (data.send, data.receive),
        }
    }

    /// Reports `Up`, moves frames until the link ends, reports `Down` once all frames that
    /// arrived have been taken. `ended` is called before that, as soon as the end is known.
    pub(crate) async fn run(self, ended: impl FnOnce(&DownReason)) -> DownReason {
        let Self { link, hello, peer, limits, inbox, meters, control, live } = self;
        count(&meters.links_up);
        tracing::info!(%peer, "link is up");
        inbox.deliver(Event::Up { peer: peer.clone(), hello }).await;
        let lane_inbox = |lane| {
            let bytes_max = limits.lane_inbox_bytes_max;
            inbox.lane(peer.clone(), lane, bytes_max, link.is_cut.clone())
        };
        let inboxes = Lane::ALL.map(lane_inbox);
        let mut writers = start_writers(&link, control.0, live.0, &meters);
        let mut readers =
            start_readers(&link, control.1, live.1, &inboxes, limits.frame_bytes_max, &meters);

        let age_max = random::jitter(limits.connection_age_max);
        let end = wait_for_end(&link, &mut readers, &mut writers, age_max).await;
        let End { reason, flush_until } = end;
        if matches!(reason, DownReason::Violation(_)) {
            count(&meters.frames_refused);
        }
        ended(&reason);
        link.queues.iter().for_each(|queue| queue.close());
        if let Some(until) = flush_until {
            flush(&link, &mut writers, until).await;
        }
        link.close(&reason);
        // Without a connection they end at once, and count what they did not send.
        join(&mut writers).await;
        meters.lost(link.queues.iter().map(|queue| queue.discard()).sum());
        count(&meters.links_down);
        tracing::info!(%peer, "link is down: {reason}");
        if reason != DownReason::Stopped {
            drain(&reason, &mut readers, &inboxes).await;
            inbox.deliver(Event::Down { peer, reason: reason.clone() }).await;
        }
        reason
    }
}

fn start_writers(
    link: &Link,
    control: SendStream,
    live: SendStream,
    meters: &Arc<Meters>,
) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    let queue = |lane: Lane| link.queues[lane.index()].clone();
    for (lane, stream) in [(Lane::Control, control), (Lane::Live, live)] {
        let (queue, meters) = (queue(lane), meters.clone());
        // An error means that the connection is gone, which the link sees itself.
        writers.spawn(async move { drop(lane::write_lane(queue, stream, lane, meters).await) });
    }
    let (queue, meters, data) = (queue(Lane::Bulk), meters.clone(), link.data.clone());
    writers.spawn(async move {
        if let Ok(stream) = lane::open(&data, Lane::Bulk).await {
            drop(lane::write_lane(queue, stream, Lane::Bulk, meters).await);
        }
    });
    writers
}

fn start_readers(
    link: &Link,
    control: RecvStream,
    live: RecvStream,
    inboxes: &[LaneInbox; 3],
    frame_bytes_max: usize,
    meters: &Arc<Meters>,
) -> JoinSet<ReadEnd> {
    let mut readers = JoinSet::new();
    let [control_inbox, live_inbox, bulk_inbox] = inboxes.clone();
    let read = |stream, inbox| lane::read_lane(stream, frame_bytes_max, inbox, meters.clone());
    readers.spawn(read_last(link.control.clone(), read(control, control_inbox)));
    readers.spawn(read(live, live_inbox));
    let (data, meters) = (link.data.clone(), meters.clone());
    readers.spawn(async move {
        match lane::accept(&data, Lane::Bulk).await {
            Ok(bulk) => {
                let read = lane::read_lane(bulk, frame_bytes_max, bulk_inbox, meters);
                read_last(data, read).await
            }
            Err(end) => end,
        }
    });
    readers
}

/// Reads the last lane of a connection: a peer that opens a further stream breaks the rules.
async fn read_last(connection: Connection, read: impl Future<Output = ReadEnd>) -> ReadEnd {
    let mut read = pin!(read);
    tokio::select! {
        end = &mut read => end,
        further = connection.accept_uni() => match further {
            Ok(_) => ReadEnd::Violation(FrameViolation::Stream),
            // The connection is gone; what has arrived on it is still there to be read.
            Err(_) => read.await,
        },
    }
}

async fn wait_for_end(
    link: &Link,
    readers: &mut JoinSet<ReadEnd>,
    writers: &mut JoinSet<()>,
    age_max: Duration,
) -> End {
    let mut asked = link.end.subscribe();
    let mut asked = pin!(asked.wait_for(Option::is_some));
    let mut aged = pin!(sleep_until((Instant::now() + age_max).into()));
    let unasked = |reason| End { reason, flush_until: None };
    loop {
        tokio::select! {
            end = &mut asked => match end.ok().and_then(|end| end.clone()) {
                Some(end) => return end,
                None => return unasked(DownReason::Stopped),
            },
            error = link.control.closed() => return unasked(DownReason::of(&error)),
            error = link.data.closed() => return unasked(DownReason::of(&error)),
            () = &mut aged => {
                let flush_until = Some(Instant::now() + AGED_FLUSH);
                return End { reason: DownReason::Aged, flush_until };
            }
            Some(end) = readers.join_next() => match joined(end) {
                Some(ReadEnd::Violation(violation)) => {
                    return unasked(DownReason::Violation(violation));
                }
                Some(ReadEnd::Finished | ReadEnd::Lost) | None => {}
            },
            Some(end) = writers.join_next() => drop(joined(end)),
        }
    }
}

/// Waits until the peer has received what was accepted for sending.
async fn flush(link: &Link, writers: &mut JoinSet<()>, until: Instant) {
    tokio::select! {
        _ = timeout_at(until.into(), join(writers)) => {}
        _ = link.control.closed() => {}
        _ = link.data.closed() => {}
    }
}

/// Lets the frames that have arrived be taken, so that `Down` comes after them. A peer that
/// broke the rules, or that is not wanted any more, is not listened to any further.
async fn drain(reason: &DownReason, readers: &mut JoinSet<ReadEnd>, inboxes: &[LaneInbox; 3]) {
    match reason {
        DownReason::Violation(_) | DownReason::Disconnected(_) | DownReason::Removed => {
            readers.shutdown().await;
        }
        DownReason::Silent
        | DownReason::Restarted
        | DownReason::Superseded
        | DownReason::PeerStopped
        | DownReason::PeerClosed(_)
        | DownReason::Aged
        | DownReason::Stopped => {
            join(readers).await;
        }
    }
    for inbox in inboxes {
        inbox.taken().await;
    }
}

/// Waits for all tasks of a set.
async fn join<T: 'static>(tasks: &mut JoinSet<T>) {
    while let Some(end) = tasks.join_next().await {
        joined(end);
    }
}

/// The result of a task; `None` if it was cancelled. Its panic goes on here.
pub(crate) fn joined<T>(end: Result<T, tokio::task::JoinError>) -> Option<T> {
    match end {
        Ok(end) => Some(end),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}
