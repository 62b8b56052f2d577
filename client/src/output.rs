//! Rows in the forms that `-o` names.
//!
//! All but the table are written batch by batch, as the rows arrive.

pub mod story;

use std::io::{self, Write};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    json::{
        ArrayWriter, LineDelimitedWriter, WriterBuilder,
        writer::{JsonArray, LineDelimited},
    },
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use crate::{
    answer::Answer,
    cells, csv,
    error::ClientError,
    format::{Form, Format},
    table,
};

/// Rows of a Parquet row group: what is held in memory before it is written.
const ROWS_OF_A_GROUP: usize = 64 << 10;

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

// === impl RowWriter ===

impl<W: Write + Send> RowWriter<W> {
    pub fn new(form: Form, schema: &SchemaRef, mut out: W) -> Result<Self, ClientError> {
        Ok(match form {
            Form::Json => Self::Json(json().build::<_, JsonArray>(out)),
            Form::Ndjson => Self::Ndjson(json().build::<_, LineDelimited>(out)),
            Form::Csv => {
                let names = schema.fields().iter().map(|field| field.name().as_str());
                csv::line(&names.collect::<Vec<_>>(), &mut out)?;
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
                for row in cells::of(batch)? {
                    let row: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
                    csv::line(&row, out)?;
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
