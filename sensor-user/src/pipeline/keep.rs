//! What the next life of the sensor must know, written down after each round.

use super::front::Front;
use skep_event::{Coverage, CoverageKind, CoveragePhase, Event, SessionId};
use skep_redact::Redactor;

use crate::{
    journal::{Journal, Source},
    track::{
        Judge, Tracker,
        kept::{Kept, KeptSession},
    },
};

impl<J: Judge> Front<J> {
    /// Keeps processes and sessions in `journal` from now on.
    pub fn keep_in(&mut self, journal: Journal) {
        self.head.track.remember_changes();
        self.journal = Some(journal);
    }

    /// After a round: everything up to `seen_ns` has been handed on. Gives the event that says that the
    /// journal cannot be written, or is written again.
    pub fn keep(&mut self, seen_ns: u64, last: bool, redactor: &Redactor) -> Option<Event> {
        let now = self.clock.now();
        let journal = self.journal.as_mut()?;
        let changes = self.head.track.take_changes();
        journal.round(changes, seen_ns, &self.head.track, redactor);
        if last {
            journal.close(seen_ns);
        }
        // Told when it begins and when it is over.
        let (phase, first, reason) = match (self.unkept_since, journal.error()) {
            (None, Some(error)) => {
                self.unkept_since = Some(now);
                let reason = format!(
                    "the journal of sessions cannot be written: after a restart, sessions that run now \
                     would be found by their processes only: {error}"
                );
                (CoveragePhase::Begin, now, reason)
            }
            (Some(since), None) => {
                self.unkept_since = None;
                let reason = "the journal of sessions is written again".to_owned();
                (CoveragePhase::End, since, reason)
            }
            (None, None) | (Some(_), Some(_)) => return None,
        };
        let coverage = Coverage {
            phase,
            ..Coverage::point(CoverageKind::Degraded, (first, now), 0, reason)
        };
        Some(coverage.of_machine())
    }
}

impl<J: Judge> Source for Tracker<J> {
    fn session(&self, id: SessionId) -> Option<KeptSession> {
        self.kept_session(id)
    }

    fn everything(&self) -> Kept {
        self.kept()
    }
}
