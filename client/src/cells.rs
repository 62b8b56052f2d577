//! Cells of a batch as text, for tables and CSV.

use arrow::{
    array::{Array, ListArray, RecordBatch, StringArray},
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::error::ClientError;

/// Every cell as text, row by row; `None` is null.
pub fn of(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ClientError> {
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
