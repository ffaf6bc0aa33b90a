//! The committed inputs of the fuzz targets, each tried again: without a fuzzer, on any toolchain.

#[allow(unreachable_pub, reason = "it is the root of a crate as well")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// Tries every input of a target and tells how many there were.
#[expect(clippy::disallowed_methods, reason = "whatever a fuzzer found is added as a file")]
fn replay(target: &str, run: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of inputs")
        .map(|entry| entry.expect("an input").path())
        .collect();
    files.sort();
    for file in &files {
        println!("{}", file.display());
        run(&std::fs::read(file).expect("an input"));
    }
    files.len()
}

/// Tests rule W1: no bytes make the decoder or the node behind it panic.
#[test]
fn frames_of_the_corpus_are_read_or_refused() {
    assert!(replay("frame", targets::frame) >= 30);
}

/// Tests rules R3 and R4: whatever happens, equal versions are equal copies, and nothing is lost.
#[test]
fn nodes_survive_the_events_of_the_corpus() {
    assert!(replay("node", targets::node) >= 10);
}

/// Tests rules V1 and V9: the same under views that change, which nodes learn of late or never.
#[test]
fn nodes_survive_the_views_of_the_corpus() {
    assert!(replay("views", targets::views) >= 10);
}
