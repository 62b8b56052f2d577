//! A sensor's answer to `status`, and its page.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::status::check(bytes));
