//! What came over the network: datagrams, links, and who was refused for which reason.

use std::collections::BTreeMap;

use serde::Serialize;
use transport::{Counters, Refusal};

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

impl NetworkStatus {
    pub(crate) fn of(counters: &Counters) -> Self {
        let count = |reason: &Refusal| (name(*reason), counters.refused(*reason));
        Self {
            refused: Refusal::ALL.iter().map(count).collect(),
            retries: counters.retries,
            datagrams: counters.datagrams,
            datagrams_stray: counters.datagrams_stray,
            frames_refused: counters.frames_refused,
            operator_requests: counters.operator_requests,
            operator_requests_refused: counters.operator_requests_refused,
            links_up: counters.links_up,
            links_down: counters.links_down,
        }
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
