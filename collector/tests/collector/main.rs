//! The collector through its sockets: a real server, a real gRPC client, real files.
//!
//! One binary, since each would link the whole query engine.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod audit;
mod care;
mod client;
mod client_export;
mod clones;
mod crash;
mod damage;
mod errors;
mod faults;
mod golden;
mod http;
mod ingest;
mod limits;
mod orders;
mod postgres;
mod program;
mod query;
mod recovery;
mod rot;
mod scene;
