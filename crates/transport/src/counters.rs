//! Counts of what happened, for metrics and tests; and log lines about refusals, which anybody can
//! cause as often as he likes and which are therefore written rarely.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::lane::Lane;
use crate::limits::REFUSAL_LOG_INTERVAL;

/// Why a connection was refused, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No certificate was shown.
    NoCertificate,
    /// The certificate was issued by another authority.
    OtherAuthority,
    /// The certificate has expired or is not valid yet.
    OutsideValidity,
    /// The certificate is for another cluster.
    OtherCluster,
    /// The certificate is an operator's, or names nobody that it could be.
    NotANode,
    /// The certificate is for a node that is no peer of this one.
    UnknownName,
    /// The certificate is for another node than the one that was called, or for this node.
    OtherName,
    /// The certificate, or what was said in the handshake, is wrong in some other way.
    Handshake,
    /// The first message after the handshake was wrong.
    Preface,
    /// The handshake was not completed in time.
    Slow,
    /// There were too many connections or handshakes at once.
    Busy,
    /// The certificate is for a node that is no peer of this one, and of those as many are
    /// admitted as [`EndpointConfig::strangers_max`](crate::EndpointConfig::strangers_max) allows.
    TooManyStrangers,
    /// The certificate is not an operator's, and what is open to them alone was asked for.
    NotAnOperator,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::NoCertificate,
        Self::OtherAuthority,
        Self::OutsideValidity,
        Self::OtherCluster,
        Self::NotANode,
        Self::UnknownName,
        Self::OtherName,
        Self::Handshake,
        Self::Preface,
        Self::Slow,
        Self::Busy,
        Self::TooManyStrangers,
        Self::NotAnOperator,
    ];

    /// What an operator is told of the certificate.
    pub(crate) fn to_holder(self) -> &'static str {
        match self {
            Self::NoCertificate => "none was shown",
            Self::OtherAuthority => "it was issued by another authority",
            Self::OutsideValidity => "it has expired or is not valid yet",
            Self::OtherCluster => "it is for another cluster",
            Self::NotANode | Self::NotAnOperator => "it is not an operator's",
            Self::UnknownName
            | Self::OtherName
            | Self::Handshake
            | Self::Preface
            | Self::Slow
            | Self::Busy
            | Self::TooManyStrangers => "it is unusable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "it shows no certificate",
            Self::OtherAuthority => "its certificate was issued by another authority",
            Self::OutsideValidity => "its certificate has expired or is not valid yet",
            Self::OtherCluster => "its certificate is for another cluster",
            Self::NotANode => "its certificate is not a node's",
            Self::UnknownName => "its certificate is for a node that is no peer of this one",
            Self::OtherName => "its certificate is for another node than the one called",
            Self::Handshake => "the handshake failed",
            Self::Preface => "its first message was wrong",
            Self::Slow => "the handshake was not completed in time",
            Self::Busy => "there are too many connections at once",
            Self::TooManyStrangers => "too many nodes that are no peers are admitted already",
            Self::NotAnOperator => "its certificate is not an operator's",
        })
    }
}

/// What has been counted since the endpoint was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections refused, by reason, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Handshakes for which the other side was asked to prove its address first.
    pub retries: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams received that belong to no connection and begin none.
    pub datagrams_stray: u64,
    /// Bytes of the datagrams received, without the headers of UDP and IP.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes of the datagrams sent, without the headers of UDP and IP.
    pub bytes_sent: u64,
    /// Peers that broke the rules of a lane: an oversize frame, a cut frame, a wrong stream.
    pub frames_refused: u64,
    /// Per lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneCounters; 3],
    /// Frames accepted for sending that were not handed to the connection because the link
    /// ended. Of those that were, the last ones may be lost as well.
    pub frames_lost: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Links that ended.
    pub links_down: u64,
    /// Requests of operators that were answered.
    pub operator_requests: u64,
    /// Requests of operators that were not answered, for whichever reason.
    pub operator_requests_refused: u64,
    /// Times that changed certificate files were taken over.
    pub reloads: u64,
    /// Times that changed certificate files were wrong and were not taken over.
    pub reloads_failed: u64,
    /// Receive buffer that the system granted, in bytes.
    pub receive_buffer_bytes: usize,
    /// Send buffer that the system granted, in bytes.
    pub send_buffer_bytes: usize,
    /// Whether the system granted smaller buffers than were asked for.
    pub buffers_clamped: bool,
}

