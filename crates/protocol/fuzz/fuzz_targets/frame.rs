//! Frames as a peer may send them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol_fuzz::frame(bytes));
