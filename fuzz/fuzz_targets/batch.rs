//! A batch of events that a sensor sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::batch::check(bytes));
