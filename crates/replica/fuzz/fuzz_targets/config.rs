//! A configuration as an operator may write it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replica_fuzz::config(bytes));
