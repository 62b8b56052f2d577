//! Parts that events of several classes have: who did it.

mod agent;
mod process;
mod repository;

pub use agent::Agent;
pub(crate) use process::PROCESSES;
pub use process::{Process, process_bytes};
pub use repository::Repository;
