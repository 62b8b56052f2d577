//! Read-only SQL over everything that was received: `skep.v1.Query`.
//!
//! Invariants:
//! - a query sees one snapshot: each row taken before it began, exactly once, whether the row is in
//!   a file yet or not;
//! - only a single statement that reads is run: no DDL, DML, COPY or SET, and no table but ours
//!   (no file or address named in SQL is opened);
//! - a result cut by the row limit says so; a query stopped by the time or memory limit is an error
//!   that names the limit and how to narrow the query;
//! - every query is logged with its origin, its text, its outcome and its time.
//!
//! Queries run on threads of their own, so that a heavy one does not delay an acknowledgement.
//! Bounds: [`Limits`]; an answer is sent in chunks of [`CHUNK_BYTES`], four of them ahead of the
//! client; then the query waits, within its time limit.

mod answer;
mod complexity;
mod error;
mod events;
mod tables;
mod time;
mod views;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use skep_proto::v1::{SqlChunk, SqlRequest, query_server::Query};
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    counters::Counters,
    error::{Error, Result},
    store::Store,
};

pub use error::QueryError;
pub use views::VIEWS;

/// Stack of a thread that plans: planning recurses, some calls for each operator of the deepest
/// statement that `complexity` lets through, and an unoptimised build has large frames. Address
/// space; memory is taken as it is used.
const STACK_BYTES: usize = 128 << 20;
/// Payload of one message.
const CHUNK_BYTES: usize = 1 << 20;
/// Messages ahead of the client.
const CHUNKS_AHEAD: usize = 4;
/// What one query may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: u64,
    pub time: Duration,
    /// Memory for sorting, grouping and joining, in bytes.
    pub memory: usize,
    /// Queries at the same time; more of them wait.
    pub concurrent: usize,
}

/// The gRPC service.
#[derive(Clone)]
pub struct QueryService {
    engine: Arc<Engine>,
}

struct Engine {
    store: Store,
    counters: Arc<Counters>,
    limits: Limits,
    slots: Semaphore,
    base: tables::Base,
    threads: Threads,
}

struct Threads(Option<Runtime>);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 100_000,
            time: Duration::from_secs(30),
            memory: 256 << 20,
            concurrent: 4,
        }
    }
}

// === impl QueryService ===

impl QueryService {
    pub fn new(store: Store, counters: Arc<Counters>, limits: Limits) -> Result<Self> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        Ok(Self {
            engine: Arc::new(Engine {
                store,
                counters,
                limits,
                slots: Semaphore::new(limits.concurrent),
                base: tables::Base::new()?,
                threads: Threads(Some(threads)),
            }),
        })
    }
}

#[tonic::async_trait]
impl Query for QueryService {
    type SqlStream = ReceiverStream<Result<SqlChunk, Status>>;

    async fn sql(&self, request: Request<SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let peer = request.remote_addr();
        let request = request.into_inner();
        let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move { engine.serve(peer, request, chunks).await });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

// === impl Engine ===

impl Engine {
    async fn serve(
        self: Arc<Self>,
        peer: Option<SocketAddr>,
        request: SqlRequest,
        chunks: mpsc::Sender<Result<SqlChunk, Status>>,
    ) {
        let began = Instant::now();
        let limit = self.limits.time;
        // On another thread: the clock here goes on while the engine plans without a pause.
        let work = Arc::clone(&self).run(request.clone(), chunks.clone());
        let mut work = self.threads.spawn(work);
        let outcome = tokio::select! {
            outcome = timeout(limit, &mut work) => match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(stopped)) => Err(QueryError::Engine(stopped.to_string())),
                Err(_) => Err(QueryError::Time { limit }),
            },
            () = chunks.closed() => Err(QueryError::ClientGone),
        };
        work.abort();
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let peer = peer.map(tracing::field::display);
        match outcome {
            Ok(rows) => {
                self.counters.queries.add(1);
                tracing::info!(peer, sql = ?request.sql, rows, milliseconds, "query answered");
            }
            Err(error) => {
                self.counters.queries_failed.add(1);
                tracing::info!(peer, sql = ?request.sql, %error, milliseconds, "query failed");
                // A client that is gone needs no answer.
                let _ = chunks.send(Err(error.into())).await;
            }
        }
    }

    /// Sends the answer; the number of its rows.
    async fn run(
        self: Arc<Self>,
        request: SqlRequest,
        chunks: mpsc::Sender<Result<SqlChunk, Status>>,
    ) -> Result<u64, QueryError> {
        complexity::check(&request.sql)?;
        let rows = match request.max_rows {
            0 => self.limits.rows,
            asked => asked.min(self.limits.rows),
        };
        let _slot = self
            .slots
            .acquire()
            .await
            .expect("the slots are never closed");
        // Held to the end: it keeps the files of the query from being deleted.
        let snapshot = self.store.snapshot();
        let answered = answer::stream(
            &self.base,
            &snapshot,
            &self.counters,
            self.limits,
            &request,
            rows,
            &chunks,
        );
        match answered.await {
            Err(QueryError::Unreadable(reason)) => self.damage(reason).await,
            other => other,
        }
    }

    /// A file could not be decoded: finds which, sets it aside, and says so.
    async fn damage(&self, reason: String) -> Result<u64, QueryError> {
        let aside = self
            .store
            .verify()
            .await
            .map_err(|error| QueryError::Engine(error.to_string()))?;
        if aside.is_empty() {
            return Err(QueryError::Engine(reason));
        }
        Err(QueryError::Damaged { files: aside })
    }
}

// === impl Threads ===

impl Threads {
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let threads = self.0.as_ref().expect("the threads live until drop");
        threads.spawn(work)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            // Waiting for running queries is not allowed on an asynchronous thread.
            threads.shutdown_background();
        }
    }
}
