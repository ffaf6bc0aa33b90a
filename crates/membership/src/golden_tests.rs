//! The bytes of what nodes tell each other of membership, and of what a voter writes to its disk,
//! recorded in `golden.txt`, in the oldest version of the wire that this release speaks.
//!
//! A node of the previous release reads these bytes, and this one reads the disk that the previous
//! release has written. They change with a field of ours, and with a field of openraft's. What goes
//! over the wire gets a new `WIRE_VERSION` in `protocol/src/wire.rs`, what is on the disk a new
//! `FORMAT` in `store/mod.rs`, and the form before is read on. Only when that is given up they are
//! recorded anew: `REPLICA_BLESS=1 cargo test -p membership`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, EntryPayload, Membership, StoredMembership};
use protocol::wire::WIRE_VERSION_MIN;
use protocol::{Copies, Decision, Refused, Roster, Rules};
use serde::Serialize;
use serde::de::DeserializeOwned;
use session::{Inc, Slot};

use crate::bootstrap::{Claimant, Standing};
use crate::letter::{Chart, Letter, News};
use crate::raft_types::{Entry, Group, LogId, Outcome, Place, RaftId, SnapshotMeta, Vote};
use crate::store::{self, Identity, Snapshot, seal};
use crate::wire::{self, Answer, Header, Proposed, Refusal, Request};

const GOLDEN: &str = include_str!("golden.txt");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden.txt");

const GROUP: Group = Group { generation: 2, founder: RaftId(0x0123_4567_89ab_cdef) };
const HEADER: Header = Header { group: GROUP, from: RaftId(1), to: RaftId(u64::MAX) };

/// Bytes of one line of the file.
const LINE_BYTES: usize = 48;

type IsRead = Box<dyn Fn(&[u8]) -> bool>;

/// What is recorded, and whether its bytes are read as the same again.
struct Sample {
    label: String,
    bytes: Vec<u8>,
    is_read: IsRead,
}

fn said<T: Serialize + DeserializeOwned>(label: &str, message: &T) -> Sample {
    let is_read = |bytes: &[u8]| {
        wire::decode::<T>(bytes).is_ok_and(|read| wire::encode(WIRE_VERSION_MIN, &read) == bytes)
    };
    let bytes = wire::encode(WIRE_VERSION_MIN, message);
    Sample { label: label.to_owned(), bytes, is_read: Box::new(is_read) }
}

/// A record under its name, as it is in the file.
fn written<T: Serialize + DeserializeOwned>(name: &str, label: &str, record: &T) -> Sample {
    let bytes = seal::seal(name, record);
    let label = format!("disk: {name}{label}");
    let name = name.to_owned();
    let is_read = move |bytes: &[u8]| {
        seal::unseal::<T>(&name, bytes).is_ok_and(|read| seal::seal(&name, &read) == bytes)
    };
    Sample { label, bytes, is_read: Box::new(is_read) }
}

fn decisions() -> Vec<Decision> {
    let join = |name: &str, start| Decision::Join {
        name: name.into(),
        address: "10.0.0.1:7001".into(),
        zone: "east".into(),
        start,
        version: WIRE_VERSION_MIN,
    };
    let decisions = vec![
        Decision::Begin { generation: 1, copies: Copies::All, protocol: WIRE_VERSION_MIN },
        join("n1", 0xfeed),
        join("n2", u64::MAX),
        Decision::Synced { inc: Inc(3), epoch: 2 },
        Decision::Drain { inc: Inc(3) },
        Decision::Remove { inc: Inc(2), accept_loss: true },
        Decision::Resize { copies: Copies::Count(NonZeroU16::MIN) },
        Decision::Recover { generation: 2, survivors: [Inc(3)].into() },
        Decision::SetProtocol { version: WIRE_VERSION_MIN + 1 },
    ];
    // Whoever adds a decision adds it above.
    for decision in &decisions {
        match decision {
            Decision::Begin { .. }
            | Decision::Join { .. }
            | Decision::Synced { .. }
            | Decision::Drain { .. }
            | Decision::Remove { .. }
            | Decision::Resize { .. }
            | Decision::Recover { .. }
            | Decision::SetProtocol { .. } => {}
        }
    }
    decisions
}

