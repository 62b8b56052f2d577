//! Read-only SQL over everything that was received.
//!
//! ```text
//!  grpc ─┐
//!  http ─┼─▶ engine ─▶ complexity ─▶ statement ─▶ run ─▶ rows
//!  postgres ─┘   └─▶ audit
//! ```
//!
//! [`Engine`] is what all front ends ask, and where the limits and the invariants are; the front ends
//! are [`crate::fronts`].

mod complexity;
mod engine;
mod error;
mod events;
mod locate;
mod names;
mod pg_catalog;
mod run;
mod statement;
mod tables;
mod time;
mod views;

pub use engine::{Answer, Engine, Limits, Origin, Part, Question};
pub use error::{Kind, QueryError, SqlError, Wrong};
pub use locate::Position;
pub(crate) use statement::parse as parse_postgres;
pub use statement::{Description, Dialect, Parameter};
pub use views::VIEWS;
