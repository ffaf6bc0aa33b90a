//! Committed inputs of fuzz targets, each tried again: without a fuzzer, on any toolchain. Also used
//! by the corpora of other crates.

use std::path::Path;

/// Tries every input of a folder and tells how many there were.
#[allow(clippy::disallowed_methods, reason = "whatever a fuzzer found is added as a file")]
pub(crate) fn replay(folder: impl AsRef<Path>, run: fn(&[u8])) -> usize {
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
