//! Lanes: separate ordered flows of frames to one peer, so that much of one never delays little
//! of another. Here: the queue of a lane, the task that empties it, the task that fills the
//! inbox.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::Notify;

use crate::counters::Meters;
use crate::error::SendError;
use crate::event::FrameViolation;
use crate::frame::{self, Decoder};
use crate::inbox::LaneInbox;
use crate::limits::{FRAME_OVERHEAD_BYTES, READ_CHUNK_BYTES, WRITE_BATCH_BYTES};

/// What a frame is for. Order is kept within a lane, not between lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small and urgent: signs of life, views. A connection of its own.
    Control,
    /// What somebody is waiting for: deltas, acks, fetches. Before bulk on the data connection.
    Live,
    /// What can wait: repair, handoff.
    Bulk,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Control, Self::Live, Self::Bulk];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The first byte of each stream: which lane it is.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Live => 2,
            Self::Bulk => 3,
        }
    }

    pub(crate) fn of_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.tag() == tag)
    }

    /// Priority of its stream within the connection; the greater goes first.
    pub(crate) fn priority(self) -> i32 {
        match self {
            Self::Control | Self::Live => 1,
            Self::Bulk => 0,
        }
    }
}

/// Frames waiting to be sent on one lane of one link, bounded in bytes.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    /// Cost of `frames` and of the batch that the writer has taken and not yet handed over.
    bytes: usize,
    closed: bool,
}

fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD_BYTES
}

impl LaneQueue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, waiting: Mutex::default(), changed: Notify::new() }
    }

    /// Puts a frame at the end. A frame always fits into an empty queue.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), SendError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(SendError::NotConnected);
        }
        let bytes = waiting.bytes + cost(&frame);
        if waiting.bytes > 0 && bytes > self.bytes_max {
            return Err(SendError::Full);
        }
        waiting.bytes = bytes;
        waiting.frames.push_back(frame);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes no more frames; those that wait are still sent.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.waiting.lock().bytes
    }

    /// Closes the queue and forgets what waits. Returns the number of frames lost.
    pub(crate) fn discard(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.bytes = 0;
        std::mem::take(&mut waiting.frames).len() as u64
    }

    /// The next frames to write together; `None` once the queue is closed and empty.
    async fn batch(&self, batch: &mut Vec<Bytes>) -> Option<usize> {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.waiting.lock();
                let mut bytes = 0;
                while bytes < WRITE_BATCH_BYTES
                    && let Some(frame) = waiting.frames.pop_front()
                {
                    bytes += cost(&frame);
                    batch.push(frame);
                }
                if bytes > 0 {
                    return Some(bytes);
                }
                if waiting.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    fn sent(&self, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
    }
}

/// Writes the frames of a queue to its stream until the queue is closed and empty; then ends
/// the stream and waits until the peer has received all of it.
pub(crate) async fn write_lane(
    queue: Arc<LaneQueue>,
    mut stream: SendStream,
    lane: Lane,
    meters: Arc<Meters>,
) -> Result<(), WriteError> {
    let mut batch = Vec::new();
    let mut chunks = Vec::new();
    while let Some(cost) = queue.batch(&mut batch).await {
        let (frames, bytes) = (batch.len(), batch.iter().map(Bytes::len).sum());
        pack(&mut batch, &mut chunks);
        if let Err(error) = stream.write_all_chunks(&mut chunks).await {
            meters.lost(frames as u64);
            return Err(error);
        }
        chunks.clear();
        queue.sent(cost);
        meters.sent(lane, frames, bytes);
    }
    if stream.finish().is_ok() {
        // An error here means that the connection is gone, which the link sees itself.
        let _ = stream.stopped().await;
    }
    Ok(())
}

/// Frames up to this size are copied together; larger ones are handed over as they are.
const COPY_BYTES_MAX: usize = 4096;

/// Turns frames into chunks for a stream, each frame after its header.
fn pack(batch: &mut Vec<Bytes>, chunks: &mut Vec<Bytes>) {
    let mut buffer = BytesMut::new();
    for frame in batch.drain(..) {
        let Some(header) = frame::header(&frame) else {
            debug_assert!(false, "the length of a frame was checked when it was accepted");
            continue;
        };
        buffer.put_slice(&header);
        if frame.len() <= COPY_BYTES_MAX {
            buffer.put_slice(&frame);
        } else {
            chunks.push(buffer.split().freeze());
            chunks.push(frame);
        }
    }
    if !buffer.is_empty() {
        chunks.push(buffer.freeze());
    }
}

/// Why a lane is no longer read.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The peer has ended it in good order.
    Finished,
    /// The connection is gone; the link sees why.
    Lost,
    /// The peer broke the rules.
    Violation(FrameViolation),
}

/// Reads frames from a stream into the inbox, no faster than they are taken out of there.
pub(crate) async fn read_lane(
    mut stream: RecvStream,
    frame_bytes_max: usize,
    inbox: LaneInbox,
    meters: Arc<Meters>,
) -> ReadEnd {
    let mut decoder = Decoder::new(frame_bytes_max);
    loop {
        let mut chunk = match stream.read_chunk(READ_CHUNK_BYTES, true).await {
            Ok(Some(chunk)) => chunk.bytes,
            Ok(None) => {
                return decoder.finish().map_or_else(ReadEnd::Violation, |()| ReadEnd::Finished);
            }
            Err(error) => return read_end(&error),
        };
        loop {
            match decoder.decode(&mut chunk) {
                Ok(Some(frame)) => {
                    meters.received(inbox.lane(), frame.len());
                    inbox.deliver(frame).await;
                }
                Ok(None) => break,
                Err(violation) => return ReadEnd::Violation(violation),
            }
        }
    }
}

