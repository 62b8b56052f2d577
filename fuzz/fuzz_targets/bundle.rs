//! Scripts inside Bun and Node executables.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::executable::bundle(bytes));
