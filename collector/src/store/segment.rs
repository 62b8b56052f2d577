//! One immutable Parquet file of events.
//!
//! Invariants:
//! - a file under its final name is complete: it is written and fsynced under a temporary name,
//!   then renamed, then its folder is fsynced;
//! - the name is `FIRST-LAST.parquet`, twenty digits each: the flushes whose rows it holds;
//! - the footer's key `skep.sources` holds, per source, the first and last sequence in the file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::array::RecordBatch;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, ParquetMetaData},
        properties::WriterProperties,
    },
};
use serde::{Deserialize, Serialize};

use super::Source;
use crate::{
    counters::Counters,
    error::{Error, Result},
    schema,
};

const FORMAT_KEY: &str = "skep.format";
/// What is written. Format 2 has the columns from `file_inode` on; a collector that knows only format 1
/// says so and does not start, instead of taking the file for damaged.
const FORMAT: &str = "2";
/// What is read; columns that a file lacks are null.
const READABLE: [&str; 2] = ["1", FORMAT];
const SOURCES_KEY: &str = "skep.sources";
/// Rows a reader must hold at once to read one row group.
const ROW_GROUP_ROWS: usize = 128 << 10;

/// The sequences of one source within a file, dense from first to last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceRange {
    #[serde(flatten)]
    pub source: Source,
    pub first: u64,
    pub last: u64,
}

/// Which flushes a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub first: u64,
    pub last: u64,
}

/// A readable file. A retired one is deleted when the last snapshot that holds it is gone.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    bytes: u64,
    pub(super) numbers: Numbers,
    pub(super) sources: Vec<SourceRange>,
    retired: AtomicBool,
}

// === impl Numbers ===

impl Numbers {
    pub fn one(number: u64) -> Self {
        Self {
            first: number,
            last: number,
        }
    }

    pub fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub fn file_name(self) -> String {
        format!("{:020}-{:020}.parquet", self.first, self.last)
    }

    /// `None` when the name is not one of ours.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (first, last) = file_name.strip_suffix(".parquet")?.split_once('-')?;
        let numbers = Self {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        };
        (numbers.first <= numbers.last && numbers.file_name() == file_name).then_some(numbers)
    }
}

// === impl Segment ===

impl Segment {
    /// Writes a file; it survives a power cut on return.
    pub(super) fn write(
        directory: &Path,
        numbers: Numbers,
        sources: Vec<SourceRange>,
        batches: impl IntoIterator<Item = Result<RecordBatch>>,
    ) -> Result<Self> {
        let path = directory.join(numbers.file_name());
        let temporary = path.with_extension("parquet.tmp");
        let written = write_rows(&temporary, &sources, batches)
            .and_then(|()| fs::rename(&temporary, &path).map_err(Error::file("rename to", &path)))
            .and_then(|()| sync_directory(directory));
        if let Err(error) = written {
            // Best effort: what stays is removed at the next start.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        let bytes = fs::metadata(&path)
            .map_err(Error::file("look at", &path))?
            .len();
        Ok(Self {
            path,
            bytes,
            numbers,
            sources,
            retired: AtomicBool::new(false),
        })
    }

    /// Reads the footer of a file.
    pub(super) fn open(path: PathBuf, numbers: Numbers) -> Result<Self> {
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let bytes = file
            .metadata()
            .map_err(Error::file("look at", &path))?
            .len();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged(&path))?;
        let stored = reader.schema();
        let known = schema::events();
        let strange = stored.fields().iter().find(|field| {
            let known = known.field_with_name(field.name());
            !known.is_ok_and(|known| known.data_type() == field.data_type())
        });
        let metadata = reader.metadata();
        match value(metadata, FORMAT_KEY) {
            Some(format) if READABLE.contains(&format) => {}
            found => {
                let found = found.unwrap_or("(none)").to_owned();
                return Err(Error::UnknownFormat {
                    path,
                    found,
                    known: FORMAT,
                });
            }
        }
        if let Some(field) = strange {
            let reason = format!("column {} is not one of `events`", field.name());
            return Err(Error::Damaged { path, reason });
        }
        let sources = value(metadata, SOURCES_KEY).unwrap_or_default();
        let sources = serde_json::from_str(sources).map_err(|error| Error::Damaged {
            path: path.clone(),
            reason: format!("its footer's {SOURCES_KEY} cannot be read: {error}"),
        })?;
        Ok(Self {
            path,
            bytes,
            numbers,
            sources,
            retired: AtomicBool::new(false),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decodes every row; the count of them.
    pub fn read(&self) -> Result<usize> {
        self.batches()?
            .try_fold(0, |rows, batch| Ok(rows + batch?.num_rows()))
    }

    /// The rows, in their order in the file, with every column of `events`.
    pub(super) fn batches(&self) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
        let path = self.path.clone();
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.build())
            .map_err(damaged(&path))?;
        Ok(reader.map(move |batch| {
            batch
                .and_then(|batch| schema::widen(&batch))
                .map_err(|error| Error::Damaged {
                    path: path.clone(),
                    reason: error.to_string(),
                })
        }))
    }

    /// Its rows are in another file now.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.retired.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            // Harmless: its range lies within the merged file's, so the next start removes it.
            tracing::warn!(file = %self.path.display(), %error, "cannot remove a merged file");
        }
    }
}

/// Joins ranges that follow one another, per source.
pub(super) fn join_ranges<'a>(
    ranges: impl IntoIterator<Item = &'a SourceRange>,
) -> Vec<SourceRange> {
    let mut joined: Vec<SourceRange> = Vec::new();
    for range in ranges {
        match joined.iter_mut().find(|known| known.source == range.source) {
            Some(known) => {
                known.first = known.first.min(range.first);
                known.last = known.last.max(range.last);
            }
            None => joined.push(range.clone()),
        }
    }
    joined
}

/// Renames a file to `*.damaged`, logs and counts it.
pub(super) fn set_aside(path: &Path, reason: &Error, counters: &Counters) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    tracing::error!(
        file = %path.display(), set_aside_as = %Path::new(&aside).display(), %reason,
        "a stored file is damaged and was set aside; the other files stay queryable"
    );
    counters.files_damaged.add(1);
    fs::rename(path, &aside).map_err(Error::file("set aside", path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a folder survive a power cut.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file("sync", directory))
}

fn write_rows(
    path: &Path,
    sources: &[SourceRange],
    batches: impl IntoIterator<Item = Result<RecordBatch>>,
) -> Result<()> {
    let sources = serde_json::to_string(sources).expect("a list of plain structs is JSON");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("skep-collector ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_owned()),
            KeyValue::new(SOURCES_KEY.to_owned(), sources),
        ]))
        .build();
    let file = File::create(path).map_err(Error::file("create", path))?;
    let writable = |error: ParquetError| Error::File {
        action: "write",
        path: path.to_path_buf(),
        source: std::io::Error::other(error),
    };
    let mut writer =
        ArrowWriter::try_new(file, schema::events(), Some(properties)).map_err(writable)?;
    for batch in batches {
        writer.write(&batch?).map_err(writable)?;
    }
    let file = writer.into_inner().map_err(writable)?;
    file.sync_all().map_err(Error::file("sync", path))
}

fn value<'a>(metadata: &'a Arc<ParquetMetaData>, key: &str) -> Option<&'a str> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
}

fn damaged(path: &Path) -> impl FnOnce(ParquetError) -> Error + use<> {
    let path = path.to_path_buf();
    move |error| Error::Damaged {
        path,
        reason: error.to_string(),
    }
}
