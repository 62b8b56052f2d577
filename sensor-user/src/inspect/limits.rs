//! What questions to the inspector may cost.

use std::time::Duration;

use super::wire::{Allowed, Answer};

/// What one question may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub millis: u64,
    /// Bytes read of files.
    pub bytes: u64,
    /// Paths looked up and names read in directories.
    pub entries: u64,
    /// Memory of the process that looks into it, beyond what the inspector has.
    pub memory: u64,
}

// === impl Limits ===

impl Limits {
    /// The defaults, for a sensor that may take so many bytes of memory in all.
    pub fn within(memory_bytes: usize) -> Self {
        Self {
            millis: 2000,
            bytes: 1 << 30,
            entries: 200_000,
            memory: (memory_bytes / 16) as u64,
        }
    }

    pub(super) fn part(&self, part: f64) -> Allowed {
        let Self {
            millis,
            bytes,
            entries,
            memory,
        } = *self;
        let of = |whole: u64| (whole as f64 * part) as u64;
        Allowed {
            millis: of(millis).max(1),
            bytes: of(bytes),
            entries: of(entries),
            memory,
        }
    }

    /// The largest part that was used of a budget.
    pub(super) fn used(&self, answer: &Answer, took: Duration) -> f64 {
        let part = |used: u64, whole: u64| used as f64 / whole.max(1) as f64;
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        part(answer.bytes, self.bytes)
            .max(part(answer.entries, self.entries))
            .max(part(took, self.millis))
    }
}
