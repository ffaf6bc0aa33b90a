//! Events on their way to the user: bounded in bytes per peer and lane, the urgent ones first.
//!
//! Order: `Up` is put in before any frame of its link, `Down` after all of them have been taken
//! out, and events of links go before frames. So the user sees `Up`, frames, `Down`, while
//! frames of another peer's bulk lane never stand before a control frame. Frames of a link that the
//! user has ended are not given out any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::event::Event;
use crate::lane::Lane;
use crate::limits::FRAME_OVERHEAD_BYTES;
use crate::name::NodeName;

/// After so many events one is taken from the least urgent lane, so that bulk never starves.
const URGENT_EVENTS_MAX: u32 = 32;

/// Link events of one peer that have not been taken: an `Up` and a `Down`.
const LINK_EVENTS_MAX: usize = 2;

/// All events that have not been taken.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    links: VecDeque<Item>,
    lanes: [VecDeque<Item>; 3],
    urgent_in_a_row: u32,
    closed: bool,
}

/// An event and its share of a bound, which is given back when the event is taken.
#[derive(Debug)]
struct Item {
    event: Event,
    /// True once nobody wants it any more.
    is_cut: Option<Arc<AtomicBool>>,
    _share: OwnedSemaphorePermit,
}

impl Item {
    fn is_wanted(&self) -> bool {
        self.is_cut.as_ref().is_none_or(|is_cut| !is_cut.load(Ordering::Relaxed))
    }
}

impl Inbox {
    /// Takes an event, if there is one.
    pub(crate) fn try_take(&self) -> Option<Event> {
        self.queues.lock().take().map(|item| item.event)
    }

    /// Takes an event; `None` once the inbox is closed and empty. For one user at a time.
    pub(crate) async fn take(&self) -> Option<Event> {
        loop {
            let changed = self.changed.notified();
            {
                let mut queues = self.queues.lock();
                if let Some(item) = queues.take() {
                    return Some(item.event);
                }
                if queues.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Nothing is put in any more; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.queues.lock().closed = true;
        self.changed.notify_one();
    }

    /// Closes the inbox and forgets what is in: nobody will take it.
    pub(crate) fn discard(&self) {
        let old = {
            let mut queues = self.queues.lock();
            std::mem::replace(&mut *queues, Queues { closed: true, ..Queues::default() })
        };
        drop(old);
    }

    fn put(&self, item: Item, lane: Option<Lane>) {
        let mut queues = self.queues.lock();
        if queues.closed {
            return;
        }
        match lane {
            None => queues.links.push_back(item),
            Some(lane) => queues.lanes[lane.index()].push_back(item),
        }
        drop(queues);
        self.changed.notify_one();
    }
}

impl Queues {
    fn take(&mut self) -> Option<Item> {
        loop {
            let item = self.next()?;
            if item.is_wanted() {
                return Some(item);
            }
        }
    }

    fn next(&mut self) -> Option<Item> {
        if let Some(item) = self.links.pop_front() {
            return Some(item);
        }
        if self.urgent_in_a_row >= URGENT_EVENTS_MAX {
            self.urgent_in_a_row = 0;
            return self.lanes.iter_mut().rev().find_map(VecDeque::pop_front);
        }
        self.urgent_in_a_row += 1;
        self.lanes.iter_mut().find_map(VecDeque::pop_front)
    }
}

/// Where the events of one peer's links go.
#[derive(Debug, Clone)]
pub(crate) struct LinkInbox {
    inbox: Arc<Inbox>,
    share: Arc<Semaphore>,
}

impl LinkInbox {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox, share: Arc::new(Semaphore::new(LINK_EVENTS_MAX)) }
    }

    pub(crate) async fn deliver(&self, event: Event) {
        if let Ok(share) = self.share.clone().acquire_owned().await {
            self.inbox.put(Item { event, is_cut: None, _share: share }, None);
        }
    }

    /// Waits until all link events that were put in have been taken.
    pub(crate) async fn taken(&self) {
        // An error means that the semaphore is closed, and nobody closes it.
        let _ = self.share.acquire_many(LINK_EVENTS_MAX as u32).await;
    }

    /// The inbox of one lane of a new link of this peer, until that `is_cut`.
    pub(crate) fn lane(
        &self,
        peer: NodeName,
        lane: Lane,
        bytes_max: usize,
        is_cut: Arc<AtomicBool>,
    ) -> LaneInbox {
        let bytes_max = u32::try_from(bytes_max.max(1)).unwrap_or(u32::MAX);
        let share = Arc::new(Semaphore::new(bytes_max as usize));
        LaneInbox { inbox: self.inbox.clone(), peer, lane, bytes_max, share, is_cut }
    }
}

