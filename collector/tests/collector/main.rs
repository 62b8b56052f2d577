//! The collector through its sockets: a real server, a real gRPC client, real files.
//!
//! One binary, since each would link the whole query engine.

mod client;
mod crash;
mod damage;
mod ingest;
mod limits;
mod query;
mod scene;
