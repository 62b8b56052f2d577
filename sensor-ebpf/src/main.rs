//! Kernel programs of the Skep sensor. One file per hook family; what they share:
//!
//! - `maps`: every map, with who reads and who writes it;
//! - `log`: lines for whoever develops them, off unless asked for;
//! - `kernel`: reads of kernel structures through the offset table;
//! - `account`: counts of what was sent, folded and lost;
//! - `interest`: who is watched, decided without a race;
//! - `target`: the file of an open;
//! - `fold`: repeated opens, counted in place of records;
//! - `ring`: sending a record, fairly;
//! - `record`: building one;
//! - `path`: from a `struct path` to bytes;
//! - `syscall`: what a system call was asked;
//! - `environment`: switches among the environment variables.
//!
//! A file uses only files above it in this list, and the hook families use these.
//!
//! Each program is a thin macro-annotated function over a `try_*` body. The panic handler loops:
//! the verifier refuses a program in which it can be reached.
#![no_std]
#![no_main]
// Inline assembly for BPF is not stable yet; `maps` needs one instruction.
#![feature(asm_experimental_arch)]

mod account;
mod change;
mod change_syscall;
mod connect;
mod environment;
mod exec;
mod failed_exec;
mod fold;
mod interest;
mod kernel;
mod lifecycle;
mod log;
mod maps;
mod namespace;
mod open;
mod open_syscall;
mod path;
mod record;
mod ring;
mod socket;
mod syscall;
mod target;
mod unix_send;
mod walk;

/// Refused by the verifier if reachable, which is the point.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers used are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
