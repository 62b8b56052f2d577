//! Whether the collector does all that it is there for.

use std::sync::Arc;

use crate::{audit::Audit, counters::Counters};

/// What is wrong, as far as the collector knows; nothing when all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// One sentence each.
    pub problems: Vec<String>,
}

/// What health is told from.
#[derive(Clone)]
pub struct Vitals {
    pub counters: Arc<Counters>,
    pub audit: Audit,
}

// === impl Vitals ===

impl Vitals {
    pub fn health(&self) -> Health {
        let mut problems = self.audit.problems();
        let damaged = self.counters.files_damaged.get();
        if damaged > 0 {
            problems.push(format!(
                "{damaged} stored files were damaged and set aside since the start; the log names them"
            ));
        }
        Health { problems }
    }
}
