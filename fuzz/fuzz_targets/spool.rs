//! Segments and state of a spool, and what is done with them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::spool::check(bytes));