fn read_end(error: &ReadError) -> ReadEnd {
    match error {
        ReadError::ConnectionLost(_) | ReadError::ClosedStream => ReadEnd::Lost,
        ReadError::Reset(_) | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            ReadEnd::Violation(FrameViolation::Stream)
        }
    }
}

/// Opens the stream of a lane; its first byte says which lane it is.
pub(crate) async fn open(connection: &Connection, lane: Lane) -> Result<SendStream, WriteError> {
    let mut stream = connection.open_uni().await?;
    // Fails only on a closed stream, which the write below reports.
    let _ = stream.set_priority(lane.priority());
    stream.write_all(&[lane.tag()]).await?;
    Ok(stream)
}

/// Takes the next stream that the peer opened; it must be of this lane.
pub(crate) async fn accept(connection: &Connection, lane: Lane) -> Result<RecvStream, ReadEnd> {
    let mut stream = connection.accept_uni().await.map_err(|_| ReadEnd::Lost)?;
    let mut tag = [0];
    match stream.read_exact(&mut tag).await {
        Ok(()) if Lane::of_tag(tag[0]) == Some(lane) => Ok(stream),
        Ok(()) | Err(quinn::ReadExactError::FinishedEarly(_)) => {
            Err(ReadEnd::Violation(FrameViolation::Stream))
        }
        Err(quinn::ReadExactError::ReadError(error)) => Err(read_end(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tempfile::TempDir;

    use super::*;
    use crate::issue::{Ca, Readers, Validity, write_new};
    use crate::limits::Limits;
    use crate::tls::Settings;
    use crate::{Identity, TlsPaths};

    /// The settings of a node.
    fn settings(folder: &TempDir) -> Settings {
        let ca = Ca::create(&"c1".parse().unwrap(), Validity::days(2)).unwrap();
        let node = ca.node(&"n1".parse().unwrap(), Validity::days(1)).unwrap();
        let path = |name| folder.path().join(name);
        let paths = TlsPaths { ca: path("ca.pem"), cert: path("n1.pem"), key: path("n1.key") };
        for (path, pem) in [
            (&paths.ca, &ca.files().cert_pem),
            (&paths.cert, &node.cert_pem),
            (&paths.key, &node.key_pem),
        ] {
            write_new(path, pem.as_bytes(), Readers::Secret).unwrap();
        }
        let identity = Identity::load(&paths, ca.cluster()).unwrap();
        Settings::new(&identity, &Limits::default()).unwrap()
    }

    /// A full lane of repair must not delay what somebody waits for on the same connection.
    #[tokio::test]
    async fn what_is_waited_for_goes_before_bulk() {
        let folder = tempfile::tempdir().unwrap();
        let Settings { server, control, data, .. } = settings(&folder);
        let loopback = (Ipv4Addr::LOCALHOST, 0).into();
        let listening = quinn::Endpoint::server(server, loopback).unwrap();
        let dialing = quinn::Endpoint::client(loopback).unwrap();
        let address = listening.local_addr().unwrap();
        let mut priorities = Vec::new();
        for (client, lanes) in [(control, &Lane::ALL[..1]), (data, &Lane::ALL[1..])] {
            let dial = dialing.connect_with(client, address, "n1.c1.replica.internal").unwrap();
            let accept = async { listening.accept().await.unwrap().await };
            let (dialed, _accepted) = tokio::try_join!(dial, accept).unwrap();
            for lane in lanes {
                priorities.push(open(&dialed, *lane).await.unwrap().priority().unwrap());
            }
        }
        assert_eq!(priorities, Lane::ALL.map(Lane::priority));
        let [_, live, bulk] = Lane::ALL.map(Lane::priority);
        assert!(live > bulk);
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_and_an_empty_one_takes_any_frame() {
        let queue = LaneQueue::new(1000);
        queue.push(Bytes::from(vec![0; 5000])).unwrap();
        assert_eq!(queue.push(Bytes::new()), Err(SendError::Full));
        let queue = LaneQueue::new(1000);
        let accepted = (0..).take_while(|_| queue.push(Bytes::new()).is_ok()).count();
        assert_eq!(accepted, 1000 / FRAME_OVERHEAD_BYTES);
        queue.close();
        assert_eq!(queue.push(Bytes::new()), Err(SendError::NotConnected));
        assert_eq!(queue.discard(), accepted as u64);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn packed_frames_decode_to_themselves() {
        let frames = [1, COPY_BYTES_MAX, COPY_BYTES_MAX + 1, 0, 3].map(|n| Bytes::from(vec![9; n]));
        let (mut batch, mut chunks) = (frames.to_vec(), Vec::new());
        pack(&mut batch, &mut chunks);
        let mut stream = Bytes::from(chunks.concat());
        let mut decoder = Decoder::new(COPY_BYTES_MAX + 1);
        for frame in &frames {
            assert_eq!(decoder.decode(&mut stream).unwrap().as_ref(), Some(frame));
        }
        assert!(stream.is_empty());
    }
}
