//! One Delta Lake table a class, and the files that are in it.
//!
//! A file holds rows of one class and one day, in about the order of their time. Invariants:
//! - a commit that adds rows of the log carries the log's id and the position of the last entry as
//!   its transaction id, so that doing it again after a crash is seen and left out;
//! - the list of files that queries read is that of a committed version of the table;
//! - a file is complete and durable before a commit names it.
//!
//! Other collectors may write the same table: appends never conflict, and the loser of two merges of
//! the same files leaves the table as it is.

use std::{collections::HashMap, sync::Arc};

use deltalake_core::{
    DeltaTable, DeltaTableError,
    kernel::{
        Action, Add, Remove, StructType, Transaction,
        engine::arrow_conversion::TryIntoKernel,
        transaction::{CommitBuilder, CommitProperties, TransactionError},
    },
    operations::{create::CreateBuilder, vacuum},
    protocol::{DeltaOperation, SaveMode},
};
use futures::TryStreamExt;
use jiff::{Timestamp, civil::Date};
use object_store::{ObjectStore, path::Path};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::{
    error::{Error, Result},
    schema::{Class, DAY, Stored},
};

/// Commits between two checkpoints of a table's log.
const CHECKPOINT_EVERY: &str = "50";
/// How long the history of a table's log is kept.
const LOG_HISTORY: &str = "interval 7 days";

/// A file of this size is not merged further.
pub(super) const FULL_BYTES: u64 = 32 << 20;

/// The table of a class.
pub(super) struct Table {
    class: Class,
    place: Place,
    /// Or why it cannot be used; it stays so, since how far it is must be known before rows of the log
    /// are taken back.
    table: Result<DeltaTable, String>,
    files: Arc<Vec<DataFile>>,
}

/// One file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// From the root of the place.
    pub path: Path,
    pub bytes: u64,
    pub rows: u64,
    /// Microseconds; `None` when whoever wrote the file did not say.
    pub first_time: Option<i64>,
    pub last_time: Option<i64>,
    pub day: Date,
    /// As the table's log names it.
    name: String,
    modified: i64,
}

/// A file that was written and is not in a table yet.
pub(super) struct NewFile {
    /// From the folder of the table.
    pub path: Path,
    pub bytes: u64,
    pub rows: u64,
    pub first_time: i64,
    pub last_time: i64,
    pub day: Date,
}

/// Delta's statistics of a file; only what is used here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: u64,
    #[serde(default)]
    min_values: Times,
    #[serde(default)]
    max_values: Times,
}

#[derive(Default, Serialize, Deserialize)]
struct Times {
    /// RFC 3339, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

/// A clock that stands, in milliseconds.
#[derive(Debug)]
struct At(i64);

impl vacuum::Clock for At {
    fn current_timestamp_millis(&self) -> i64 {
        self.0
    }
}

// === impl Table ===

impl Table {
    /// Opens the table of a class, or creates it.
    pub async fn open(place: &Place, class: Class) -> Result<Self> {
        let log_store = place.log_store(class);
        let unusable = unusable(place, class);
        let mut table = DeltaTable::new(Arc::clone(&log_store));
        let exists = table.verify_deltatable_existence().await;
        if exists.map_err(&unusable)? {
            table.load().await.map_err(&unusable)?;
        } else {
            let schema: StructType = (&class.table_schema())
                .try_into_kernel()
                .expect("the columns have types that Delta Lake has");
            table = CreateBuilder::new()
                .with_log_store(log_store)
                .with_table_name(class.name())
                .with_columns(schema.fields().cloned())
                .with_partition_columns([DAY])
                .with_save_mode(SaveMode::Ignore)
                .with_configuration([
                    ("delta.checkpointInterval", Some(CHECKPOINT_EVERY)),
                    ("delta.logRetentionDuration", Some(LOG_HISTORY)),
                    ("delta.enableExpiredLogCleanup", Some("true")),
                ])
                .await
                .map_err(&unusable)?;
        }
        let mut table = Self {
            class,
            place: place.clone(),
            table: Ok(table),
            files: Arc::default(),
        };
        table.list()?;
        Ok(table)
    }

    /// A table that cannot be opened: it has no files, and everything else fails.
    pub fn unavailable(place: &Place, class: Class, reason: String) -> Self {
        Self {
            class,
            place: place.clone(),
            table: Err(reason),
            files: Arc::default(),
        }
    }

    /// Whether it could be opened.
    pub fn available(&self) -> Result<()> {
        self.delta().map(drop)
    }

    fn delta(&self) -> Result<&DeltaTable> {
        self.table.as_ref().map_err(|reason| self.why_not(reason))
    }

