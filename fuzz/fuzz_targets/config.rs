//! The sensor's configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::config::check(bytes));
