//! io_urings: the open hook of this host does not see what is opened through them, so that one was set up
//! is told, and is a gap in its session.
//!
//! The first of a session is told at once, the others together, at most once in a while
//! ([`super::rings::Rings::is_due`]) and at the session's end: an agent that sets up one after another does
//! not fill the lane of findings with it.

use skep_abi::Hook;

use super::{Judge, Tracker, rings::Untold};
use skep_event::{Coverage, CoverageKind, Detail, Event, SessionId, UnixNanos};

use crate::{decode::Common, step::Sink, verdicts::Verdicts};

impl<J: Judge> Tracker<J> {
    pub(super) fn io_uring(
        &mut self,
        common: &Common,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let Some((id, process)) = self.doer(common, verdicts, out) else {
            return;
        };
        let now = self.clock.unix(common.time_ns);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let is_first = session.rings.told.is_none();
        session.rings.add(now, process);
        self.untold_rings.insert(id);
        if session.rings.is_due(now) {
            self.tell_rings(id, now, out);
        }
        if is_first && let Some(info) = self.note_gap(id) {
            self.emit(common, id, None, None, Detail::Session(info), out);
        }
    }

    /// Tells of the io_urings whose time has come; of all of them with `last`.
    pub fn tell_due_rings(&mut self, now: UnixNanos, last: bool, out: &mut impl Sink) {
        let is_due = |id: &SessionId| {
            let session = self.sessions.get(*id);
            last || session.is_none_or(|session| session.rings.is_due(now) || !session.is_live())
        };
        let due: Vec<SessionId> = self.untold_rings.iter().copied().filter(is_due).collect();
        for id in due {
            self.tell_rings(id, now, out);
        }
    }

    /// Tells of those of a session, if there are any.
    pub(super) fn tell_rings(&mut self, id: SessionId, now: UnixNanos, out: &mut impl Sink) {
        if !self.untold_rings.remove(&id) {
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(untold) = session.rings.untold.take() else {
            return;
        };
        let Untold {
            count,
            first,
            last,
            process,
        } = untold;
        session.rings.told = Some(now);
        let hook = Some(Hook::TpIoUringSetup.name());
        let reason = "io_urings were set up; what is opened through them is not seen by this host's \
                      open hook";
        let coverage = Coverage {
            hook,
            ..Coverage::point(CoverageKind::IoUring, (first, last), count, reason)
        };
        out.event(Event {
            process: Some(process),
            hook,
            ..self.told(id, last, Detail::Coverage(coverage))
        });
    }
}
