//! Code in arguments, and options that load it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::executable::code(bytes));
