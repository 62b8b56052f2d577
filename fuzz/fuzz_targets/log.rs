//! A line of the kernel programs' log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::log::check(bytes));
