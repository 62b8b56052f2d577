//! Property: the columns of a row give back the event that was encoded, fact by fact.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{
        ArrowPrimitiveType, Decimal128Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use skep_event::{
    Agent, Cells, Classes, Column as Known, Facts, OfClass, Process, any_event, columns,
};
use skep_proto::v1::{self, Event, event::Detail};

use super::{COLUMNS, Class, Origin, Row, Rows, Stored};
use crate::batch::Batch;

proptest! {
    #[test]
    fn an_event_comes_back_from_its_row(
        events in vec(any_event::message(), 1..20),
        first_seq in 1..u64::MAX / 2,
        hostname in option::of(any::<String>()),
    ) {
        let origin = Origin {
            sensor_id: "0123456789abcdef0123456789abcdef".to_owned(),
            epoch: 7,
            hostname,
            kernel: None,
        };
        let message = v1::Batch { first_seq, events: events.clone() };
        let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
        for class in Class::ALL {
            let row = |(seq, event)| Row { origin: &origin, seq, class, event, parts: &batch.parts };
            let numbered = (first_seq..).zip(&batch.events);
            let of_class = numbered.filter(|(_, event)| Class::of_event(event) == Some(class));
            let rows: Vec<_> = of_class.map(row).collect();
            let (one, other) = rows.split_at(rows.len() / 2);
            let halves = [one, other].map(|rows| Rows::encode(class, rows));
            let encoded = Rows::concat(class, &halves).unwrap();
            prop_assert_eq!(encoded.len(), rows.len());
            let seen = plain(&encoded.batch().unwrap(), class);
            let sorted = Rows::sorted(class, halves.to_vec());
            let stored = sorted.block(0..rows.len()).unwrap();
            let mut by_time = times(&stored);
            by_time.sort();
            prop_assert_eq!(sorted.times(), by_time);
            prop_assert!(sessions_are_together(&stored));
            for (index, row) in rows.iter().enumerate() {
                let place = seqs(&stored).iter().position(|seq| *seq as u64 == row.seq).unwrap();
                prop_assert_eq!(stored.slice(place, 1), seen.slice(index, 1));
            }
            for (index, Row { seq, .. }) in rows.iter().copied().enumerate() {
                let event = &events[usize::try_from(seq - first_seq).unwrap()];
                let row = Cell { class, batch: &seen, row: index };
                prop_assert_eq!(&row.event(), event);
                prop_assert_eq!(row.number::<Int64Type>("seq"), Some(seq as i64));
                prop_assert_eq!(row.number::<Int64Type>("epoch"), Some(7));
                prop_assert_eq!(row.named("sensor_id"), Some(origin.sensor_id.clone()));
                prop_assert_eq!(row.named("host"), origin.hostname.clone());
                prop_assert_eq!(row.named("kernel"), None);
            }
        }
    }
}

