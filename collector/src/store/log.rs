//! The log: what was acknowledged and is not in the tables yet, and how far each source is.
//!
//! One redb file. A transaction stores batches, advances their sources and keeps facts of sensors;
//! when it has returned, all of it survives a power cut. Invariants:
//! - positions are dense and ascend; position 0 is none;
//! - a source's tail is the last sequence in the log or in the tables, never more;
//! - an entry is cut only after the tables have all of it, and the other readers, too, as long as there is
//!   room ([`super::readers`]).
//!
//! The format is that of a log without readers: one written before there were any has `tables` alone, which
//! has read what was cut.
//!
//! After a failed write the file is closed and opened anew before the next one, as redb demands. redb
//! checks no checksum as it reads, and panics over pages that make no sense: the whole file is checked
//! when it is opened, and once more when it seems damaged; a panic is damage, and ends nothing.
//!
//! Bounds: the cache of pages, [`CACHE_BYTES`]; the caller bounds what it commits at once; the store's
//! memory and [`super::Options::log_bytes`] bound what is in the file, and so the time of a check.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    SensorFacts, Source, Tail,
    clock::{unix_millis, unix_nanos},
    entry::{self, Damage, Entry, Logged, Packed, unpack},
    medium::Medium,
    readers::{Added, Marks, Standing, Standings, TABLES},
};
use crate::{
    error::{Error, Result},
    schema::Class,
    trouble::{Trouble, guarded},
};

const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
/// (sensor, epoch) → (last sequence, CRC-32 of that event).
const SOURCES: TableDefinition<(&str, u64), (u64, u32)> = TableDefinition::new("sources");
/// Facts of a sensor as JSON.
const SENSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("sensors");
/// Name → (position up to which it has read, when it last moved, entries that it missed).
const READERS: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("readers");
const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

const FORMAT: &str = "1";
const CACHE_BYTES: usize = 16 << 20;
/// Nanoseconds of an epoch that are random: two logs that begin at one moment have two.
const RANDOM: u64 = 1 << 20;

/// An open log. One thread writes it.
pub(super) struct Log {
    medium: Arc<dyn Medium>,
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

/// One transaction.
#[derive(Default)]
pub(super) struct Transaction<'a> {
    pub entries: &'a [Entry],
    pub tails: &'a [(Source, Tail)],
    pub sensors: &'a [SensorFacts],
    /// Readers that have changed; `None`: is no more.
    pub readers: &'a [(String, Option<Standing>)],
    /// Entries up to this position go.
    pub cut: u64,
}

// === impl Log ===

impl Log {
    /// Opens or creates the file, and checks all of it. One that cannot be read as a log is set aside,
    /// and a new one begins.
    pub fn open(medium: Arc<dyn Medium>) -> Result<(Self, Found)> {
        match Self::open_or_create(&medium) {
            Ok(opened) => Ok(opened),
            Err(reason @ Error::Damaged { .. }) => {
                let aside = set_aside(&*medium, &reason)?;
                let (log, _) = Self::open_or_create(&medium)?;
                Ok((log, Found::SetAside(aside)))
            }
            Err(error) => Err(error),
        }
    }

