//! The log: what was acknowledged and is not in the tables yet, and how far each source is.
//!
//! One redb file. A transaction stores batches, advances their sources and keeps facts of sensors;
//! when it has returned, all of it survives a power cut. Invariants:
//! - positions are dense and ascend; position 0 is none;
//! - a source's tail is the last sequence in the log or in the tables, never more;
//! - an entry is cut only after the tables have all of it.
//!
//! After a failed write the file is closed and opened anew before the next one, as redb demands.
//! Bounds: the cache of pages, [`CACHE_BYTES`]; the caller bounds what it commits at once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::{SensorFacts, Source, Tail};
use crate::{
    error::{Error, Result},
    schema::Origin,
};

const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
/// (sensor, epoch) → (last sequence, CRC-32 of that event).
const SOURCES: TableDefinition<(&str, u64), (u64, u32)> = TableDefinition::new("sources");
/// Facts of a sensor as JSON.
const SENSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("sensors");
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

const FORMAT: &str = "1";
const CACHE_BYTES: usize = 16 << 20;
/// zstd's fastest level that is worth its time: the log is read once and cut.
const LEVEL: i32 = 1;

/// An open log. One thread writes it.
pub(super) struct Log {
    path: PathBuf,
    /// `None` after a failed write, until it can be opened again.
    database: Option<Arc<Database>>,
    /// Names this log among the writers of the tables; a new log has a new one.
    id: String,
    next: u64,
}

/// A batch on its way into the log.
pub(super) struct Entry {
    pub position: u64,
    /// As the log keeps it.
    pub bytes: Vec<u8>,
}

/// What the log keeps of a batch.
#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(string, tag = "1")]
    sensor_id: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(string, optional, tag = "3")]
    hostname: Option<String>,
    #[prost(string, optional, tag = "4")]
    kernel: Option<String>,
    /// So many events at the beginning of the batch were taken before.
    #[prost(uint64, tag = "5")]
    known: u64,
    /// The encoded `skep.v1.Batch`, zstd with a checksum.
    #[prost(bytes = "vec", tag = "6")]
    batch: Vec<u8>,
}

/// A batch as it comes back out of the log.
#[derive(Debug)]
pub(super) struct Logged {
    pub position: u64,
    pub origin: Origin,
    pub known: usize,
    /// The encoded `skep.v1.Batch`.
    pub batch: Vec<u8>,
}

/// One transaction.
#[derive(Default)]
pub(super) struct Transaction<'a> {
    pub entries: &'a [Entry],
    pub tails: &'a [(Source, Tail)],
    pub sensors: &'a [SensorFacts],
    /// Entries up to this position go.
    pub cut: u64,
}

// === impl Entry ===

impl Entry {
    /// Compresses a batch; `known` events at its beginning were taken before.
    pub fn new(origin: &Origin, known: usize, batch: &[u8]) -> io::Result<Self> {
        let mut encoder = zstd::bulk::Compressor::new(LEVEL)?;
        encoder.include_checksum(true)?;
        let kept = Kept {
            sensor_id: origin.sensor_id.clone(),
            epoch: origin.epoch,
            hostname: origin.hostname.clone(),
            kernel: origin.kernel.clone(),
            known: known as u64,
            batch: encoder.compress(batch)?,
        };
        Ok(Self {
            position: 0,
            bytes: kept.encode_to_vec(),
        })
    }
}

// === impl Log ===

impl Log {
    /// Opens or creates the file. One that cannot be read as a log is set aside, and named in the
    /// second part of the answer; a new one begins.
    pub fn open(path: PathBuf) -> Result<(Self, Option<PathBuf>)> {
        match Self::open_or_create(&path) {
            Ok(log) => Ok((log, None)),
            Err(error @ (Error::UnknownFormat { .. } | Error::File { .. })) => Err(error),
            Err(reason) => {
                let aside = set_aside(&path, &reason)?;
                Ok((Self::open_or_create(&path)?, Some(aside)))
            }
        }
    }

