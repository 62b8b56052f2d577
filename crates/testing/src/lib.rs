//! Common parts of the tests: a fake collector, a program runner, bounded waits, seeds.
//!
//! Invariants: every wait has a bound, and a panic that names what did not come; what a test starts is
//! ended when its handle is dropped, also when the test fails; random numbers come from a printed seed.
//! This crate is a dev-dependency: no product links it, and all of it panics where a test would.

#![forbid(unsafe_code)]

pub mod collector;
pub mod feeder;
pub mod program;
pub mod random;
pub mod wait;

pub use collector::Collector;
pub use program::{Killed, Program, demo_agent, test_program};
pub use random::Random;
pub use wait::{Bound, Finish, eventually, eventually_or, output_of};
