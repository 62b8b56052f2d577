//! Parsers of what the collector's peers send.
//!
//! - [`messages`] cuts an HTTP body into gRPC messages and decompresses them;
//! - [`batch`] decodes the events of one message;
//! - [`postgres`] follows the frames of PostgreSQL's protocol, and cuts a text into statements.
//!
//! Invariants: no input leads to a panic, and what an input costs grows no faster than its length. The
//! bounds stand at each module. The crate needs no query engine, so that what it reads can be fuzzed
//! (`fuzz/`) without building one.
#![forbid(unsafe_code)]

pub mod batch;
pub mod messages;
pub mod postgres;
