//! The tables `queries` and `orders`.

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

/// The columns of `queries`: name, and what it says.
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

/// The columns of `orders`: name, and what it says.
pub const ORDER_COLUMNS: &[(&str, &str)] = &[
    (
        "id",
        "number of the order, in the order in which queries and orders began",
    ),
    ("started", "when it was given"),
    ("front_end", "grpc"),
    ("peer", "address and port it was given from"),
    ("user_name", "user that the client named; not checked"),
    ("application", "program that the client named; not checked"),
    (
        "sensor_id",
        "sensor that is to follow it; as it was named, when it is none",
    ),
    ("what", "what is ordered"),
    (
        "outcome",
        "running, applied, refused (by the sensor, or since it cannot be given to it), failed (no \
         answer came), cancelled (by the client), or interrupted (by the end of the collector)",
    ),
    ("milliseconds", "how long it took"),
    ("error", "why it is not applied"),
];

/// Rows of the record, queries or orders.
#[derive(Debug)]
struct Recorded {
    audit: Audit,
    schema: SchemaRef,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Queries,
    Orders,
}

pub(super) fn register(audit: &Audit, context: &SessionContext) -> Result<(), DataFusionError> {
    for (name, kind) in [("queries", Kind::Queries), ("orders", Kind::Orders)] {
        let schema = kind.batch(&[])?.schema();
        let recorded = Recorded {
            audit: audit.clone(),
            schema: Arc::clone(&schema),
            kind,
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(recorded)])?;
        context.register_table(name, Arc::new(table))?;
    }
    Ok(())
}

// === impl Kind ===

impl Kind {
    fn batch(self, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
        let is_of = |row: &&Row| row.sensor_id.is_some() == matches!(self, Self::Orders);
        let rows: Vec<&Row> = rows.iter().filter(is_of).collect();
        match self {
            Self::Queries => queries(&rows),
            Self::Orders => orders(&rows),
        }
    }
}

impl PartitionStream for Recorded {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What was recorded before, the query that reads it included; read as it is asked for.
    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (audit, kind) = (self.audit.clone(), self.kind);
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
                Ok(Some((kind.batch(&rows)?, Some(last.id + 1))))
            }
        });
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

fn queries(rows: &[&Row]) -> Result<RecordBatch, ArrowError> {
    let mut parameters = ListBuilder::new(StringBuilder::new());
    for row in rows {
        parameters.append_value(row.parameters.iter().map(Some));
    }
    let truncated = rows.iter().map(|row| row.truncated);
    let arrays: Vec<ArrayRef> = vec![
        number(rows, |row| Some(row.id)),
        started(rows),
        text(rows, |row| Some(&row.front_end)),
        text(rows, |row| row.peer.as_deref()),
        text(rows, |row| row.user_name.as_deref()),
        text(rows, |row| row.application.as_deref()),
        text(rows, |row| Some(&row.sql)),
        Arc::new(parameters.finish()),
        text(rows, |row| Some(&row.outcome)),
        Arc::new(truncated.collect::<BooleanArray>()),
        number(rows, |row| row.rows),
        milliseconds(rows),
        text(rows, |row| row.error.as_deref()),
    ];
    let never_null = ["id", "started", "front_end", "sql", "parameters", "outcome"];
    table(COLUMNS, arrays, &never_null)
}

fn orders(rows: &[&Row]) -> Result<RecordBatch, ArrowError> {
    let arrays: Vec<ArrayRef> = vec![
        number(rows, |row| Some(row.id)),
        started(rows),
        text(rows, |row| Some(&row.front_end)),
        text(rows, |row| row.peer.as_deref()),
        text(rows, |row| row.user_name.as_deref()),
        text(rows, |row| row.application.as_deref()),
        text(rows, |row| row.sensor_id.as_deref()),
        text(rows, |row| Some(&row.sql)),
        text(rows, |row| Some(&row.outcome)),
        milliseconds(rows),
        text(rows, |row| row.error.as_deref()),
    ];
    let never_null = ["id", "started", "front_end", "sensor_id", "what", "outcome"];
    table(ORDER_COLUMNS, arrays, &never_null)
}

fn table(
    columns: &[(&str, &str)],
    arrays: Vec<ArrayRef>,
    never_null: &[&str],
) -> Result<RecordBatch, ArrowError> {
    let fields = columns.iter().zip(&arrays).map(|((name, _), array)| {
        Field::new(*name, array.data_type().clone(), !never_null.contains(name))
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays)
}

fn text(rows: &[&Row], value: fn(&Row) -> Option<&str>) -> ArrayRef {
    let texts = rows.iter().map(|row| value(row));
    Arc::new(texts.collect::<StringArray>())
}

fn number(rows: &[&Row], value: fn(&Row) -> Option<u64>) -> ArrayRef {
    let signed = |row: &&Row| value(row).map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    Arc::new(rows.iter().map(signed).collect::<Int64Array>())
}

fn started(rows: &[&Row]) -> ArrayRef {
    let started = rows.iter().map(|row| row.started);
    Arc::new(TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC"))
}

fn milliseconds(rows: &[&Row]) -> ArrayRef {
    let taken = rows.iter().map(|row| row.milliseconds);
    Arc::new(taken.collect::<Float64Array>())
}
