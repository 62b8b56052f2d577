//! The log: what was acknowledged and is not in the tables yet, and how far each source is.
//!
//! One redb file. A transaction stores batches, advances their sources and keeps facts of sensors;
//! when it has returned, all of it survives a power cut. Invariants:
//! - positions are dense and ascend; position 0 is none;
//! - a source's tail is the last sequence in the log or in the tables, never more;
//! - an entry is cut only after the tables have all of it.
//!
//! After a failed write the file is closed and opened anew before the next one, as redb demands. redb
//! checks no checksum as it reads, and panics over pages that make no sense: the whole file is checked
//! when it is opened, and once more when it seems damaged; a panic is damage, and ends nothing.
//!
//! Bounds: the cache of pages, [`CACHE_BYTES`]; the caller bounds what it commits at once, and the
//! store's memory what is in the file, and so the time of a check.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::Message;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{SensorFacts, Source, Tail};
use crate::{
    error::{Error, Result},
    schema::{Class, Origin},
    trouble::{Trouble, guarded},
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
    /// It seemed damaged, and is checked before it is used again.
    suspect: bool,
    /// Names this log among the writers of the tables; a new log has a new one.
    id: String,
    next: u64,
}

/// What an opened log is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Whole,
    /// There was none.
    New,
    /// What the last transaction wrote cannot be read, and it is as it was before that.
    Behind,
    /// What was there cannot be read, and has this name now; the log is a new one.
    SetAside(PathBuf),
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
    /// Opens or creates the file, and checks all of it. One that cannot be read as a log is set aside,
    /// and a new one begins.
    pub fn open(path: PathBuf) -> Result<(Self, Found)> {
        match Self::open_or_create(&path) {
            Ok(opened) => Ok(opened),
            Err(reason @ Error::Damaged { .. }) => {
                let aside = set_aside(&path, &reason)?;
                let (log, _) = Self::open_or_create(&path)?;
                Ok((log, Found::SetAside(aside)))
            }
            Err(error) => Err(error),
        }
    }

    fn open_or_create(path: &Path) -> Result<(Self, Found)> {
        let bytes = fs::metadata(path).ok().map(|known| known.len());
        // An empty file is what a power cut leaves of one that was just made.
        if bytes == Some(0) {
            fs::remove_file(path).map_err(Error::file("remove", path))?;
        }
        let new = bytes.is_none_or(|bytes| bytes == 0);
        let opened = guarded(|| {
            let mut database = builder().create(path)?;
            let whole = database.check_integrity()?;
            let (known, next) = prepare(&database)?;
            Ok((database, whole, known, next))
        });
        if new && opened.is_err() {
            // Best effort: what is half made, for want of room, would be a damaged log next time.
            let _ = fs::remove_file(path);
        }
        let opened = match opened {
            Err(Trouble::Other(reason)) if is_unreadable(path) => Err(Trouble::Damaged(reason)),
            other => other,
        };
        let (database, whole, (format, id), next) =
            opened.map_err(|trouble| failed(path, trouble))?;
        if let Some(folder) = path.parent() {
            super::local::sync_folder(folder).map_err(Error::file("sync", folder))?;
        }
        if format != FORMAT {
            return Err(Error::UnknownFormat {
                path: path.to_path_buf(),
                found: format,
                known: FORMAT,
            });
        }
        let log = Self {
            path: path.to_path_buf(),
            database: Some(Arc::new(database)),
            suspect: false,
            id,
            next,
        };
        let found = match (new, whole) {
            (true, _) => Found::New,
            (false, true) => Found::Whole,
            (false, false) => Found::Behind,
        };
        Ok((log, found))
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Position of the next entry.
    pub fn next_position(&self) -> u64 {
        self.next
    }

    /// Durable on return. When it fails nothing of it counts as stored. Damage is an error of its own
    /// ([`Error::Damaged`]).
    pub fn commit(&mut self, transaction: &Transaction) -> Result<()> {
        let committed = guarded(|| Ok(write(&*self.database()?, transaction)?));
        match committed {
            Ok(()) => {
                self.next += transaction.entries.len() as u64;
                Ok(())
            }
            Err(trouble) => Err(self.close(trouble)),
        }
    }

    /// Goes on under a new name: the tables have entries under the old one that this log has not. The
    /// tables have its entries up to these positions, by class.
    pub fn rename(&mut self, tables: [u64; Class::COUNT]) -> Result<()> {
        let id = new_id().map_err(|error| Error::Random {
            reason: error.to_string(),
        })?;
        let last = self.next - 1;
        let tables = tables.map(|position| position.min(last).to_string());
        let renamed = guarded(|| {
            let write = self.database()?.begin_write()?;
            {
                let mut meta = write.open_table(META)?;
                meta.insert("id", id.as_str())?;
                meta.insert("tables", tables.join(" ").as_str())?;
            }
            Ok(write.commit()?)
        });
        renamed.map_err(|trouble| self.close(trouble))?;
        self.id = id;
        Ok(())
    }

    /// Positions up to which the tables have its entries under an earlier name; 0 without one.
    pub fn known_to_tables(&mut self) -> Result<[u64; Class::COUNT]> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let mut positions = [0; Class::COUNT];
            if let Some(known) = meta.get("tables")? {
                let known = known.value().split(' ').map(str::parse);
                for (position, known) in positions.iter_mut().zip(known) {
                    *position = known.unwrap_or(0);
                }
            }
            Ok(positions)
        })
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
        let read = guarded(|| Ok(read(&self.database()?.begin_read()?)?));
        read.map_err(|trouble| self.close(trouble))
    }

    /// The file, opened again if that is needed: one that is gone is not made anew.
    fn database(&mut self) -> Result<Arc<Database>, Trouble> {
        if let Some(database) = &self.database {
            return Ok(Arc::clone(database));
        }
        let mut database = builder().open(&self.path)?;
        let whole = !self.suspect || database.check_integrity()?;
        if !whole || prepare(&database)?.1 < self.next {
            return Err(Trouble::Damaged("what it had is not in it".to_owned()));
        }
        let database = Arc::new(database);
        self.database = Some(Arc::clone(&database));
        self.suspect = false;
        Ok(database)
    }

    /// Closes the file after a failure.
    fn close(&mut self, trouble: Trouble) -> Error {
        let database = self.database.take();
        // Closing writes, and may not like what it finds either.
        let _ = guarded(|| {
            drop(database);
            Ok(())
        });
        self.suspect |= matches!(trouble, Trouble::Damaged(_));
        failed(&self.path, trouble)
    }
}

/// An entry that cannot be read.
#[derive(Debug)]
pub(super) struct Damage {
    pub position: u64,
    /// Who sent it, as far as that can be read.
    pub source: Option<Source>,
    pub reason: String,
    /// As the log keeps it.
    pub bytes: Vec<u8>,
}

fn unpack(position: u64, bytes: &[u8]) -> Result<Logged, Damage> {
    let damage = |source, reason: String| Damage {
        position,
        source,
        reason,
        bytes: bytes.to_vec(),
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

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn failed(path: &Path, trouble: Trouble) -> Error {
    let path = path.to_path_buf();
    match trouble {
        Trouble::Damaged(reason) => Error::Damaged { path, reason },
        Trouble::Other(reason) => Error::Log { path, reason },
    }
}

/// Whether the disk cannot give back what it has of a file.
fn is_unreadable(path: &Path) -> bool {
    let Ok(mut file) = fs::File::open(path) else {
        return false;
    };
    io::copy(&mut file, &mut io::sink()).is_err()
}

fn new_id() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(
        "skep-collector-{:032x}",
        u128::from_be_bytes(random)
    ))
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
                let id = new_id()?;
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
mod tests;
