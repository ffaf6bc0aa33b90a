//! The bytes of every message, recorded in `wire_golden.txt`, in the oldest version of the wire that
//! this release speaks.
//!
//! A node of the previous release reads these bytes. Whoever changes one of them raises
//! `WIRE_VERSION` and goes on speaking the version before; only when that is given up,
//! `WIRE_VERSION_MIN` is raised and they are recorded anew: `REPLICA_BLESS=1 cargo test -p protocol`.
//! `cargo test -p protocol --features next` shows it for the trial of a next release.

#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "support/values.rs"]
mod values;

use std::collections::BTreeSet;

use protocol::wire::{Frame, Hello, WIRE_VERSION_MIN};

use values::{frames, hellos, kind};

const GOLDEN: &str = include_str!("wire_golden.txt");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire_golden.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).expect("a hex digit")).expect("four bits"))
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// All values as the file has them: a line with the label, then lines of 48 bytes each.
fn recorded() -> String {
    let frames = frames().into_iter().map(|(label, frame)| (label, frame.encode(WIRE_VERSION_MIN)));
    let hellos = hellos().into_iter().map(|(label, hello)| (label, hello.encode()));
    let mut text = format!("version {WIRE_VERSION_MIN}\n");
    for (label, bytes) in frames.chain(hellos) {
        text.push_str(&format!("\n{label}\n"));
        for line in bytes.chunks(48) {
            text.push_str(&format!("  {}\n", hex(line)));
        }
    }
    text
}

fn golden(label: &str) -> Vec<u8> {
    let mut lines = GOLDEN.lines().skip_while(|line| *line != label);
    assert!(lines.next().is_some(), "wire_golden.txt has no {label}");
    unhex(&lines.map_while(|line| line.strip_prefix("  ")).collect::<String>())
}

#[expect(clippy::disallowed_methods, reason = "asked for by whoever records the bytes")]
fn is_blessed() -> bool {
    let blessed = std::env::var_os("REPLICA_BLESS").is_some();
    if blessed {
        std::fs::write(FILE, recorded()).expect("the file of golden bytes can be written");
    }
    blessed
}

/// Tests rule W1: what is sent changes only together with its version.
#[test]
fn the_bytes_of_a_message_change_only_with_the_wire_version() {
    if is_blessed() {
        return;
    }
    let recorded = recorded();
    let differs = GOLDEN.lines().zip(recorded.lines()).find(|(old, new)| old != new);
    assert!(
        GOLDEN == recorded,
        "the bytes of a message changed (first at {differs:?}): a node of the previous release \
         cannot read them. Give what changed a new WIRE_VERSION in src/wire.rs"
    );
    assert_eq!(GOLDEN.lines().next(), Some(format!("version {WIRE_VERSION_MIN}").as_str()));
}

/// Tests rule W1: what a peer sent is read as what it meant.
#[test]
fn the_recorded_bytes_are_read_as_the_values_that_were_written() {
    if is_blessed() {
        return;
    }
    for (label, frame) in frames() {
        assert_eq!(Frame::decode(&golden(&label)), Ok(frame), "{label}");
    }
    for (label, hello) in hellos() {
        assert_eq!(Hello::decode(&golden(&label)), Ok(hello), "{label}");
    }
}

#[test]
fn every_kind_of_message_is_recorded() {
    let kinds: BTreeSet<usize> = frames()
        .iter()
        .filter_map(|(_, frame)| match frame {
            Frame::Envelope(envelope) => Some(kind(&envelope.message)),
            Frame::Heartbeat(_) | Frame::Letter(_) => None,
            #[cfg(feature = "next")]
            Frame::Trial(_) => None,
        })
        .collect();
    assert!(kinds.into_iter().eq(0..15));
}
