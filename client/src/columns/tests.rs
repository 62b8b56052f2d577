//! Columns of every type that a collector sends, and those it must not.

use std::sync::Arc;

use arrow::{
    array::{
        BooleanArray, DictionaryArray, Int64Array, ListBuilder, NullArray, StringArray,
        StringBuilder, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray, UInt8Array, UInt32Array, UInt64Array,
    },
    datatypes::{Int32Type as Key, Schema},
};
use serde::Serialize;

use super::*;
use crate::answer::Answer;

#[derive(Debug, Serialize)]
struct Row {
    text: String,
    view: Option<String>,
    dictionary: Option<String>,
    nothing: Option<u32>,
    argv: Option<Vec<String>>,
    micros: String,
    nanos: Option<String>,
    small: u8,
    pid: Option<u32>,
    count: u64,
    result: Option<i32>,
    inferred: Option<bool>,
}

from_columns!(Row {
    text,
    view,
    dictionary,
    nothing,
    argv,
    micros,
    nanos,
    small,
    pid,
    count,
    result,
    inferred,
});

#[derive(Debug, PartialEq)]
struct Times {
    time: Timestamp,
    last: Option<Timestamp>,
    of_no_column: bool,
}

from_columns!(Times { time, last; of_no_column: true });

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .unwrap()
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("skipped")]);
    lists.append_value([Some("sh"), Some("-c"), Some("a \"b\"\n")]);
    lists.append_null();
    lists.append_value([None::<&str>; 0]);
    // A slice, as a page of a list is: offsets do not begin at 0.
    let lists = lists.finish().slice(1, 3);
    let micros = vec![
        1_700_000_000_000_000,
        1_700_000_000_500_000,
        1_700_000_000_000_001,
    ];
    let nanos = vec![Some(1), None, Some(1_700_000_000_123_456_789)];
    let dictionary: DictionaryArray<Key> = [Some("x"), None, Some("x")].into_iter().collect();
    vec![
        ("text", Arc::new(StringArray::from(vec!["a", "", "日本"]))),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                Some("long enough for a buffer"),
                None,
                Some(""),
            ])),
        ),
        ("dictionary", Arc::new(dictionary)),
        ("nothing", Arc::new(NullArray::new(3))),
        ("argv", Arc::new(lists)),
        (
            "micros",
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC")),
        ),
        (
            "nanos",
            Arc::new(TimestampNanosecondArray::from(nanos).with_timezone("UTC")),
        ),
        ("small", Arc::new(UInt8Array::from(vec![0, 1, 255]))),
        (
            "pid",
            Arc::new(UInt32Array::from(vec![Some(u32::MAX), None, Some(1)])),
        ),
        ("count", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
        (
            "result",
            Arc::new(Int64Array::from(vec![Some(-2), None, Some(3)])),
        ),
        (
            "inferred",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        ("one_more", Arc::new(UInt8Array::from(vec![7, 7, 7]))),
    ]
}

/// The same, with one column as something else.
fn with(name: &'static str, column: ArrayRef) -> RecordBatch {
    let mut columns = columns();
    let place = columns
        .iter()
        .position(|(known, _)| *known == name)
        .unwrap();
    columns[place].1 = column;
    batch(columns)
}

fn refused(batch: &RecordBatch) -> String {
    read::<Row>(batch).unwrap_err().to_string()
}

#[test]
fn rows_are_what_their_json_says() {
    let batch = batch(columns());
    let rows: Vec<Row> = read(&batch).unwrap();
    let answer = Answer {
        schema: batch.schema(),
        batches: vec![batch],
        truncated: false,
    };
    let mut json: serde_json::Value = serde_json::from_slice(&answer.json().unwrap()).unwrap();
    for row in json.as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("one_more");
    }
    assert_eq!(serde_json::to_value(&rows).unwrap(), json);
    assert_eq!(rows[1].micros, "2023-11-14T22:13:20.500Z");
    assert_eq!(rows[0].argv.as_deref().unwrap()[2], "a \"b\"\n");
    assert_eq!(
        (rows[1].argv.clone(), rows[2].argv.clone()),
        (None, Some(Vec::new()))
    );
}

