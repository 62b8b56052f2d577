//! What was received and may be acknowledged: Parquet files on local disk, and the rows on their
//! way there.
//!
//! This module is the seam. `ingest` and `query` see [`Store`] and [`Snapshot`] and nothing of how
//! rows are kept; a log with group commit and a table format on object storage replace what is
//! inside without a change outside.
//!
//! # Constraints
//!
//! - One process owns a data directory (an advisory lock on `lock`).
//! - Appends come from many streams, also several of one sensor at once (an old connection that is
//!   not yet known to be dead, and the new one).
//! - The process may be killed, and the power may fail, between any two system calls.
//!
//! # Invariants
//!
//! - **Acknowledged is stored.** A sequence is announced as durable only after the file that holds
//!   its row was written, fsynced, renamed to its final name and the folder fsynced.
//! - **Once.** Per source (sensor, epoch) rows are taken in the order of their sequence without a
//!   gap; a sequence already taken is dropped. A row is in exactly one file of a snapshot, or in
//!   its buffer, never in both.
//! - **The files are the state.** The footer of each file carries, per source, the first and last
//!   sequence in it; what is acknowledged is recomputed from the footers at start. No other file has
//!   to agree with them.
//! - **A name says what it replaces.** `N-M.parquet` holds what the flushes N to M wrote; a file
//!   whose range lies within that of another readable file is a leftover of a merge and is removed
//!   at start. So every crash during a merge leaves either all inputs or the result.
//! - **Damage stays where it is.** A file that cannot be read is renamed to `*.damaged`, logged by
//!   name and counted; everything else stays queryable.
//!
//! # Bounds
//!
//! - Rows not yet on disk: [`Options::buffer_bytes`]; beyond it [`Store::append`] waits, and with it
//!   the streams (back-pressure down to the sensor's spool).
//! - Delay until a row is durable: [`Options::flush_every`], less under load.
//! - Number of files: at most 15 of each merge level (16 files become one) and one for each
//!   [`compact::FULL_BYTES`] of stored data.

mod compact;
mod recover;
mod segment;
mod sensors;

mod writer;

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    counters::Counters,
    error::{Error, Result},
};

pub use segment::Segment;
pub use sensors::{Hook, SensorFacts};

/// How a store keeps its rows.
#[derive(Clone, Debug)]
pub struct Options {
    pub directory: PathBuf,
    /// A row waits at most about this long for its file.
    pub flush_every: Duration,
    /// A flush starts early when this many rows wait.
    pub flush_rows: usize,
    /// Memory for rows that are not yet on disk.
    pub buffer_bytes: usize,
}

/// One life of one sensor's spool; sequences count within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    pub sensor_id: String,
    pub epoch: u64,
}

/// The batch starts after the next sequence that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch starts at sequence {got}, and {expected} is the next one to come")]
pub struct SequenceGap {
    pub expected: u64,
    pub got: u64,
}

/// What can be queried at one moment. Holding it keeps its files from being deleted.
#[derive(Clone)]
pub struct Snapshot {
    pub segments: Vec<Arc<Segment>>,
    pub buffered: Vec<RecordBatch>,
    pub sensors: Vec<SensorFacts>,
}

/// A cheap handle; clones share the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    counters: Arc<Counters>,
    state: Mutex<State>,
    sensors: sensors::Sensors,
    /// Free buffer memory, in KiB.
    budget: Arc<Semaphore>,
    /// Woken when a flush should not wait for the clock.
    flush_now: Arc<Notify>,
    writer: Mutex<Option<writer::Handle>>,
    _lock: File,
}

struct State {
    /// Ascending by number, ranges disjoint.
    segments: Vec<Arc<Segment>>,
    /// Taken, and waiting for the next flush.
    pending: Vec<Pending>,
    pending_rows: usize,
    /// Taken, and being written now; stays until its file is durable.
    flushing: Vec<Pending>,
    sources: HashMap<Source, Progress>,
    next_number: u64,
}

struct Progress {
    /// Highest sequence taken.
    accepted: u64,
    /// Highest sequence that survives a power cut.
    durable: watch::Sender<u64>,
}

struct Pending {
    source: Source,
    first: u64,
    last: u64,
    rows: RecordBatch,
    _memory: OwnedSemaphorePermit,
}

// === impl Options ===

impl Options {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            flush_every: Duration::from_millis(500),
            flush_rows: 50_000,
            buffer_bytes: 128 << 20,
        }
    }

    fn events(&self) -> PathBuf {
        self.directory.join("events")
    }
}

// === impl Progress ===

