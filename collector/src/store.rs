//! What was received and may be acknowledged: a log on local disk, and tables on disk or object
//! storage.
//!
//! ```text
//!  ingest ─▶ commit ─▶ log (redb) ─▶ acknowledged
//!              │        └─▶ readers ─▶ log is cut at the slowest
//!              └─▶ hot (rows in memory) ─▶ flush ─▶ tables (Parquet in Delta Lake), a reader of the log
//!                        └──────── queries ───────────┘        ▲
//!                                             merge, retention, vacuum
//! ```
//!
//! This module is the seam: `ingest` and `query` see [`Store`], [`Stream`] and [`Snapshot`], and
//! nothing of how rows are kept.
//!
//! # Constraints
//!
//! - One process owns a data directory (an advisory lock on `lock`); several collectors may share
//!   tables on object storage, each with a directory, and so a log, of its own.
//! - Appends come from many streams, also several of one sensor at once (an old connection that is
//!   not yet known to be dead, and the new one).
//! - The process may be killed, and the power may fail, between any two system calls.
//!
//! # Invariants
//!
//! - **Acknowledged is stored.** A sequence is announced as durable only after the transaction of the
//!   log that holds it was synced; the log is cut only after the tables' commits were.
//! - **Every reader gets everything, or is told what not.** The log is cut at the slowest of its
//!   readers ([`Reader`]); one that stands still beyond [`Options::log_bytes`] is told from where to where it
//!   missed.
//! - **Once.** Per source (sensor, epoch) events are taken in the order of their sequence without a
//!   gap; a sequence already taken is dropped. The commit of a table says up to which entry of the log
//!   it has the rows, so that an entry is put into a table once, whatever is killed in between.
//! - **A query sees each row once**, in memory or in a file of a table.
//! - **Damage stays where it is.** What cannot be read is set aside, named, counted and shown in
//!   health; everything else stays queryable.
//!
//! # Bounds
//!
//! - Batches on their way into the log: [`Options::buffer_bytes`]; rows in memory:
//!   [`Options::hot_bytes`]. Beyond either, [`Store::append`] waits, and with it the streams
//!   (back-pressure down to the sensors' spools). The log holds what is in memory, and what readers
//!   other than the tables have not read, of that [`Options::log_bytes`].
//! - Delay until a row is in a table: [`Options::flush_every`], less under load.

mod clock;
mod commit;
mod damage;
mod entry;
mod file;
mod flush;
mod group;
mod health;
mod hot;
mod local;
mod lock;
mod log;
mod maintain;
mod medium;
mod merge;
mod open;
mod own;
mod place;
mod reader;
mod readers;
mod recover;
mod request;
mod retention;
mod sensors;
mod table;

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use object_store::{ObjectStore, path::Path as ObjectPath};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, oneshot, watch};

use crate::{
    batch::Batch,
    counters::Counters,
    error::{Error, Result},
    schema::{Class, Origin, Rows},
};

use request::Request;

pub use health::Health;
pub use own::{COLLECTOR, Own};
pub use reader::{Delivered, Gap, Missed, Next, Reader};
pub use readers::{ReaderHealth, Start, TABLES};
pub use retention::Retention;
pub use sensors::{Hook, SensorFacts};
pub use table::DataFile;

/// How a store keeps its rows.
#[derive(Clone, Debug)]
pub struct Options {
    pub directory: PathBuf,
    /// Where the tables are, as a URL (`s3://bucket/prefix` …); `None`: `table` in the directory.
    pub table: Option<String>,
    /// A row waits at most about this long for its table.
    pub flush_every: Duration,
    /// A flush starts early when the rows in memory take this many bytes.
    pub flush_bytes: usize,
    /// Memory for rows that are not in a table.
    pub hot_bytes: usize,
    /// Memory for batches that are not in the log.
    pub buffer_bytes: usize,
    /// Disk space of the log beyond which it is cut past a reader that stands still. The tables are not
    /// meant: what they have not is bounded by [`Options::hot_bytes`].
    pub log_bytes: u64,
    pub retention: Retention,
    /// Whether small files become larger ones.
    pub merging: bool,
    /// How often is looked for what is too old, or too much.
    pub expire_every: Duration,
    /// A file that left a table is deleted so much later.
    pub vacuum_after: Duration,
    /// How often is looked for files to delete.
    pub vacuum_every: Duration,
    /// Called after work that took much memory for a moment: the time to give it back.
    pub tidy: fn(),
}