#[test]
fn rows_of_several_batches_follow_each_other() {
    let batch = batch(columns());
    let answer = Answer {
        schema: batch.schema(),
        batches: vec![batch.slice(2, 1), batch.slice(0, 0), batch.slice(0, 2)],
        truncated: false,
    };
    let rows: Vec<Row> = answer.read().unwrap();
    let counts: Vec<u64> = rows.iter().map(|row| row.count).collect();
    assert_eq!(counts, [1, u64::MAX, 0]);
    let none = Answer {
        schema: Arc::new(Schema::empty()),
        batches: Vec::new(),
        truncated: false,
    };
    assert!(none.read::<Row>().unwrap().is_empty());
}

#[test]
fn a_column_that_is_not_there_is_named() {
    let mut columns = columns();
    columns.retain(|(name, _)| *name != "view");
    assert_eq!(refused(&batch(columns)), "it has no column view");
}

#[test]
fn a_column_of_another_type_is_named_with_both_types() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3"]));
    for (column, array, message) in [
        ("view", &numbers, "its column view holds Int64, not text"),
        ("pid", &texts, "its column pid holds Utf8, not integers"),
        (
            "inferred",
            &numbers,
            "its column inferred holds Int64, not true and false",
        ),
        (
            "argv",
            &texts,
            "its column argv holds Utf8, not lists of text",
        ),
        (
            "micros",
            &numbers,
            "its column micros holds Int64, not text",
        ),
    ] {
        assert_eq!(refused(&with(column, Arc::clone(array))), message);
    }
}

#[test]
fn null_is_refused_where_a_value_is_needed() {
    let texts = StringArray::from(vec![Some("a"), None, Some("b")]);
    assert_eq!(
        refused(&with("text", Arc::new(texts))),
        "its column text has no value in row 1"
    );
    assert_eq!(
        refused(&with("count", Arc::new(NullArray::new(3)))),
        "its column count has no value in row 0"
    );
    let mut lists = ListBuilder::new(StringBuilder::new());
    (0..3).for_each(|_| lists.append_value([Some("a"), None]));
    let message = refused(&with("argv", Arc::new(lists.finish())));
    assert!(
        message.starts_with("its column argv cannot be read: "),
        "{message}"
    );
}

#[test]
fn numbers_that_do_not_fit_are_refused_and_not_wrapped() {
    for (column, number) in [
        ("count", -1),
        ("pid", 1 << 32),
        ("small", 256),
        ("result", 1 << 31),
    ] {
        let numbers = Int64Array::from(vec![0, number, 0]);
        let message = refused(&with(column, Arc::new(numbers)));
        let expected = format!("its column {column} cannot be read: ");
        assert!(
            message.starts_with(&expected) && message.contains(&number.to_string()),
            "{message}"
        );
    }
}

#[test]
fn times_are_times_in_every_unit_or_refused() {
    let millis = TimestampMillisecondArray::from(vec![1_700_000_000_123]).with_timezone("UTC");
    let nanos = TimestampNanosecondArray::from(vec![None]);
    let rows: Vec<Times> = read(&batch(vec![
        ("time", Arc::new(millis.clone())),
        ("last", Arc::new(nanos)),
    ]))
    .unwrap();
    assert_eq!(
        rows,
        [Times {
            time: "2023-11-14T22:13:20.123Z".parse().unwrap(),
            last: None,
            of_no_column: true,
        }]
    );
    let never = TimestampMillisecondArray::from(vec![i64::MAX]);
    let error = read::<Times>(&batch(vec![
        ("time", Arc::new(millis)),
        ("last", Arc::new(never)),
    ]));
    let message = error.unwrap_err().to_string();
    assert!(
        message.starts_with("its column last cannot be read: "),
        "{message}"
    );
}