impl Progress {
    fn at(sequence: u64) -> Self {
        Self {
            accepted: sequence,
            durable: watch::Sender::new(sequence),
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens or creates the data directory, recovers what it holds, and starts the writer on the
    /// current tokio runtime. Reads every footer: call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// The directory cannot be written, is in use, or holds files of a newer format.
    pub fn open(options: Options, counters: Arc<Counters>) -> Result<Self> {
        let lock = lock(&options.directory)?;
        let events = options.events();
        let unwritable = |source| Error::DataDirectory {
            path: options.directory.clone(),
            source,
        };
        fs::create_dir_all(&events).map_err(unwritable)?;
        let recovered = recover::recover(&events, &counters)?;
        let sensors = sensors::Sensors::open(options.directory.join("sensors"), &counters)?;
        segment::sync_directory(&options.directory)?;

        let sources = recovered
            .acked
            .into_iter()
            .map(|(source, seq)| (source, Progress::at(seq)));
        let state = State {
            segments: recovered.segments,
            pending: Vec::new(),
            pending_rows: 0,
            flushing: Vec::new(),
            sources: sources.collect(),
            next_number: recovered.next_number,
        };
        let budget = Arc::new(Semaphore::new(kibibytes(options.buffer_bytes) as usize));
        let store = Self {
            inner: Arc::new(Inner {
                options,
                counters,
                state: Mutex::new(state),
                sensors,
                budget,
                flush_now: Arc::new(Notify::new()),
                writer: Mutex::new(None),
                _lock: lock,
            }),
        };
        *store
            .inner
            .writer
            .lock()
            .expect("no holder of the writer panics") = Some(writer::start(&store.inner));
        Ok(store)
    }

    /// Keeps what a sensor said of itself; durable on return.
    pub async fn remember(&self, facts: SensorFacts) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.sensors.remember(facts)).await
    }

    /// Highest durable sequence of a source, now and as it grows.
    pub fn durable(&self, source: &Source) -> watch::Receiver<u64> {
        let mut state = self.inner.state();
        let progress = state
            .sources
            .entry(source.clone())
            .or_insert_with(|| Progress::at(0));
        progress.durable.subscribe()
    }

    /// Takes rows with the sequences `first`, `first + 1` …; those already taken are dropped.
    /// Waits while the buffer is full. The rows are queryable on return, and durable when
    /// [`Store::durable`] says so. Returns how many rows were duplicates.
    pub async fn append(
        &self,
        source: &Source,
        first: u64,
        rows: RecordBatch,
    ) -> Result<usize, SequenceGap> {
        let size = kibibytes(rows.get_array_memory_size());
        let whole = kibibytes(self.inner.options.buffer_bytes);
        let budget = Arc::clone(&self.inner.budget);
        let memory = budget.acquire_many_owned(size.min(whole)).await;
        let memory = memory.expect("the budget is never closed");

        let mut state = self.inner.state();
        let progress = state
            .sources
            .entry(source.clone())
            .or_insert_with(|| Progress::at(0));
        let expected = progress.accepted + 1;
        if first > expected {
            return Err(SequenceGap {
                expected,
                got: first,
            });
        }
        let known = usize::try_from(expected - first)
            .unwrap_or(usize::MAX)
            .min(rows.num_rows());
        let fresh = rows.slice(known, rows.num_rows() - known);
        if fresh.num_rows() > 0 {
            let last = progress.accepted + fresh.num_rows() as u64;
            progress.accepted = last;
            let pending = Pending {
                source: source.clone(),
                first: expected,
                last,
                rows: fresh,
                _memory: memory,
            };
            state.pending_rows += pending.rows.num_rows();
            state.pending.push(pending);
            if state.pending_rows >= self.inner.options.flush_rows || self.inner.budget_is_short() {
                self.inner.flush_now.notify_one();
            }
        }
        Ok(known)
    }

    /// Everything taken so far.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.inner.state();
        let buffered = state.flushing.iter().chain(&state.pending);
        Snapshot {
            segments: state.segments.clone(),
            buffered: buffered.map(|pending| pending.rows.clone()).collect(),
            sensors: self.inner.sensors.all(),
        }
    }

    /// Reads every stored file to the end and sets the damaged ones aside. Returns their names.
    pub async fn verify(&self) -> Result<Vec<PathBuf>> {
        let inner = Arc::clone(&self.inner);
        let segments = self.snapshot().segments;
        blocking(move || {
            let mut aside = Vec::new();
            for segment in &segments {
                if let Err(reason) = segment.read() {
                    inner.set_aside(segment, &reason)?;
                    aside.push(segment.path().to_path_buf());
                }
            }
            Ok(aside)
        })
        .await
    }

    /// Writes what waits and stops the writer. Appends after this are never durable.
    pub async fn close(&self) -> Result<()> {
        let writer = self
            .inner
            .writer
            .lock()
            .expect("no holder of the writer panics")
            .take();
        match writer {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    }
}

// === impl Inner ===

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state panics")
    }

    /// Less than half of the buffer is free.
    fn budget_is_short(&self) -> bool {
        self.budget.available_permits() < kibibytes(self.options.buffer_bytes) as usize / 2
    }

    /// Renames a file that cannot be read and forgets it.
    fn set_aside(&self, segment: &Arc<Segment>, reason: &Error) -> Result<()> {
        let mut state = self.state();
        let known = state.segments.len();
        state.segments.retain(|other| !Arc::ptr_eq(other, segment));
        if state.segments.len() < known {
            segment::set_aside(segment.path(), reason, &self.counters)?;
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File> {
    let unwritable = |source| Error::DataDirectory {
        path: directory.to_path_buf(),
        source,
    };
    fs::create_dir_all(directory).map_err(unwritable)?;
    let lock = File::create(directory.join("lock")).map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::DataDirectoryInUse {
            path: directory.to_path_buf(),
        }),
        Err(TryLockError::Error(source)) => Err(unwritable(source)),
    }
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("file work does not panic")
}
