//! gRPC messages in the body of a stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::message::check(bytes));
