//! Merges small files of a table into larger ones, and rids it of old ones.
//!
//! Files of one class, one day and about one size are merged, in the order of their time; the
//! table's commit takes the inputs out and puts the result in. Inputs stay where they are until
//! vacuum, for the sake of queries that began before, here or in another engine.
//!
//! Bounds: one merge at a time, on one thread; memory of its inputs as they are stored, [`FULL_BYTES`]
//! and a quarter at most, of a block of each and the block in the making, and of the result.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray, new_null_array},
    compute::{cast, interleave_record_batch},
    datatypes::{Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use bytes::Bytes;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{
    DataFile, Shared, blocking,
    file::{BLOCK_ROWS, Encoded, FileWriter},
    table::FULL_BYTES,
};
use crate::{
    error::{Error, Result},
    schema::{Class, Stored, ranks},
};

/// So many files of about one size become one.
const FAN_IN: usize = 8;
/// At most so many at once.
const MOST: usize = 10;
/// Files up to this size count as of one size.
const SMALLEST: u64 = 64 << 10;

/// Merges one group of files; false when there is none.
pub(super) async fn merge_next(shared: &Arc<Shared>) -> Result<bool> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let next = Class::ALL.into_iter().find_map(|class| {
        let files = Arc::clone(&shared.state().files[class.index()]);
        Some((class, next_group(&files, today)?))
    });
    let Some((class, inputs)) = next else {
        return Ok(false);
    };
    let began = std::time::Instant::now();
    let merged = match merge(shared, class, &inputs).await {
        Ok(merged) => merged,
        Err(error) => {
            // A file that cannot be read would stop every merge of its day: find it.
            let aside = super::damage::check(shared, class, &inputs).await?;
            return match aside.is_empty() {
                true => Err(error),
                false => Ok(true),
            };
        }
    };
    let rows: u64 = merged.file.rows;
    let known: u64 = inputs.iter().map(|file| file.rows).sum();
    if rows != known {
        return Err(Error::Merge {
            class: class.name(),
            known,
            rows,
        });
    }
    let path = shared.place.path(class, &merged.file.path);
    let bytes = PutPayload::from(merged.bytes);
    let stored = shared.place.root().put(&path, bytes).await;
    stored.map_err(|error| shared.place.failed("write", &path, error))?;
    shared.counters.bytes_written.add(merged.file.bytes);

    let mut table = shared.tables[class.index()].lock().await;
    let replaced = table.replace(&inputs, &[merged.file]).await?;
    shared.list(class, &table);
    if !replaced {
        return Ok(true);
    }
    let counters = &shared.counters;
    counters.files_merged.add(inputs.len() as u64);
    counters.rows_merged.add(rows);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    counters.merge_micros.add(micros);
    (shared.options.tidy)();
    Ok(true)
}

/// Files that should be one: enough of about one size, or all small ones of a day that is over.
fn next_group(files: &[DataFile], today: Date) -> Option<Vec<DataFile>> {
    let mut groups: BTreeMap<(Date, u32), Vec<&DataFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.bytes < FULL_BYTES) {
        // Events of yesterday may still come from spools; those of the day before are few.
        let over = file.day.saturating_add(jiff::Span::new().days(1)) < today;
        let level = match over {
            true => 0,
            false => (file.bytes.max(SMALLEST) / SMALLEST).ilog(FAN_IN as u64),
        };
        groups.entry((file.day, level)).or_default().push(file);
    }
    groups.into_iter().find_map(|((day, _), mut group)| {
        let over = day.saturating_add(jiff::Span::new().days(1)) < today;
        // Large ones are enough when they fill a file.
        let enough = |files: usize, bytes: u64| match over || bytes >= FULL_BYTES * 3 / 4 {
            true => files >= 2,
            false => files >= FAN_IN,
        };
        group.sort_by_key(|file| (file.bytes, file.path.clone()));
        let mut bytes = 0;
        let mut chosen: Vec<DataFile> = Vec::new();
        for file in group.into_iter().take(MOST) {
            if bytes + file.bytes > FULL_BYTES * 5 / 4 {
                break;
            }
            bytes += file.bytes;
            chosen.push(file.clone());
        }
        enough(chosen.len(), bytes).then_some(chosen)
    })
}

async fn merge(shared: &Arc<Shared>, class: Class, inputs: &[DataFile]) -> Result<Encoded> {
    let mut files = Vec::with_capacity(inputs.len());
    for file in inputs {
        let failed = |error| shared.place.failed("read", &file.path, error);
        let found = shared.place.root().get(&file.path).await.map_err(failed)?;
        files.push(found.bytes().await.map_err(failed)?);
    }
    let day = inputs.first().expect("a group has files").day;
    blocking(move || {
        let mut writer = FileWriter::new(class, day)?;
        for rows in Merge::of(class, files)? {
            writer.write(&rows?)?;
        }
        writer.finish()
    })
    .await
}

/// The rows of several files, each in the order of its time by blocks, as such blocks.
struct Merge {
    inputs: Vec<Input>,
    /// The next row of each input that has one: time, sequence, input.
    next: BinaryHeap<Reverse<(i64, i64, usize)>>,
    /// Blocks that rows of the one in the making are in; the current ones of the inputs among them.
    batches: Vec<RecordBatch>,
    /// The block in the making, in the order of time: batch and row.
    block: Vec<(usize, usize)>,
}

struct Input {
    class: Class,
    reader: ParquetRecordBatchReader,
    /// Its current block's place among the batches.
    batch: usize,
    /// The rows of that block which are still to come, the next one last.
    rows: Vec<Next>,
}

