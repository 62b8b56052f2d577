//! Events on disk until the collector has acknowledged them.
//!
//! # Lanes
//!
//! There are two spools, each with its own directory, epoch and numbers ([`Lanes`]): one of findings
//! and of what says how much of the rest to believe (session, lost, coverage), and one of the bulk. So
//! a burst of the bulk neither crowds out a finding nor holds it up. What the bulk has to drop is told
//! in the lane of findings.
//!
//! # Layout
//!
//! A lane is a directory of *segments* (append-only files of records, each with its length and CRC-32) and a
//! small `state` file. Segments have ascending ids; a record has no number of its own on disk.
//!
//! # Sequence numbers
//!
//! The collector wants dense sequences within an epoch, yet a bounded spool must be able to drop. So
//! the number of a record is *its rank*: the first record that is not acknowledged has
//! `acked_seq + 1`, and so on. Numbers are handed out by [`Spool::read_from`], which *pins* them: what
//! was once handed out (and so may be stored by the collector) keeps its number, also after a crash,
//! until it is acknowledged. Only records that were never handed out can be dropped, oldest segment
//! first; `lost` events take the place of the segment, with count and range, and what follows
//! moves up. The bulk's go to the lane of findings ([`disk`]). Nothing is renumbered that anyone has seen.
//!
//! # Invariants
//!
//! - A record is handed out only after it is on disk for good (`fdatasync`), and so is the pin. A
//!   power cut therefore never makes one number mean two records.
//! - `events in = events out + Σ lost[cause]`, where a folded event counts for what it stands for:
//!   a `lost` event that is itself dropped is carried over into the one that replaces it. Exempt is
//!   what a *power cut* takes of the last second (`append` alone does not sync; [`Spool::sync`] is
//!   called each second); SIGKILL takes nothing.
//! - A torn record at the end of the last segment is cut off when the spool is opened; a damaged one
//!   elsewhere ends its segment, and what it hid is counted as lost (`corrupt`), once.
//! - When numbers can no longer be trusted (state file gone, pinned records damaged, the collector
//!   knows less than it acknowledged, or has stored something else: the machine was cloned) a new
//!   epoch begins, numbered from 1. No epoch is used twice, nor by both lanes.
//! - A disk that is full or cannot be written never stops the sensor: what cannot be kept is counted
//!   as lost (`io`), and writing is tried again. That count is in memory until it can be written, and
//!   until [`Spool::sync`] if it is the bulk's, so that a storm of losses is told once a second.
//!
//! # Bounds
//!
//! `max_bytes` of segments, and a few words of memory for each record that there is something to note
//! of ([`Note`]: self-tests, records that cannot be read); one record at most [`MAX_RECORD`]; a segment an eighth of the spool, at
//! most 8 MiB. Opening reads every segment once.

#![forbid(unsafe_code)]

mod disk;
mod inner;
mod lanes;
mod losses;
mod notes;
mod recovery;
mod segment;
mod state;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use skep_proto::v1;
use tokio::sync::Notify;

use self::{disk::Disk, inner::Inner, losses::Losses};

pub use lanes::Lanes;
pub use segment::MAX_RECORD;
pub use segment::frame;
pub use skep_event::{Lane, Note};

/// Where a spool is, and how large it may be.
#[derive(Clone, Debug)]
pub struct Place {
    pub directory: PathBuf,
    pub max_bytes: u64,
    pub lane: Lane,
}

/// Why nothing could be read or acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("spool {directory} cannot be used: {reason}", directory = .directory.display())]
    Unavailable { directory: PathBuf, reason: String },
    #[error("spool {directory}: {source}", directory = .directory.display())]
    Io {
        directory: PathBuf,
        source: std::io::Error,
    },
    #[error("sequence {seq} was never handed out, the last was {last}")]
    NeverSent { seq: u64, last: u64 },
}

/// Figures of a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Records that are not yet acknowledged.
    pub records: u64,
    /// Disk in use.
    pub bytes: u64,
    pub epoch: Option<u64>,
    pub acked_seq: u64,
    pub next_seq: u64,
    /// By cause, since the daemon started.
    pub lost: BTreeMap<String, u64>,
    /// Why nothing can be written, while that is so.
    pub error: Option<String>,
}

/// A handle of the spool; clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    /// Holds a spool of a sensor without lanes, perhaps.
    before: Option<PathBuf>,
    /// Where losses are told; in this spool itself if nowhere else.
    told_in: Option<Spool>,
    inner: Mutex<Inner>,
    appended: Notify,
}

// === impl Spool ===

impl Spool {
    /// Opens or creates the spool. A directory that cannot be used is said in [`Spool::stats`] and
    /// tried again; the sensor goes on.
    pub fn open(place: Place) -> Self {
        Self::with(place, None, None)
    }

    fn with(place: Place, before: Option<PathBuf>, told_in: Option<Self>) -> Self {
        let shared = Shared {
            place,
            before,
            told_in,
            inner: Mutex::default(),
            appended: Notify::new(),
        };
        let spool = Self {
            shared: Arc::new(shared),
        };
        spool.lock().ensure_open(&spool.shared);
        spool
    }

    /// Keeps an event, or counts it as lost. When this returns the event survives SIGKILL; a power
    /// cut once [`Spool::sync`] has run.
    pub fn append(&self, event: &v1::Event) {
        self.lock().append(&self.shared, event);
        self.shared.appended.notify_one();
    }

