//! Simulated sensors: the load of the collector's benchmarks and crash tests.
//!
//! ```text
//! world ─▶ simulate ─▶ batch ─▶ spool ─▶ uplink ──gRPC──▶ collector
//!                                  ◀── acknowledged ──
//! ```
//!
//! Invariants:
//! - the same seed, number of sensors and time give the same bytes, in every run;
//! - a batch is kept until it is acknowledged, and sent again after any failure, from the event after the
//!   one that the collector says it has stored;
//! - what was acknowledged is counted as it was made, never as it is stored: the account can be held against
//!   any reader of the table.
//!
//! Bounds: at most 4 MiB of events are under way for each stream; batches made beforehand
//! (`prepare`) are all in memory.
#![forbid(unsafe_code)]

pub mod ask;
mod batch;
mod draw;
mod encode;
mod figures;
mod histogram;
pub mod null;
pub mod raw;
pub mod run;
pub mod simulate;
mod spool;
pub mod tally;
mod uplink;
pub mod world;

pub use self::run::{Account, LoadError, Options, Report, Source, run};
