//! What people type and read: spans of time, and text on a terminal.
//!
//! The sensor, the collector and the client share it, so that one form is learnt once and one rule
//! says what reaches a terminal.

#![forbid(unsafe_code)]

pub mod span;
pub mod terminal;