    fn open_or_create(medium: &Arc<dyn Medium>) -> Result<(Self, Found)> {
        let name = medium.name();
        let bytes = medium.bytes();
        // An empty file is what a power cut leaves of one that was just made.
        if bytes == Some(0) {
            medium.remove().map_err(Error::file("remove", name))?;
        }
        let new = bytes.is_none_or(|bytes| bytes == 0);
        let opened = guarded(|| {
            let mut database = medium.create(&mut builder())?;
            let whole = database.check_integrity()?;
            let (known, next) = prepare(&database)?;
            Ok((database, whole, known, next))
        });
        if new && opened.is_err() {
            // Best effort: what is half made, for want of room, would be a damaged log next time.
            let _ = medium.remove();
        }
        let opened = match opened {
            Err(Trouble::Other(reason)) if medium.is_unreadable() => Err(Trouble::Damaged(reason)),
            other => other,
        };
        let (database, whole, (format, id), next) =
            opened.map_err(|trouble| failed(name, trouble))?;
        medium.sync_name().map_err(Error::file("sync", name))?;
        if format != FORMAT {
            return Err(Error::UnknownFormat {
                path: name.to_path_buf(),
                found: format,
                known: FORMAT,
            });
        }
        let log = Self {
            medium: Arc::clone(medium),
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
        let epoch = new_epoch(self.epoch()?).map_err(|error| Error::Random {
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
                // The other one may use the epoch, too.
                meta.insert("epoch", epoch.as_str())?;
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

    /// Epoch of the collector's own events.
    pub fn epoch(&mut self) -> Result<u64> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let epoch = meta
                .get("epoch")?
                .and_then(|epoch| epoch.value().parse().ok());
            Ok(epoch.unwrap_or(1))
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
        let medium = Arc::clone(&self.medium);
        self.read(|transaction| {
            let table = transaction.open_table(SENSORS)?;
            let mut sensors = Vec::new();
            for row in table.iter()? {
                let (id, json) = row?;
                match serde_json::from_slice(json.value()) {
                    Ok(facts) => sensors.push(facts),
                    // Told again at its next hello.
                    Err(error) => tracing::error!(
                        log = %medium.name().display(), sensor = id.value(), %error,
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

    /// Entries after a position as they are kept, at most so many bytes of them and at least one.
    pub fn packed_after(&mut self, position: u64, bytes: usize) -> Result<Vec<Packed>> {
        self.read(|transaction| {
            let table = transaction.open_table(BATCHES)?;
            let mut entries = Vec::new();
            let mut size = 0;
            for row in table.range(position + 1..)? {
                let (position, entry) = row?;
                size += entry.value().len();
                if size > bytes && !entries.is_empty() {
                    break;
                }
                entries.push((position.value(), entry.value().to_vec()));
            }
            Ok(entries)
        })
    }

    /// The readers, and the position up to which entries are gone.
    pub fn readers(&mut self) -> Result<(Standings, u64)> {
        self.read(|transaction| {
            let table = transaction.open_table(READERS)?;
            let mut standings = Standings::new();
            for row in table.iter()? {
                let (name, row) = row?;
                let (position, moved, missed) = row.value();
                let standing = Standing {
                    position,
                    moved,
                    missed,
                };
                standings.insert(name.value().to_owned(), standing);
            }
            let batches = transaction.open_table(BATCHES)?;
            let first = batches.first()?.map(|(position, _)| position.value() - 1);
            let cut = match first {
                Some(cut) => cut,
                None => cut(&transaction.open_table(META)?)?,
            };
            Ok((standings, cut))
        })
    }

    /// Adds all entries to the marks of a log.
    pub fn mark(&mut self, mut marks: Marks) -> Result<Marks> {
        self.read(|transaction| {
            let now = unix_millis();
            for row in transaction.open_table(BATCHES)?.iter()? {
                let (position, entry) = row?;
                marks.add(Added {
                    position: position.value(),
                    bytes: entry.value().len(),
                    taken: entry::taken(entry.value()).unwrap_or(now),
                });
            }
            Ok(marks)
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
        let mut database = self.medium.open(&mut builder())?;
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
        failed(self.medium.name(), trouble)
    }
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

fn new_id() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(
        "skep-collector-{:032x}",
        u128::from_be_bytes(random)
    ))
}

/// The time in nanoseconds, partly random, and later than the epoch before.
fn new_epoch(before: u64) -> io::Result<String> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let random = u64::from(u32::from_be_bytes(random)) % RANDOM;
    let now = unix_nanos() / RANDOM * RANDOM + random;
    Ok(now.clamp(before + 1, i64::MAX as u64).to_string())
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
    {
        let mut meta = transaction.open_table(META)?;
        if meta.get("epoch")?.is_none() {
            meta.insert("epoch", new_epoch(0)?.as_str())?;
        }
    }
    transaction.open_table(SOURCES)?;
    transaction.open_table(SENSORS)?;
    let next = {
        let batches = transaction.open_table(BATCHES)?;
        let last = batches.last()?.map(|(position, _)| position.value());
        let cut = cut(&transaction.open_table(META)?)?;
        let mut readers = transaction.open_table(READERS)?;
        let tables = readers.get(TABLES)?.map(|row| row.value());
        // A collector that knew of no readers cut what was in the tables.
        if tables.is_none_or(|(position, ..)| position < cut) {
            readers.insert(TABLES, (cut, unix_millis(), 0))?;
        }
        last.unwrap_or(cut) + 1
    };
    transaction.commit()?;
    Ok((known, next))
}

/// Position up to which entries were cut; 0 when none was.
fn cut(meta: &impl ReadableTable<&'static str, &'static str>) -> Result<u64, redb::StorageError> {
    let cut = meta.get("cut")?.and_then(|cut| cut.value().parse().ok());
    Ok(cut.unwrap_or(0))
}

fn write(database: &Database, transaction: &Transaction) -> Result<(), redb::Error> {
    let Transaction {
        entries,
        tails,
        sensors,
        readers,
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
        let mut table = write.open_table(READERS)?;
        for (name, standing) in *readers {
            match standing {
                Some(row) => {
                    let row = (row.position, row.moved, row.missed);
                    table.insert(name.as_str(), row)?;
                }
                None => {
                    table.remove(name.as_str())?;
                }
            }
        }
    }
    write.commit()?;
    Ok(())
}

fn set_aside(medium: &dyn Medium, reason: &Error) -> Result<PathBuf> {
    let name = medium.name();
    let aside = medium.set_aside().map_err(Error::file("set aside", name))?;
    tracing::error!(
        log = %name.display(), set_aside_as = %aside.display(), %reason,
        "the log is damaged and was set aside; what is in the tables stays queryable"
    );
    Ok(aside)
}

#[cfg(test)]
mod tests;
