//! What voters say to each other, as bytes: a version, and an envelope that names the Raft group and
//! both voters. Whatever does not fit is refused here, before openraft sees it. Golden bytes in
//! `golden.txt`.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
#[cfg(feature = "next")]
use protocol::wire::NEXT_VERSION;
use protocol::wire::{WIRE_VERSION, WIRE_VERSION_MIN};
use protocol::{Decision, Roster, codec, limits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::raft_types::{Group, Outcome, RaftId, SnapshotMeta, TypeConfig, Vote};

/// Bytes of one request or answer: what the codec decodes.
pub(crate) const MESSAGE_BYTES_MAX: usize = limits::FRAME_BYTES_MAX;

/// From whom to whom, and in which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) group: Group,
    pub(crate) from: RaftId,
    pub(crate) to: RaftId,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<RaftId>),
    Snapshot {
        vote: Vote,
        meta: SnapshotMeta,
        roster: Box<Roster>,
    },
    /// A decision for whoever leads; the asker waits that many milliseconds.
    Propose {
        decision: Decision,
        wait_ms: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<RaftId>),
    Vote(VoteResponse<RaftId>),
    Snapshot { vote: Vote },
    Proposed(Proposed),
    Refused(Refusal),
}

/// What became of a decision that was sent to a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// It is in the log.
    Applied(Outcome),
    /// It is not and will not be: it was not the leader that was asked.
    NotLeader,
    /// It may be, now or later.
    Unknown,
}

/// Why a request was not given to Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it speaks another version of the wire than {WIRE_VERSION_MIN} to {WIRE_VERSION}")]
    Version,
    #[error("it did not understand the request")]
    Undecodable,
    #[error("it belongs to another Raft group")]
    Group,
    #[error("it is not the voter that was addressed: its disk was wiped")]
    Addressee,
    #[error("the sender is not the node that its voter belongs to")]
    Sender,
    #[error("its Raft is not running; its disk may be full")]
    Stopped,
    #[error("the cluster was made anew since, and goes on without this voter")]
    Outdated,
}

/// One message, a letter or a request with its header or an answer, in a version of the wire that
/// both sides speak: [`Link::speaks`](crate::Link::speaks), or that of the request. The trial of a
/// next release has a field more in everything.
// Rule W2.
pub(crate) fn encode(version: u8, message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![version];
    #[cfg(feature = "next")]
    if version >= NEXT_VERSION {
        codec::encode(&(message, version), &mut bytes);
        return bytes;
    }
    codec::encode(message, &mut bytes);
    bytes
}

/// The message that `bytes` are, in any version that this release speaks.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let (version, body) = bytes.split_first().ok_or(Refusal::Undecodable)?;
    if !(WIRE_VERSION_MIN..=WIRE_VERSION).contains(version) {
        return Err(Refusal::Version);
    }
    let undecodable = |_| Refusal::Undecodable;
    #[cfg(feature = "next")]
    if *version >= NEXT_VERSION {
        let (message, told): (T, u8) = codec::decode(body).map_err(undecodable)?;
        return if told == *version { Ok(message) } else { Err(Refusal::Undecodable) };
    }
    codec::decode(body).map_err(undecodable)
}

