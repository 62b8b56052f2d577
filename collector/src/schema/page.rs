//! The table of columns in `docs/collector.md`, written by a test from [`COLUMNS`]. After a change of
//! the event model: `SKEP_BLESS=1 cargo test -p skep-collector --lib table_of_columns`.

use std::fmt::Write;

use arrow::datatypes::DataType;

use super::{COLUMNS, Class, Column};

const HEAD: &str = "| column | type | classes | what |\n|---|---|---|---|\n";

fn table() -> String {
    let mut out = HEAD.to_owned();
    for column in COLUMNS.iter() {
        let Column {
            name,
            nullable,
            about,
            classes,
            ..
        } = column;
        let kind = type_name(column.field().data_type());
        let never = if *nullable { "" } else { ", never null" };
        let classes = match classes.len() {
            Class::COUNT => "all".to_owned(),
            _ => {
                let names: Vec<_> = classes.iter().map(|class| class.name()).collect();
                names.join(", ")
            }
        };
        writeln!(out, "| `{name}` | {kind}{never} | {classes} | {about} |").unwrap();
    }
    out
}

fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "text",
        DataType::List(_) => "list of text",
        DataType::Boolean => "boolean",
        DataType::Int16 => "signed 16 bit",
        DataType::Int32 => "signed 32 bit",
        DataType::Int64 => "signed 64 bit",
        DataType::Decimal128(20, 0) => "decimal of 20 digits",
        DataType::Timestamp(..) => "time",
        other => panic!("no name for {other}"),
    }
}

#[test]
fn the_table_of_columns_in_docs_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/collector.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(HEAD).expect("the head of the table");
    let rows = rest.lines().take_while(|line| line.starts_with('|'));
    let after: usize = rows.map(|row| row.len() + 1).sum();
    let current = format!("{before}{}{}", table(), &rest[after..]);
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == current,
        "docs/collector.md is not current: run `SKEP_BLESS=1 cargo test -p skep-collector --lib table_of_columns`"
    );
}