/// A row of a block: time, sequence, place.
type Next = (i64, i64, usize);

// === impl Merge ===

impl Merge {
    fn of(class: Class, files: Vec<Bytes>) -> Result<Self> {
        let mut merge = Self {
            inputs: Vec::with_capacity(files.len()),
            next: BinaryHeap::new(),
            batches: Vec::new(),
            block: Vec::with_capacity(BLOCK_ROWS),
        };
        for file in files {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.with_batch_size(BLOCK_ROWS).build());
            merge.inputs.push(Input {
                class,
                reader: reader.map_err(Error::Parquet)?,
                batch: 0,
                rows: Vec::new(),
            });
            merge.load(merge.inputs.len() - 1)?;
        }
        Ok(merge)
    }

    /// Takes the next block of an input; without one the input is done.
    fn load(&mut self, index: usize) -> Result<(), ArrowError> {
        let input = &mut self.inputs[index];
        for batch in input.reader.by_ref() {
            let batch = complete(input.class, &batch?)?;
            if batch.num_rows() == 0 {
                continue;
            }
            let column = |name| batch.column_by_name(name).expect("every class has it");
            let times = column("time").as_primitive::<TimestampMicrosecondType>();
            let seqs = column("seq").as_primitive::<Int64Type>();
            let both = times.values().iter().zip(seqs.values()).enumerate();
            let rows = both.map(|(row, (time, seq))| (*time, *seq, row));
            input.rows.extend(rows);
            input.rows.sort_unstable_by(|a, b| b.cmp(a));
            input.batch = self.batches.len();
            self.batches.push(batch);
            self.queue(index);
            return Ok(());
        }
        Ok(())
    }

    fn queue(&mut self, index: usize) {
        if let Some((time, seq, _)) = self.inputs[index].rows.last() {
            self.next.push(Reverse((*time, *seq, index)));
        }
    }

    fn block(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while self.block.len() < BLOCK_ROWS
            && let Some(Reverse((_, _, index))) = self.next.pop()
        {
            let input = &mut self.inputs[index];
            let (_, _, row) = input.rows.pop().expect("it was queued");
            self.block.push((input.batch, row));
            match input.rows.is_empty() {
                true => self.load(index)?,
                false => self.queue(index),
            }
        }
        if self.block.is_empty() {
            return Ok(None);
        }
        let rows =
            interleave_record_batch(&self.batches.iter().collect::<Vec<_>>(), &self.by_session())?;
        self.block.clear();
        self.forget();
        Ok(Some(rows))
    }

    /// The rows of the block, each session's together.
    fn by_session(&self) -> Vec<(usize, usize)> {
        let column = |batch: &RecordBatch| {
            let ids = batch.column_by_name("session").expect("every class has it");
            ids.as_string::<i32>().clone()
        };
        let ids: Vec<_> = self.batches.iter().map(column).collect();
        let of_row = |(batch, row): &(usize, usize)| {
            let ids: &StringArray = &ids[*batch];
            ids.is_valid(*row).then(|| ids.value(*row))
        };
        let mut rows: Vec<_> = ranks(self.block.iter().map(of_row))
            .into_iter()
            .zip(self.block.iter().copied())
            .collect();
        rows.sort_by_key(|(session, _)| *session);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Lets go of batches of which no row is to come.
    fn forget(&mut self) {
        let mut kept = Vec::with_capacity(self.inputs.len());
        for Reverse((_, _, index)) in &self.next {
            let input = &mut self.inputs[*index];
            kept.push(self.batches[input.batch].clone());
            input.batch = kept.len() - 1;
        }
        self.batches = kept;
    }
}

impl Iterator for Merge {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.block().transpose()
    }
}

/// With all columns that the class has by now, in their order.
fn complete(class: Class, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = class.schema();
    if rows.schema().fields() == schema.fields() {
        return Ok(rows.clone());
    }
    let columns = schema
        .fields()
        .iter()
        .map(|field| match rows.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn files(day: Date, sizes: &[u64]) -> Vec<DataFile> {
        let sized = sizes.iter().enumerate();
        sized
            .map(|(number, bytes)| DataFile::of(&format!("f{number}"), day, *bytes))
            .collect()
    }

    #[test]
    fn files_of_one_size_are_merged_and_full_ones_left_alone() {
        let today = day("2026-11-20");
        let sizes = |files: &[DataFile]| next_group(files, today).map(|group| group.len());
        assert_eq!(sizes(&files(today, &[1000; 7])), None);
        assert_eq!(sizes(&files(today, &[1000; 8])), Some(8));
        assert_eq!(sizes(&files(today, &[FULL_BYTES; 100])), None);
        let mixed: Vec<u64> = (0..7).flat_map(|_| [1000, 1 << 20]).collect();
        assert_eq!(sizes(&files(today, &mixed)), None, "seven of each size");
        assert_eq!(
            sizes(&files(today, &[8 << 20; 20])),
            Some(5),
            "five fill a file"
        );
        assert_eq!(sizes(&files(today, &[8 << 20; 2])), None);
    }

    #[test]
    fn a_day_that_is_over_ends_with_few_files() {
        let today = day("2026-11-20");
        let sizes = |files: &[DataFile]| next_group(files, today).map(|group| group.len());
        assert_eq!(sizes(&files(day("2026-11-18"), &[1000, 9 << 20])), Some(2));
        assert_eq!(sizes(&files(day("2026-11-19"), &[1000, 9 << 20])), None);
        assert_eq!(sizes(&files(day("2026-11-18"), &[1000])), None);
    }
}
