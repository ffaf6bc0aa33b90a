//! The committed inputs of the fuzz targets, each tried again: without a fuzzer, on any toolchain.
#![cfg(feature = "axum")]

#[allow(unreachable_pub, reason = "it is the root of a crate as well")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

#[path = "../../protocol/tests/support/replay.rs"]
mod replay;

use replay::replay;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");

/// No text makes the reader panic, and what it refuses it explains.
#[test]
fn texts_of_the_corpus_are_configurations_or_explained() {
    assert!(replay(format!("{CORPUS}/config"), targets::config) >= 10);
}

/// Tests rule K4: no cookie is answered with an error, and no token hides a session.
#[test]
fn cookies_of_the_corpus_are_read_or_taken_for_none() {
    assert!(replay(format!("{CORPUS}/cookies"), targets::cookies) >= 10);
}
