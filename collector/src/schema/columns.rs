//! The columns of `events`, in their order in the files, and how they are filled.
//!
//! Those of what events tell are the event model's ([`skep_event::Columns`]); here are the ones of the
//! stream that brought them. Each is filled by a function made for it alone.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc, sync::LazyLock};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Int16Array, Int32Array, Int64Array, ListBuilder,
        StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field},
};
use skep_event::{
    Agent, Classes, Column as Known, Columns, Facts, OfClass, Process, column::Reads,
    columns as everywhere,
};
use skep_proto::v1;

use super::{By, Class, Column, Fill, Row};

/// Every column of `events`.
pub static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let mut all = All::default();
    all.of_stream();
    all.of_events();
    all.add_part(OfAgent);
    all.add_part(OfProcess);
    Class::each(&mut all);
    all.0.into_values().collect()
});

/// By ordinal.
#[derive(Default)]
struct All(BTreeMap<usize, Column>);

/// Where the facts of a row are.
trait Source: 'static {
    type Facts: Facts;
    const BY: By;

    fn message<'a>(row: &Row<'a>) -> Option<&'a <Self::Facts as Facts>::Message>;
}

struct OfAgent;
struct OfProcess;
struct OfDetail<C>(PhantomData<C>);

/// Adds the columns of a source, for some classes.
struct Adding<'a, S> {
    all: &'a mut All,
    classes: &'static [Class],
    source: PhantomData<S>,
}

// === impl All ===

impl All {
    /// A column that has a value for these classes; others may have been added for it before.
    fn add(
        &mut self,
        known: &'static Known,
        classes: &[Class],
        by: By,
        nullable: bool,
        fill: Fill,
    ) {
        let column = self.0.entry(known.ordinal).or_insert_with(|| Column {
            name: known.name,
            nullable,
            about: known.about,
            classes: Vec::new(),
            by,
            fills: Default::default(),
        });
        column.classes.extend(classes);
        for class in classes {
            column.fills[class.index()] = Some(Arc::clone(&fill));
        }
    }

    /// A column of every class that is not of a part.
    fn add_plain(&mut self, known: &'static Known, by: By, fill: fn(&[Row]) -> ArrayRef) {
        self.add(known, &Class::ALL, by, true, Arc::new(fill));
    }

    fn add_always(&mut self, known: &'static Known, by: By, fill: fn(&[Row]) -> ArrayRef) {
        self.add(known, &Class::ALL, by, false, Arc::new(fill));
    }

    fn add_part<S: Source>(&mut self, _: S) {
        S::Facts::columns(&mut Adding::<S> {
            all: self,
            classes: &Class::ALL,
            source: PhantomData,
        });
    }

    fn of_stream(&mut self) {
        const SENSOR_ID: Known = Known::at(0, "sensor_id", "install id of the sensor");
        const EPOCH: Known = Known::at(1, "epoch", "life of the sensor's spool");
        const SEQ: Known = Known::at(2, "seq", "place within the epoch, from 1, without gaps");
        const HOST: Known = Known::at(
            3,
            "host",
            "host name, as of the stream that brought the event",
        );
        const KERNEL: Known = Known::at(
            4,
            "kernel",
            "kernel release, as of the stream that brought the event",
        );
        self.add_always(&SENSOR_ID, By::Origin, |rows| {
            text_always(rows, |row| &row.origin.sensor_id)
        });
        self.add_always(&EPOCH, By::Origin, |rows| {
            long_always(rows, |row| row.origin.epoch)
        });
        self.add_always(&SEQ, By::Event, |rows| long_always(rows, |row| row.seq));
        self.add_plain(&HOST, By::Origin, |rows| {
            text(rows, |row| row.origin.hostname.as_deref())
        });
        self.add_plain(&KERNEL, By::Origin, |rows| {
            text(rows, |row| row.origin.kernel.as_deref())
        });
    }

    fn of_events(&mut self) {
        self.add_always(&everywhere::TIME, By::Event, |rows| {
            time_always(rows, |row| row.event.time_unix_nano)
        });
        self.add_always(&everywhere::CLASS, By::Event, |rows| {
            text_always(rows, |row| row.class.name())
        });
        self.add_plain(&everywhere::SESSION, By::Session, |rows| {
            text(rows, |row| row.session_id())
        });
        self.add_plain(&everywhere::RESULT, By::Event, |rows| {
            outcome(rows, |row| row.event.result)
        });
        self.add_plain(&everywhere::HOOK, By::Hook, |rows| {
            text(rows, |row| row.hook())
        });
        self.add_plain(&everywhere::BOOT_TIME, By::Event, |rows| {
            long(rows, |row| row.event.boot_time_nano)
        });
        self.add_plain(&everywhere::BOOT_ID, By::Boot, |rows| {
            text(rows, |row| row.boot_id())
        });
    }
}