/// In the middle of a transition, with losses.
fn roster() -> Roster {
    let mut roster = Roster::new(16, Rules::default());
    for (decision, index) in decisions().iter().zip(1..) {
        // Some of them change nothing in this place, which they may.
        let _ = roster.apply(index, decision);
    }
    roster
}

fn log_id() -> LogId {
    LogId { leader_id: CommittedLeaderId::new(3, RaftId(1)), index: 300 }
}

fn place() -> Place {
    Place { name: "n1".into(), zone: "east".into() }
}

fn membership() -> Membership<RaftId, Place> {
    // A change under way, and a learner.
    let voters = vec![BTreeSet::from([RaftId(1)]), BTreeSet::from([RaftId(1), RaftId(2)])];
    let nodes = [1, 2, u64::MAX].map(|id| (RaftId(id), place()));
    Membership::new(voters, BTreeMap::from(nodes))
}

fn entries() -> Vec<Entry> {
    let payloads = [EntryPayload::Blank, EntryPayload::Membership(membership())].into_iter();
    let payloads = payloads.chain(decisions().into_iter().map(EntryPayload::Normal));
    payloads.map(|payload| Entry { log_id: log_id(), payload }).collect()
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id()),
        last_membership: StoredMembership::new(Some(log_id()), membership()),
        snapshot_id: "300".into(),
    }
}

fn vote() -> Vote {
    Vote::new_committed(3, RaftId(1))
}

fn standings() -> Vec<(&'static str, Standing)> {
    let voters = BTreeMap::from([(RaftId(1), "n1".into()), (RaftId(2), "n2".into())]);
    let claimant = Claimant { name: "n1".into(), raft_id: RaftId(1) };
    vec![
        ("outside", Standing::Outside { backs: None }),
        ("outside, backing", Standing::Outside { backs: Some(claimant) }),
        ("inside", Standing::Inside(GROUP)),
        ("founded", Standing::Founded { group: GROUP, voters }),
    ]
}

fn letters() -> Vec<Sample> {
    let chart = Chart {
        group: GROUP,
        view: roster().view().clone(),
        voters: BTreeMap::from([(RaftId(1), place())]),
        voters_at: 7,
    };
    let mut letters = vec![
        said("letter: no news", &Letter::News(News::default())),
        said("letter: a chart, please", &Letter::WantChart),
    ];
    for (label, standing) in standings() {
        let news = News {
            directory: Some((RaftId(1), standing)),
            seen: Some(chart.seen()),
            suspects: [Inc(2), Inc(9)].into(),
            leads: true,
        };
        letters.push(said(&format!("letter: news, {label}"), &Letter::News(news)));
    }
    letters.push(said("letter: a chart", &Letter::Chart(Box::new(chart))));
    letters.push(said("letter: a question", &Letter::Ask { number: 300, request: vec![1, 2] }));
    letters.push(said("letter: an answer", &Letter::Answer { number: 300, answer: vec![3] }));
    letters
}

fn requests() -> Vec<Sample> {
    let append = |entries, leader_commit| {
        let (vote, prev_log_id) = (vote(), Some(log_id()));
        Request::Append(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
    };
    let (vote, meta) = (vote(), meta());
    let propose = decisions().into_iter().map(|decision| Request::Propose { decision, wait_ms: 5 });
    let requests = [
        ("heartbeat", append(Vec::new(), None)),
        ("entries", append(entries(), Some(log_id()))),
        ("vote", Request::Vote(VoteRequest::new(Vote::new(4, RaftId(2)), None))),
        ("snapshot", Request::Snapshot { vote, meta, roster: Box::new(roster()) }),
    ];
    let requests = requests.into_iter().chain(propose.map(|propose| ("decision", propose)));
    requests
        .map(|(label, request)| said(&format!("request: {label}"), &(HEADER, request)))
        .collect()
}

fn answers() -> Vec<Sample> {
    let refused = [
        Refused::OutOfPlace,
        Refused::Late,
        Refused::NoMember,
        Refused::Full,
        Refused::WouldLose(vec![Slot::new(9).unwrap()]),
        Refused::NoNews,
        Refused::Downgrade(4),
        Refused::NotSpoken(vec!["n1".into()]),
    ];
    let outcomes = refused.map(|refused| Outcome { index: 300, refused: Some(refused) });
    let applied = outcomes.into_iter().chain([Outcome { index: 301, refused: None }]);
    let refusals = [
        Refusal::Version,
        Refusal::Undecodable,
        Refusal::Group,
        Refusal::Addressee,
        Refusal::Sender,
        Refusal::Stopped,
        Refusal::Outdated,
    ];
    let answers = [
        Answer::Append(AppendEntriesResponse::Success),
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(log_id()))),
        Answer::Append(AppendEntriesResponse::Conflict),
        Answer::Append(AppendEntriesResponse::HigherVote(vote())),
        Answer::Vote(VoteResponse::new(vote(), Some(log_id()), true)),
        Answer::Snapshot { vote: vote() },
        Answer::Proposed(Proposed::NotLeader),
        Answer::Proposed(Proposed::Unknown),
    ];
    let applied = applied.map(|outcome| Answer::Proposed(Proposed::Applied(outcome)));
    let answers = answers.into_iter().chain(applied);
    let answers = answers.chain(refusals.map(Answer::Refused));
    answers.map(|answer| said("answer", &answer)).collect()
}

