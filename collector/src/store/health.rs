//! What is wrong now, for people and machines that ask.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

/// Problems that are remembered of one part.
const MOST: usize = 20;

/// Problems by the part that has them; a part without problems is not in it.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<&'static str, Vec<String>>>);

// === impl Health ===

impl Health {
    /// The part has this problem now, and no other; whether it had none before.
    pub(super) fn set(&self, part: &'static str, problem: String) -> bool {
        self.parts().insert(part, vec![problem]).is_none()
    }

    /// The part has this problem, too; the oldest are forgotten.
    pub(super) fn add(&self, part: &'static str, problem: String) {
        let mut parts = self.parts();
        let problems = parts.entry(part).or_default();
        problems.push(problem);
        let over = problems.len().saturating_sub(MOST);
        problems.drain(..over);
    }

    /// Whether the part had problems.
    pub(super) fn clear(&self, part: &'static str) -> bool {
        self.parts().remove(part).is_some()
    }

    /// Part and problem, each; none when all is well.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let parts = self.parts();
        let each = parts
            .iter()
            .flat_map(|(part, problems)| problems.iter().map(|problem| (*part, problem.clone())));
        each.collect()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<String>>> {
        self.0.lock().expect("no holder of the health panics")
    }
}
