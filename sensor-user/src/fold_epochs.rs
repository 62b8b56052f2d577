//! When the kernel side's folding of opens turns over, and whether its books agree with ours.
//!
//! An epoch is turned over [`EPOCH`] after the first record of it was read, sooner when the fold is
//! filling up, and not at all while no record names one: an idle sensor makes no system call for it.
//! What a turn hands out belongs to records that were sent at least half an epoch before; it is taken
//! only once so many opens have been read as had been sent by then, so that every count finds its
//! record read.
//!
//! Invariant: `opens the kernel side says it folded = counts handed to the fold + lost`, once folding
//! was stopped and everything taken; before that the left side may be ahead by what is counted in
//! epochs that are not closed.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use skep_abi::{FoldCount, Kind, folded_index, sent_index};

use crate::{act::RecordId, clock::BootClock, fold::Fold, probes::Probes};

/// How long an epoch lasts. Two of them and one look at the ring pass until an open is told.
pub const EPOCH: Duration = Duration::from_millis(400);
/// How long an epoch lasts at least: far longer than any kernel program runs.
const SHORTEST: Duration = Duration::from_millis(100);
/// After this the programs that began under the old epoch have ended.
const SETTLING: Duration = Duration::from_millis(10);

/// The kernel side of folding. The real one is [`Probes`].
pub trait Folding {
    /// Begins the next epoch, hands out what is closed by that (kernel id of the session, and count),
    /// and says which epoch that is.
    fn turn(&mut self, sink: &mut dyn FnMut(u64, &FoldCount)) -> io::Result<u32>;
    /// Folds no more.
    fn stop(&mut self) -> io::Result<()>;
    /// Hands out everything.
    fn take_all(&mut self, sink: &mut dyn FnMut(u64, &FoldCount)) -> io::Result<u32>;
    /// Opens folded so far.
    fn folded(&self) -> u64;
    /// Records of opens sent so far.
    fn sent(&self) -> u64;
}

/// Figures of the hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldCounts {
    /// Opens counted by the kernel side that were added to an event.
    pub added: u64,
    /// Those for which no event was there, or which were not handed out.
    pub lost: u64,
}

/// Turns the epochs over.
#[derive(Debug)]
pub struct FoldEpochs {
    clock: BootClock,
    phase: Phase,
    /// When the current epoch began.
    turned: Instant,
    /// When it is to end; `None` while nothing has to be handed out.
    due: Option<Instant>,
    /// As many opens have to be read before what was folded is taken.
    mark: Option<u64>,
    /// Newest epoch a record named.
    newest: u32,
    closed: u32,
    /// Opens folded until just before the current epoch began.
    folded: u64,
    /// Counts for which there was no event.
    unmatched: u64,
    /// By kernel id of the session, until they are asked for; no more than the kernel side tells apart.
    unmatched_of: HashMap<u64, u64>,
    /// Counts that were not handed out in time.
    missing: u64,
    added: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is folded yet.
    Off,
    On,
    Stopped,
}

// === impl Folding for Probes ===

impl Folding for Probes {
    fn turn(&mut self, sink: &mut dyn FnMut(u64, &FoldCount)) -> io::Result<u32> {
        self.folds.turn(sink)
    }

    fn stop(&mut self) -> io::Result<()> {
        self.folds.stop().map_err(io::Error::other)
    }

    fn take_all(&mut self, sink: &mut dyn FnMut(u64, &FoldCount)) -> io::Result<u32> {
        self.folds.take_all(sink)
    }

    fn folded(&self) -> u64 {
        self.count(folded_index(Kind::Open))
    }

    fn sent(&self) -> u64 {
        self.count(sent_index(Kind::Open))
    }
}

// === impl FoldEpochs ===

impl FoldEpochs {
    pub fn new(clock: BootClock) -> Self {
        Self {
            clock,
            phase: Phase::Off,
            turned: Instant::now(),
            due: None,
            mark: None,
            newest: 0,
            closed: 0,
            folded: 0,
            unmatched: 0,
            unmatched_of: HashMap::new(),
            missing: 0,
            added: 0,
        }
    }

