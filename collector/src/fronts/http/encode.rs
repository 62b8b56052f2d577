//! Rows in the form that the client accepts.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
    json::{LineDelimitedWriter, WriterBuilder, writer::LineDelimited},
};
use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use serde_json::json;

use super::{csv, problem::Problem};
use crate::query::QueryError;

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One object with columns, rows, and whether there were more.
    Json,
    /// One object a row and line, nothing else.
    Lines,
    /// RFC 4180 with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// Encodes one answer.
pub(super) struct Encoder {
    form: Form,
    schema: SchemaRef,
    rows: u64,
    /// The head was sent.
    begun: bool,
    arrow: Option<StreamWriter<Vec<u8>>>,
}

// === impl Form ===

impl Form {
    /// The first of the accepted types that is known.
    pub fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut said = headers.get_all(header::ACCEPT).iter().peekable();
        if said.peek().is_none() {
            return Ok(Self::Json);
        }
        said.filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(Self::of)
            .ok_or_else(Problem::not_acceptable)
    }

    fn of(media_range: &str) -> Option<Self> {
        let (essence, parameters) = media_range.split_once(';').unwrap_or((media_range, ""));
        let refused =
            |parameter: &str| matches!(parameter.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        if parameters.split(';').any(refused) {
            return None;
        }
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Lines),
            "text/csv" | "text/*" => Some(Self::Csv),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

// === impl Encoder ===

impl Encoder {
    pub fn new(form: Form, schema: &Schema) -> Self {
        Self {
            form,
            schema: distinct(schema),
            rows: 0,
            begun: false,
            arrow: None,
        }
    }

    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Bytes, QueryError> {
        let encoded = self.encode(batch).map_err(encoding)?;
        self.begun = true;
        self.rows += batch.num_rows() as u64;
        Ok(encoded.into())
    }

    /// The end of all rows. Of an answer that was `cut` there is one only where the form says so;
    /// otherwise the cut is the error that it ends with.
    pub fn end(
        &mut self,
        rows: u64,
        truncated: bool,
        cut: Option<Problem>,
    ) -> Result<Bytes, Problem> {
        let mut out = self.head().map_err(encoding)?;
        self.begun = true;
        match (self.form, cut) {
            (Form::Json, cut) => {
                let end = format!("\n],\"row_count\":{rows},\"truncated\":{truncated}");
                out.extend(end.into_bytes());
                if let Some(hint) = cut.and_then(|cut| cut.hint) {
                    out.extend(format!(",\"hint\":{}", json!(hint)).into_bytes());
                }
                out.extend(b"}\n");
            }
            (_, Some(cut)) => return Err(cut),
            (Form::Lines | Form::Csv, None) => {}
            (Form::Arrow, None) => {
                if let Some(writer) = &mut self.arrow {
                    writer.finish().map_err(encoding)?;
                    out.append(writer.get_mut());
                }
            }
        }
        Ok(out.into())
    }

    /// The end of an answer that failed in the middle, where the form has room for a word on it.
    pub fn broken(&mut self, problem: &Problem) -> Option<Bytes> {
        let mut out = self.head().ok()?;
        let problem = json!({"error": problem}).to_string();
        match self.form {
            Form::Json => {
                let end = format!("\n],\"row_count\":{},\"truncated\":true,", self.rows);
                out.extend(end.into_bytes());
                out.extend(&problem.as_bytes()[1..]);
                out.push(b'\n');
            }
            Form::Lines => {
                out.extend(problem.into_bytes());
                out.push(b'\n');
            }
            Form::Csv | Form::Arrow => return None,
        }
        Some(out.into())
    }

    /// What comes before the rows, until something was sent.
    fn head(&mut self) -> Result<Vec<u8>, ArrowError> {
        if self.begun {
            return Ok(Vec::new());
        }
        match self.form {
            Form::Json => {
                let columns = self.schema.fields().iter().map(|field| column(field));
                let columns = json!(columns.collect::<Vec<_>>());
                Ok(format!("{{\"columns\":{columns},\"rows\":[").into_bytes())
            }
            Form::Lines => Ok(Vec::new()),
            Form::Csv => {
                let names = self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str());
                let mut head = Vec::new();
                csv::line(&names.collect::<Vec<_>>(), &mut head)?;
                Ok(head)
            }
            Form::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), &self.schema)?;
                let begin = std::mem::take(writer.get_mut());
                self.arrow = Some(writer);
                Ok(begin)
            }
        }
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut out = self.head()?;
        let schema = Arc::clone(&self.schema);
        let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &count)?;
        match self.form {
            Form::Json => {
                // A line a row: no text in JSON has a line break in it.
                let lines = lines(&batch)?;
                for line in lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
                    if self.rows > 0 || out.last() == Some(&b'}') {
                        out.push(b',');
                    }
                    out.push(b'\n');
                    out.extend(line);
                }
            }
            Form::Lines => out.extend(lines(&batch)?),
            Form::Csv => csv::rows(&batch, &mut out)?,
            Form::Arrow => {
                if let Some(writer) = &mut self.arrow {
                    writer.write(&batch)?;
                    out.append(writer.get_mut());
                }
            }
        }
        Ok(out)
    }
}

/// A column as JSON.
pub(super) fn column(field: &Field) -> serde_json::Value {
    json!({
        "name": field.name(),
        "type": field.data_type().to_string(),
        "nullable": field.is_nullable(),
    })
}

fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// The same columns with names of their own, as an object and a header need them: of two `a`, the
/// second is `a_2`.
fn distinct(schema: &Schema) -> SchemaRef {
    let mut taken = std::collections::HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut n = 1;
        while !taken.insert(name.clone()) {
            n += 1;
            name = format!("{}_{n}", field.name());
        }
        field.as_ref().clone().with_name(name)
    });
    let fields: Vec<Field> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn encoding(error: ArrowError) -> QueryError {
    QueryError::Engine(error.to_string())
}
