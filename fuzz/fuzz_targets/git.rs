//! Git's `HEAD`, `config` and links.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::git::check(bytes));
