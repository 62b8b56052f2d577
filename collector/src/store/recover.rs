//! How far each source is, from the tables alone: for a log that is gone, or lost its last transaction.
//!
//! Invariant: no file keeps the collector from starting. One that cannot be read is left out, named and
//! in health; other engines may have rewritten files with other types of the same meaning.
//!
//! Bounds: of each file its footer and three columns are read, a batch at a time.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use bytes::Bytes;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use object_store::ObjectStoreExt;
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask, arrow_reader::ArrowReaderOptions,
        async_reader::AsyncFileReader,
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use super::{
    DataFile, Health, Source, Tail, blocking,
    log::{Log, Transaction},
    place::Place,
    table::Table,
};
use crate::error::Result;

const SENSOR: &str = "sensor_id";
const EPOCH: &str = "epoch";
const SEQ: &str = "seq";

/// A file that is read in parts.
struct Parts {
    place: Place,
    file: DataFile,
}

impl AsyncFileReader for Parts {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let bytes = self.place.root().get_range(&self.file.path, range).await;
            bytes.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata(
        &mut self,
        _options: Option<&ArrowReaderOptions>,
    ) -> BoxFuture<'_, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let bytes = self.file.bytes;
            let metadata = ParquetMetaDataReader::new().load_and_finish(&mut *self, bytes);
            Ok(Arc::new(metadata.await?))
        }
        .boxed()
    }
}

/// Sources are as far as the tables say, where the log says less.
pub(super) async fn tails(
    mut log: Log,
    place: &Place,
    tables: &[Table],
    health: &Health,
) -> Result<Log> {
    let mut known: HashMap<Source, u64> = HashMap::new();
    let mut unread = 0;
    for file in tables.iter().flat_map(|table| table.files().to_vec()) {
        let name = place.name_of(&file.path);
        let reading = {
            let place = place.clone();
            // Apart, since what is in a file may panic.
            tokio::spawn(async move { last_sequences(&place, &file).await })
        };
        let found = match reading.await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err("reading it panicked".to_owned()),
        };
        match found {
            Ok(found) => {
                for (source, seq) in found {
                    let last = known.entry(source).or_default();
                    *last = seq.max(*last);
                }
            }
            // The query that meets it sets it aside.
            Err(reason) => {
                tracing::error!(file = name, reason, "a stored file cannot be read");
                unread += 1;
                let problem = format!("{name} cannot be read: {reason}");
                health.add("recovery", problem);
            }
        }
    }
    if unread > 0 {
        let problem = format!(
            "{unread} stored files could not be read while the log was lost: sensors whose last events \
             are in them begin a new epoch, or send these again"
        );
        health.add("recovery", problem);
    }
    blocking(move || {
        let mut tails = Vec::new();
        for (source, seq) in known {
            if log.tail(&source)?.is_none_or(|tail| tail.seq < seq) {
                tails.push((source, Tail { seq, crc32: 0 }));
            }
        }
        log.commit(&Transaction {
            tails: &tails,
            ..Transaction::default()
        })?;
        Ok(log)
    })
    .await
}

async fn last_sequences(
    place: &Place,
    file: &DataFile,
) -> Result<HashMap<Source, u64>, ParquetError> {
    let place = place.clone();
    let file = file.clone();
    let builder = ParquetRecordBatchStreamBuilder::new(Parts { place, file }).await?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [SENSOR, EPOCH, SEQ]);
    let mut batches = builder.with_projection(mask).build()?;
    let mut last = HashMap::new();
    while let Some(batch) = batches.try_next().await? {
        add(&mut last, &batch)?;
    }
    Ok(last)
}

fn add(last: &mut HashMap<Source, u64>, batch: &RecordBatch) -> Result<(), ParquetError> {
    let column = |name: &str, wanted: &DataType| {
        let missing = || ParquetError::General(format!("it has no column {name}"));
        let column = batch.column_by_name(name).ok_or_else(missing)?;
        Ok::<_, ParquetError>(cast(column, wanted)?)
    };
    let sensors = column(SENSOR, &DataType::Utf8)?;
    let epochs = column(EPOCH, &DataType::Int64)?;
    let seqs = column(SEQ, &DataType::Int64)?;
    if sensors.null_count() + epochs.null_count() + seqs.null_count() > 0 {
        let reason = "it has rows that do not say whose they are";
        return Err(ParquetError::General(reason.to_owned()));
    }
    let sensors = sensors.as_string::<i32>();
    let epochs = epochs.as_primitive::<Int64Type>();
    let seqs = seqs.as_primitive::<Int64Type>();
    for row in 0..batch.num_rows() {
        let source = Source {
            sensor_id: sensors.value(row).to_owned(),
            epoch: epochs.value(row).try_into().unwrap_or_default(),
        };
        let seq: u64 = seqs.value(row).try_into().unwrap_or_default();
        let known = last.entry(source).or_default();
        *known = seq.max(*known);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
