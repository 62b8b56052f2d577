//! The `events` table: one flat row an event, one typed column a fact.
//!
//! [`COLUMNS`] is the only definition: the Arrow schema, the encoder and the tables of
//! `docs/collector.md` (checked by a test) all come from it. Invariants:
//! - a fact that the sensor did not observe is null, never a zero or an empty text; the list
//!   `agent_evidence` is null when the agent is unknown, `argv` also when it was not seen;
//! - text is stored as it came, in the escaped form of `docs/events.md`;
//! - columns are added at the end, can be null, and never change their type, so that old files stay
//!   readable: a column that a file lacks is null in its rows ([`widen`]).
//!
//! Times are nanoseconds since the Unix epoch, in UTC.

mod columns;
#[cfg(test)]
mod roundtrip;

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
};
use skep_proto::v1;

pub use columns::COLUMNS;

/// Where the events of one stream come from, as its `Hello` told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// 32 lower-case hexadecimal digits.
    pub sensor_id: String,
    pub epoch: u64,
    pub hostname: Option<String>,
    /// `uname` release.
    pub kernel: Option<String>,
}

/// One event with its place in the stream.
pub struct Row<'a> {
    pub origin: &'a Origin,
    pub seq: u64,
    pub event: &'a v1::Event,
}

/// One column: its name, what it holds, and how it is filled.
pub struct Column {
    pub name: &'static str,
    pub nullable: bool,
    /// One line for the documentation.
    pub about: &'static str,
    pub fill: fn(&[Row]) -> ArrayRef,
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |column: &Column| {
        let data_type = (column.fill)(&[]).data_type().clone();
        Field::new(column.name, data_type, column.nullable)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
});

/// Arrow schema of the `events` table.
pub fn events() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Encodes consecutive events, the first of which has the sequence `first_seq`.
///
/// The events must have passed `ingest`'s check: each has a detail, and numbers fit their column.
pub fn encode(
    origin: &Origin,
    first_seq: u64,
    events: &[v1::Event],
) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<Row> = (first_seq..)
        .zip(events)
        .map(|(seq, event)| Row { origin, seq, event })
        .collect();
    let arrays = COLUMNS.iter().map(|column| (column.fill)(&rows)).collect();
    RecordBatch::try_new(Arc::clone(&SCHEMA), arrays)
}

/// Rows of an older file, with the columns that came later as null.
pub fn widen(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if batch.num_columns() == SCHEMA.fields().len() {
        return Ok(batch.clone());
    }
    let column = |field: &Arc<Field>| {
        batch
            .column_by_name(field.name())
            .cloned()
            .unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    };
    // A missing column that is never null is refused here.
    RecordBatch::try_new(
        Arc::clone(&SCHEMA),
        SCHEMA.fields().iter().map(column).collect(),
    )
}

/// Value of the column `class`.
pub fn class(event: &v1::Event) -> &'static str {
    use v1::event::Detail;
    match event.detail {
        Some(Detail::Exec(_)) => "exec",
        Some(Detail::Exit(_)) => "exit",
        Some(Detail::Open(_)) => "open",
        Some(Detail::Connect(_)) => "connect",
        Some(Detail::SessionInfo(_)) => "session",
        Some(Detail::Lost(_)) => "lost",
        Some(Detail::Coverage(_)) => "coverage",
        Some(Detail::Finding(_)) => "finding",
        None => "unknown",
    }
}
