//! An answer of the collector, whole: the columns and rows of one statement.

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    json::{WriterBuilder, writer::JsonArray},
};

use crate::{
    columns::{self, FromColumns},
    error::ClientError,
};

/// The answer to one statement.
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// The collector's row limit, or the one asked for, cut it.
    pub truncated: bool,
}

// === impl Answer ===

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// One JSON array with an object a row; every column is present, null when unknown.
    pub fn json(&self) -> Result<Vec<u8>, ClientError> {
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, JsonArray>(Vec::new());
        writer.write_batches(&self.batches.iter().collect::<Vec<_>>())?;
        writer.finish()?;
        Ok(writer.into_inner())
    }

    /// The rows as structs that have the columns as fields.
    pub fn read<T: FromColumns>(&self) -> Result<Vec<T>, ClientError> {
        let mut rows = Vec::with_capacity(self.rows());
        for batch in &self.batches {
            rows.extend(columns::read(batch)?);
        }
        Ok(rows)
    }

    /// Leaves `rows` rows, without the last ones or without the `first`; true if there were more.
    pub(crate) fn cut(&mut self, rows: usize, first: bool) -> bool {
        let Some(mut extra) = self.rows().checked_sub(rows).filter(|extra| *extra > 0) else {
            return false;
        };
        let mut index = if first { 0 } else { self.batches.len() };
        while extra > 0 {
            if !first {
                index -= 1;
            }
            let batch = &mut self.batches[index];
            let off = extra.min(batch.num_rows());
            let from = if first { off } else { 0 };
            *batch = batch.slice(from, batch.num_rows() - off);
            extra -= off;
            if first {
                index += 1;
            }
        }
        true
    }
}
