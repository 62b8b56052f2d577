//! The file `audit.redb`: rows by number, which of them are running, and how many bytes they have.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    Table, TableDefinition,
};

use super::{
    lock, now,
    row::{INTERRUPTED, RUNNING, Row},
};
use crate::{
    error::{Error, Result},
    trouble::{Trouble, guarded},
};

const QUERIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queries");
/// Numbers of the rows that have not ended.
const UNFINISHED: TableDefinition<'_, u64, ()> = TableDefinition::new("running");
/// Sums over `queries`.
const SUMS: TableDefinition<'_, &str, u64> = TableDefinition::new("sums");
const BYTES: &str = "bytes";
/// Pages kept in memory. Rows are written once and seldom read.
const CACHE_BYTES: usize = 4 << 20;

/// How long a file may still be open elsewhere.
const LET_GO: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    bounds: Bounds,
    /// None while it cannot be opened again.
    database: Mutex<Option<Arc<Database>>>,
}

/// What is kept; the oldest rows go first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub rows: u64,
    pub bytes: u64,
    pub age: Duration,
}

/// A file just opened.
pub(super) struct Opened {
    pub file: File,
    /// Number of the next row.
    pub next: u64,
    /// What was there before, when it could not be read.
    pub aside: Option<PathBuf>,
}

// === impl File ===

impl File {
    pub fn open(path: &Path, bounds: Bounds) -> Result<Opened> {
        let unusable = |trouble: Trouble| Error::Audit {
            path: path.to_owned(),
            reason: trouble.reason(),
        };
        let (opened, aside) = match begin(path) {
            Ok(opened) => (opened, None),
            Err(Trouble::Damaged(reason)) => {
                let aside = set_aside(path, &reason).map_err(unusable)?;
                (begin(path).map_err(unusable)?, Some(aside))
            }
            Err(other) => return Err(unusable(other)),
        };
        let (database, next) = opened;
        let file = Self {
            path: path.to_owned(),
            bounds,
            database: Mutex::new(Some(Arc::new(database))),
        };
        Ok(Opened { file, next, aside })
    }

    /// Writes rows, each in place of what was known of it, and lets go of the oldest. On disk on return.
    pub fn write(&self, rows: &[Row]) -> Result<(), Trouble> {
        guarded(|| write(&*self.database()?, rows, self.bounds))
    }

    /// Rows from this number on, at most so many bytes of them (and at least one row).
    pub fn read(&self, from: u64, bytes: usize) -> Result<Vec<Row>, Trouble> {
        guarded(|| {
            let database = self.database()?;
            let queries = database.begin_read()?.open_table(QUERIES)?;
            let mut rows = Vec::new();
            let mut taken = 0;
            for entry in queries.range(from..)? {
                let (_, value) = entry?;
                rows.push(decode(value.value())?);
                taken += value.value().len();
                if taken >= bytes {
                    break;
                }
            }
            Ok(rows)
        })
    }

    /// Opens the file anew after a failure; a damaged one is set aside, and then its name is returned.
    pub fn reopen(&self, failure: &Trouble) -> Result<Option<PathBuf>, Trouble> {
        let mut database = lock(&self.database);
        *database = None;
        let aside = match failure {
            Trouble::Damaged(reason) => Some(set_aside(&self.path, reason)?),
            Trouble::Other(_) => None,
        };
        *database = Some(Arc::new(begin(&self.path)?.0));
        Ok(aside)
    }

    fn database(&self) -> Result<Arc<Database>, Trouble> {
        let database = lock(&self.database);
        let closed = || Trouble::Other("it could not be opened again".to_owned());
        database.as_ref().map(Arc::clone).ok_or_else(closed)
    }
}

/// Opens or makes the file, checks all of it, and says of what was running that it was interrupted.
fn begin(path: &Path) -> Result<(Database, u64), Trouble> {
    guarded(|| {
        let mut database = create(path)?;
        database.check_integrity()?;
        let changes = database.begin_write()?;
        let next;
        {
            let mut queries = changes.open_table(QUERIES)?;
            let mut unfinished = changes.open_table(UNFINISHED)?;
            let mut sums = changes.open_table(SUMS)?;
            let mut bytes = sums.get(BYTES)?.map_or(0, |sum| sum.value());
            while let Some((id, ())) = unfinished.pop_first()?.map(|(id, _)| (id.value(), ())) {
                let known = queries.get(id)?.map(|row| decode(row.value()));
                if let Some(row) = known {
                    let mut row = row?;
                    row.outcome = INTERRUPTED.to_owned();
                    put(&mut queries, &mut bytes, &row)?;
                }
            }
            sums.insert(BYTES, bytes)?;
            next = queries.last()?.map_or(1, |(id, _)| id.value() + 1);
        }
        changes.commit()?;
        Ok((database, next))
    })
}

