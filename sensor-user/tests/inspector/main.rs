//! The inspector: what it reads, as whom, and what becomes of a question that nobody can answer.
//!
//! Looks at real processes through a real inspector (`skep-test-program inspector`); no kernel program takes
//! part. What reads as another user needs root: without it those tests say so, and prove nothing.

mod desk;
mod hung;
mod large;
mod running;
mod stopped;
mod users;