/// One life of one lane of a sensor's spool; sequences count within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    pub sensor_id: String,
    pub epoch: u64,
}

/// How far a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Last sequence; 0 when there is none.
    pub seq: u64,
    /// CRC-32 of that event as it was encoded; 0 when it is not known.
    pub crc32: u32,
}

/// Why the store takes no more of a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    #[error("the batch starts at sequence {got}, and {expected} is the next one to come")]
    Gap { expected: u64, got: u64 },
    #[error("another stream said hello for the same sensor and epoch")]
    Superseded,
    #[error("the collector cannot store events now; its log says why")]
    Failed,
}

/// A stream of one source; the source's newest. Dropping it ends it.
pub struct Stream {
    number: u64,
    origin: Arc<Origin>,
    progress: watch::Receiver<commit::Progress>,
    shared: Weak<Shared>,
}

/// A stream, and how far its source is: all of it durable.
pub struct Opened {
    pub stream: Stream,
    pub tail: Tail,
    /// Who had a stream of the source until now.
    pub superseded: Option<Party>,
}

/// Who has a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    pub peer: Option<SocketAddr>,
    pub hostname: Option<String>,
    pub boot_id: Option<String>,
}

/// What can be queried at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    files: [Arc<Vec<DataFile>>; Class::COUNT],
    rows: [Vec<Rows>; Class::COUNT],
    root: Arc<dyn ObjectStore>,
    pub sensors: Arc<Vec<SensorFacts>>,
}

/// A cheap handle; clones share the store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// What ends the tasks and threads; taken by the first who closes.
    work: Arc<Mutex<Option<maintain::Work>>>,
}

struct Shared {
    options: Options,
    counters: Arc<Counters>,
    health: Health,
    place: place::Place,
    /// Names this collector's log in the tables.
    log_id: String,
    state: Mutex<State>,
    /// Notified when rows left memory.
    room: Condvar,
    tables: [AsyncMutex<table::Table>; Class::COUNT],
    sensors: sensors::Sensors,
    readers: readers::Readers,
    requests: mpsc::Sender<Request>,
    /// Free memory for batches, in KiB.
    budget: Arc<Semaphore>,
    /// Of hellos that wait for the log.
    hellos: Arc<Semaphore>,
    /// Of emissions that wait for the log.
    emissions: Arc<Semaphore>,
    /// Woken when a flush should not wait for the clock.
    flush_now: Notify,
    /// Held by the flush that is under way.
    flush: AsyncMutex<()>,
    /// A commit of a table failed, and may have worked all the same.
    in_doubt: AtomicBool,
    /// There may be files to merge.
    unmerged: AtomicBool,
    stopping: AtomicBool,
    lock: Arc<lock::Lock>,
}

struct State {
    files: [Arc<Vec<DataFile>>; Class::COUNT],
    /// Rows that are being moved into the tables.
    flushing: Option<hot::Hot>,
    /// Rows that came after those.
    hot: hot::Hot,
}

// === impl Options ===

impl Options {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            table: None,
            flush_every: Duration::from_secs(60),
            flush_bytes: 32 << 20,
            hot_bytes: 64 << 20,
            buffer_bytes: 32 << 20,
            log_bytes: 4 << 30,
            retention: Retention::default(),
            merging: true,
            expire_every: Duration::from_secs(60),
            vacuum_after: Duration::from_secs(24 * 3600),
            vacuum_every: Duration::from_secs(3600),
            tidy: || {},
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens or creates the data directory and the tables, takes back what the log has, and starts
    /// the work on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// The directory cannot be written, is in use, holds a newer format, or none of the tables can be
    /// opened.
    pub async fn open(options: Options, counters: Arc<Counters>) -> Result<Self> {
        let backends = open::Backends::of(&options)?;
        Self::open_on(options, counters, backends).await
    }

    /// The same, on back ends of which the options say nothing.
    async fn open_on(
        options: Options,
        counters: Arc<Counters>,
        backends: open::Backends,
    ) -> Result<Self> {
        let (shared, work) = open::open(options, counters, backends).await?;
        Ok(Self {
            shared,
            work: Arc::new(Mutex::new(Some(work))),
        })
    }

