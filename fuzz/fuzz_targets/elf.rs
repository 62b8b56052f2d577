//! Headers, notes and symbols of an ELF file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz_targets::executable::elf(bytes));