/// The version in which to answer these bytes: their own, if this release speaks it.
pub(crate) fn version_of(bytes: &[u8]) -> u8 {
    let version = bytes.first().copied().unwrap_or(WIRE_VERSION_MIN);
    version.clamp(WIRE_VERSION_MIN, WIRE_VERSION)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU16;

    use openraft::{CommittedLeaderId, EntryPayload, Membership, StoredMembership};
    use proptest::prelude::*;
    use protocol::{Copies, Rules};

    use super::*;
    use crate::raft_types::{Entry, LogId, Place};

    fn header() -> Header {
        let group = Group { generation: 1, founder: RaftId(u64::MAX) };
        Header { group, from: RaftId(1), to: RaftId(2) }
    }

    fn requests() -> Vec<Request> {
        let log_id = LogId { leader_id: CommittedLeaderId::new(3, RaftId(1)), index: 9 };
        let place = Place { name: "n1".into(), zone: "z".into() };
        let nodes = BTreeMap::from([(RaftId(1), place)]);
        let membership = Membership::new(vec![[RaftId(1)].into()], nodes);
        let decision = Decision::Resize { copies: Copies::Count(NonZeroU16::MIN) };
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(decision.clone()),
            EntryPayload::Membership(membership.clone()),
        ];
        let entries = payloads.into_iter().map(|payload| Entry { log_id, payload }).collect();
        let vote = Vote::new_committed(3, RaftId(1));
        let meta = SnapshotMeta {
            last_log_id: Some(log_id),
            last_membership: StoredMembership::new(Some(log_id), membership),
            snapshot_id: "9".into(),
        };
        vec![
            Request::Append(AppendEntriesRequest {
                vote,
                prev_log_id: Some(log_id),
                entries,
                leader_commit: None,
            }),
            Request::Vote(VoteRequest::new(vote, Some(log_id))),
            Request::Snapshot { vote, meta, roster: Box::new(Roster::new(16, Rules::default())) },
            Request::Propose { decision, wait_ms: 5_000 },
        ]
    }

    #[test]
    fn what_is_said_is_understood_and_cut_short_it_is_not() {
        for request in requests() {
            let bytes = encode(WIRE_VERSION, &(header(), &request));
            let (head, again): (Header, Request) = decode(&bytes).unwrap();
            assert_eq!(
                (head, encode(WIRE_VERSION, &(header(), &again))),
                (header(), bytes.clone())
            );
            for length in 0..bytes.len() {
                assert!(decode::<(Header, Request)>(&bytes[..length]).is_err());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(decode::<(Header, Request)>(&longer).err(), Some(Refusal::Undecodable));
            for version in [0, WIRE_VERSION_MIN - 1, WIRE_VERSION + 1] {
                let other = [&[version], &bytes[1..]].concat();
                assert_eq!(decode::<(Header, Request)>(&other).err(), Some(Refusal::Version));
            }
        }
    }

    /// Tests rule W2: the version before is said to whoever speaks no other, and is understood; a
    /// question is answered in its own.
    #[cfg(feature = "next")]
    #[test]
    fn what_a_next_release_brings_is_said_in_its_version_only() {
        for request in requests() {
            let said = |version| encode(version, &(header(), &request));
            let (before, after) = (said(WIRE_VERSION_MIN), said(WIRE_VERSION));
            assert_eq!(after.len(), before.len() + 1, "a field more");
            for bytes in [before, after] {
                assert!(decode::<(Header, Request)>(&bytes).is_ok());
                assert_eq!(encode(version_of(&bytes), &(header(), &request)), bytes);
            }
        }
    }

    #[test]
    fn whatever_was_asked_is_answered_in_a_version_that_this_release_speaks() {
        for (bytes, version) in [
            (vec![WIRE_VERSION_MIN], WIRE_VERSION_MIN),
            (vec![WIRE_VERSION, 1], WIRE_VERSION),
            (vec![], WIRE_VERSION_MIN),
            (vec![0], WIRE_VERSION_MIN),
            (vec![WIRE_VERSION + 1], WIRE_VERSION),
        ] {
            assert_eq!(version_of(&bytes), version, "{bytes:?}");
        }
    }

    /// A large cluster in the middle of a transition, all of its slots once lost.
    #[test]
    fn the_snapshot_of_a_large_cluster_fits_a_message() {
        let mut roster = Roster::new(4_096, Rules::default());
        let copies = Copies::Count(NonZeroU16::MIN);
        let mut decisions = vec![Decision::Begin { generation: 1, copies, protocol: WIRE_VERSION }];
        let join = |name: String| {
            let (name, zone) = (name.as_str().into(), "a-zone-of-some-length".into());
            let address = "a-host-with-a-long.example.net:7001".into();
            Decision::Join { name, address, zone, start: u64::MAX, version: WIRE_VERSION }
        };
        decisions.push(join("first".to_owned()));
        decisions.push(join("second".to_owned()));
        decisions.push(Decision::Remove { inc: session::Inc(2), accept_loss: true });
        decisions.extend((0..1_000).map(|n| join(format!("node-{n}-of-a-large-cluster"))));
        for (decision, index) in decisions.iter().zip(1..) {
            roster.apply(index, decision).unwrap();
        }
        assert_eq!(roster.view().losses.len(), 4_096);
        let meta = SnapshotMeta::default();
        let request = Request::Snapshot { vote: Vote::default(), meta, roster: Box::new(roster) };
        let bytes = encode(WIRE_VERSION, &(header(), &request));
        assert!(bytes.len() < MESSAGE_BYTES_MAX / 8, "{}", bytes.len());
        assert!(decode::<(Header, Request)>(&bytes).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changed_bytes_are_decoded_or_refused(
            which in 0_usize..4,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = encode(WIRE_VERSION, &(header(), &requests()[which]));
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode::<(Header, Request)>(&bytes);
            let _ = decode::<Answer>(&bytes);
        }
    }
}
