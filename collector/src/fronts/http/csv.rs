//! Rows as CSV (RFC 4180): null is empty, a list is JSON.

use arrow::{
    array::{Array, RecordBatch},
    error::ArrowError,
    json::{LineDelimitedWriter, WriterBuilder, writer::LineDelimited},
    util::display::{ArrayFormatter, FormatOptions},
};
use csv::{Terminator, WriterBuilder as LineBuilder};

/// Cells and quotes of most lines; longer ones are passed on in parts.
const BUFFER: usize = 1 << 10;

/// One line.
pub(super) fn line(cells: &[&str], out: &mut Vec<u8>) -> Result<(), ArrowError> {
    if cells.len() < 2 && cells.iter().all(|cell| cell.is_empty()) {
        // The writer would make it `""`, an empty text: null is nothing at all.
        out.extend(b"\r\n");
        return Ok(());
    }
    let mut writer = LineBuilder::new()
        .terminator(Terminator::CRLF)
        .buffer_capacity(BUFFER)
        .from_writer(out);
    let written = writer.write_record(cells);
    written.map_err(|error| ArrowError::CsvError(error.to_string()))?;
    Ok(writer.flush()?)
}

/// All rows of a batch.
pub(super) fn rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let columns = (0..batch.num_columns()).map(|index| cells(batch, index));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let cells: Vec<&str> = columns.iter().map(|cells| cells[row].as_str()).collect();
        line(&cells, out)?;
    }
    Ok(())
}

fn cells(batch: &RecordBatch, column: usize) -> Result<Vec<String>, ArrowError> {
    let array = batch.column(column);
    if array.data_type().is_nested() {
        return nested_cells(batch, column);
    }
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let cell = |row: usize| match array.is_null(row) {
        true => Ok(String::new()),
        false => formatter.value(row).try_to_string(),
    };
    (0..array.len()).map(cell).collect()
}

/// Lists and structs, each as the JSON of its value.
fn nested_cells(batch: &RecordBatch, column: usize) -> Result<Vec<String>, ArrowError> {
    let only = batch.project(&[column])?;
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(&only)?;
    writer.finish()?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    // Each line is an object of one member, whose name is the first text in it.
    let name = serde_json::Value::from(only.schema().field(0).name().as_str()).to_string();
    let before = name.len() + 2;
    let value = |line: &str| match &line[before..line.len() - 1] {
        "null" => String::new(),
        value => value.to_owned(),
    };
    Ok(text.lines().map(value).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringArray, StringBuilder};
    use proptest::prelude::*;

    use super::*;

    fn written(cells: &[&str]) -> String {
        let mut out = Vec::new();
        line(cells, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The lines before they were the csv crate's.
    fn by_hand(cells: &[&str]) -> String {
        let mut line = String::new();
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            match cell.contains(['"', ',', '\n', '\r']) {
                true => line.extend(["\"", &cell.replace('"', "\"\""), "\""]),
                false => line.push_str(cell),
            }
        }
        line.push_str("\r\n");
        line
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_before(
            cells in prop::collection::vec("([a-c]|[\",\r\n'#; \t]|日|\\PC){0,12}|x{2000}", 0..6),
        ) {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            prop_assert_eq!(written(&cells), by_hand(&cells));
        }
    }

    #[test]
    fn cells_are_quoted_where_they_must_be_and_lists_are_json() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), Some("b\"c"), None]);
        lists.append_null();
        let batch = RecordBatch::try_from_iter_with_nullable([
            (
                "n",
                Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
                true,
            ),
            ("a,\"b\"", Arc::new(lists.finish()), true),
            (
                "t",
                Arc::new(StringArray::from(vec!["x\r\ny", "plain"])),
                true,
            ),
        ]);
        let mut out = Vec::new();
        rows(&batch.unwrap(), &mut out).unwrap();
        let expected = "1,\"[\"\"a\"\",\"\"b\\\"\"c\"\",null]\",\"x\r\ny\"\r\n,,plain\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(written(&["a,\"b\"", "c"]), "\"a,\"\"b\"\"\",c\r\n");
    }
}
