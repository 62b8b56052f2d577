//! Redaction of a text with URLs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::url::check(bytes));