    fn open_or_create(path: &Path) -> Result<Self> {
        let damaged = |error: redb::Error| match error {
            redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => Error::File {
                action: "open",
                path: path.to_path_buf(),
                source,
            },
            other => Error::Damaged {
                path: path.to_path_buf(),
                reason: other.to_string(),
            },
        };
        // An empty file is what a power cut leaves of one that was just made.
        if fs::metadata(path).is_ok_and(|known| known.len() == 0) {
            fs::remove_file(path).map_err(Error::file("remove", path))?;
        }
        let database = open_database(path).map_err(|error| damaged(error.into()))?;
        let (id, next) = prepare(&database).map_err(damaged)?;
        if let Some(folder) = path.parent() {
            super::local::sync_folder(folder).map_err(Error::file("sync", folder))?;
        }
        let (format, id) = id;
        if format != FORMAT {
            return Err(Error::UnknownFormat {
                path: path.to_path_buf(),
                found: format,
                known: FORMAT,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            database: Some(Arc::new(database)),
            id,
            next,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Position of the next entry.
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// Durable on return. When it fails nothing of it was stored.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<()> {
        let committed = self
            .database()
            .and_then(|database| write(&database, transaction));
        match committed {
            Ok(()) => {
                self.next += transaction.entries.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.database = None;
                Err(Error::Log {
                    path: self.path.clone(),
                    reason: error.to_string(),
                })
            }
        }
    }

    /// The tail of a source; `None` when it is not known.
    pub fn tail(&mut self, source: &Source) -> Result<Option<Tail>> {
        self.read(|transaction| {
            let table = transaction.open_table(SOURCES)?;
            let found = table.get((source.sensor_id.as_str(), source.epoch))?;
            Ok(found.map(|found| {
                let (seq, crc32) = found.value();
                Tail { seq, crc32 }
            }))
        })
    }

    pub fn sensors(&mut self) -> Result<Vec<SensorFacts>> {
        let path = self.path.clone();
        self.read(|transaction| {
            let table = transaction.open_table(SENSORS)?;
            let mut sensors = Vec::new();
            for row in table.iter()? {
                let (id, json) = row?;
                match serde_json::from_slice(json.value()) {
                    Ok(facts) => sensors.push(facts),
                    // Told again at its next hello.
                    Err(error) => tracing::error!(
                        log = %path.display(), sensor = id.value(), %error,
                        "facts of a sensor cannot be read"
                    ),
                }
            }
            Ok(sensors)
        })
    }

    /// At most `limit` entries after a position. A damaged entry is an error with its position, and
    /// the others are there.
    pub fn after(&mut self, position: u64, limit: usize) -> Result<Vec<Result<Logged, Damage>>> {
        self.read(|transaction| {
            let table = transaction.open_table(BATCHES)?;
            let mut entries = Vec::new();
            for row in table.range(position + 1..)?.take(limit) {
                let (position, bytes) = row?;
                entries.push(unpack(position.value(), bytes.value()));
            }
            Ok(entries)
        })
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let read = self
            .database()
            .and_then(|database| read(&database.begin_read()?));
        read.map_err(|error| Error::Log {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    fn database(&mut self) -> Result<Arc<Database>, redb::Error> {
        if let Some(database) = &self.database {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(open_database(&self.path)?);
        self.database = Some(Arc::clone(&database));
        Ok(database)
    }
}

/// An entry that cannot be read.
#[derive(Debug)]
pub(super) struct Damage {
    pub position: u64,
    /// Who sent it, as far as that can be read.
    pub source: Option<Source>,
    pub reason: String,
}

fn unpack(position: u64, bytes: &[u8]) -> Result<Logged, Damage> {
    let damage = |source, reason: String| Damage {
        position,
        source,
        reason,
    };
    let kept = Kept::decode(bytes).map_err(|error| damage(None, error.to_string()))?;
    let source = Source {
        sensor_id: kept.sensor_id.clone(),
        epoch: kept.epoch,
    };
    let batch = zstd::bulk::decompress(&kept.batch, skep_proto::MAX_MESSAGE_BYTES);
    let batch = batch.map_err(|error| damage(Some(source.clone()), error.to_string()))?;
    let known = usize::try_from(kept.known).map_err(|_| {
        damage(
            Some(source),
            "it knows more events than there can be".to_owned(),
        )
    })?;
    Ok(Logged {
        position,
        origin: Origin {
            sensor_id: kept.sensor_id,
            epoch: kept.epoch,
            hostname: kept.hostname,
            kernel: kept.kernel,
        },
        known,
        batch,
    })
}

fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path)
}

/// Makes the tables of a new file; its format and id, and the next position.
fn prepare(database: &Database) -> Result<((String, String), u64), redb::Error> {
    let transaction = database.begin_write()?;
    let known = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|found| found.value().to_owned());
        let id = meta.get("id")?.map(|found| found.value().to_owned());
        match format.zip(id) {
            Some(known) => known,
            None => {
                let mut random = [0; 16];
                getrandom::fill(&mut random)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                let id = format!("skep-collector-{:032x}", u128::from_be_bytes(random));
                meta.insert("format", FORMAT)?;
                meta.insert("id", id.as_str())?;
                (FORMAT.to_owned(), id)
            }
        }
    };
    transaction.open_table(SOURCES)?;
    transaction.open_table(SENSORS)?;
    let next = {
        let batches = transaction.open_table(BATCHES)?;
        let last = batches.last()?.map(|(position, _)| position.value());
        let meta = transaction.open_table(META)?;
        let cut = meta.get("cut")?.and_then(|cut| cut.value().parse().ok());
        last.or(cut).unwrap_or(0) + 1
    };
    transaction.commit()?;
    Ok((known, next))
}

fn write(database: &Database, transaction: &Transaction) -> Result<(), redb::Error> {
    let Transaction {
        entries,
        tails,
        sensors,
        cut,
    } = transaction;
    let write = database.begin_write()?;
    {
        let mut batches = write.open_table(BATCHES)?;
        for entry in *entries {
            batches.insert(entry.position, entry.bytes.as_slice())?;
        }
        if *cut > 0 {
            batches.retain_in(..=*cut, |_, _| false)?;
            // Positions go on after it, also when nothing is left.
            let mut meta = write.open_table(META)?;
            meta.insert("cut", cut.to_string().as_str())?;
        }
        let mut sources = write.open_table(SOURCES)?;
        for (source, tail) in *tails {
            let key = (source.sensor_id.as_str(), source.epoch);
            sources.insert(key, (tail.seq, tail.crc32))?;
        }
        let mut table = write.open_table(SENSORS)?;
        for facts in *sensors {
            let json = serde_json::to_vec(facts).expect("a plain struct is JSON");
            table.insert(facts.sensor_id.as_str(), json.as_slice())?;
        }
    }
    write.commit()?;
    Ok(())
}

fn set_aside(path: &Path, reason: &Error) -> Result<PathBuf> {
    let aside = super::aside(path);
    tracing::error!(
        log = %path.display(), set_aside_as = %aside.display(), %reason,
        "the log is damaged and was set aside; what is in the tables stays queryable"
    );
    fs::rename(path, &aside).map_err(Error::file("set aside", path))?;
    Ok(aside)
}

impl From<Damage> for String {
    fn from(damage: Damage) -> Self {
        match damage.source {
            Some(source) => format!(
                "entry {} of the log (sensor {}, epoch {}): {}",
                damage.position, source.sensor_id, source.epoch, damage.reason
            ),
            None => format!("entry {} of the log: {}", damage.position, damage.reason),
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