    /// Keeps what a sensor said of itself and makes this the newest stream of its source; both are
    /// durable on return. Waits while the log cannot be written; whoever does not wait so long drops it.
    pub async fn begin(
        &self,
        source: Source,
        facts: SensorFacts,
        peer: Option<SocketAddr>,
    ) -> Result<Opened> {
        let place = Arc::clone(&self.shared.hellos).acquire_owned().await;
        let (reply, opened) = oneshot::channel();
        let request = Request::Open {
            source,
            facts: Box::new(facts),
            peer,
            reply,
            place: place.map_err(|_| Error::Closed)?,
        };
        self.shared.ask(request);
        // The writer ends when the store is closed, or its log cannot be used.
        opened.await.unwrap_or(Err(Error::Closed))
    }

    /// Puts events of the collector's own into the log; durable on return. Waits while the log cannot be
    /// written.
    ///
    /// # Errors
    ///
    /// The store is closed.
    pub async fn emit(&self, events: Vec<Own>) -> Result<()> {
        let place = Arc::clone(&self.shared.emissions).acquire_owned().await;
        let place = place.map_err(|_| Error::Closed)?;
        let request = |reply| Request::Emit {
            events,
            reply,
            place,
        };
        self.shared.answered(request).await
    }

    /// Hands a batch on to the log; waits while there is no room for it. What of it was taken before
    /// is dropped. [`Stream::changed`] says when it is durable, or why it is not taken.
    pub async fn append(&self, stream: &Stream, batch: Batch) -> Result<(), End> {
        let shared = &self.shared;
        let whole = kibibytes(shared.options.buffer_bytes);
        let budget = Arc::clone(&shared.budget);
        let memory = budget.acquire_many_owned(kibibytes(batch.memory()).min(whole));
        let memory = memory.await.map_err(|_| End::Failed)?;
        let entry = entry::Entry::new(&stream.origin, 0, &batch.encoded)
            .expect("zstd compresses any bytes into memory");
        shared.ask(Request::Append {
            stream: stream.number,
            batch,
            entry,
            memory,
        });
        Ok(())
    }

