//! Checks `[limits]`. Every bound here is wide: it keeps out what cannot work and slips of a
//! digit, not what somebody may have reasons for.

use std::time::Duration;

use super::check::Checker;
use super::error::Fault;
use super::memory::Memory;
use super::raw;
use super::section::LimitsSection;
use super::units::ByteSize;

/// Least memory for sessions, in bytes. Below it a handful of sessions at their limit fill it.
const MEMORY_BYTES_MIN: u64 = 16 << 20;

const OUTBOX_SESSIONS_MIN: u64 = 100;
const OUTBOX_SESSIONS_MAX: u64 = 10_000_000;

/// A session at its limit and its envelope must fit into a frame.
const FRAME_BYTES_MIN: u64 = 512 << 10;

/// Longest frame that any node of a cluster takes, in bytes.
const FRAME_BYTES_MAX: u64 = protocol::limits::FRAME_BYTES_MAX as u64;

const LANE_BYTES_MIN: u64 = 64 << 10;
const LANE_BYTES_MAX: u64 = 1 << 30;

/// Two connections with each of 63 peers, and as many again while they are replaced.
const CONNECTIONS_MIN: u64 = 256;
const CONNECTIONS_MAX: u64 = 65_536;

const HANDSHAKES_MIN: u64 = 1;
const HANDSHAKES_MAX: u64 = 65_536;

const REPAIR_INTERVAL_MIN: Duration = Duration::from_millis(100);
const REPAIR_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);

/// With less, a session at its limit takes seconds.
const REPAIR_RATE_MIN: u64 = 64 << 10;
const REPAIR_RATE_MAX: u64 = 16 << 30;

const _: () = assert!(FRAME_BYTES_MIN >= 2 * session::SESSION_BYTES_MAX as u64);
const _: () = assert!(CONNECTIONS_MIN >= 4 * (super::check::MEMBERS_MAX as u64 - 1));

pub(super) fn check(checker: &mut Checker<'_>, raw: &raw::Limits) -> LimitsSection {
    if let Memory::Bytes(bytes) = raw.memory
        && bytes < MEMORY_BYTES_MIN
    {
        let min = ByteSize(MEMORY_BYTES_MIN).to_string();
        let max = "what the machine has".to_owned();
        checker.refuse("limits.memory", Fault::OutOfBounds { min, max });
    }
    let section = LimitsSection {
        memory: raw.memory,
        outbox_sessions_max: checker.count(
            "limits.outbox_sessions_max",
            raw.outbox_sessions_max,
            OUTBOX_SESSIONS_MIN,
            OUTBOX_SESSIONS_MAX,
        ),
        frame_bytes_max: checker.size(
            "limits.frame_bytes_max",
            raw.frame_bytes_max,
            FRAME_BYTES_MIN,
            FRAME_BYTES_MAX,
        ),
        lane_queue_bytes_max: lane(
            checker,
            "limits.lane_queue_bytes_max",
            raw.lane_queue_bytes_max,
        ),
        lane_inbox_bytes_max: lane(
            checker,
            "limits.lane_inbox_bytes_max",
            raw.lane_inbox_bytes_max,
        ),
        connections_max: checker.count(
            "limits.connections_max",
            raw.connections_max,
            CONNECTIONS_MIN,
            CONNECTIONS_MAX,
        ),
        handshakes_max: handshakes(checker, "limits.handshakes_max", raw.handshakes_max),
        handshakes_before_retry: handshakes(
            checker,
            "limits.handshakes_before_retry",
            raw.handshakes_before_retry,
        ),
        repair_interval: checker.duration(
            "limits.repair_interval",
            raw.repair_interval,
            REPAIR_INTERVAL_MIN,
            REPAIR_INTERVAL_MAX,
        ),
        repair_bytes_per_second: checker.bytes(
            "limits.repair_bytes_per_second",
            raw.repair_bytes_per_second,
            REPAIR_RATE_MIN,
            REPAIR_RATE_MAX,
        ),
    };
    if raw.handshakes_before_retry > raw.handshakes_max {
        checker.contradict(
            ("limits.handshakes_before_retry", &raw.handshakes_before_retry, "is more than"),
            ("limits.handshakes_max", &raw.handshakes_max, "is less than"),
            "strangers would never have to prove their address; make \
             limits.handshakes_before_retry at most limits.handshakes_max",
        );
    }
    section
}

fn lane(checker: &mut Checker<'_>, key: &str, value: ByteSize) -> usize {
    checker.size(key, value, LANE_BYTES_MIN, LANE_BYTES_MAX)
}

fn handshakes(checker: &mut Checker<'_>, key: &str, value: u64) -> usize {
    checker.count(key, value, HANDSHAKES_MIN, HANDSHAKES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A default that differs from the constant of the crate that lives by it would be a trap.
    #[test]
    fn defaults_are_those_of_the_protocol() {
        use protocol::limits;
        let raw = raw::Limits::default();
        assert_eq!(raw.outbox_sessions_max, limits::OUTBOX_SESSIONS_MAX as u64);
        assert_eq!(raw.frame_bytes_max, ByteSize(limits::FRAME_BYTES_MAX as u64));
        assert_eq!(raw.repair_interval, Duration::from_millis(limits::REPAIR_INTERVAL_MS));
        assert_eq!(raw.repair_bytes_per_second, ByteSize(limits::REPAIR_BYTES_PER_SECOND));
    }

    #[test]
    fn defaults_are_those_of_the_transport() {
        let raw = raw::Limits::default();
        let transport = transport::Limits::default();
        let bytes = |ByteSize(bytes)| usize::try_from(bytes).unwrap();
        assert_eq!(bytes(raw.frame_bytes_max), transport.frame_bytes_max);
        assert_eq!(bytes(raw.lane_queue_bytes_max), transport.lane_queue_bytes_max);
        assert_eq!(bytes(raw.lane_inbox_bytes_max), transport.lane_inbox_bytes_max);
        assert_eq!(raw.connections_max, transport.connections_max as u64);
        assert_eq!(raw.handshakes_max, transport.handshakes_max as u64);
        assert_eq!(raw.handshakes_before_retry, transport.handshakes_before_retry as u64);
        let node = raw::Node::default();
        assert_eq!(node.reload_interval, transport::RELOAD_INTERVAL_DEFAULT);
    }
}
