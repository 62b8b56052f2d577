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

mod answer;
mod complexity;
mod engine;
mod error;
mod events;
mod locate;
mod names;
mod pg_catalog;
mod question;
mod run;
mod statement;
mod tables;
mod time;
mod views;

pub use crate::audit::Origin;
pub use answer::{Answer, Part};
pub use engine::{Engine, Limits};
pub use error::{Kind, Position, QueryError, SqlError, Wrong};
pub use question::{Dialect, Question};
pub(crate) use statement::parse as parse_postgres;
pub use statement::{Description, Parameter};
pub use views::VIEWS;
