//! What the next life of the sensor must know, written down after each round.

use super::Pipeline;
use skep_event::{Coverage, CoverageKind, CoveragePhase, Event, SessionId};

use crate::{
    fold::Fold,
    journal::{Journal, Source},
    track::{
        Judge, Tracker,
        changes::{Kept, KeptSession},
    },
};

impl<J: Judge> Pipeline<J> {
    /// Keeps processes and sessions in `journal` from now on.
    pub fn keep_in(&mut self, journal: Journal) {
        self.tracker.remember_changes();
        self.journal = Some(journal);
    }

    /// Why the journal cannot be written, while that is so.
    pub fn journal_error(&self) -> Option<&str> {
        self.journal.as_ref().and_then(Journal::error)
    }

    /// After a round that began at `began_ns`. Everything up to then has been handed on, but for what
    /// the fold still holds, unless records still wait (`more`).
    pub(super) fn keep(
        &mut self,
        began_ns: u64,
        more: bool,
        last: bool,
        fold: &Fold,
        sink: &mut impl FnMut(Event),
    ) {
        let now = self.clock.now();
        let Some(journal) = &mut self.journal else {
            return;
        };
        let oldest = fold.oldest().map(|time| self.clock.boot(time));
        let seen_ns = match oldest {
            _ if more => 0,
            Some(oldest) => began_ns.min(oldest),
            None => began_ns,
        };
        let changes = self.tracker.take_changes();
        journal.round(changes, seen_ns, &self.tracker, &self.redactor);
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
            (None, None) | (Some(_), Some(_)) => return,
        };
        let coverage = Coverage {
            phase,
            ..Coverage::point(CoverageKind::Degraded, (first, now), 0, reason)
        };
        sink(coverage.of_machine());
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
