//! Plans one statement, runs it, and sends the rows as an Arrow IPC stream.

use arrow::{array::RecordBatch, datatypes::Schema, ipc::writer::StreamWriter};
use datafusion::execution::context::SQLOptions;
use futures::TryStreamExt;
use skep_proto::v1::{SqlChunk, SqlRequest};
use tokio::sync::mpsc;
use tonic::Status;

use super::{CHUNK_BYTES, Limits, QueryError, tables};
use crate::{counters::Counters, store::Snapshot};

type Chunks = mpsc::Sender<Result<SqlChunk, Status>>;

/// The number of rows sent, at most `max_rows`.
pub(super) async fn stream(
    base: &tables::Base,
    snapshot: &Snapshot,
    counters: &Counters,
    limits: Limits,
    request: &SqlRequest,
    max_rows: u64,
    chunks: &Chunks,
) -> Result<u64, QueryError> {
    let failed = |error| QueryError::from_engine(&error, limits.memory);
    let context = base
        .context(snapshot, counters, limits.memory)
        .await
        .map_err(failed)?;
    let plan = context
        .state()
        .create_logical_plan(&request.sql)
        .await
        .map_err(failed)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|error| QueryError::ReadOnly {
            what: error.strip_backtrace(),
        })?;
    let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
    let mut rows = frame.execute_stream().await.map_err(failed)?;

    let mut answer = Answer::start(&rows.schema(), chunks)?;
    let mut sent = 0;
    let mut truncated = false;
    while let Some(batch) = rows.try_next().await.map_err(failed)? {
        let room = usize::try_from(max_rows - sent).unwrap_or(usize::MAX);
        truncated = batch.num_rows() > room;
        let batch = batch.slice(0, batch.num_rows().min(room));
        sent += batch.num_rows() as u64;
        answer.rows(&batch).await?;
        if truncated {
            break;
        }
    }
    answer.finish(truncated).await?;
    Ok(sent)
}

struct Answer<'a> {
    writer: StreamWriter<Vec<u8>>,
    chunks: &'a Chunks,
}

// === impl Answer ===

impl<'a> Answer<'a> {
    fn start(schema: &Schema, chunks: &'a Chunks) -> Result<Self, QueryError> {
        let writer = StreamWriter::try_new(Vec::new(), schema).map_err(encoding)?;
        Ok(Self { writer, chunks })
    }

    async fn rows(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        if batch.num_rows() > 0 {
            self.writer.write(batch).map_err(encoding)?;
        }
        let ready = std::mem::take(self.writer.get_mut());
        for part in ready.chunks(CHUNK_BYTES) {
            self.send(part, false).await?;
        }
        Ok(())
    }

    async fn finish(mut self, truncated: bool) -> Result<(), QueryError> {
        self.writer.finish().map_err(encoding)?;
        let end = std::mem::take(self.writer.get_mut());
        self.send(&end, truncated).await
    }

    async fn send(&self, part: &[u8], truncated: bool) -> Result<(), QueryError> {
        let chunk = SqlChunk {
            arrow_ipc: part.to_vec(),
            truncated,
        };
        self.chunks
            .send(Ok(chunk))
            .await
            .map_err(|_| QueryError::ClientGone)
    }
}

fn encoding(error: arrow::error::ArrowError) -> QueryError {
    QueryError::Engine(error.to_string())
}