    fn delta_mut(&mut self) -> Result<&mut DeltaTable> {
        match &self.table {
            Err(reason) => Err(self.why_not(reason)),
            Ok(_) => Ok(self.table.as_mut().expect("looked at just now")),
        }
    }

    fn why_not(&self, reason: &str) -> Error {
        Error::TableUnavailable {
            table: self
                .place
                .name_of(&self.place.path(self.class, &Path::default())),
            reason: reason.to_owned(),
        }
    }

    /// The files of the version that is known here, in no order.
    pub fn files(&self) -> Arc<Vec<DataFile>> {
        Arc::clone(&self.files)
    }

    /// Sees what others committed.
    pub async fn refresh(&mut self) -> Result<()> {
        let unusable = unusable(&self.place, self.class);
        let table = self.delta_mut()?;
        let before = table.version();
        table.update_state().await.map_err(unusable)?;
        match table.version() == before {
            true => Ok(()),
            false => self.list(),
        }
    }

    /// Position of the last entry of a log that is in the table; 0 when none is.
    pub async fn position(&self, log: &str) -> Result<u64> {
        let unusable = unusable(&self.place, self.class);
        let table = self.delta()?;
        let state = table.snapshot().map_err(&unusable)?;
        let log_store = table.log_store();
        let known = state.transaction_version(log_store.as_ref(), log).await;
        Ok(known
            .map_err(&unusable)?
            .map_or(0, |version| version.try_into().unwrap_or_default()))
    }

