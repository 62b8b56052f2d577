//! A text of several SQL statements.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::postgres::statements(bytes));
