//! The journal of sessions of an earlier life.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::journal::check(bytes));
