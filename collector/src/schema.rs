//! The `events` table: one flat row an event, one typed column a fact.
//!
//! [`COLUMNS`], which follows from the event model, is the only definition: the Arrow schemas, the
//! encoder and the table in `docs/collector.md` (a test writes it) all come from it. Rows are kept by
//! [`Class`], each class in a table of its own that has the columns in which the class can have a
//! value; `events` is all of them side by side, null where a class has no such column. Invariants:
//! - a fact that the sensor did not observe is null, never a zero or an empty text; the list
//!   `agent_evidence` is null when the agent is unknown, `argv` also when it was not seen;
//! - text is stored as it came, in the escaped form of `docs/events.md`;
//! - types are those that Delta Lake has: times are microseconds since the Unix epoch in UTC (the
//!   order within a sensor is `seq`'s), and numbers have a sign;
//! - columns are added at the end, can be null, and never change their type, so that old files stay
//!   readable: a column that a file lacks is null in its rows.

mod columns;
#[cfg(test)]
mod page;
#[cfg(test)]
mod roundtrip;
mod rows;
mod views;

use std::sync::{Arc, LazyLock};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::batch::{Event, Parts};

pub use columns::COLUMNS;
pub use rows::{Rows, Sorted, in_memory, ranks};
pub use skep_event::Class;
pub use views::{plain, plain_rows, plain_type, viewed};

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
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub origin: &'a Origin,
    pub seq: u64,
    pub class: Class,
    pub event: &'a Event,
    /// What the event's indices mean.
    pub parts: &'a Parts,
}

/// How a column is filled: one value for each row.
type Fill = Arc<dyn Fn(&[Row]) -> ArrayRef + Send + Sync>;

/// One column: its name, what it holds, and how it is filled.
pub struct Column {
    pub name: &'static str,
    pub nullable: bool,
    /// One line for the documentation.
    pub about: &'static str,
    /// The classes in which it can have a value.
    pub classes: Vec<Class>,
    /// What its value follows from.
    pub by: By,
    /// For each of the classes; the type is the same.
    fills: [Option<Fill>; Class::COUNT],
}

/// What the value of a column follows from: rows that have the same one have the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Event,
    Origin,
    Session,
    Agent,
    Process,
    Hook,
    Boot,
}

/// What the store keeps of a class.
pub trait Stored {
    /// `None` when the event has no detail.
    fn of_event(event: &Event) -> Option<Class>;
    /// The columns of its files: those of `events` that it can have a value in, but `class`.
    fn schema(self) -> SchemaRef;
    /// The same columns as queries read them.
    fn queried(self) -> SchemaRef;
    /// The schema of its Delta Lake table: that of its files, and the partition column.
    fn table_schema(self) -> Schema;
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(Column::field);
    viewed(&Schema::new(fields.collect::<Vec<_>>()))
});

static CLASS_SCHEMAS: LazyLock<[SchemaRef; Class::COUNT]> = LazyLock::new(|| {
    Class::ALL.map(|class| {
        let fields = stored(class).map(Column::field);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    })
});

static QUERIED_SCHEMAS: LazyLock<[SchemaRef; Class::COUNT]> =
    LazyLock::new(|| Class::ALL.map(|class| viewed(&class.schema())));

/// Name of the column by which the tables are partitioned: the date of `time`, as the store sees it.
pub const DAY: &str = "day";
/// Name of the column that the name of the table stands for.
pub const CLASS: &str = "class";

/// Arrow schema of the `events` table, as queries see it.
pub fn events() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The columns of a class's files.
fn stored(class: Class) -> impl Iterator<Item = &'static Column> {
    let of_class = move |column: &&Column| column.classes.contains(&class) && column.name != CLASS;
    COLUMNS.iter().filter(of_class)
}

// === impl Class ===

impl Stored for Class {
    fn of_event(event: &Event) -> Option<Class> {
        event.detail.as_ref().map(Self::of)
    }

    fn schema(self) -> SchemaRef {
        Arc::clone(&CLASS_SCHEMAS[self.index()])
    }

    fn queried(self) -> SchemaRef {
        Arc::clone(&QUERIED_SCHEMAS[self.index()])
    }

    fn table_schema(self) -> Schema {
        let mut fields = self.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(DAY, DataType::Date32, false)));
        Schema::new(fields)
    }
}

// === impl Column ===

impl Column {
    /// Its values in rows of one class, which is one that can have them.
    fn fill(&self, class: Class, rows: &[Row]) -> ArrayRef {
        let fill = self.fills[class.index()].as_ref();
        fill.expect("a class is stored with its own columns only")(rows)
    }

    fn field(&self) -> Field {
        let empty = self.fill(self.classes[0], &[]);
        Field::new(self.name, empty.data_type().clone(), self.nullable)
    }
}
