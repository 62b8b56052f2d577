//! Frames of PostgreSQL's protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::postgres::frames(bytes));
