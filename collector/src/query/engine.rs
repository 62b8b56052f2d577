//! One statement from its text to its rows, for every front end alike.
//!
//! Invariants:
//! - a query sees one snapshot: each row taken before it began, exactly once, whether the row is in
//!   a file yet or not;
//! - only a single statement that reads is run: no DDL, DML, COPY or SET, and no table but ours
//!   (no file or address named in SQL is opened);
//! - a result cut by the row limit says so; a query stopped by another limit is an error that names
//!   the limit and how to narrow the query;
//! - no query runs unrecorded: each is in the [audit](crate::audit) before it begins, and its outcome
//!   follows, whatever becomes of the client.
//!
//! Queries run on threads of their own, so that a heavy one does not delay an acknowledgement.
//! Bounds: [`Limits`]; a query that is ahead of its client waits, within its time limit.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use datafusion::{common::DataFusionError, datasource::TableType, prelude::SessionContext};
use object_store::path::Path;
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Mutex as AsyncMutex, OnceCell, Semaphore, SemaphorePermit},
    task::{JoinError, JoinHandle},
    time::{Instant, timeout_at},
};

use super::{
    QueryError,
    answer::{Answer, Part, Progress, Sink},
    complexity,
    pg_catalog::PgCatalog,
    question::{Dialect, Question},
    run,
    statement::{self, Description},
    tables,
};
use crate::{
    audit::{Audit, Outcome},
    counters::Counters,
    error::{Error, Result},
    schema,
    store::{Snapshot, Store},
};

/// Stack of a thread that plans: planning recurses, some calls for each operator of the deepest
/// statement that `complexity` lets through, and an unoptimised build has large frames. Address
/// space; memory is taken as it is used.
const STACK_BYTES: usize = 128 << 20;

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

/// What all front ends ask.
pub struct Engine {
    store: Store,
    counters: Arc<Counters>,
    audit: Audit,
    limits: Limits,
    slots: Semaphore,
    base: tables::Base,
    pg_catalog: OnceCell<PgCatalog>,
    threads: Threads,
    /// Where time goes on while all threads of queries are busy.
    clock: Handle,
    /// Held while a damaged file is looked for: by one at a time.
    searching: Arc<AsyncMutex<()>>,
}

/// A planner that sees what there was at one moment.
pub(crate) struct Planner {
    pub context: SessionContext,
    /// Keeps the files of the snapshot from being deleted.
    _snapshot: Snapshot,
}

struct Threads(Option<Runtime>);

/// Work on the threads of queries, which ends with whoever waits for it: a query that holds the
/// engine would otherwise keep it, and itself, alive.
struct Work<T>(JoinHandle<T>);

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

// === impl Engine ===