/// Opens the file; waits for the one before to let go of it, whose last query may be ending.
fn create(path: &Path) -> Result<Database, DatabaseError> {
    let until = Instant::now() + LET_GO;
    loop {
        match Builder::new().set_cache_size(CACHE_BYTES).create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn write(database: &Database, rows: &[Row], bounds: Bounds) -> Result<(), Trouble> {
    let changes = database.begin_write()?;
    {
        let mut queries = changes.open_table(QUERIES)?;
        let mut unfinished = changes.open_table(UNFINISHED)?;
        let mut sums = changes.open_table(SUMS)?;
        let mut bytes = sums.get(BYTES)?.map_or(0, |sum| sum.value());
        for row in rows {
            put(&mut queries, &mut bytes, row)?;
            match row.outcome == RUNNING {
                true => unfinished.insert(row.id, ())?,
                false => unfinished.remove(row.id)?,
            };
        }
        let age = i64::try_from(bounds.age.as_micros()).unwrap_or(i64::MAX);
        let oldest_kept = now() - age;
        loop {
            let oldest = match queries.first()? {
                Some((id, value)) => (id.value(), decode(value.value())?.started),
                None => break,
            };
            let full = queries.len()? > bounds.rows || bytes > bounds.bytes;
            if !full && oldest.1 >= oldest_kept {
                break;
            }
            if let Some((id, value)) = queries.pop_first()? {
                bytes = bytes.saturating_sub(value.value().len() as u64);
                unfinished.remove(id.value())?;
            }
        }
        sums.insert(BYTES, bytes)?;
    }
    changes.commit()?;
    Ok(())
}

fn put(queries: &mut Table<'_, u64, &[u8]>, bytes: &mut u64, row: &Row) -> Result<(), Trouble> {
    let encoded = serde_json::to_vec(row).map_err(|error| Trouble::Other(error.to_string()))?;
    let before = queries.insert(row.id, encoded.as_slice())?;
    let before = before.map_or(0, |value| value.value().len() as u64);
    *bytes = bytes.saturating_sub(before) + encoded.len() as u64;
    Ok(())
}

fn decode(value: &[u8]) -> Result<Row, Trouble> {
    serde_json::from_slice(value).map_err(|error| Trouble::Damaged(format!("a row: {error}")))
}

fn set_aside(path: &Path, reason: &str) -> Result<PathBuf, Trouble> {
    let damaged = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(match n {
            0 => ".damaged".to_owned(),
            n => format!(".damaged.{n}"),
        });
        PathBuf::from(name)
    };
    let aside = (0..).map(damaged).find(|aside| !aside.exists());
    let aside = aside.expect("there is no end of names");
    std::fs::rename(path, &aside).map_err(|error| Trouble::Other(error.to_string()))?;
    tracing::error!(path = %path.display(), aside = %aside.display(), reason,
        "the record of queries is damaged and was set aside");
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Asked, Origin};

    const WIDE: Bounds = Bounds {
        rows: 1000,
        bytes: 1 << 20,
        age: Duration::from_secs(3600),
    };

    fn row(id: u64) -> Row {
        let asked = Asked {
            text: format!("SELECT {id}"),
            parameters: Vec::new(),
            sensor_id: None,
            origin: Origin {
                front_end: "grpc",
                peer: None,
                user: None,
                application: None,
            },
        };
        Row::begun(id, &asked)
    }

    fn ids(file: &File) -> Vec<u64> {
        let rows = file.read(0, usize::MAX).unwrap();
        rows.iter().map(|row| row.id).collect()
    }

    #[test]
    fn the_oldest_rows_go_when_there_are_too_many_too_large_or_too_old() {
        let one = serde_json::to_vec(&row(10)).unwrap().len() as u64;
        for bounds in [
            Bounds { rows: 3, ..WIDE },
            Bounds {
                bytes: 3 * one + one / 2,
                ..WIDE
            },
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("audit.redb");
            let file = File::open(&path, bounds).unwrap().file;
            for id in 10..30 {
                file.write(&[row(id)]).unwrap();
            }
            assert_eq!(ids(&file), [27, 28, 29], "{bounds:?}");
            // Told again, a row takes no more room.
            file.write(&[row(29), row(29), row(28)]).unwrap();
            assert_eq!(ids(&file), [27, 28, 29], "{bounds:?}");
            drop(file);
            let opened = File::open(&path, bounds).unwrap();
            assert_eq!((opened.next, opened.aside), (30, None));
            assert_eq!(ids(&opened.file), [27, 28, 29], "{bounds:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let file = File::open(&directory.path().join("audit.redb"), WIDE)
            .unwrap()
            .file;
        let aged = |id, hours: i64| Row {
            started: now() - hours * 3_600_000_000,
            ..row(id)
        };
        file.write(&[aged(1, 3), aged(2, 2), aged(3, 0), aged(4, 0)])
            .unwrap();
        assert_eq!(ids(&file), [3, 4]);
    }

    #[test]
    fn rows_are_read_in_parts() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::open(&directory.path().join("audit.redb"), WIDE)
            .unwrap()
            .file;
        file.write(&(1..=5).map(row).collect::<Vec<_>>()).unwrap();
        let first = file.read(0, 1).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(file.read(first[0].id + 1, usize::MAX).unwrap().len(), 4);
        assert!(file.read(6, 1).unwrap().is_empty());
    }
}
