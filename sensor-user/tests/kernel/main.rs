//! What the kernel programs see, on this kernel: real processes, real opens, real connects.
//!
//! Runs as root on the machine and, statically linked, as the only program of a virtual machine
//! (`cargo xtask vm`). One sensor per tier is attached for all tests of that tier; the acting program
//! is `skep-demo-agent do …`. Without root nothing can be tested: the tests then say so and fail.
//!
//! # Which kernels a test runs on
//!
//! On every kernel: what differs from kernel to kernel. That is which hooks attach and report, in each
//! tier; what kernel programs read through offsets and helpers (paths, arguments, addresses, the list of
//! tasks); the evasion suite; and one race between an exec and its verdict.
//!
//! On one kernel, the newest: what the daemon makes of records, whatever kernel they come from. That is
//! accounts and losses, storms and their sizes, self-tests and what they tell, restarts, the other races.
//! These tests are in modules named `once`. `cargo xtask vm --full` and `cargo xtask test --full` run them
//! on every kernel too.

mod adoption;
mod agents;
mod changes;
mod environment;
mod evasion;
mod failed_execs;
mod folding;
mod liveness;
mod log;
mod once;
mod opens;
mod place;
mod programs;
mod races;
mod sensor;
mod sockets;
mod tiers;