impl Engine {
    /// To be called on the runtime that has nothing to do with queries.
    pub fn new(
        store: Store,
        counters: Arc<Counters>,
        audit: Audit,
        limits: Limits,
    ) -> Result<Arc<Self>> {
        // Some operators go through many rows before they look up (a join without an equality): one
        // thread more for each query leaves the others theirs.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores + limits.concurrent)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        Ok(Arc::new(Self {
            store,
            counters,
            audit,
            limits,
            slots: Semaphore::new(limits.concurrent),
            base: tables::Base::new()?,
            pg_catalog: OnceCell::new(),
            threads: Threads(Some(threads)),
            clock: Handle::current(),
            searching: Arc::default(),
        }))
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Begins a query; returns once the columns of its answer are known.
    pub async fn ask(self: &Arc<Self>, question: Question) -> Result<Answer, QueryError> {
        let (sink, awaited) = Sink::new();
        self.clock.spawn(Arc::clone(self).supervise(question, sink));
        awaited.begun().await
    }

    /// What a statement would need and give, without running it. A statement that cannot be planned
    /// is recorded as one that failed.
    pub async fn describe(
        self: &Arc<Self>,
        question: &Question,
    ) -> Result<Description, QueryError> {
        let limit = self.limits.time;
        let until = Instant::now() + limit;
        let progress = Arc::new(Progress::default());
        let engine = Arc::clone(self);
        let (asked, seen) = (question.clone(), Arc::clone(&progress));
        let work = Work(self.threads.spawn(async move {
            complexity::check(&asked.sql, asked.dialect)?;
            let _slot = engine.turn(&seen).await;
            let planner = engine.planner(asked.dialect).await?;
            statement::describe(&planner.context, &asked, engine.limits.memory).await
        }));
        let described = match timeout_at(until, work).await {
            Ok(Ok(described)) => described,
            Ok(Err(stopped)) => Err(QueryError::Engine(stopped.to_string())),
            Err(_) => Err(self.too_late(limit, &progress)),
        };
        if let Err(error) = &described {
            self.counters.queries_failed.add(1);
            // What cannot be recorded has not been run either.
            if let Ok(entry) = self.audit.begin(&question.asked(), until).await {
                entry.end(&Outcome::from(error), 0);
            }
        }
        described
    }

    /// Runs something heavy on the threads of queries, such as the encoding of an answer.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.threads.spawn(work)
    }

    /// A planner that sees what there is now.
    pub(crate) async fn planner(&self, dialect: Dialect) -> Result<Planner, QueryError> {
        let snapshot = self.store.snapshot();
        let context = self.context(&snapshot, dialect).await;
        Ok(Planner {
            context: context.map_err(|error| QueryError::Engine(error.strip_backtrace()))?,
            _snapshot: snapshot,
        })
    }

    /// Name, kind and columns of every table, in the order of their names.
    pub async fn shapes(
        &self,
        dialect: Dialect,
    ) -> Result<Vec<(String, TableType, SchemaRef)>, QueryError> {
        let failed = |error: DataFusionError| QueryError::Engine(error.strip_backtrace());
        let context = self.planner(dialect).await?.context;
        let options = context.state().config_options().catalog.clone();
        let tables = context
            .catalog(&options.default_catalog)
            .and_then(|catalog| catalog.schema(&options.default_schema))
            .ok_or_else(|| QueryError::Engine("the planner has no tables".to_owned()))?;
        let mut shapes = Vec::new();
        for name in tables.table_names() {
            if let Some(table) = tables.table(&name).await.map_err(failed)? {
                let columns = schema::plain(&table.schema());
                shapes.push((name, table.table_type(), columns));
            }
        }
        shapes.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok(shapes)
    }

    async fn context(
        &self,
        snapshot: &Snapshot,
        dialect: Dialect,
    ) -> Result<SessionContext, DataFusionError> {
        let context = self
            .base
            .context(snapshot, &self.counters, self.limits.memory)?;
        self.audit.register(&context)?;
        {
            let state = context.state_ref();
            let mut state = state.write();
            state.config_mut().options_mut().sql_parser.collect_spans = true;
        }
        if dialect == Dialect::Postgres {
            let prepared = || PgCatalog::describing(&context);
            self.pg_catalog
                .get_or_try_init(prepared)
                .await?
                .add_to(&context)?;
        }
        Ok(context)
    }

    /// Waits until a query may run.
    async fn turn(&self, progress: &Progress) -> SemaphorePermit<'_> {
        let slot = self.slots.acquire().await;
        progress.begun.store(true, Ordering::Relaxed);
        slot.expect("the slots are never closed")
    }

    fn too_late(&self, limit: Duration, progress: &Progress) -> QueryError {
        match progress.begun.load(Ordering::Relaxed) {
            true => QueryError::Time { limit },
            false => QueryError::Busy {
                concurrent: self.limits.concurrent,
                limit,
            },
        }
    }

    /// Has the query run on another thread (the clock here goes on while the engine plans without a
    /// pause), and sees to its record whatever happens.
    async fn supervise(self: Arc<Self>, question: Question, sink: Sink) {
        let own = question.max_time.unwrap_or(Duration::MAX);
        let limit = self.limits.time.min(own);
        let until = Instant::now() + limit;
        let parts = sink.parts.clone();
        let progress = Arc::clone(&sink.progress);
        let entry = match self.audit.begin(&question.asked(), until).await {
            Ok(entry) => entry,
            Err(error) => {
                let error = QueryError::from(error);
                drop(sink);
                self.counters.queries_failed.add(1);
                tracing::warn!(sql = ?question.sql, %error, "query not begun");
                let _ = parts.send(Err(error)).await;
                return;
            }
        };
        let work = Work(self.threads.spawn(Arc::clone(&self).run(question, sink)));
        let outcome = tokio::select! {
            outcome = timeout_at(until, work) => match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(stopped)) => Err(QueryError::Engine(stopped.to_string())),
                Err(_) => Err(self.too_late(limit, &progress)),
            },
            () = parts.closed() => Err(QueryError::ClientGone),
        };
        let outcome = match outcome {
            Err(QueryError::Unreadable { reason, files }) => {
                Err(self.damage(reason, files, until).await)
            }
            other => other,
        };
        let rows = progress.rows.load(Ordering::Relaxed);
        match outcome {
            Ok(truncated) => {
                self.counters.queries.add(1);
                entry.end(&Outcome::Answered { truncated }, rows);
                // A client that is gone needs no end.
                let _ = parts.send(Ok(Part::End { rows, truncated })).await;
            }
            Err(error) => {
                self.counters.queries_failed.add(1);
                entry.end(&Outcome::from(&error), rows);
                let _ = parts.send(Err(error)).await;
            }
        }
    }

    /// Sends the rows; whether there were more than the limit.
    async fn run(self: Arc<Self>, question: Question, sink: Sink) -> Result<bool, QueryError> {
        complexity::check(&question.sql, question.dialect)?;
        let max_rows = match question.max_rows {
            0 => self.limits.rows,
            asked => asked.min(self.limits.rows),
        };
        let _slot = self.turn(&sink.progress).await;
        let planner = self.planner(question.dialect).await?;
        let memory = self.limits.memory;
        run::stream(&planner.context, &question, memory, max_rows, sink).await
    }

    /// One of the files could not be decoded: which, once it was set aside. The search goes on when
    /// the query has no more time for it.
    async fn damage(&self, reason: String, files: Vec<Path>, until: Instant) -> QueryError {
        let read = files.len();
        let searching = Arc::clone(&self.searching).lock_owned();
        let Ok(turn) = timeout_at(until, searching).await else {
            return QueryError::Searching {
                files: read,
                reason,
            };
        };
        let store = self.store.clone();
        let search = tokio::spawn(async move {
            let _turn = turn;
            let found = store.check(&files).await;
            if let Err(error) = &found {
                tracing::warn!(%error, files = read, "a damaged file was looked for and not found");
            }
            found
        });
        match timeout_at(until, search).await {
            Err(_) => QueryError::Searching {
                files: read,
                reason,
            },
            Ok(Ok(Ok(aside))) if aside.is_empty() => QueryError::Unreadable {
                reason,
                files: Vec::new(),
            },
            Ok(Ok(Ok(aside))) => QueryError::Damaged { files: aside },
            Ok(Ok(Err(error))) => QueryError::Unreached(error.to_string()),
            Ok(Err(stopped)) => QueryError::Engine(stopped.to_string()),
        }
    }
}

// === impl Work ===

impl<T> Future for Work<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.0.abort();
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
