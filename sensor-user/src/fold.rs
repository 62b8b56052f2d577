//! Folds repeated opens and connects into one event with a count.
//!
//! Opens that come with an epoch are folded by the kernel side: the first of its kind is a record,
//! the others of that epoch are a count which is handed out when the epoch is closed
//! ([`crate::probes::Folds`]). Its event is held until then. What the kernel side does not fold
//! (connects, failed opens, opens of processes without a verdict) is folded here: two fold when
//! everything but time and count is the same and the second comes within [`WINDOW`] of the first.
//!
//! Invariants:
//! - `Σ count out = Σ count in + Σ counted by the kernel side`: nothing is dropped, at any bound, but
//!   the counts [`Fold::repeated`] says no to;
//! - events leave in the order of their first occurrence;
//! - an exec, exit, session or coverage event never overtakes what its process (at a session's end: its
//!   session) did before: held events of that process leave first. Events of other processes may
//!   be overtaken, by at most the window; times tell the order;
//! - an open that leaves before its epoch is closed leaves with what is counted by then. What is
//!   counted later comes as a second event like it, with the count and time of those repeats alone;
//!   such an event may come after the exit of its process and the end of its session.
//!
//! Bounds: [`Limits`], for what is held and as much again for what is kept of events that have left;
//! beyond it the oldest leaves early, and beyond that without being kept.

mod held;

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

use self::held::{Held, Index, ProcessKey, Table};
use skep_event::{ActRef, ChangeRef, ConnectRef, Detail, Event, OpenRef, Phase, SessionId};

use crate::{
    act::{Act, Folding, RecordId},
    clock::Moment,
    step::{About, Relay, Sink, Step, grouped},
};

/// How long the first of a kind is held for others like it.
pub const WINDOW: Duration = Duration::from_secs(1);
/// How much longer an open is held whose epoch does not close.
const LATE: Duration = Duration::from_secs(1);

/// The part of the sensor's memory that may be held: three sixteenths.
const MEMORY_SHARE: (usize, usize) = (3, 16);

/// What may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub events: usize,
    /// Memory of the events and their processes.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // As many as the kernel side's table of folded opens has room for.
            events: 16 * 1024,
            bytes: 12 << 20,
        }
    }
}

/// The folding step. `sink` arguments receive what leaves.
#[derive(Debug)]
pub struct Fold {
    limits: Limits,
    table: Table,
    /// Which event a record of an epoch that is not closed was counted in.
    by_record: HashMap<RecordId, Place, RandomState>,
    /// Every epoch up to this one is closed.
    closed: u32,
    /// Paths are chosen by others: seeded.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    index: Index,
    serial: u64,
    epoch: u32,
}

// === impl Limits ===

impl Limits {
    /// For a sensor that may take so many bytes in all.
    pub fn within(memory_bytes: usize) -> Self {
        Self {
            bytes: memory_bytes / MEMORY_SHARE.1 * MEMORY_SHARE.0,
            ..Self::default()
        }
    }
}

// === impl Step ===

impl Step for Fold {
    const ABOUT: About = About {
        name: "fold",
        module: "`fold/`, `fold_epochs.rs`",
        takes: "events and acts",
        passes_on: "events, each with the count of what repeats it",
        bound: || {
            let events = grouped(Limits::default().events);
            let (parts, of) = MEMORY_SHARE;
            format!("{events} events, {parts}/{of} of `[limits] memory_bytes`")
        },
        counters: &["held", "bytes"],
    };

    fn count(&self) -> Vec<u64> {
        vec![self.held() as u64, self.bytes() as u64]
    }

    fn tick(&mut self, now: Instant, next: &mut impl Sink) {
        Self::tick(self, now, |event| next.event(event));
    }

    fn end(&mut self, next: &mut impl Sink) {
        self.flush(|event| next.event(event));
    }
}

impl Relay for Fold {
    fn event(&mut self, event: Event, _now: Instant, next: &mut impl Sink) {
        self.push(event, |event| next.event(event));
    }

