//! The table `queries`.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
        StringBuilder, TimestampMicrosecondArray,
    },
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    catalog::streaming::StreamingTable,
    error::DataFusionError,
    execution::TaskContext,
    physical_plan::{
        SendableRecordBatchStream, stream::RecordBatchStreamAdapter, streaming::PartitionStream,
    },
    prelude::SessionContext,
};

use super::{Audit, row::Row};

/// Text of the rows that are decoded together.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Name, and what it says.
pub const COLUMNS: &[(&str, &str)] = &[
    (
        "id",
        "number of the query, in the order in which they began",
    ),
    ("started", "when it began"),
    ("front_end", "grpc, http or postgres"),
    ("peer", "address and port it was asked from"),
    ("user_name", "user that the client named; not checked"),
    ("application", "program that the client named; not checked"),
    ("sql", "text of the statement"),
    ("parameters", "values that were given for $1, $2 …"),
    (
        "outcome",
        "running, answered, refused (a wrong statement, or one that does not read), stopped (at a \
         limit), failed, cancelled (by the client), or interrupted (by the end of the collector)",
    ),
    (
        "truncated",
        "there were more rows than the limit; null when it was not answered",
    ),
    ("rows", "rows sent"),
    ("milliseconds", "how long it took"),
    ("error", "what the client was told when it was not answered"),
];

#[derive(Debug)]
struct Queries {
    audit: Audit,
    schema: SchemaRef,
}

pub(super) fn register(audit: &Audit, context: &SessionContext) -> Result<(), DataFusionError> {
    let schema = batch(&[])?.schema();
    let queries = Queries {
        audit: audit.clone(),
        schema: Arc::clone(&schema),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(queries)])?;
    context.register_table("queries", Arc::new(table))?;
    Ok(())
}

impl PartitionStream for Queries {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What was recorded before, the query that reads it included; read as it is asked for.
    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let audit = self.audit.clone();
        let batches = futures::stream::try_unfold(None, move |from: Option<u64>| {
            let audit = audit.clone();
            async move {
                if from.is_none() {
                    audit.flush().await;
                }
                let file = Arc::clone(&audit.inner.file);
                let read = move || file.read(from.unwrap_or(0), BYTES_AT_ONCE);
                let rows = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(|stopped| DataFusionError::External(Box::new(stopped)))?
                    .map_err(|trouble| {
                        let reason = trouble.reason();
                        DataFusionError::External(format!("the record of queries: {reason}").into())
                    })?;
                let Some(last) = rows.last() else {
                    return Ok(None);
                };
                Ok(Some((batch(&rows)?, Some(last.id + 1))))
            }
        });
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

fn batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let text = |value: fn(&Row) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringArray>())
    };
    let number = |value: fn(&Row) -> Option<u64>| -> ArrayRef {
        let signed = |row| value(row).map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        Arc::new(rows.iter().map(signed).collect::<Int64Array>())
    };
    let started = rows.iter().map(|row| row.started);
    let mut parameters = ListBuilder::new(StringBuilder::new());
    for row in rows {
        parameters.append_value(row.parameters.iter().map(Some));
    }
    let arrays: Vec<ArrayRef> = vec![
        number(|row| Some(row.id)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC")),
        text(|row| Some(&row.front_end)),
        text(|row| row.peer.as_deref()),
        text(|row| row.user_name.as_deref()),
        text(|row| row.application.as_deref()),
        text(|row| Some(&row.sql)),
        Arc::new(parameters.finish()),
        text(|row| Some(&row.outcome)),
        Arc::new(
            rows.iter()
                .map(|row| row.truncated)
                .collect::<BooleanArray>(),
        ),
        number(|row| row.rows),
        Arc::new(
            rows.iter()
                .map(|row| row.milliseconds)
                .collect::<Float64Array>(),
        ),
        text(|row| row.error.as_deref()),
    ];
    let never_null = ["id", "started", "front_end", "sql", "parameters", "outcome"];
    let fields = COLUMNS.iter().zip(&arrays).map(|((name, _), array)| {
        Field::new(*name, array.data_type().clone(), !never_null.contains(name))
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays)
}