    /// Waits until something was appended since the last wait.
    pub async fn appended(&self) {
        self.shared.appended.notified().await;
    }

    /// At most `max_records` records from `seq` on, encoded, at least one when there is one, else as
    /// many as fit `max_bytes`. They, and their numbers, are on disk and fixed when this returns.
    pub fn read_from(
        &self,
        seq: u64,
        max_bytes: usize,
        max_records: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, SpoolError> {
        let (records, to_sync) = {
            let mut inner = self.lock();
            let disk = self.available(&mut inner)?;
            match disk.read_from(seq, max_bytes, max_records) {
                Ok(read) => read,
                Err(source) => {
                    inner.failed(&source);
                    return Err(self.io(source));
                }
            }
        };
        // Outside the lock: the pipeline goes on appending while the disk is slow.
        self.finish(to_sync)?;
        Ok(records)
    }

    /// What is out of the ordinary about records that were handed out, from one sequence to another.
    pub fn notes(&self, seqs: RangeInclusive<u64>) -> Result<Vec<(u64, Note)>, SpoolError> {
        let mut inner = self.lock();
        Ok(self.available(&mut inner)?.notes(seqs))
    }

    /// Everything up to `seq` is stored by the collector and can go.
    pub fn ack(&self, seq: u64) -> Result<(), SpoolError> {
        let done = {
            let mut inner = self.lock();
            let disk = self.available(&mut inner)?;
            let last = disk.pinned_seq();
            if seq > last {
                return Err(SpoolError::NeverSent { seq, last });
            }
            disk.ack(seq)
        };
        self.finish(done)
    }

    /// The record that was handed out as `seq`, if it is still there.
    pub fn handed_out(&self, seq: u64) -> Result<Option<Vec<u8>>, SpoolError> {
        let mut inner = self.lock();
        let disk = self.available(&mut inner)?;
        disk.handed_out(seq).map_err(|source| self.io(source))
    }

    /// Begins a new epoch: what is not acknowledged is numbered from 1.
    pub fn new_epoch(&self) -> Result<u64, SpoolError> {
        let mut inner = self.lock();
        let disk = self.available(&mut inner)?;
        disk.new_epoch().map_err(|source| self.io(source))
    }

    /// Epoch and last acknowledged sequence; `None` while the directory cannot be used.
    pub fn position(&self) -> Option<(u64, u64)> {
        let mut inner = self.lock();
        let disk = self.available(&mut inner).ok()?;
        Some((disk.epoch(), disk.acked_seq()))
    }

    /// Makes what was appended survive a power cut, writes down what was lost, and tries a directory
    /// again that could not be used. Called about once a second.
    pub fn sync(&self) {
        let to_sync = {
            let mut inner = self.lock();
            inner.ensure_open(&self.shared);
            inner.write_pending(&self.shared);
            inner.hand_over(&self.shared);
            match &mut inner.disk {
                Ok(disk) => disk.unsynced(),
                Err(_) => return,
            }
        };
        // Said and shown there; tried again the next time.
        let _ = self.finish(to_sync);
    }

    fn finish(&self, unsynced: disk::Unsynced) -> Result<(), SpoolError> {
        let finished = unsynced.finish();
        let mut inner = self.lock();
        finished.map_err(|source| {
            inner.error = Some(source.to_string());
            inner.say("sync", &source);
            if let Ok(disk) = &mut inner.disk {
                disk.sync_failed(unsynced);
            }
            self.io(source)
        })?;
        // The disk takes everything again, and nothing failed a moment ago.
        if !inner.paused() && inner.pending.is_empty() {
            inner.error = None;
        }
        Ok(())
    }

    /// Tells of losses in this spool, now or when it can; whether all that it has to tell is written.
    fn tell(&self, losses: Losses) -> bool {
        let mut inner = self.lock();
        inner.pending.merge(losses);
        inner.ensure_open(&self.shared);
        inner.write_pending(&self.shared);
        let is_told = inner.pending.is_empty();
        drop(inner);
        self.shared.appended.notify_one();
        is_told
    }

    /// Figures for `skep-sensor status`.
    pub fn stats(&self) -> Stats {
        let inner = self.lock();
        let mut stats = Stats {
            lost: inner.lost.clone(),
            ..Stats::default()
        };
        match &inner.disk {
            Ok(disk) => {
                stats.records = disk.records();
                stats.bytes = disk.bytes();
                stats.epoch = Some(disk.epoch());
                stats.acked_seq = disk.acked_seq();
                stats.next_seq = disk.acked_seq() + disk.records() + 1;
                stats.error = inner.error.clone();
            }
            Err(unavailable) => stats.error = Some(unavailable.reason.clone()),
        }
        stats
    }

    fn available<'a>(
        &self,
        inner: &'a mut MutexGuard<'_, Inner>,
    ) -> Result<&'a mut Disk, SpoolError> {
        inner.ensure_open(&self.shared);
        match &mut inner.disk {
            Ok(disk) => Ok(disk),
            Err(unavailable) => Err(SpoolError::Unavailable {
                directory: self.shared.place.directory.clone(),
                reason: unavailable.reason.clone(),
            }),
        }
    }

    fn io(&self, source: std::io::Error) -> SpoolError {
        SpoolError::Io {
            directory: self.shared.place.directory.clone(),
            source,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave the files half-changed: each change is one write.
        self.shared
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
