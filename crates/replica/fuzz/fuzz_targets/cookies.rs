//! Cookies as a browser may send them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replica_fuzz::cookies(bytes));
