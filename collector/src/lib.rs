//! The collector: takes the events of many sensors, keeps them, and answers SQL over all of them.
//!
//! ```text
//!  sensor ─gRPC─▶ ingest ─▶ store ─▶ query ─gRPC─▶ client (`skep`)
//! ```
//!
//! - [`schema`] is the one definition of the `events` table;
//! - [`ingest`] checks each stream and acknowledges what is durable;
//! - [`store`] keeps rows, and is the seam for another way to keep them;
//! - [`query`] plans and limits read-only SQL over the store;
//! - [`serve`] puts them behind one socket;
//! - [`client`] is what the command `skep` does with the answers.
//!
//! The guarantees, and the tests that prove them, are listed in `docs/collector.md`.
#![forbid(unsafe_code)]

pub mod client;
pub mod counters;
pub mod error;
pub mod ingest;
pub mod query;
mod scan;
pub mod schema;
pub mod serve;
mod span;
pub mod store;

pub use error::{Error, Result};
