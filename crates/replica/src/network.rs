//! What went over the network: datagrams, frames, links, and who was refused for which reason.

use std::collections::BTreeMap;

use serde::Serialize;
use transport::{Counters, Lane, LaneCounters, Refusal};

/// Counts of the network part of this node since its start. All only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkStatus {
    /// Connections refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Strangers that were asked to prove their address first.
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
    /// What was in them, by lane: `control` are signs of life and membership, `live` is what
    /// somebody waits for, `bulk` is repair.
    pub lanes: BTreeMap<&'static str, LaneStatus>,
    /// Peers that broke the rules of a lane: a frame that is too long or cut, a wrong stream.
    pub frames_refused: u64,
    /// Requests of operators that were taken.
    pub operator_requests: u64,
    /// Requests of operators that were refused.
    pub operator_requests_refused: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Links that ended.
    pub links_down: u64,
}

/// Frames of one lane, all peers together. Bytes are those of frames, without what QUIC adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneStatus {
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
}

impl NetworkStatus {
    pub(crate) fn of(counters: &Counters) -> Self {
        let count = |reason: &Refusal| (name(*reason), counters.refused(*reason));
        let lane = |lane: &Lane| (lane_name(*lane), LaneStatus::of(counters.lane(*lane)));
        Self {
            refused: Refusal::ALL.iter().map(count).collect(),
            retries: counters.retries,
            datagrams: counters.datagrams,
            datagrams_stray: counters.datagrams_stray,
            bytes_received: counters.bytes_received,
            datagrams_sent: counters.datagrams_sent,
            bytes_sent: counters.bytes_sent,
            lanes: Lane::ALL.iter().map(lane).collect(),
            frames_refused: counters.frames_refused,
            operator_requests: counters.operator_requests,
            operator_requests_refused: counters.operator_requests_refused,
            links_up: counters.links_up,
            links_down: counters.links_down,
        }
    }
}

impl LaneStatus {
    const fn of(counters: LaneCounters) -> Self {
        Self {
            frames_sent: counters.frames_out,
            bytes_sent: counters.bytes_out,
            frames_received: counters.frames_in,
            bytes_received: counters.bytes_in,
        }
    }
}

const fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Control => "control",
        Lane::Live => "live",
        Lane::Bulk => "bulk",
    }
}

const fn name(reason: Refusal) -> &'static str {
    match reason {
        Refusal::NoCertificate => "no_certificate",
        Refusal::OtherAuthority => "other_authority",
        Refusal::OutsideValidity => "outside_validity",
        Refusal::OtherCluster => "other_cluster",
        Refusal::NotANode => "not_a_node",
        Refusal::UnknownName => "unknown_name",
        Refusal::OtherName => "other_name",
        Refusal::Handshake => "handshake",
        Refusal::Preface => "preface",
        Refusal::Slow => "slow",
        Refusal::Busy => "busy",
        Refusal::TooManyStrangers => "too_many_strangers",
        Refusal::NotAnOperator => "not_an_operator",
    }
}
