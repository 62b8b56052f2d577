//! An answer on its way from the query to the front end.
//!
//! Bound: [`BATCHES_AHEAD`] batches of rows are ahead of the client; then the query waits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use tokio::sync::{mpsc, oneshot};

use super::QueryError;

/// Batches of rows ahead of the client.
const BATCHES_AHEAD: usize = 2;

/// An answer on its way. Dropping it ends the query.
pub struct Answer {
    pub schema: SchemaRef,
    parts: mpsc::Receiver<Result<Part, QueryError>>,
}

/// What an answer consists of: batches, and then the end.
pub enum Part {
    Rows(RecordBatch),
    End { rows: u64, truncated: bool },
}

/// An answer of which not even the columns are known.
pub(super) struct Awaited {
    schema: oneshot::Receiver<SchemaRef>,
    parts: mpsc::Receiver<Result<Part, QueryError>>,
}

/// Where the parts of an answer go to.
pub(super) struct Sink {
    schema: Option<oneshot::Sender<SchemaRef>>,
    pub parts: mpsc::Sender<Result<Part, QueryError>>,
    pub progress: Arc<Progress>,
}

/// How far a query came, to be told whatever ends it.
#[derive(Default)]
pub(super) struct Progress {
    /// It has had its turn.
    pub begun: AtomicBool,
    /// Rows sent.
    pub rows: AtomicU64,
}

// === impl Answer ===

impl Answer {
    /// The next part; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<Part, QueryError>> {
        self.parts.recv().await
    }
}

// === impl Awaited ===

impl Awaited {
    /// Waits for the columns, or for why there is no answer.
    pub async fn begun(mut self) -> Result<Answer, QueryError> {
        match self.schema.await {
            Ok(schema) => Ok(Answer {
                schema,
                parts: self.parts,
            }),
            Err(_) => match self.parts.recv().await {
                Some(Err(error)) => Err(error),
                _ => Err(QueryError::Engine("the query ended without a word".into())),
            },
        }
    }
}

// === impl Sink ===

impl Sink {
    pub fn new() -> (Self, Awaited) {
        let (columns, schema) = oneshot::channel();
        let (parts, receiver) = mpsc::channel(BATCHES_AHEAD);
        let sink = Self {
            schema: Some(columns),
            parts,
            progress: Arc::default(),
        };
        let awaited = Awaited {
            schema,
            parts: receiver,
        };
        (sink, awaited)
    }

    pub fn schema(&mut self, schema: SchemaRef) -> Result<(), QueryError> {
        let waiting = self.schema.take().expect("the columns are told once");
        waiting.send(schema).map_err(|_| QueryError::ClientGone)
    }

    pub async fn rows(&self, batch: RecordBatch) -> Result<(), QueryError> {
        let rows = batch.num_rows() as u64;
        self.progress.rows.fetch_add(rows, Ordering::Relaxed);
        let part = Ok(Part::Rows(batch));
        self.parts
            .send(part)
            .await
            .map_err(|_| QueryError::ClientGone)
    }
}
