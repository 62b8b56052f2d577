//! Texts as queries work on them, and as answers have them.
//!
//! A view of a text is sixteen bytes, short texts in them; a file's dictionary is read without copying
//! a text for each row, and comparing two is mostly comparing two numbers. Answers have plain texts,
//! whatever the reader's Arrow knows. Lists of texts are plain in both.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};

/// The same columns with texts as views.
pub fn viewed(schema: &Schema) -> SchemaRef {
    changed(schema, |data_type| match data_type {
        DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    })
}

/// The same columns with plain texts.
pub fn plain(schema: &Schema) -> SchemaRef {
    changed(schema, plain_type)
}

/// What a value of this type is in an answer.
pub fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(element) => {
            let plain = plain_type(element.data_type());
            DataType::List(Arc::new(element.as_ref().clone().with_data_type(plain)))
        }
        other => other.clone(),
    }
}

/// The rows with the columns of [`plain`].
///
/// # Errors
///
/// More text in a column than a plain Arrow array can have (2 GiB).
pub fn plain_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column =
        |(column, field): (&ArrayRef, &Arc<Field>)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        };
    let columns: Result<Vec<_>, _> = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(column)
        .collect();
    let count = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns?, &count)
}

fn changed(schema: &Schema, change: impl Fn(&DataType) -> DataType) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let data_type = change(field.data_type());
        field.as_ref().clone().with_data_type(data_type)
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
