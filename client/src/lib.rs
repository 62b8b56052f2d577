//! What the command `skep` does: asks the collector in SQL and prints the answers.
//!
//! Invariants:
//! - JSON and CSV carry every value in full; only tables and trees shorten;
//! - tables and trees never pass a control character to the terminal, whatever a sensor sent;
//! - a result that the collector cut is said to be cut;
//! - a file that is written has its name only when it is complete.
//!
//! Bound: a table, a page of a list and a session are held in memory, all of which have a limit of
//! rows. Everything else is written as it arrives.

mod answer;
mod cells;
mod columns;
pub mod commands;
mod connection;
mod csv;
mod error;
pub mod export;
pub mod fleet;
pub mod format;
pub mod lists;
mod names_got;
pub mod output;
pub mod place;
pub mod session;
pub mod story;
mod table;
mod text;
mod tree;
pub mod when;

pub use answer::Answer;
pub use columns::{ColumnError, FromColumns};
pub use connection::{Client, Rows};
pub use error::{ClientError, ExportError};
