//! How events are written out for people. Takes events that [`skep_redact`] has been over.

pub mod human;
mod socket;

pub use socket::socket_name;