impl Counters {
    /// Connections refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Counts of this lane.
    pub fn lane(&self, lane: Lane) -> LaneCounters {
        self.lanes[lane.index()]
    }
}

/// Counts of one lane, all peers together. Bytes are those of frames, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames received.
    pub frames_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Frames handed to the connection.
    pub frames_out: u64,
    /// Bytes handed to the connection.
    pub bytes_out: u64,
    /// Frames not accepted because the queue was full.
    pub full: u64,
}

/// The counts while they are counted.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    refused: [AtomicU64; Refusal::ALL.len()],
    refused_logged: Mutex<[Option<Instant>; Refusal::ALL.len()]>,
    lanes: [LaneMeters; 3],
    pub(crate) retries: AtomicU64,
    pub(crate) datagrams: AtomicU64,
    pub(crate) datagrams_stray: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) datagrams_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) frames_refused: AtomicU64,
    frames_lost: AtomicU64,
    pub(crate) links_up: AtomicU64,
    pub(crate) links_down: AtomicU64,
    pub(crate) operator_requests: AtomicU64,
    pub(crate) operator_requests_refused: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) reloads_failed: AtomicU64,
    pub(crate) receive_buffer_bytes: AtomicUsize,
    pub(crate) send_buffer_bytes: AtomicUsize,
    pub(crate) buffers_clamped: AtomicBool,
}

#[derive(Debug, Default)]
struct LaneMeters {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    full: AtomicU64,
}

/// Adds one.
pub(crate) fn count(meter: &AtomicU64) {
    add(meter, 1);
}

/// Adds so many.
pub(crate) fn add(meter: &AtomicU64, amount: usize) {
    meter.fetch_add(amount as u64, Ordering::Relaxed);
}

fn read(meter: &AtomicU64) -> u64 {
    meter.load(Ordering::Relaxed)
}

impl Meters {
    /// Counts a refusal, and logs it unless one for the same reason was logged lately.
    pub(crate) fn refuse(&self, refusal: Refusal, who: impl fmt::Display) {
        count(&self.refused[refusal as usize]);
        let now = Instant::now();
        let mut logged = self.refused_logged.lock();
        let last = &mut logged[refusal as usize];
        if last.is_none_or(|last| now.duration_since(last) >= REFUSAL_LOG_INTERVAL) {
            *last = Some(now);
            drop(logged);
            tracing::warn!("refused {who}: {refusal} (said at most once a minute)");
        }
    }

    pub(crate) fn sent(&self, lane: Lane, frames: usize, bytes: usize) {
        let meters = &self.lanes[lane.index()];
        add(&meters.frames_out, frames);
        add(&meters.bytes_out, bytes);
    }

    pub(crate) fn received(&self, lane: Lane, bytes: usize) {
        let meters = &self.lanes[lane.index()];
        count(&meters.frames_in);
        add(&meters.bytes_in, bytes);
    }

    pub(crate) fn full(&self, lane: Lane) {
        count(&self.lanes[lane.index()].full);
    }

    pub(crate) fn lost(&self, frames: u64) {
        self.frames_lost.fetch_add(frames, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let lane = |meters: &LaneMeters| LaneCounters {
            frames_in: read(&meters.frames_in),
            bytes_in: read(&meters.bytes_in),
            frames_out: read(&meters.frames_out),
            bytes_out: read(&meters.bytes_out),
            full: read(&meters.full),
        };
        Counters {
            refused: self.refused.each_ref().map(read),
            retries: read(&self.retries),
            datagrams: read(&self.datagrams),
            datagrams_stray: read(&self.datagrams_stray),
            bytes_received: read(&self.bytes_received),
            datagrams_sent: read(&self.datagrams_sent),
            bytes_sent: read(&self.bytes_sent),
            frames_refused: read(&self.frames_refused),
            lanes: self.lanes.each_ref().map(lane),
            frames_lost: read(&self.frames_lost),
            links_up: read(&self.links_up),
            links_down: read(&self.links_down),
            operator_requests: read(&self.operator_requests),
            operator_requests_refused: read(&self.operator_requests_refused),
            reloads: read(&self.reloads),
            reloads_failed: read(&self.reloads_failed),
            receive_buffer_bytes: self.receive_buffer_bytes.load(Ordering::Relaxed),
            send_buffer_bytes: self.send_buffer_bytes.load(Ordering::Relaxed),
            buffers_clamped: self.buffers_clamped.load(Ordering::Relaxed),
        }
    }
}
