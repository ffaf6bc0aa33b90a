//! The committed inputs of the fuzz targets, each tried again: without a fuzzer, on any toolchain.
#![cfg(feature = "axum")]

#[allow(unreachable_pub, reason = "it is the root of a crate as well")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// Tries every input of a target and tells how many there were.
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

/// No text makes the reader panic, and what it refuses it explains.
#[test]
fn texts_of_the_corpus_are_configurations_or_explained() {
    assert!(replay("config", targets::config) >= 10);
}

/// Tests rule K4: no cookie is answered with an error, and no token hides a session.
#[test]
fn cookies_of_the_corpus_are_read_or_taken_for_none() {
    assert!(replay("cookies", targets::cookies) >= 10);
}