    /// Adds files with the rows of a log's entries up to `position`; no files: only the position.
    pub async fn add(&mut self, files: &[NewFile], log: &str, position: u64) -> Result<()> {
        let actions = files.iter().map(|file| Action::Add(file.add(true)));
        let version = i64::try_from(position).unwrap_or(i64::MAX);
        let transaction = Transaction {
            app_id: log.to_owned(),
            version,
            last_updated: Some(Timestamp::now().as_millisecond()),
        };
        let properties = CommitProperties::default().with_application_transaction(transaction);
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![DAY.to_owned()]),
            predicate: None,
        };
        self.commit(actions.collect(), properties, operation).await
    }

    /// Puts merged files in the place of others, with the same rows; false when one of the others has
    /// left the table meanwhile, by the merge of another collector for example: its rows are elsewhere
    /// then, and would be there twice.
    ///
    /// Delta Lake's check for conflicts lets two merges of the same files pass (what both take out
    /// changes no data). So this commits on the version it has looked at, or looks again.
    pub async fn replace(&mut self, old: &[DataFile], new: &[NewFile]) -> Result<bool> {
        loop {
            self.refresh().await?;
            let there = |file: &DataFile| self.files.iter().any(|known| known.path == file.path);
            if !old.iter().all(there) {
                return Ok(false);
            }
            let now = Timestamp::now().as_millisecond();
            let removed = old
                .iter()
                .map(|file| Action::Remove(file.remove(now, false)));
            let added = new.iter().map(|file| Action::Add(file.add(false)));
            let operation = DeltaOperation::Optimize {
                predicate: None,
                target_size: i64::try_from(FULL_BYTES).unwrap_or(i64::MAX),
            };
            let actions = removed.chain(added).collect();
            let on_this_version = CommitProperties::default().with_max_retries(0);
            match self.commit(actions, on_this_version, operation).await {
                Ok(()) => return Ok(true),
                Err(error) if is_overtaken(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes files out, with their rows.
    pub async fn remove(&mut self, files: &[DataFile], why: &str) -> Result<()> {
        let now = Timestamp::now().as_millisecond();
        let removed = files
            .iter()
            .map(|file| Action::Remove(file.remove(now, true)));
        let operation = DeltaOperation::Delete {
            predicate: Some(why.to_owned()),
        };
        self.commit(removed.collect(), CommitProperties::default(), operation)
            .await
    }

    /// Deletes files that left the table at least so long ago. Returns how many.
    ///
    /// What a commit does not name may be of a writer that is about to name it, here or elsewhere: how
    /// long a file has been there is told by the clock that dates the files, as of the newest commit.
    /// A clock of this machine that is wrong deletes nothing of others.
    pub async fn vacuum(&mut self, after: std::time::Duration) -> Result<usize> {
        let Some(now) = self.last_commit().await? else {
            return Ok(0);
        };
        let unusable = unusable(&self.place, self.class);
        let retention = chrono::Duration::from_std(after).unwrap_or(chrono::Duration::MAX);
        let vacuum = self.delta()?.clone().vacuum();
        // Full: also files that no commit ever named, of a writer that was killed.
        let vacuum = vacuum
            .with_mode(vacuum::VacuumMode::Full)
            .with_retention_period(retention)
            .with_enforce_retention_duration(false)
            .with_clock(Arc::new(At(now)));
        let (table, metrics) = vacuum.await.map_err(&unusable)?;
        self.table = Ok(table);
        self.list()?;
        Ok(metrics.files_deleted.len())
    }

    /// When the newest commit was stored, in milliseconds by the clock of the place.
    async fn last_commit(&self) -> Result<Option<i64>> {
        let folder = self.place.path(self.class, &Path::from("_delta_log"));
        let listed = self.place.root().list(Some(&folder));
        let newest = listed.try_fold(None, |newest, file| async move {
            Ok(newest.max(Some(file.last_modified.timestamp_millis())))
        });
        let newest = newest.await;
        newest.map_err(|error| self.place.failed("list", &folder, error))
    }

    async fn commit(
        &mut self,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
    ) -> Result<()> {
        let unusable = unusable(&self.place, self.class);
        let table = self.delta_mut()?;
        let state = table.snapshot().map_err(&unusable)?;
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), table.log_store(), operation)
            .await;
        committed.map_err(&unusable)?;
        // The commit above may have come after those of others.
        table.update_state().await.map_err(&unusable)?;
        self.list()
    }

    fn list(&mut self) -> Result<()> {
        let state = self
            .delta()?
            .snapshot()
            .map_err(unusable(&self.place, self.class))?;
        let log = state.log_data();
        let files = log.iter().map(|file| {
            let stats: Option<Stats> = file
                .stats()
                .and_then(|stats| serde_json::from_str(&stats).ok());
            let micros = |times: &Times| {
                let time: Timestamp = times.time.as_ref()?.parse().ok()?;
                Some(time.as_microsecond())
            };
            let partition = file.partition_values_map();
            let day = partition.get(DAY).and_then(Option::as_deref);
            DataFile {
                path: self.place.path(self.class, &file.object_store_path()),
                bytes: file.size().try_into().unwrap_or_default(),
                rows: stats.as_ref().map_or(0, |stats| stats.num_records),
                first_time: stats.as_ref().and_then(|stats| micros(&stats.min_values)),
                // Statistics are cut to milliseconds.
                last_time: stats
                    .as_ref()
                    .and_then(|stats| micros(&stats.max_values))
                    .map(|micros| micros.saturating_add(999)),
                day: day.and_then(|day| day.parse().ok()).unwrap_or(Date::ZERO),
                name: file.path().into_owned(),
                modified: file.modification_time(),
            }
        });
        self.files = Arc::new(files.collect());
        Ok(())
    }
}

// === impl DataFile ===

#[cfg(test)]
impl DataFile {
    /// A file that is nowhere.
    pub(super) fn of(name: &str, day: Date, bytes: u64) -> Self {
        Self {
            path: Path::from(name),
            bytes,
            rows: 1,
            first_time: None,
            last_time: None,
            day,
            name: name.to_owned(),
            modified: 0,
        }
    }
}

impl DataFile {
    fn remove(&self, now: i64, data_change: bool) -> Remove {
        Remove {
            path: self.name.clone(),
            data_change,
            deletion_timestamp: Some(now),
            extended_file_metadata: Some(true),
            partition_values: Some(partition(self.day)),
            size: i64::try_from(self.bytes).ok(),
            ..Remove::default()
        }
    }

    /// When it was written.
    pub(crate) fn modified(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::from_timestamp_millis(self.modified).unwrap_or_default()
    }
}

// === impl NewFile ===

impl NewFile {
    fn add(&self, data_change: bool) -> Add {
        let time = |micros: i64| {
            let millis = micros.div_euclid(1000);
            let time = Timestamp::from_millisecond(millis).ok()?;
            Some(time.to_string())
        };
        let stats = Stats {
            num_records: self.rows,
            min_values: Times {
                time: time(self.first_time),
            },
            max_values: Times {
                time: time(self.last_time),
            },
        };
        Add {
            path: self.path.to_string(),
            partition_values: partition(self.day),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            modification_time: Timestamp::now().as_millisecond(),
            data_change,
            stats: serde_json::to_string(&stats).ok(),
            ..Add::default()
        }
    }
}

/// Whether a commit came after another on the same version.
fn is_overtaken(error: &Error) -> bool {
    let Error::Table { source, .. } = error else {
        return false;
    };
    match source.as_ref() {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::MaxCommitAttempts(_) | TransactionError::VersionAlreadyExists(_)
        ),
        _ => false,
    }
}

fn partition(day: Date) -> HashMap<String, Option<String>> {
    HashMap::from([(DAY.to_owned(), Some(day.to_string()))])
}

fn unusable(place: &Place, class: Class) -> impl Fn(DeltaTableError) -> Error + use<> {
    let table = format!("{}{}", place.as_str(), class.name());
    move |source| Error::Table {
        table: table.clone(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests;
