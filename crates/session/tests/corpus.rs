//! The committed inputs of the fuzz targets, each tried again: without a fuzzer, on any toolchain.

#[allow(unreachable_pub, reason = "it is the root of a crate as well")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Each file of a folder of inputs, compiled in.
macro_rules! inputs {
    ($folder:literal: $($file:literal)*) => {
        [$(($file, include_bytes!(concat!("../fuzz/corpus/", $folder, "/", $file)).as_slice())),*]
    };
}

/// Tests rule K4: no text makes the decoder panic, and what it reads is written only so.
#[test]
fn no_cookie_is_read_in_two_ways_or_breaks_the_reader() {
    let inputs = inputs!("token":
        "body-empty-version"
        "body-four-writers"
        "body-of-another-layout"
        "body-one-writer"
        "body-with-half-an-entry"
        "body-with-too-many-writers"
        "body-with-writers-out-of-order"
        "body-with-writers-of-64"
        "empty"
        "id"
        "id-with-unused-bits"
        "not-utf8"
        "token"
        "token-padded"
        "token-truncated"
    );
    for (file, bytes) in inputs {
        println!("{file}");
        targets::token(bytes);
    }
}
