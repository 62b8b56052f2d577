//! A record out of the ring.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::record::check(bytes));
