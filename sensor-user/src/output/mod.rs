//! How events are written out: JSON for programs, lines for people. Both take events that
//! [`crate::redact`] has been over.

pub mod human;
pub mod json;
mod names;

pub use names::{errno_name, open_flags, proto_name, socket_name, time_text};