fn records() -> Vec<Sample> {
    let tag = seal::entry_tag(log_id().index);
    let entries = entries().into_iter().map(|entry| written(&tag, "", &entry));
    let identities = standings().into_iter().map(|(label, standing)| {
        let identity = Identity { cluster: "shop".into(), raft_id: RaftId(7), standing };
        written(store::IDENTITY, &format!(", {label}"), &identity)
    });
    let records = [
        written(store::FORMAT_RECORD, "", &store::FORMAT),
        written(store::COUNT, "", &300_u64),
        written(store::WITNESS, "", &300_u64.to_le_bytes()),
        written(store::VOTE, "", &vote()),
        written(store::COMMITTED, "", &Some(log_id())),
        written(store::PURGED, "", &log_id()),
        written(store::SNAPSHOT, "", &Snapshot { meta: meta(), roster: roster() }),
    ];
    records.into_iter().chain(entries).chain(identities).collect()
}

/// All of them, each label with a number of its own.
fn samples() -> Vec<Sample> {
    let mut samples = [letters(), requests(), answers(), records()].into_iter().flatten();
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let numbered = std::iter::from_fn(|| {
        let sample = samples.next()?;
        let number = numbers.entry(sample.label.clone()).or_default();
        *number += 1;
        let label = format!("{} {number}", sample.label);
        Some(Sample { label, ..sample })
    });
    numbered.collect()
}

fn recorded() -> String {
    let mut text = format!("version {WIRE_VERSION_MIN}\n");
    for sample in samples() {
        text.push_str(&format!("\n{}\n", sample.label));
        for line in sample.bytes.chunks(LINE_BYTES) {
            let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("  {digits}\n"));
        }
    }
    text
}

fn golden(label: &str) -> Vec<u8> {
    let mut lines = GOLDEN.lines().skip_while(|line| *line != label);
    assert!(lines.next().is_some(), "golden.txt has no {label}");
    let digits: Vec<char> =
        lines.map_while(|line| line.strip_prefix("  ")).flat_map(str::chars).collect();
    let bytes = digits.chunks_exact(2).map(String::from_iter);
    bytes.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
}

/// Tests rule W1: what is said and written changes only together with its version.
#[test]
fn the_bytes_of_membership_change_only_with_their_version() {
    let recorded = recorded();
    if std::env::var_os("REPLICA_BLESS").is_some() {
        std::fs::write(FILE, recorded).unwrap();
        return;
    }
    let differs = GOLDEN.lines().zip(recorded.lines()).find(|(old, new)| old != new);
    assert!(
        GOLDEN == recorded,
        "the bytes of membership changed (first at {differs:?}): a node of the previous release \
         cannot read them, or this one not what that has written. See the head of this file"
    );
}

/// Tests rule W1: what another release said and wrote is read as what it meant.
#[test]
fn the_recorded_bytes_are_read_as_what_was_said_and_written() {
    for sample in samples() {
        assert!((sample.is_read)(&golden(&sample.label)), "{}", sample.label);
    }
}
