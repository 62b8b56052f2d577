//! Plans one statement, checks that it only reads, runs it, and sends the rows.

use std::sync::Arc;

use datafusion::{
    common::DataFusionError, execution::context::SQLOptions, physical_plan::execute_stream,
    prelude::SessionContext,
};
use futures::TryStreamExt;

use super::{QueryError, answer::Sink, question::Question, statement};
use crate::{scan, schema};

/// Whether there were more rows than `max_rows`; `memory` is the limit in force.
pub(super) async fn stream(
    context: &SessionContext,
    question: &Question,
    memory: usize,
    max_rows: u64,
    mut sink: Sink,
) -> Result<bool, QueryError> {
    let failed = |error: DataFusionError| statement::explain(context, question, memory, &error);
    let plan = statement::plan(context, question).await.map_err(failed)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|error| QueryError::ReadOnly {
            what: error.strip_backtrace(),
        })?;
    let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
    let task = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await.map_err(failed)?;
    let files = scan::files(&plan).map_err(failed)?;
    let mut rows = execute_stream(plan, task).map_err(failed)?;

    let columns = schema::plain(&rows.schema());
    sink.schema(Arc::clone(&columns))?;
    let mut sent = 0;
    let next = |error| failed(error).among(&files);
    while let Some(batch) = rows.try_next().await.map_err(next)? {
        let room = usize::try_from(max_rows - sent).unwrap_or(usize::MAX);
        let truncated = batch.num_rows() > room;
        let batch = batch.slice(0, batch.num_rows().min(room));
        sent += batch.num_rows() as u64;
        if batch.num_rows() > 0 {
            let batch = schema::plain_rows(&batch, &columns);
            sink.rows(batch.map_err(|error| failed(error.into()))?)
                .await?;
        }
        if truncated {
            return Ok(true);
        }
    }
    Ok(false)
}
