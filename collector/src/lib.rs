//! The collector: takes the events of many sensors, keeps them, and answers SQL over all of them.
//!
//! ```text
//!  sensor ─gRPC─▶ ingest ─▶ store ─▶ query ─gRPC, HTTP, PostgreSQL─▶ client (`skep`, others)
//! ```
//!
//! - [`batch`] is what a stream carries and the log keeps: events with what they share;
//! - [`schema`] is the one definition of the `events` table;
//! - [`ingest`] checks each stream and acknowledges what is durable;
//! - [`store`] keeps rows, and is the seam for another way to keep them;
//! - [`query`] plans and limits read-only SQL over the store, and [`audit`] records it;
//! - [`fronts`] are where queries come in: gRPC, HTTP and PostgreSQL's protocol;
//! - [`orders`] takes orders to connected sensors, and their answers back;
//! - [`health`] says what is wrong;
//! - [`serve`] puts them behind their sockets.
//!
//! The guarantees, and the tests that prove them, are listed in `docs/collector.md`.
#![forbid(unsafe_code)]

pub mod audit;
pub mod counters;
pub mod error;
pub mod fronts;
pub mod health;
pub mod ingest;
pub mod listen;
pub mod orders;
pub mod query;
mod scan;
pub mod schema;
pub mod serve;
pub mod store;
mod trouble;

pub use error::{Error, Result};
pub use skep_framing::batch;