    /// Everything taken so far.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.shared.state();
        let rows = |class| {
            let flushing = state.flushing.iter().flat_map(|hot| hot.of(class));
            flushing.chain(state.hot.of(class)).cloned().collect()
        };
        Snapshot {
            files: state.files.clone(),
            rows: Class::ALL.map(rows),
            root: self.shared.place.root(),
            sensors: self.shared.sensors.all(),
        }
    }

    /// Reads those of the files that the tables have now to their end, one by one, and sets the damaged
    /// ones aside. Returns their names.
    ///
    /// # Errors
    ///
    /// Nothing was found, and not every file could be reached.
    pub async fn check(&self, files: &[ObjectPath]) -> Result<Vec<String>> {
        let asked: HashSet<&ObjectPath> = files.iter().collect();
        let mut found = damage::Found::default();
        for class in Class::ALL {
            let files = Arc::clone(&self.shared.state().files[class.index()]);
            for file in files.iter().filter(|file| asked.contains(&file.path)) {
                damage::look_at(&self.shared, class, file, &mut found).await;
            }
        }
        found.names()
    }

    /// What each sensor last said of itself.
    pub fn sensors(&self) -> Arc<Vec<SensorFacts>> {
        self.shared.sensors.all()
    }

    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Adds a reader of the log, in one transaction; durable on return. False when there is one of this
    /// name, which stays where it is.
    ///
    /// # Errors
    ///
    /// The name is none (1 to 64 of `a-z`, `0-9`, `_`, `.`, `-`), there are too many readers, or the
    /// store is closed.
    pub async fn add_reader(&self, name: &str, start: Start) -> Result<bool> {
        let reader = name.to_owned();
        let request = |reply| Request::AddReader {
            reader,
            start,
            reply,
        };
        self.shared.answered(request).await
    }

    /// Removes a reader, and with it what the log kept for it alone, in one transaction; durable on
    /// return. False when there is none of this name.
    ///
    /// # Errors
    ///
    /// It is [`TABLES`], or the store is closed.
    pub async fn remove_reader(&self, name: &str) -> Result<bool> {
        let reader = name.to_owned();
        let request = |reply| Request::RemoveReader { reader, reply };
        self.shared.answered(request).await
    }

    /// A reader that goes on after the position that it committed last.
    ///
    /// # Errors
    ///
    /// There is none of this name (the tables read by themselves), or the store is closed.
    pub async fn reader(&self, name: &str) -> Result<Reader> {
        let reader = name.to_owned();
        let request = |reply| Request::OpenReader { reader, reply };
        let (position, durable) = self.shared.answered(request).await?;
        let shared = Arc::downgrade(&self.shared);
        Ok(Reader::new(name.to_owned(), position, durable, shared))
    }

    /// How far each reader of the log is, the tables included.
    pub fn readers(&self) -> Vec<ReaderHealth> {
        self.shared.readers.health()
    }

    /// Moves what waits into the tables and ends the work. What cannot be moved stays in the log.
    pub async fn close(&self) -> Result<()> {
        let work = self
            .work
            .lock()
            .expect("no holder of the work panics")
            .take();
        match work {
            Some(work) => work.finish(&self.shared).await,
            None => Ok(()),
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Highest durable sequence of the source, or why there will be no more.
    pub fn durable(&mut self) -> Result<u64, End> {
        let progress = self.progress.borrow_and_update();
        match &progress.end {
            Some(end) => Err(end.clone()),
            None => Ok(progress.durable),
        }
    }

    /// Waits until [`Stream::durable`] has something new to say.
    pub async fn changed(&mut self) {
        if self.progress.changed().await.is_err() {
            // The writer is gone with the collector, and what is in doubt stays unacknowledged.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ask(Request::Close {
                stream: self.number,
            });
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Files of a class, in no order.
    pub fn files(&self, class: Class) -> &[DataFile] {
        &self.files[class.index()]
    }

    /// Rows of a class that are in no file.
    pub fn rows(&self, class: Class) -> &[Rows] {
        &self.rows[class.index()]
    }

    /// Where the paths of the files lead.
    pub(crate) fn root(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.root)
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state panics")
    }

    /// Has queries read the files that a table has now.
    fn list(&self, class: Class, table: &table::Table) {
        self.list_in(&mut self.state(), class, table);
    }

    fn list_in(&self, state: &mut State, class: Class, table: &table::Table) {
        let files = table.files();
        let known = &mut state.files[class.index()];
        if !Arc::ptr_eq(known, &files) {
            *known = files;
            self.unmerged.store(true, Ordering::Relaxed);
        }
    }

    fn ask(&self, request: Request) {
        // The writer ends when the store is closed, and then nobody waits for an answer; or with a log
        // that cannot be used, and has told every stream.
        let _ = self.requests.send(request);
    }

    /// Asks the writer, and waits for its answer.
    async fn answered<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.ask(request(reply));
        // The writer ends when the store is closed, or its log cannot be used.
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Waits while the rows in memory are too many; the collector's end ends it, too.
    fn wait_for_room(&self) {
        let mut state = self.state();
        while state.memory() >= self.options.hot_bytes && !self.stopping.load(Ordering::Relaxed) {
            let wait = Duration::from_millis(100);
            let woken = self.room.wait_timeout(state, wait);
            (state, _) = woken.expect("no holder of the state panics");
        }
    }

    /// Has a flush begin when there is enough for one.
    fn wake_flush(&self) {
        if self.state().hot.bytes() >= self.options.flush_bytes {
            self.flush_now.notify_one();
        }
    }
}

// === impl State ===

impl State {
    /// Memory of rows that are in no table.
    fn memory(&self) -> usize {
        self.hot.bytes() + self.flushing.as_ref().map_or(0, hot::Hot::bytes)
    }
}

/// The name under which a file is set aside; one that is not taken.
fn aside(path: &Path) -> PathBuf {
    let named = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(match number {
            0 => ".damaged".to_owned(),
            number => format!(".damaged-{number}"),
        });
        PathBuf::from(name)
    };
    (0..)
        .map(named)
        .find(|name| !name.exists())
        .expect("a folder does not have every name")
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    // Work is lost only with the runtime.
    done.unwrap_or(Err(Error::Closed))
}

#[cfg(test)]
mod tests;