    pub fn counts(&self) -> FoldCounts {
        FoldCounts {
            added: self.added,
            lost: self.unmatched + self.missing,
        }
    }

    /// Counts for which there was no event, by kernel id of the session, since the last time.
    pub fn take_unmatched(&mut self) -> HashMap<u64, u64> {
        std::mem::take(&mut self.unmatched_of)
    }

    /// A record of this epoch was read.
    pub fn saw(&mut self, epoch: u32, now: Instant) {
        if epoch > self.newest {
            self.newest = epoch;
        }
        if self.due.is_none() && self.phase == Phase::On {
            self.due = Some(now + EPOCH);
        }
    }

    /// Turns over if it is time. `read`: records of opens read so far. Folding begins with the first
    /// call.
    pub fn run(&mut self, kernel: &mut impl Folding, fold: &mut Fold, read: u64, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        match self.phase {
            Phase::Stopped => return,
            Phase::Off => {}
            Phase::On => {
                let Some(due) = self.due else { return };
                if self.mark.is_none() && age >= SHORTEST / 2 {
                    self.mark = Some(kernel.sent());
                }
                let is_read = self.mark.is_some_and(|mark| read >= mark);
                let is_due = now >= due || fold.is_pressed();
                if !(is_read && is_due && age >= SHORTEST) {
                    return;
                }
            }
        }
        let folded = kernel.folded();
        match kernel.turn(&mut |session, count| self.take(fold, session, count)) {
            Ok(closed) => {
                self.close(closed, fold);
                // Now handed out: all that was folded until the epoch before the last had ended.
                self.reconcile(self.folded);
            }
            Err(error) => tracing::warn!(%error, "what the kernel has folded cannot be read"),
        }
        self.folded = folded;
        self.phase = Phase::On;
        self.turned = now;
        self.mark = None;
        self.due = (self.newest > self.closed).then_some(now + EPOCH);
    }

    /// Ends folding: from here on every open is sent.
    pub fn stop(&mut self, kernel: &mut impl Folding) {
        if self.phase == Phase::Stopped {
            return;
        }
        if let Err(error) = kernel.stop() {
            tracing::warn!(%error, "the kernel goes on folding");
        }
        std::thread::sleep(SETTLING);
        self.phase = Phase::Stopped;
        self.mark = Some(kernel.sent());
    }

    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// After [`FoldEpochs::stop`]: takes everything that was folded, once every record it belongs to has
    /// been read; false until then.
    pub fn finish(&mut self, kernel: &mut impl Folding, fold: &mut Fold, read: u64) -> bool {
        if self.mark.is_some_and(|mark| read < mark) {
            return false;
        }
        match kernel.take_all(&mut |session, count| self.take(fold, session, count)) {
            Ok(closed) => self.close(closed, fold),
            Err(error) => tracing::warn!(%error, "what the kernel has folded cannot be read"),
        }
        self.reconcile(kernel.folded());
        true
    }

    fn close(&mut self, closed: u32, fold: &mut Fold) {
        self.closed = closed;
        fold.close(closed);
    }

    /// What the kernel side has folded by now must have been handed out.
    fn reconcile(&mut self, folded: u64) {
        let handed_out = self.added + self.unmatched + self.missing;
        self.missing += folded.saturating_sub(handed_out);
    }

    fn take(&mut self, fold: &mut Fold, session: u64, count: &FoldCount) {
        let record = RecordId {
            time_ns: count.first_ns,
            tid: count.first_tid,
        };
        if fold.repeated(record, count.count, self.clock.at(count.last_ns)) {
            self.added += count.count;
        } else {
            self.unmatched += count.count;
            *self.unmatched_of.entry(session).or_default() += count.count;
        }
    }
}

#[cfg(test)]
mod tests;
