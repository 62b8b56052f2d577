//! An answer as a table, JSON or CSV.

use std::io::{self, Write};

use arrow::{
    array::{Array, ListArray, RecordBatch, StringArray},
    datatypes::DataType,
    util::display::{ArrayFormatter, FormatOptions},
};
use clap::ValueEnum;

use super::{
    Answer, ClientError, errno,
    text::{plain, short_time, shorten},
};

/// Columns between two columns of a table.
const GAP: usize = 2;
/// No column is made narrower than this to fit the others in.
const NARROWEST: usize = 6;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a person; long text is cut with …
    Table,
    /// One JSON array, every value in full
    Json,
    /// RFC 4180 with a header, every value in full; lists as JSON
    Csv,
}

/// Prints an answer; tables are fitted into `width` columns.
pub fn print(
    answer: &Answer,
    format: Format,
    width: usize,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    match format {
        Format::Json => {
            out.write_all(&answer.json()?)?;
            writeln!(out)?;
        }
        Format::Csv => {
            let names = answer
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone());
            write_csv_line(&names.collect::<Vec<_>>(), out)?;
            for row in cells(answer)? {
                let row: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
                write_csv_line(&row, out)?;
            }
        }
        Format::Table => table(answer, width, out)?,
    }
    Ok(())
}

/// One line of RFC 4180.
pub fn write_csv_line(cells: &[String], out: &mut impl Write) -> io::Result<()> {
    let quoted = |cell: &String| match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    let line: Vec<_> = cells.iter().map(quoted).collect();
    write!(out, "{}\r\n", line.join(","))
}

/// Columns of the terminal on standard output, else of `COLUMNS`, else 160.
pub fn width() -> usize {
    let terminal = rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| size.ws_col.into());
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal
        .filter(|columns| *columns > 0)
        .or_else(told)
        .unwrap_or(160)
        .max(80)
}

fn table(answer: &Answer, width: usize, out: &mut impl Write) -> Result<(), ClientError> {
    let fields = answer.schema.fields();
    let is_time = |column: usize| matches!(fields[column].data_type(), DataType::Timestamp(..));
    let is_result = |column: usize| fields[column].name().eq_ignore_ascii_case("result");
    let cells = cells(answer)?;
    // Milliseconds only where a time of the column has them.
    let split =
        |row: &Vec<Option<String>>, c: usize| row[c].as_ref().is_some_and(|t| t.contains('.'));
    let fine: Vec<bool> = (0..fields.len())
        .map(|c| cells.iter().any(|row| split(row, c)))
        .collect();
    let rows = cells.into_iter().map(|row| {
        let cell = |(column, cell): (usize, Option<String>)| match cell {
            None => "-".to_owned(),
            Some(time) if is_time(column) => short_time(&time, fine[column]),
            Some(result) if is_result(column) => outcome(plain(&result)),
            Some(text) => plain(&text),
        };
        row.into_iter().enumerate().map(cell).collect::<Vec<_>>()
    });
    let mut lines = vec![
        fields
            .iter()
            .map(|field| plain(field.name()))
            .collect::<Vec<_>>(),
    ];
    lines.extend(rows);

    let fixed: Vec<bool> = (0..fields.len()).map(is_time).collect();
    let widths = fit(&lines, &fixed, width);
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let cell = shorten(cell, widths[column]);
            let room = " ".repeat(widths[column] - cell.chars().count());
            match fields[column].data_type().is_numeric() {
                true => text.extend([room, cell]),
                false => text.extend([cell, room]),
            }
            text.push_str(&" ".repeat(GAP));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Widths that fit, taken from the widest columns that are not fixed first.
fn fit(lines: &[Vec<String>], fixed: &[bool], width: usize) -> Vec<usize> {
    let longest = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let mut widths: Vec<usize> = (0..fixed.len()).map(|c| longest(c).unwrap_or(0)).collect();
    let room = width.saturating_sub(GAP * fixed.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let flexible = widths.iter_mut().zip(fixed).filter(|(_, fixed)| !**fixed);
        match flexible.map(|(width, _)| width).max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// The name of a negative errno; other values as they are.
fn outcome(result: String) -> String {
    let name = result.parse().ok().and_then(errno::name);
    name.map_or(result, str::to_owned)
}

/// Every cell as text; `None` is null.
fn cells(answer: &Answer) -> Result<Vec<Vec<Option<String>>>, ClientError> {
    let mut rows = Vec::with_capacity(answer.rows());
    for batch in &answer.batches {
        rows.extend(batch_cells(batch)?);
    }
    Ok(rows)
}

fn batch_cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ClientError> {
    let options = FormatOptions::default().with_display_error(false);
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for array in batch.columns() {
        let lists = array.as_any().downcast_ref::<ListArray>();
        let formatter = ArrayFormatter::try_new(array, &options)?;
        for (index, row) in rows.iter_mut().enumerate() {
            row.push(match (array.is_null(index), lists) {
                (true, _) => None,
                (false, Some(lists)) => Some(list_as_json(&lists.value(index))?),
                (false, None) => Some(formatter.value(index).try_to_string()?),
            });
        }
    }
    Ok(rows)
}

fn list_as_json(items: &dyn Array) -> Result<String, ClientError> {
    let options = FormatOptions::default();
    match items.as_any().downcast_ref::<StringArray>() {
        Some(texts) => Ok(serde_json::to_string(&texts.iter().collect::<Vec<_>>())?),
        None => {
            let formatter = ArrayFormatter::try_new(items, &options)?;
            let items = (0..items.len()).map(|index| formatter.value(index).try_to_string());
            Ok(serde_json::to_string(
                &items.collect::<Result<Vec<_>, _>>()?,
            )?)
        }
    }
}
