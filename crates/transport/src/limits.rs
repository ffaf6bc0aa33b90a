//! Every bound of this crate: value, unit, reason. All of them together bound the memory that
//! peers, and whoever else connects, can make this node use.

use std::time::Duration;

/// Longest hello, in bytes. It is read before a peer is known to be in order.
pub const HELLO_BYTES_MAX: usize = 1024;

/// What one frame costs in a queue beside its own bytes: its place in the queue, its header.
/// Charged so that empty frames are bounded as well.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = 64;

/// Window of one stream, in bytes: what a peer may have in flight on one lane. Small, so that
/// little of a bulk lane stands before a live frame on the wire.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Window of one connection, in bytes, for receiving and for sending.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Streams that a peer may have open towards us on one connection: its lanes.
pub(crate) const STREAMS_MAX: u32 = 2;

// A bulk lane whose reader has stopped must not use up the window of the live lane beside it.
const _: () = assert!(CONNECTION_WINDOW_BYTES >= 2 * STREAMS_MAX * STREAM_WINDOW_BYTES);

/// Bytes that a writer hands to a stream at once.
pub(crate) const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Bytes that a reader takes from a stream at once.
pub(crate) const READ_CHUNK_BYTES: usize = 64 * 1024;

/// Halves of links of one peer that have been accepted and wait for being looked at.
pub(crate) const OFFERS_MAX: usize = 8;

/// Incoming attempts of one peer that are waiting for their second connection or its answer.
pub(crate) const ATTEMPTS_MAX: usize = 4;

/// Connections asked for and not yet looked at; more are refused by the endpoint.
pub(crate) const INCOMING_MAX: usize = 256;

/// Bytes kept of one connection that has not been looked at: its first flight.
pub(crate) const INCOMING_BYTES_MAX: u64 = 16 * 1024;

/// Bytes kept of all connections that have not been looked at.
pub(crate) const INCOMING_BYTES_TOTAL_MAX: u64 = 1024 * 1024;

/// Buffers asked of the system for the UDP socket, in bytes. With the usual default, bulk
/// traffic loses thousands of packets where it loses none with this.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait for closed connections to be forgotten when the endpoint stops. They have said
/// goodbye by then; who has not heard it gets a reset, or notices the silence.
pub(crate) const GOODBYE_WAIT_MAX: Duration = Duration::from_millis(500);

/// First guess of the round trip time. A lost first packet costs a small multiple of it.
pub(crate) const INITIAL_RTT: Duration = Duration::from_millis(20);

/// Longest text that travels with the closing of a connection, in bytes.
pub(crate) const REASON_BYTES_MAX: usize = 256;

/// Least time between two log lines about refusals for the same reason.
pub(crate) const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Longest request of an operator, in bytes: a command and what it is about.
pub const OPERATOR_REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest answer to an operator, in bytes: the status of a large cluster, as long as the longest
/// frame between nodes.
pub const OPERATOR_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Connections of operators at once. People and what watches for them, no more: the connections
/// are for peers.
pub(crate) const OPERATORS_MAX: usize = 8;

/// Requests that one operator may have open at once on a connection: one that takes long, and one
/// that asks how it is going.
pub(crate) const OPERATOR_REQUESTS_MAX: usize = 2;

// All answers together, in bytes, if no operator reads.
const _: () =
    assert!(OPERATORS_MAX * OPERATOR_REQUESTS_MAX * OPERATOR_ANSWER_BYTES_MAX <= 64 * 1024 * 1024);

/// Addresses behind one name that an operator tries at once.
pub(crate) const OPERATOR_ADDRESSES_MAX: usize = 8;

/// Bounds that a configuration may change. The defaults are those of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame, in bytes, sent or received; at most 4 GiB - 1 by the format.
    pub frame_bytes_max: usize,
    /// Bytes waiting to be sent, per peer and lane. A frame always fits into an empty queue. All
    /// batches that a peer may have unacknowledged fit, 4 MiB by default, and answers beside them;
    /// a peer that asks much and reads nothing fills two lanes.
    pub lane_queue_bytes_max: usize,
    /// Bytes received and not yet taken by [`Events::next`](crate::Events::next), per peer and
    /// lane. Beyond it the stream is not read. A single larger frame passes alone.
    pub lane_inbox_bytes_max: usize,
    /// Handshakes at once that others have begun; more are refused.
    pub handshakes_max: usize,
    /// Handshakes at once from which on whoever connects must prove its address first.
    pub handshakes_before_retry: usize,
    /// Connections at once, of all peers; more are refused.
    pub connections_max: usize,
    /// Silence after which a control connection is given up, on both sides; the setting of the
    /// node that dialed holds. Long, as it has to outlast some `keep_alive_interval`: who has an
    /// own way to notice that a peer does not answer ends the link sooner
    /// ([`Endpoint::disconnect`](crate::Endpoint::disconnect)).
    pub control_idle_timeout: Duration,
    /// Silence after which a data connection is given up.
    pub data_idle_timeout: Duration,
    /// Idle time after which a sign of life is sent: in a large cluster most links are idle, and a
    /// node has two connections with each other node.
    pub keep_alive_interval: Duration,
    /// Time for one attempt to connect, from the first packet to the exchanged hellos.
    pub connect_timeout: Duration,
    /// Shortest and longest pause between two attempts to connect.
    pub backoff_min: Duration,
    /// See `backoff_min`.
    pub backoff_max: Duration,
    /// Greatest age of a link, so that no connection outlives its certificate by more. It is
    /// replaced at a random age between half of this and all of it, so that not all links of a
    /// cluster are replaced at once.
    pub connection_age_max: Duration,
    /// Time for a request of an operator, from its first byte to the last one of its answer.
    pub operator_deadline: Duration,
    /// Time without a request after which an operator is disconnected, so that another one may
    /// take the place.
    pub operator_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 4 * 1024 * 1024,
            lane_queue_bytes_max: 6 * 1024 * 1024,
            lane_inbox_bytes_max: 1024 * 1024,
            handshakes_max: 64,
            handshakes_before_retry: 16,
            connections_max: 2048,
            control_idle_timeout: Duration::from_secs(30),
            data_idle_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            connection_age_max: Duration::from_secs(24 * 60 * 60),
            operator_deadline: Duration::from_secs(30),
            operator_idle_timeout: Duration::from_secs(60),
        }
    }
}
