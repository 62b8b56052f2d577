//! What the kernel programs see, on this kernel: real processes, real opens, real connects.
//!
//! Runs as root on the machine and, statically linked, as the only program of a virtual machine
//! (`cargo xtask vm`). One sensor per tier is attached for all tests of that tier; the acting program
//! is `skep-demo-agent do …` (from `SKEP_DEMO_AGENT`, else beside the test binary's directory).
//! Without root nothing can be tested: the tests then say so and fail.

mod adoption;
mod agents;
mod evasion;
mod folding;
mod liveness;
mod losses;
mod opens;
mod programs;
mod races;
mod sensor;
mod sockets;
mod tiers;
