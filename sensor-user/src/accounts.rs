//! The accounts of what was lost: read from the kernel and from the steps here, told as events.
//!
//! The kernel programs count each loss twice: for the machine, by kind and cause, and for the session
//! it belongs to. Invariants:
//! - over all `lost` events told, Σ count by (hop, kind, cause) equals the counter it is read from, to
//!   the last record: what is attributed to a session is taken off what is told of the machine;
//! - every event names the range of time in which it happened: from the last look to this one;
//! - throttling of a session is a `coverage` event when it begins and one when it ends, with the
//!   number of records held back;
//! - a session something was lost of, here or in the kernel, has a gap, and says so; losses that go on
//!   are one gap. (What was lost of an agent before its verdict is told of the machine; the tracker marks
//!   the gap.)

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use skep_abi::{CANARY_SESSION, Cause, Kind, PENDING_SESSION, SessionState};
use skep_event::{
    Coverage, CoverageKind, CoveragePhase, Detail, Event, Lost, SessionId, UnixNanos,
};

use crate::{
    clock::BootClock,
    probes::{Batch, KernelCounts},
};

/// Counts by kind (less 1) and cause.
pub type Counts = [[u64; Cause::ALL.len()]; Kind::ALL.len()];

/// Losses of the steps in this process, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnLosses {
    /// Records that do not follow the ABI.
    pub malformed: u64,
    /// Processes and sessions not followed because a table was full.
    pub table_full: u64,
    /// Folded opens whose count could not be handed out.
    pub fold: u64,
}

/// What of them is one session's, since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfSession {
    pub table_full: u64,
    pub fold: u64,
}

/// By kernel id.
pub type OfSessions = HashMap<u64, OfSession>;

/// Who a kernel session id stands for.
pub trait Sessions {
    fn by_kernel(&self, kernel: u64) -> Option<SessionId>;
    /// Notes a gap in a session; the event that says so.
    fn gap(&mut self, session: SessionId, time: UnixNanos) -> Option<Event>;
}

/// The accounts: where they are read, and what was told of them.
pub struct Accounts {
    /// `SESSIONS`.
    map: OwnedFd,
    batch: Batch<u64, SessionState>,
    clock: BootClock,
    books: Books,
}

/// What the kernel side and the steps here have counted by now.
struct Counted<'a> {
    machine: &'a [KernelCounts],
    own: OwnLosses,
    own_of: &'a OfSessions,
}

/// What has been told so far.
#[derive(Default)]
struct Books {
    /// The last look.
    at: UnixNanos,
    /// Told of sessions, and of the machine besides.
    attributed: Counts,
    unattributed: Counts,
    own: OwnLosses,
    /// By kernel id, for as long as the entry is there.
    sessions: HashMap<u64, Told>,
}

/// What has been told of one session.
#[derive(Default)]
struct Told {
    lost: Counts,
    /// It lost something at the last look as well.
    in_gap: bool,
    /// Since when it is being held back, and how many records so far.
    throttled: Option<(UnixNanos, u64)>,
    /// What the steps here have lost of it, not told yet.
    own: OfSession,
    /// Looked at this time.
    seen: bool,
}

/// Hop, record and cause of what is lost here.
const MALFORMED: (&str, &str, &str) = ("decode", "any", "malformed");
const TABLE_FULL: (&str, &str, &str) = ("track", "any", "table_full");
const NO_EVENT: (&str, &str, &str) = ("fold", "open", "no_event");

// === impl Accounts ===

impl Accounts {
    pub fn new(map: OwnedFd, clock: BootClock) -> Self {
        Self {
            map,
            batch: Batch::default(),
            books: Books {
                at: clock.now(),
                ..Books::default()
            },
            clock,
        }
    }

    /// Tells what was lost since the last look. `machine` must have been read before this is called:
    /// the kernel counts for a session first, so the sessions, read now, then have all of it that is
    /// theirs, and nothing is told of the machine now and of a session next time. `own_of` is a part
    /// of what is new in `own`.
    pub fn look(
        &mut self,
        machine: &[KernelCounts],
        own: OwnLosses,
        own_of: &OfSessions,
        known: &mut impl Sessions,
        sink: impl FnMut(Event),
    ) -> io::Result<()> {
        let now = self.clock.now();
        self.batch.read(self.map.as_fd())?;
        let counted = Counted {
            machine,
            own,
            own_of,
        };
        self.books
            .tell(now, self.batch.iter(), &counted, known, sink);
        Ok(())
    }
}

// === impl Books ===

