//! Merges small files of a table into larger ones, and rids it of old ones.
//!
//! Files of one class, one day and about one size are merged, in the order of their time; the
//! table's commit takes the inputs out and puts the result in. Inputs stay where they are until
//! vacuum, for the sake of queries that began before, here or in another engine.
//!
//! Bounds: one merge at a time; memory of a few batches of each input and of one result of about
//! [`FULL_BYTES`].

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    common::config::TableParquetOptions,
    execution::runtime_env::RuntimeEnvBuilder,
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::col},
    physical_plan::{ExecutionPlan, sorts::sort_preserving_merge::SortPreservingMergeExec},
    prelude::{SessionConfig, SessionContext},
};
use futures::TryStreamExt;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use object_store::{ObjectStoreExt, PutPayload};

use super::{
    DataFile, Shared, blocking,
    file::{Encoded, FileWriter},
};
use crate::{
    error::{Error, Result},
    scan::{self, Scan},
    schema::Class,
};

/// A file of this size is not merged further.
pub(super) const FULL_BYTES: u64 = 32 << 20;
/// So many files of about one size become one.
const FAN_IN: usize = 8;
/// At most so many at once.
const MOST: usize = 16;
/// Files up to this size count as of one size.
const SMALLEST: u64 = 64 << 10;
/// Rows that are held of each input.
const BATCH_ROWS: usize = 2048;

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
        Err(Error::Engine(error)) => {
            // A file that cannot be read would stop every merge of its day: find it.
            let aside = super::damage::check(shared, class, &inputs).await?;
            return match aside.is_empty() {
                true => Err(Error::Engine(error)),
                false => Ok(true),
            };
        }
        Err(error) => return Err(error),
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
    // No memory of footers: these files are read once.
    let runtime = RuntimeEnvBuilder::new()
        .with_metadata_cache_limit(0)
        .build_arc()?;
    scan::register(&runtime, shared.place.root());
    let config = SessionConfig::new().with_batch_size(BATCH_ROWS);
    let context = SessionContext::new_with_config_rt(config, Arc::clone(&runtime));
    let schema = class.schema();
    let by = |name| Ok::<_, Error>(PhysicalSortExpr::new_default(col(name, &schema)?));
    let ordering = LexOrdering::new([by("time")?, by("seq")?]).expect("two columns");
    let scan = Scan {
        class,
        files: inputs.iter().collect(),
        projection: None,
        predicate: None,
        options: TableParquetOptions::default(),
        groups: inputs.len(),
        ordering: Some(ordering.clone()),
    };
    let files = scan.plan(&runtime, shared.place.root())?;
    let sorted = SortPreservingMergeExec::new(ordering, files);
    let mut rows = sorted.execute(0, context.task_ctx())?;
    let day = inputs.first().expect("a group has files").day;
    let mut writer = FileWriter::new(class, day)?;
    while let Some(batch) = rows.try_next().await? {
        writer = blocking(move || {
            writer.write(&batch)?;
            Ok(writer)
        })
        .await?;
    }
    blocking(move || writer.finish()).await
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