    fn act(&mut self, act: &Act<'_>, now: Instant, next: &mut impl Sink) {
        Self::act(self, act, now, |event| next.event(event));
    }
}

// === impl Fold ===

impl Default for Fold {
    fn default() -> Self {
        Self::new()
    }
}

impl Fold {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            table: Table::default(),
            by_record: HashMap::default(),
            closed: 0,
            hasher: RandomState::default(),
        }
    }

    /// How many events are held.
    pub fn held(&self) -> usize {
        self.table.waiting()
    }

    /// Boot time of the event that waits longest, nanoseconds.
    pub fn oldest(&self) -> Option<u64> {
        let (_, held) = self.table.oldest()?;
        // Acts have one; without it nothing is known to have been handed on.
        Some(held.event.boot_time.unwrap_or_default())
    }

    /// Bytes of what is held and kept.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Half full or more: closing an epoch soon makes room.
    pub fn is_pressed(&self) -> bool {
        let Limits { events, bytes } = self.limits;
        self.table.waiting().max(self.table.told()) >= events / 2
            || self.table.bytes() >= bytes / 2
            || self.by_record.len() >= events
    }

    /// Takes one event that does not fold. What must leave before it, leaves first.
    pub fn push(&mut self, event: Event, mut sink: impl FnMut(Event)) {
        if let Detail::Session(info) = &event.detail
            && info.phase == Phase::End
        {
            self.release_session(event.session, &mut sink);
        }
        if let Some(process) = ProcessKey::of(&event) {
            while let Some(index) = self.table.oldest_of(process) {
                self.leave(index, &mut sink);
            }
        }
        sink(event);
    }

    /// Takes one open or connect. Allocates only where it is the first of its kind.
    pub fn act(&mut self, act: &Act<'_>, now: Instant, mut sink: impl FnMut(Event)) {
        let folding = act.folding;
        let epoch = folding.map(|folding| folding.epoch);
        let hash = self.hash(act);
        if let Some(index) = self.table.find(hash, act, epoch) {
            match self.table.get_mut(index) {
                Some(held) if epoch.is_some() || now < held.closes => {
                    add(&mut held.event, 1, act.at);
                    return self.note(folding, index);
                }
                _ => self.leave(index, &mut sink),
            }
        }
        while self.table.waiting() >= self.limits.events
            || (self.table.bytes() >= self.limits.bytes && self.table.waiting() > 0)
        {
            let Some((oldest, _)) = self.table.oldest() else {
                break;
            };
            self.leave(oldest, &mut sink);
        }
        let held = Held::new(act.to_event(), hash, now + WINDOW, folding);
        let index = self.table.insert(held);
        self.note(folding, index);
    }

    /// Adds what the kernel side has counted since the record that was sent, `last` being the time of
    /// the last of it. False when no event is there to count it in.
    #[must_use]
    pub fn repeated(&mut self, record: RecordId, count: u64, last: Moment) -> bool {
        let Some(place) = self.by_record.remove(&record) else {
            return false;
        };
        let Some(held) = self.table.get_serial(place.index, place.serial) else {
            return false;
        };
        add(&mut held.event, count, last);
        true
    }

    /// Every epoch up to this one is closed: no count of them is still to come.
    pub fn close(&mut self, epoch: u32) {
        self.closed = self.closed.max(epoch);
        let closed = self.closed;
        self.by_record.retain(|_, place| place.epoch > closed);
    }

    /// Lets everything go whose window has closed.
    pub fn tick(&mut self, now: Instant, mut sink: impl FnMut(Event)) {
        while let Some((index, held)) = self.table.oldest()
            && self.is_over(held, now)
        {
            self.leave(index, &mut sink);
        }
        while let Some((index, held)) = self.table.oldest_told()
            && !self.is_open(held)
        {
            self.release(index, &mut sink);
        }
    }

    /// Lets everything go.
    pub fn flush(&mut self, mut sink: impl FnMut(Event)) {
        while let Some((index, _)) = self.table.oldest() {
            self.release(index, &mut sink);
        }
        while let Some((index, _)) = self.table.oldest_told() {
            self.release(index, &mut sink);
        }
        self.by_record.clear();
    }

    /// Whether the kernel side may still count repeats of it.
    fn is_open(&self, held: &Held) -> bool {
        held.folding
            .is_some_and(|folding| folding.epoch > self.closed)
    }

    fn is_over(&self, held: &Held, now: Instant) -> bool {
        match held.folding {
            Some(_) => !self.is_open(held) || held.closes + LATE <= now,
            None => held.closes <= now,
        }
    }

    /// Remembers which event a record was counted in, while the kernel side counts repeats of it.
    fn note(&mut self, folding: Option<Folding>, index: Index) {
        // The kernel side's table holds the first records of its epochs: those are what counts.
        if let Some(Folding { epoch, record }) = folding
            && epoch > self.closed
            && self.by_record.len() < 2 * self.limits.events
            && let Some(serial) = self.table.serial(index)
        {
            let place = Place {
                index,
                serial,
                epoch,
            };
            self.by_record.insert(record, place);
        }
    }

    /// Lets one go that waits. It is kept if more may have to be counted in it.
    fn leave(&mut self, index: Index, sink: &mut impl FnMut(Event)) {
        let Some(held) = self.table.held(index) else {
            return;
        };
        let room = self.table.told() < self.limits.events && self.table.bytes() < self.limits.bytes;
        if !self.is_open(held) || !room {
            return self.release(index, sink);
        }
        let event = held.event.clone();
        self.table.tell(index);
        if let Some(held) = self.table.get_mut(index)
            && let Some((count, last)) = held.event.detail.counted()
        {
            (*count, *last) = (0, None);
        }
        sink(event);
    }

    /// Lets one go for good.
    fn release(&mut self, index: Index, sink: &mut impl FnMut(Event)) {
        let Some(mut held) = self.table.remove(index) else {
            return;
        };
        let count = held.event.detail.counted().map(|(count, _)| *count);
        if count != Some(0) {
            sink(held.event);
        }
    }

    fn release_session(&mut self, session: Option<SessionId>, sink: &mut impl FnMut(Event)) {
        let mut next = self.table.oldest().map(|(index, _)| index);
        while let Some(index) = next {
            next = self.table.after(index);
            if self
                .table
                .held(index)
                .is_some_and(|held| held.event.session == session)
            {
                self.leave(index, sink);
            }
        }
    }

    fn hash(&self, act: &Act<'_>) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write_u32(act.process.pid);
        state.write_u64(act.session.kernel());
        match &act.facts {
            ActRef::Open(OpenRef {
                path, flags, inode, ..
            }) => {
                state.write_u32(flags.0);
                state.write_u32(act.folding.map_or(0, |folding| folding.epoch));
                state.write_u64(inode.unwrap_or(0));
                state.write(path.unwrap_or_default());
            }
            ActRef::Connect(ConnectRef {
                addr, port, path, ..
            }) => {
                addr.hash(&mut state);
                state.write_u16(port.unwrap_or(0));
                state.write(path.unwrap_or_default());
            }
            ActRef::Change(ChangeRef { op, path, to, .. }) => {
                op.hash(&mut state);
                state.write(path.unwrap_or_default());
                state.write(to.unwrap_or_default());
            }
        }
        state.finish()
    }
}

/// Counts `more` in an event, the last of them at `at`.
fn add(event: &mut Event, more: u64, at: Moment) {
    let Moment { time, boot_ns } = at;
    let first = event.time;
    let Some((count, last)) = event.detail.counted() else {
        return;
    };
    if *count == 0 {
        // It has left already. Of its repeats only the last has a known time.
        (*count, *last) = (more, (more > 1).then_some(time));
        (event.time, event.boot_time) = (time, Some(boot_ns));
        return;
    }
    *count = count.saturating_add(more);
    *last = Some(last.unwrap_or(first).max(time));
    // Which was earlier the boot clock says, which nobody sets.
    if event.boot_time.is_none_or(|first_ns| boot_ns < first_ns) {
        (event.time, event.boot_time) = (time, Some(boot_ns));
    }
}

#[cfg(test)]
mod tests;