impl Books {
    fn tell<'a>(
        &mut self,
        now: UnixNanos,
        kernel: impl Iterator<Item = (&'a u64, &'a SessionState)>,
        counted: &Counted<'_>,
        known: &mut impl Sessions,
        mut sink: impl FnMut(Event),
    ) {
        let Counted {
            machine,
            own,
            own_of,
        } = counted;
        let range = (std::mem::replace(&mut self.at, now), now);
        let Self {
            attributed,
            sessions,
            ..
        } = self;
        let mut of_sessions = OfSession::default();
        for (id, own) in *own_of {
            if known.by_kernel(*id).is_some() {
                sessions.entry(*id).or_default().own = *own;
                of_sessions.table_full += own.table_full;
                of_sessions.fold += own.fold;
            }
        }
        for (id, state) in kernel {
            if *id == CANARY_SESSION || *id == PENDING_SESSION {
                continue;
            }
            let Some(session) = known.by_kernel(*id) else {
                continue; // told as the machine's
            };
            let told = sessions.entry(*id).or_default();
            told.look(session, &state.lost, range, attributed, known, &mut sink);
        }
        for (id, told) in &mut *sessions {
            // The kernel has no account of its own for it.
            if told.own != OfSession::default()
                && let Some(session) = known.by_kernel(*id)
            {
                let lost = told.lost;
                told.look(session, &lost, range, attributed, known, &mut sink);
            }
        }
        // An entry is taken out when its session is forgotten: nothing is held back any more.
        sessions.retain(|id, told| {
            let gone = !std::mem::take(&mut told.seen);
            if gone && let Some(session) = known.by_kernel(*id) {
                told.end_throttling(session, now, &mut sink);
            }
            !gone
        });
        self.machine(machine, range, &mut sink);
        self.own(*own, of_sessions, range, &mut sink);
    }

    fn machine(
        &mut self,
        machine: &[KernelCounts],
        range: (UnixNanos, UnixNanos),
        sink: &mut impl FnMut(Event),
    ) {
        for KernelCounts { kind, lost, .. } in machine {
            for (cause, total) in lost {
                let (row, column) = (*kind as usize - 1, *cause as usize);
                let told = &mut self.unattributed[row][column];
                let new = total.saturating_sub(*told + self.attributed[row][column]);
                *told += new;
                lose(None, "kernel", kind.name(), cause.name(), new, range, sink);
            }
        }
    }

    /// What is of no session; `told_of` was told of sessions just now.
    fn own(
        &mut self,
        own: OwnLosses,
        told_of: OfSession,
        range: (UnixNanos, UnixNanos),
        sink: &mut impl FnMut(Event),
    ) {
        let OwnLosses {
            malformed,
            table_full,
            fold,
        } = own;
        let told = std::mem::replace(&mut self.own, own);
        let mut tell = |(hop, record, cause), now: u64, before: u64| {
            let new = now.saturating_sub(before);
            lose(None, hop, record, cause, new, range, sink);
        };
        let told_full = told.table_full + told_of.table_full;
        tell(MALFORMED, malformed, told.malformed);
        tell(TABLE_FULL, table_full, told_full);
        tell(NO_EVENT, fold, told.fold + told_of.fold);
    }
}

// === impl Told ===

impl Told {
    fn look(
        &mut self,
        session: SessionId,
        lost: &Counts,
        range: (UnixNanos, UnixNanos),
        attributed: &mut Counts,
        known: &mut impl Sessions,
        sink: &mut impl FnMut(Event),
    ) {
        self.seen = true;
        let OfSession { table_full, fold } = std::mem::take(&mut self.own);
        let (mut any, mut held_back) = (table_full + fold > 0, 0);
        for ((hop, record, cause), count) in [(TABLE_FULL, table_full), (NO_EVENT, fold)] {
            lose(Some(session), hop, record, cause, count, range, sink);
        }
        for kind in Kind::ALL {
            for cause in Cause::ALL {
                let (row, column) = (kind as usize - 1, cause as usize);
                let new = lost[row][column].saturating_sub(self.lost[row][column]);
                if new == 0 {
                    continue;
                }
                any = true;
                attributed[row][column] += new;
                if cause == Cause::Throttled {
                    held_back += new;
                }
                let (kind, cause) = (kind.name(), cause.name());
                lose(Some(session), "kernel", kind, cause, new, range, sink);
            }
        }
        self.lost = *lost;
        if any
            && !self.in_gap
            && let Some(event) = known.gap(session, range.1)
        {
            sink(event);
        }
        self.in_gap = any;
        if held_back == 0 {
            self.end_throttling(session, range.1, sink);
            return;
        }
        match &mut self.throttled {
            Some((_, count)) => *count += held_back,
            None => {
                let since = range.0;
                self.throttled = Some((since, held_back));
                let reason = "the session was filling the kernel's ring: its records are held back, \
                              so that those of others still fit";
                let phase = CoveragePhase::Begin;
                throttle(session, phase, (since, since), 0, reason, sink);
            }
        }
    }

    fn end_throttling(&mut self, session: SessionId, now: UnixNanos, sink: &mut impl FnMut(Event)) {
        if let Some((since, count)) = self.throttled.take() {
            let reason = "the session's records flow again";
            throttle(
                session,
                CoveragePhase::End,
                (since, now),
                count,
                reason,
                sink,
            );
        }
    }
}

fn throttle(
    session: SessionId,
    phase: CoveragePhase,
    (first, last): (UnixNanos, UnixNanos),
    count: u64,
    reason: &str,
    sink: &mut impl FnMut(Event),
) {
    tracing::warn!(%session, phase = phase.name(), count, "throttled");
    let coverage = Coverage {
        phase,
        ..Coverage::point(CoverageKind::Throttled, (first, last), count, reason)
    };
    let detail = Detail::Coverage(coverage);
    sink(Event::told(Some(session), last, detail));
}

fn lose(
    session: Option<SessionId>,
    hop: &'static str,
    record: &'static str,
    cause: &'static str,
    count: u64,
    (first, last): (UnixNanos, UnixNanos),
    sink: &mut impl FnMut(Event),
) {
    if count == 0 {
        return;
    }
    match session {
        Some(session) => tracing::warn!(hop, record, cause, count, %session, "records lost"),
        None => tracing::warn!(hop, record, cause, count, "records lost"),
    }
    let detail = Detail::Lost(Lost {
        hop,
        record,
        cause,
        count,
        first,
        last,
    });
    sink(Event::told(session, last, detail));
}

#[cfg(test)]
mod tests;
