//! Whether the collector does all that it is there for.

use crate::{
    audit::Audit,
    store::{ReaderHealth, Store},
};

/// What is wrong, as far as the collector knows; nothing when all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// One sentence each.
    pub problems: Vec<String>,
    /// How far each reader of the log is.
    pub readers: Vec<ReaderHealth>,
}

/// What health is told from.
#[derive(Clone)]
pub struct Vitals {
    pub store: Store,
    pub audit: Audit,
}

// === impl Vitals ===

impl Vitals {
    pub fn health(&self) -> Health {
        let mut problems = self.audit.problems();
        let of_store = self.store.health().problems();
        problems.extend(
            of_store
                .into_iter()
                .map(|(part, problem)| format!("{part}: {problem}")),
        );
        Health {
            problems,
            readers: self.store.readers(),
        }
    }
}
