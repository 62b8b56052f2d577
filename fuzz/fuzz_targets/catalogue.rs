//! A catalogue file of agent families.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::catalogue::check(bytes));