impl Classes for All {
    fn class<C: OfClass>(&mut self) {
        C::columns(&mut Adding::<OfDetail<C>> {
            all: self,
            classes: const { &[C::CLASS] },
            source: PhantomData,
        });
    }
}

// === impl Source ===

impl Source for OfAgent {
    type Facts = Agent;
    const BY: By = By::Agent;

    fn message<'a>(row: &Row<'a>) -> Option<&'a v1::Agent> {
        row.agent()
    }
}

impl Source for OfProcess {
    type Facts = Process;
    const BY: By = By::Process;

    fn message<'a>(row: &Row<'a>) -> Option<&'a v1::Process> {
        row.process()
    }
}

impl<C: OfClass + 'static> Source for OfDetail<C> {
    type Facts = C;
    const BY: By = By::Event;

    fn message<'a>(row: &Row<'a>) -> Option<&'a C::Message> {
        C::of(row.event.detail.as_ref()?)
    }
}

// === impl Adding ===

macro_rules! adding {
    ($($kind:ident -> $value:ty;)*) => {
        impl<S: Source> Columns<<S::Facts as Facts>::Message> for Adding<'_, S> {
            $(fn $kind(
                &mut self,
                column: &'static Known,
                value: impl Fn(&<S::Facts as Facts>::Message) -> Option<$value> + Reads,
            ) {
                let fill = move |rows: &[Row]| $kind(rows, |row| value(S::message(row)?));
                self.all.add(column, self.classes, S::BY, true, Arc::new(fill));
            })*
        }
    };
}

adding! {
    text -> &str;
    texts -> &[String];
    flag -> bool;
    short -> u64;
    int -> u64;
    long -> u64;
    wide -> u64;
    signed -> i64;
    time -> u64;
}

// === how a column is filled ===

fn text<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

fn text_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn texts<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<&'a [String]>) -> ArrayRef {
    // The name is Delta Lake's and Parquet's.
    let element = Field::new("element", DataType::Utf8, true);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(element);
    for row in rows {
        match value(row) {
            Some(items) => {
                items
                    .iter()
                    .for_each(|item| lists.values().append_value(item));
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    Arc::new(lists.finish())
}

fn flag<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<bool>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<BooleanArray>())
}

fn short<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(narrow::<u64, i16>));
    Arc::new(values.collect::<Int16Array>())
}

fn int<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(narrow::<u64, i32>));
    Arc::new(values.collect::<Int32Array>())
}

fn long<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(narrow::<u64, i64>));
    Arc::new(values.collect::<Int64Array>())
}

fn outcome<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<i32>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int32Array>())
}

fn signed<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int64Array>())
}

fn long_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> u64) -> ArrayRef {
    let values = rows.iter().map(|row| narrow(value(row)));
    Arc::new(Int64Array::from_iter_values(values))
}

/// All 64 bits of a number that has no sign: an inode of an overlay uses the highest.
fn wide<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(i128::from));
    let values = values.collect::<Decimal128Array>();
    Arc::new(
        values
            .with_precision_and_scale(20, 0)
            .expect("20 digits are fewer than a Decimal128 can have"),
    )
}

fn time<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(micros));
    let values = values.collect::<TimestampMicrosecondArray>();
    Arc::new(values.with_timezone("UTC"))
}

fn time_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> u64) -> ArrayRef {
    let values = rows.iter().map(|row| micros(value(row)));
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Unix nanoseconds as the table keeps them.
fn micros(unix: u64) -> i64 {
    (unix / 1000)
        .try_into()
        .expect("a thousandth of 64 bits fits 63")
}

fn narrow<N, T: TryFrom<N>>(number: N) -> T {
    T::try_from(number)
        .ok()
        .expect("ingest refuses numbers that do not fit their column")
}

fn part<T>(parts: &[T], index: Option<u32>) -> Option<&T> {
    index.map(|index| &parts[index as usize])
}

// === impl Row ===

impl<'a> Row<'a> {
    pub(super) fn session_id(&self) -> Option<&'a str> {
        let id = part(&self.parts.sessions, self.event.session)?;
        Some(id)
    }

    pub(super) fn agent(&self) -> Option<&'a v1::Agent> {
        part(&self.parts.agents, self.event.agent)
    }

    pub(super) fn process(&self) -> Option<&'a v1::Process> {
        part(&self.parts.processes, self.event.process)
    }

    pub(super) fn hook(&self) -> Option<&'a str> {
        let hook = part(&self.parts.hooks, self.event.hook)?;
        Some(hook)
    }

    pub(super) fn boot_id(&self) -> Option<&'a str> {
        let id = part(&self.parts.boots, self.event.boot)?;
        Some(id)
    }
}
