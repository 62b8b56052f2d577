//! The kernel's type information (`/sys/kernel/btf/vmlinux`).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::btf::check(bytes));
