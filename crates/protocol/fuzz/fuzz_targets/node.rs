//! Two nodes, whatever happens to them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::node(bytes));
