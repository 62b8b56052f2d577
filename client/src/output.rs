//! Rows in the forms that `-o` names.
//!
//! All but the table are written batch by batch, as the rows arrive.

use std::io::{self, Write};

use arrow::{
    array::{Array, ListArray, RecordBatch, StringArray},
    datatypes::SchemaRef,
    json::{
        ArrayWriter, LineDelimitedWriter, WriterBuilder,
        writer::{JsonArray, LineDelimited},
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use clap::ValueEnum;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{Answer, ClientError, table};

/// Rows of a Parquet row group: what is held in memory before it is written.
const ROWS_OF_A_GROUP: usize = 64 << 10;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a person; long text is cut with …
    Table,
    /// One JSON array, every value in full
    Json,
    /// One JSON object a line, every value in full
    Ndjson,
    /// RFC 4180 with a header, every value in full; lists as JSON
    Csv,
    /// Parquet (zstd), with the types of the collector; to a file or a pipe
    Parquet,
}

/// The forms that need not know all rows before the first is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Ndjson,
    Csv,
    Parquet,
}

/// Writes rows in one of these forms.
pub enum RowWriter<W: Write + Send> {
    Json(ArrayWriter<W>),
    Ndjson(LineDelimitedWriter<W>),
    Csv(W),
    Parquet(Box<ArrowWriter<W>>),
}

/// Prints an answer; tables are fitted into `width` columns.
pub fn print(
    answer: &Answer,
    format: Format,
    width: usize,
    out: &mut (impl Write + Send),
) -> Result<(), ClientError> {
    let Some(form) = format.form() else {
        return table::print(answer, width, out);
    };
    let mut writer = RowWriter::new(form, &answer.schema, out)?;
    for batch in &answer.batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}

// === impl Format ===

impl Format {
    /// `None` for a table, which is as wide as its widest row.
    pub fn form(self) -> Option<Form> {
        match self {
            Self::Table => None,
            Self::Json => Some(Form::Json),
            Self::Ndjson => Some(Form::Ndjson),
            Self::Csv => Some(Form::Csv),
            Self::Parquet => Some(Form::Parquet),
        }
    }
}

// === impl Form ===

impl Form {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

// === impl RowWriter ===

impl<W: Write + Send> RowWriter<W> {
    pub fn new(form: Form, schema: &SchemaRef, mut out: W) -> Result<Self, ClientError> {
        Ok(match form {
            Form::Json => Self::Json(json().build::<_, JsonArray>(out)),
            Form::Ndjson => Self::Ndjson(json().build::<_, LineDelimited>(out)),
            Form::Csv => {
                let names = schema.fields().iter().map(|field| field.name().clone());
                write_csv_line(&names.collect::<Vec<_>>(), &mut out)?;
                Self::Csv(out)
            }
            Form::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROWS_OF_A_GROUP))
                    .build();
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
                Self::Parquet(Box::new(writer))
            }
        })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ClientError> {
        match self {
            Self::Json(writer) => writer.write(batch)?,
            Self::Ndjson(writer) => writer.write(batch)?,
            Self::Csv(out) => {
                for row in batch_cells(batch)? {
                    let row: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
                    write_csv_line(&row, out)?;
                }
            }
            Self::Parquet(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// Writes what ends the form, and gives back what it was written to.
    pub fn finish(self) -> Result<W, ClientError> {
        Ok(match self {
            Self::Json(mut writer) => {
                writer.finish()?;
                let mut out = writer.into_inner();
                writeln!(out)?;
                out
            }
            Self::Ndjson(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Self::Csv(out) => out,
            Self::Parquet(writer) => writer.into_inner()?,
        })
    }
}

fn json() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
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

/// Every cell as text; `None` is null.
pub(super) fn batch_cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ClientError> {
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
