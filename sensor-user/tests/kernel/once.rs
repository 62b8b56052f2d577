//! Tests that are the same on every kernel: what the daemon makes of records.

mod canaries;
mod clock;
mod folding;
mod losses;
mod starts;
mod storms;
