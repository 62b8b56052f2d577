//! The store as a crate: its guarantees without sockets, on back ends that fail.

pub mod disk;
mod faults;
mod objects;
mod own;
mod power;
mod readers;
mod scene;
