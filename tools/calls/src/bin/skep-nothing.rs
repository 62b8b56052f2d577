//! `skep-nothing`: a program that does nothing, to be started: without Rust's start-up, so that
//! what is measured is the start of a program and not the program.

#![no_main]

// SAFETY: the C library's start-up code calls a function of this name and signature, once, and no
// other object of this program defines it.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    0
}
