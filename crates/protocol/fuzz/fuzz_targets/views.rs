//! Nodes under views that change, whatever happens to them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::views(bytes));
