//! io_urings that a session has set up, and when they are told of.

use std::{sync::Arc, time::Duration};

use skep_event::{Process, UnixNanos};

/// How often a session is told to have set up more of them.
const EVERY: Duration = Duration::from_mins(1);

/// What a session has set up.
#[derive(Debug, Default)]
pub struct Rings {
    /// When that was told last.
    pub told: Option<UnixNanos>,
    /// Set up since.
    pub untold: Option<Untold>,
}

/// Set up, and not told of yet.
#[derive(Debug)]
pub struct Untold {
    pub count: u64,
    pub first: UnixNanos,
    pub last: UnixNanos,
    /// Who set up the last.
    pub process: Arc<Process>,
}

impl Rings {
    pub fn add(&mut self, now: UnixNanos, process: Arc<Process>) {
        let before = self.untold.take();
        self.untold = Some(Untold {
            count: before.as_ref().map_or(0, |before| before.count) + 1,
            first: before.map_or(now, |before| before.first),
            last: now,
            process,
        });
    }

    pub fn is_due(&self, now: UnixNanos) -> bool {
        // A clock that was set back makes nobody wait until it has caught up.
        let is_past = |told: UnixNanos| now < told || now.0 - told.0 >= EVERY.as_nanos() as u64;
        self.told.is_none_or(is_past)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
        let rings = Rings {
            told: Some(at(1000)),
            untold: None,
        };
        assert!(!rings.is_due(at(1059)));
        assert!(rings.is_due(at(1060)));
        assert!(rings.is_due(at(10)));
        assert!(Rings::default().is_due(at(0)));
    }
}
