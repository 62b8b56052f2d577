//! `/proc/PID/stat`, `cmdline`, `mountinfo`, and `/etc/passwd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::proc::check(bytes));
