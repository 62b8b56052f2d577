//! Redaction of a command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::command::check(bytes));
