//! The record of all queries and orders: who asked what, when, and what became of it; the tables
//! `queries` and `orders`.
//!
//! Invariants:
//! - no query runs, and no order is sent, that is not in the record, or in the queue to it: a full queue makes queries wait;
//! - what a query became follows, whatever happens to its client; a query that was running when the
//!   collector was lost is `interrupted`;
//! - a row is on disk within [`FLUSH_EVERY`] and the time of one fsync;
//! - a file that cannot be read is set aside under the name `….damaged` and reported, and a new one is
//!   begun: it never keeps the collector from starting.
//!
//! Bounds: [`MAX_ROWS`] rows, [`MAX_BYTES`] of them and [`MAX_AGE`], the oldest go first; [`QUEUE`]
//! rows on their way to disk. While the disk takes no more, queries are recorded in the queue, health
//! says so, and once the queue is full no query begins; a collector that stops meanwhile says how many
//! rows stay unrecorded, and does not wait for room.

mod file;
mod row;
mod table;
mod writer;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH},
};

use datafusion::{error::DataFusionError, prelude::SessionContext};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::error::Result;

use file::{Bounds, File};
use row::Row;
use writer::Command;

pub use table::{COLUMNS, ORDER_COLUMNS};

/// How long a row may wait for others to be written with it.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// Rows on their way to disk.
const QUEUE: usize = 1024;
const MAX_ROWS: u64 = 100_000;
const MAX_BYTES: u64 = 256 << 20;
const MAX_AGE: Duration = Duration::from_secs(90 * 24 * 3600);

/// The record; clones are the same one.
#[derive(Clone, Debug)]
pub struct Audit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    file: Arc<File>,
    next: AtomicU64,
    state: Arc<State>,
}

/// What the writer says of itself.
#[derive(Debug, Default)]
struct State {
    /// Why rows cannot be written.
    trouble: Mutex<Option<String>>,
    /// Files set aside since the start.
    aside: Mutex<Vec<PathBuf>>,
    /// What cannot be written now stays unwritten.
    closing: AtomicBool,
}

/// A query that has begun. Dropped without an end, it is recorded as cancelled.
pub struct Entry {
    row: Option<Row>,
    began: Clock,
    /// The place of the last word on it, taken beforehand so that it never has to wait.
    place: Option<mpsc::OwnedPermit<Command>>,
}

/// A query or an order, as it is recorded when it begins.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The statement, or what is ordered.
    pub text: String,
    /// Values of `$1`, `$2` …
    pub parameters: Vec<String>,
    /// Of an order: who is to follow it.
    pub sensor_id: Option<String>,
    pub origin: Origin,
}

/// Where a query or an order comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `grpc`, `http` or `postgres`.
    pub front_end: &'static str,
    pub peer: Option<SocketAddr>,
    /// What the client says of itself; nothing has checked it.
    pub user: Option<String>,
    pub application: Option<String>,
}

/// The record takes nothing now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the record of queries cannot be written: {reason}")]
pub struct Unrecorded {
    pub reason: String,
}

/// What became of a query or an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sensor follows the order.
    Applied,
    /// All rows were sent, or as many as the limit allows.
    Answered { truncated: bool },
    /// The statement is wrong, or not allowed.
    Refused { error: String },
    /// It would have needed more than a limit.
    Stopped { error: String },
    /// The collector or its data are at fault.
    Failed { error: String },
    /// The client took it back, or went away.
    Cancelled,
}

// === impl Audit ===

impl Audit {
    /// Opens or makes the record; blocks. To be called on the runtime that the writer may live on.
    pub fn open(path: &Path) -> Result<Self> {
        let state = Arc::new(State::default());
        let bounds = Bounds {
            rows: MAX_ROWS,
            bytes: MAX_BYTES,
            age: MAX_AGE,
        };
        let opened = File::open(path, bounds)?;
        if let Some(aside) = opened.aside {
            state.set_aside(aside);
        }
        let file = Arc::new(opened.file);
        let (commands, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(writer::run(Arc::clone(&file), receiver, Arc::clone(&state)));
        let inner = Inner {
            commands,
            file,
            next: AtomicU64::new(opened.next),
            state,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Records that a query or an order begins; waits for a place in the queue, at most until then.
    pub async fn begin(&self, asked: &Asked, until: Instant) -> Result<Entry, Unrecorded> {
        let place = || self.inner.commands.clone().reserve_owned();
        let both = async { Ok::<_, mpsc::error::SendError<()>>((place().await?, place().await?)) };
        let (first, last) = match timeout_at(until, both).await {
            Ok(Ok(places)) => places,
            Ok(Err(_)) => return Err(self.unrecorded("the collector is stopping")),
            Err(_) => return Err(self.unrecorded("the disk does not keep up")),
        };
        let row = Row::begun(self.inner.next.fetch_add(1, Ordering::Relaxed), asked);
        first.send(Command::Put(Box::new(row.clone())));
        Ok(Entry {
            row: Some(row),
            began: Clock::now(),
            place: Some(last),
        })
    }

    fn unrecorded(&self, otherwise: &str) -> Unrecorded {
        Unrecorded {
            reason: self
                .inner
                .state
                .trouble()
                .unwrap_or_else(|| otherwise.to_owned()),
        }
    }

    /// Makes the record the tables `queries` and `orders` of a planner.
    pub(crate) fn register(&self, context: &SessionContext) -> Result<(), DataFusionError> {
        table::register(self, context)
    }

    /// Waits until everything recorded so far can be read.
    async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.inner.commands.send(Command::Flush(done)).await.is_ok() {
            // A writer that is gone has written what it had.
            let _ = flushed.await;
        }
    }

    /// What is wrong with the record, for health.
    pub fn problems(&self) -> Vec<String> {
        let state = &self.inner.state;
        let aside = lock(&state.aside);
        let aside = aside.iter().map(|path| {
            format!(
                "the record of queries was damaged and set aside as {}; a new one was begun",
                path.display()
            )
        });
        let trouble = state.trouble().map(|reason| {
            format!("queries cannot be recorded, and will wait when the queue is full: {reason}")
        });
        aside.chain(trouble).collect()
    }

    /// Writes what waits, as far as that is possible now; nothing is recorded after that.
    pub async fn close(&self) {
        // Said beside the queue, too: whoever tries to write again and again reads no further.
        self.inner.state.closing.store(true, Ordering::Relaxed);
        let (done, closed) = oneshot::channel();
        if self.inner.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Records what became of it, and logs it.
    pub fn end(mut self, outcome: &Outcome, rows: u64) {
        self.record(outcome, Some(rows));
    }

    fn record(&mut self, outcome: &Outcome, rows: Option<u64>) {
        let (Some(mut row), Some(place)) = (self.row.take(), self.place.take()) else {
            return;
        };
        let took = self.began.elapsed();
        row.end(outcome, rows, took);
        row.log();
        place.send(Command::Put(Box::new(row)));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.record(&Outcome::Cancelled, None);
    }
}

// === impl State ===

impl State {
    fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn set_trouble(&self, reason: Option<String>) {
        *lock(&self.trouble) = reason;
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn set_aside(&self, path: PathBuf) {
        lock(&self.aside).push(path);
    }
}

/// None of the locked sections can leave something half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}
