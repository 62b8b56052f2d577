//! The `skep-sensor` binary as a user runs it: against a collector on a real socket, with secrets in
//! the agent's commands, with the collector away, and with everything wrong that can be.
//!
//! Needs root, like the sensor.

mod accounts;
mod full_disk;
mod hung;
mod kills;
mod liveness;
mod mistakes;
mod restart;
mod running;
mod secrets;
mod settings;
#[path = "../inspector/stopped.rs"]
mod stopped;
mod storms;
