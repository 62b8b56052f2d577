//! Zip archives: their directory, their members, what they start.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::executable::archive(bytes));