/// What queries see, with the types of the table.
fn plain(batch: &RecordBatch, class: Class) -> RecordBatch {
    let stored = class.schema();
    let columns = batch.columns().iter().zip(stored.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
    RecordBatch::try_new(Arc::clone(&stored), columns.collect()).unwrap()
}

fn times(batch: &RecordBatch) -> Vec<i64> {
    let times = batch.column_by_name("time").unwrap();
    times
        .as_primitive::<TimestampMicrosecondType>()
        .values()
        .to_vec()
}

/// Whether the rows of each session follow each other, in the order of their time.
fn sessions_are_together(batch: &RecordBatch) -> bool {
    let column = batch.column_by_name("session").unwrap();
    let ids: Vec<_> = column.as_string::<i32>().iter().collect();
    let times = times(batch);
    let runs: Vec<_> = ids.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    let mut seen = std::collections::BTreeSet::new();
    let mut start = 0;
    runs.into_iter().all(|len| {
        let run = start..start + len;
        start = run.end;
        seen.insert(ids[run.start]) && times[run].is_sorted()
    })
}

fn seqs(batch: &RecordBatch) -> Vec<i64> {
    let seqs = batch.column_by_name("seq").unwrap();
    seqs.as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn the_columns_are_in_the_order_of_the_files_and_of_one_type_in_every_class() {
    let mut names = Vec::new();
    for column in COLUMNS.iter() {
        let types = column.classes.iter().map(|class| {
            let empty = column.fill(*class, &[]);
            empty.data_type().clone()
        });
        let types: Vec<_> = types.collect();
        assert!(
            types.windows(2).all(|pair| pair[0] == pair[1]),
            "{}",
            column.name
        );
        assert!(!names.contains(&column.name), "{} twice", column.name);
        names.push(column.name);
    }
    // Those of the first files, which stay where they are. What is added comes after them.
    let first = [
        "sensor_id",
        "epoch",
        "seq",
        "host",
        "kernel",
        "time",
        "class",
        "session",
        "agent_family",
        "agent_version",
        "agent_confidence",
        "agent_evidence",
        "agent_install_path",
        "pid",
        "start",
        "ppid",
        "exe",
        "argv",
        "argv_truncated",
        "cwd",
        "uid",
        "file_path",
        "file_resolved",
        "file_flags",
        "file_mode",
        "count",
        "last",
        "net_family",
        "net_addr",
        "net_port",
        "net_proto",
        "net_path",
        "result",
        "hook",
        "exec_filename",
        "exit_code",
        "exit_signal",
        "session_phase",
        "session_parent",
        "user_name",
        "user_uid",
        "login_uid",
        "terminal",
        "session_cwd",
        "repo_root",
        "repo_remote",
        "repo_branch",
        "lost_hop",
        "lost_record",
        "lost_cause",
        "lost_first",
        "lost_last",
        "file_inode",
        "file_device",
        "file_links",
        "process_inferred",
        "session_gaps",
        "session_found",
        "coverage_what",
        "coverage_phase",
        "coverage_hook",
        "coverage_first",
        "coverage_last",
        "coverage_reason",
        "finding_rule",
        "finding_title",
        "finding_severity",
        "finding_attack",
        "finding_reason",
    ];
    assert_eq!(names[..first.len()], first);
    let mut ordinals = Ordinals(vec![0, 1, 2, 3, 4]);
    ordinals.0.extend([
        columns::TIME.ordinal,
        columns::CLASS.ordinal,
        columns::SESSION.ordinal,
        columns::RESULT.ordinal,
        columns::HOOK.ordinal,
        columns::BOOT_TIME.ordinal,
        columns::BOOT_ID.ordinal,
    ]);
    Agent::columns(&mut ordinals);
    Process::columns(&mut ordinals);
    Class::each(&mut ordinals);
    ordinals.0.sort_unstable();
    ordinals.0.dedup();
    assert!(
        ordinals.0.iter().copied().eq(0..COLUMNS.len()),
        "without gaps"
    );
}

/// Collects the ordinals of columns.
struct Ordinals(Vec<usize>);

macro_rules! ordinals {
    ($($kind:ident -> $value:ty;)*) => {
        impl<M> skep_event::Columns<M> for Ordinals {
            $(fn $kind(
                &mut self,
                column: &'static Known,
                _: impl Fn(&M) -> Option<$value> + skep_event::column::Reads,
            ) {
                self.0.push(column.ordinal);
            })*
        }
    };
}

ordinals! {
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

impl Classes for Ordinals {
    fn class<C: OfClass>(&mut self) {
        C::columns(self);
    }
}

// === from a row ===

/// A row, read without what the encoder is made of.
struct Cell<'a> {
    class: Class,
    batch: &'a RecordBatch,
    row: usize,
}

impl Cell<'_> {
    fn column(&self, name: &str) -> Option<&dyn Array> {
        let column = self.batch.column_by_name(name).expect("a known column");
        column.is_valid(self.row).then_some(column.as_ref())
    }

    fn named(&self, name: &str) -> Option<String> {
        let column = self.column(name)?;
        Some(column.as_string::<i32>().value(self.row).to_owned())
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str) -> Option<T::Native> {
        Some(self.column(name)?.as_primitive::<T>().value(self.row))
    }

    fn unsigned<T: ArrowPrimitiveType<Native: TryInto<u64, Error: std::fmt::Debug>>>(
        &self,
        column: &Known,
    ) -> Option<u64> {
        Some(self.number::<T>(column.name)?.try_into().unwrap())
    }

    fn event(&self) -> Event {
        Event {
            time_unix_nano: self.time(&columns::TIME).unwrap(),
            session: self.text(&columns::SESSION),
            agent: self.has(Agent::FIRST).then(|| Agent::read(self)),
            process: self.has(Process::FIRST).then(|| Process::read(self)),
            hook: self.text(&columns::HOOK),
            result: self.number::<Int32Type>(columns::RESULT.name),
            boot_time_nano: self.long(&columns::BOOT_TIME),
            boot_id: self.text(&columns::BOOT_ID),
            detail: Some(self.detail()),
        }
    }

    fn detail(&self) -> Detail {
        let mut reading = Reading {
            row: self,
            detail: None,
        };
        Class::each(&mut reading);
        reading.detail.expect("a class")
    }
}

/// Finds the detail of a row's class.
struct Reading<'a> {
    row: &'a Cell<'a>,
    detail: Option<Detail>,
}

impl Classes for Reading<'_> {
    fn class<C: OfClass>(&mut self) {
        if C::CLASS == self.row.class {
            self.detail = Some(C::detail(C::read(self.row)));
        }
    }
}

impl Cells for Cell<'_> {
    fn has(&self, column: &'static Known) -> bool {
        self.column(column.name).is_some()
    }

    fn text(&self, column: &'static Known) -> Option<String> {
        self.named(column.name)
    }

    fn texts(&self, column: &'static Known) -> Option<Vec<String>> {
        let items = self.column(column.name)?.as_list::<i32>().value(self.row);
        let items = items.as_string::<i32>().iter();
        Some(items.map(|item| item.unwrap().to_owned()).collect())
    }

    fn flag(&self, column: &'static Known) -> Option<bool> {
        Some(self.column(column.name)?.as_boolean().value(self.row))
    }

    fn short(&self, column: &'static Known) -> Option<u64> {
        self.unsigned::<Int16Type>(column)
    }

    fn int(&self, column: &'static Known) -> Option<u64> {
        self.unsigned::<Int32Type>(column)
    }

    fn long(&self, column: &'static Known) -> Option<u64> {
        self.unsigned::<Int64Type>(column)
    }

    fn wide(&self, column: &'static Known) -> Option<u64> {
        self.unsigned::<Decimal128Type>(column)
    }

    fn signed(&self, column: &'static Known) -> Option<i64> {
        self.number::<Int64Type>(column.name)
    }

    fn time(&self, column: &'static Known) -> Option<u64> {
        let micros = self.unsigned::<TimestampMicrosecondType>(column);
        micros.map(|micros| micros * 1000)
    }
}