/// Where the frames of one lane of one link go.
#[derive(Debug, Clone)]
pub(crate) struct LaneInbox {
    inbox: Arc<Inbox>,
    peer: NodeName,
    lane: Lane,
    bytes_max: u32,
    share: Arc<Semaphore>,
    is_cut: Arc<AtomicBool>,
}

impl LaneInbox {
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Puts a frame in once there is room for it.
    pub(crate) async fn deliver(&self, frame: Bytes) {
        let cost = u32::try_from(frame.len() + FRAME_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        let cost = cost.min(self.bytes_max);
        if let Ok(share) = self.share.clone().acquire_many_owned(cost).await {
            let event = Event::Frame { peer: self.peer.clone(), lane: self.lane, frame };
            let is_cut = Some(self.is_cut.clone());
            self.inbox.put(Item { event, is_cut, _share: share }, Some(self.lane));
        }
    }

    /// Waits until all frames that were put in have been taken.
    pub(crate) async fn taken(&self) {
        // An error means that the semaphore is closed, and nobody closes it.
        let _ = self.share.acquire_many(self.bytes_max).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(peer: &str, lane: Lane) -> Event {
        Event::Frame { peer: peer.parse().unwrap(), lane, frame: Bytes::new() }
    }

    fn lanes(links: &LinkInbox, bytes_max: usize) -> [LaneInbox; 3] {
        let lane = |lane| links.lane("n1".parse().unwrap(), lane, bytes_max, Arc::default());
        Lane::ALL.map(lane)
    }

    #[tokio::test]
    async fn frames_of_a_link_that_is_cut_are_dropped_and_their_room_is_given_back() {
        let inbox = Arc::new(Inbox::default());
        let links = LinkInbox::new(inbox.clone());
        let is_cut = Arc::<AtomicBool>::default();
        let lane = |name: &str, is_cut: &Arc<AtomicBool>| {
            links.lane(name.parse().unwrap(), Lane::Live, 1 << 20, is_cut.clone())
        };
        let (broken, well) = (lane("n1", &is_cut), lane("n2", &Arc::default()));
        for lane in [&broken, &broken, &well, &broken] {
            lane.deliver(Bytes::new()).await;
        }
        assert_eq!(inbox.take().await, Some(frame("n1", Lane::Live)));
        is_cut.store(true, Ordering::Relaxed);
        assert_eq!(inbox.take().await, Some(frame("n2", Lane::Live)));
        assert_eq!(inbox.try_take(), None);
        broken.taken().await;
    }

    #[tokio::test]
    async fn urgent_lanes_go_first_and_bulk_does_not_starve() {
        let inbox = Arc::new(Inbox::default());
        let links = LinkInbox::new(inbox.clone());
        let lanes = lanes(&links, 1 << 20);
        for _ in 0..200 {
            lanes[2].deliver(Bytes::new()).await;
            lanes[1].deliver(Bytes::new()).await;
        }
        lanes[0].deliver(Bytes::new()).await;
        assert_eq!(inbox.take().await, Some(frame("n1", Lane::Control)));
        let mut bulk = 0;
        for _ in 0..100 {
            bulk += u32::from(inbox.take().await == Some(frame("n1", Lane::Bulk)));
        }
        assert!((1..=4).contains(&bulk), "{bulk}");
    }

    #[tokio::test]
    async fn a_full_lane_waits_and_the_others_do_not() {
        let inbox = Arc::new(Inbox::default());
        let links = LinkInbox::new(inbox.clone());
        let lanes = lanes(&links, 100);
        lanes[2].deliver(Bytes::from(vec![0; 1000])).await;
        let mut second = Box::pin(lanes[2].deliver(Bytes::new()));
        assert!(futures_poll(&mut second).await.is_none());
        lanes[1].deliver(Bytes::new()).await;
        assert_eq!(inbox.take().await, Some(frame("n1", Lane::Live)));
        assert!(futures_poll(&mut second).await.is_none());
        assert!(inbox.take().await.is_some());
        assert!(futures_poll(&mut second).await.is_some());
        assert_eq!(inbox.take().await, Some(frame("n1", Lane::Bulk)));
        lanes[2].taken().await;
        inbox.close();
        assert_eq!(inbox.take().await, None);
    }

    /// Polls a future once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
