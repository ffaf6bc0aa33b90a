//! The committed inputs of the fuzz targets, each tried again: without a fuzzer, on any toolchain.

#[allow(unreachable_pub, reason = "it is the root of a crate as well")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

#[path = "support/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");

/// Tests rule W1: no bytes make the decoder or the node behind it panic.
#[test]
fn frames_of_the_corpus_are_read_or_refused() {
    assert!(replay(format!("{CORPUS}/frame"), targets::frame) >= 30);
}

/// Tests rules R3 and R4: whatever happens, equal versions are equal copies, and nothing is lost.
#[test]
fn nodes_survive_the_events_of_the_corpus() {
    assert!(replay(format!("{CORPUS}/node"), targets::node) >= 10);
}

/// Tests rules V1 and V9: the same under views that change, which nodes learn of late or never.
#[test]
fn nodes_survive_the_views_of_the_corpus() {
    assert!(replay(format!("{CORPUS}/views"), targets::views) >= 10);
}
