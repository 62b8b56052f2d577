//! From a data directory to a running store.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    path::Path,
    sync::{Arc, Condvar, Mutex, atomic::AtomicBool, mpsc},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use object_store::ObjectStoreExt;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};

use super::{
    Options, Shared, Source, State, Tail, blocking, hot::Hot, kibibytes, log::Log,
    log::Transaction, maintain, place::Place, sensors::Sensors, table::Table,
};
use crate::{
    counters::Counters,
    error::{Error, Result},
    ingest::batch::Batch,
    schema::Class,
    store::Health,
};

/// Entries of the log that are taken back at once.
const CHUNK: usize = 64;

pub(super) async fn open(
    options: Options,
    counters: Arc<Counters>,
) -> Result<(Arc<Shared>, maintain::Work)> {
    let lock = lock(&options.directory)?;
    refuse_older(&options.directory)?;
    let place = match &options.table {
        Some(url) => Place::url(url)?,
        None => Place::folder(&options.directory.join("table"))?,
    };
    let path = options.directory.join("log.redb");
    let (mut log, damaged) = blocking(move || Log::open(path)).await?;
    let mut tables = Vec::new();
    for class in Class::ALL {
        tables.push(Table::open(&place, class).await?);
    }
    let health = Health::default();
    if let Some(aside) = damaged {
        counters.files_damaged.add(1);
        let problem = format!(
            "the log was damaged and set aside as {}; events that were acknowledged and not yet in \
             the tables are only there",
            aside.display()
        );
        health.add("damage", problem);
        log = recover_tails(log, &place, &tables).await?;
    }
    let mut positions = [0; Class::COUNT];
    for (position, table) in positions.iter_mut().zip(&tables) {
        *position = table.position(log.id()).await?;
    }
    let (requests, receiver) = mpsc::channel();
    let state = State {
        files: std::array::from_fn(|index| tables[index].files()),
        flushing: None,
        hot: Hot::default(),
    };
    let mut tables = tables.into_iter().map(AsyncMutex::new);
    let shared = Arc::new(Shared {
        sensors: Sensors::of(log.sensors()?),
        log_id: log.id().to_owned(),
        budget: Arc::new(Semaphore::new(kibibytes(options.buffer_bytes) as usize)),
        hellos: Arc::new(Semaphore::new(super::commit::HELLOS)),
        options,
        counters,
        health,
        place,
        state: Mutex::new(state),
        room: Condvar::new(),
        tables: std::array::from_fn(|_| tables.next().expect("one a class")),
        requests,
        flush_now: Notify::new(),
        in_doubt: AtomicBool::new(false),
        unmerged: AtomicBool::new(true),
        stopping: AtomicBool::new(false),
        lock: Arc::new(lock),
    });
    let log = replay(&shared, log, positions).await?;
    let work = maintain::Work::start(&shared, log, receiver)?;
    Ok((shared, work))
}

/// Takes the rows back that are in the log and not in the tables.
async fn replay(shared: &Arc<Shared>, mut log: Log, tables: [u64; Class::COUNT]) -> Result<Log> {
    let mut after = 0;
    let mut entries = 0;
    loop {
        let (given_back, chunk) = blocking(move || {
            let chunk = log.after(after, CHUNK)?;
            Ok((log, chunk))
        })
        .await?;
        log = given_back;
        if chunk.is_empty() {
            break;
        }
        let mut fresh = Hot::default();
        for entry in chunk {
            entries += 1;
            let entry = match entry {
                Ok(entry) => entry,
                Err(damage) => {
                    after = damage.position;
                    report(shared, damage.into());
                    continue;
                }
            };
            after = entry.position;
            let batch = match Batch::decode(entry.batch.into()) {
                Ok(batch) => batch,
                Err(error) => {
                    report(shared, format!("entry {after} of the log: {error}"));
                    continue;
                }
            };
            let rows: Vec<_> = batch.rows(&entry.origin, entry.known).collect();
            fresh.add(&rows, after, |class| tables[class.index()] < after);
        }
        shared.state().hot.append(fresh)?;
        let full = shared.state().hot.bytes() >= shared.options.flush_bytes;
        if full {
            super::flush::flush(shared).await?;
        }
    }
    if entries > 0 {
        let rows = shared.state().hot.rows();
        tracing::info!(entries, rows, "took back what was in the log");
    }
    Ok(log)
}

fn report(shared: &Shared, damage: String) {
    tracing::error!(
        damage,
        "part of the log is damaged; the rest of it is there"
    );
    shared.counters.entries_damaged.add(1);
    shared
        .health
        .add("damage", format!("{damage}; the rest of the log is there"));
}

/// After the log is gone: sources are as far as the tables say.
async fn recover_tails(mut log: Log, place: &Place, tables: &[Table]) -> Result<Log> {
    let mut tails: HashMap<Source, Tail> = HashMap::new();
    for table in tables {
        for file in table.files().iter() {
            let read = place.root().get(&file.path).await;
            let bytes = match read {
                Ok(found) => found.bytes().await,
                Err(error) => Err(error),
            };
            let bytes = bytes.map_err(|error| place.failed("read", &file.path, error))?;
            let found = blocking(move || Ok(last_sequences(bytes))).await?;
            match found {
                Ok(found) => {
                    for (source, seq) in found {
                        let tail = tails.entry(source).or_default();
                        tail.seq = tail.seq.max(seq);
                    }
                }
                // The query that meets it sets it aside.
                Err(reason) => {
                    let name = place.name_of(&file.path);
                    tracing::error!(file = name, reason, "a stored file cannot be read");
                }
            }
        }
    }
    let tails: Vec<_> = tails.into_iter().collect();
    blocking(move || {
        log.commit(&Transaction {
            tails: &tails,
            ..Transaction::default()
        })?;
        Ok(log)
    })
    .await
}

fn last_sequences(bytes: bytes::Bytes) -> Result<HashMap<Source, u64>, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| e.to_string())?;
    let wanted = ["sensor_id", "epoch", "seq"];
    let mask = ProjectionMask::columns(reader.parquet_schema(), wanted);
    let reader = reader.with_projection(mask).build();
    let mut last: HashMap<Source, u64> = HashMap::new();
    for batch in reader.map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = |name| batch.column_by_name(name).ok_or("a column is missing");
        let sensors = column("sensor_id")?.as_string::<i32>();
        let epochs = column("epoch")?.as_primitive::<Int64Type>();
        let seqs = column("seq")?.as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let source = Source {
                sensor_id: sensors.value(row).to_owned(),
                epoch: epochs.value(row).try_into().unwrap_or_default(),
            };
            let seq: u64 = seqs.value(row).try_into().unwrap_or_default();
            let known = last.entry(source).or_default();
            *known = seq.max(*known);
        }
    }
    Ok(last)
}

fn lock(directory: &Path) -> Result<File> {
    let unwritable = |source| Error::DataDirectory {
        path: directory.to_path_buf(),
        source,
    };
    fs::create_dir_all(directory).map_err(unwritable)?;
    let lock = File::create(directory.join("lock")).map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::DataDirectoryInUse {
            path: directory.to_path_buf(),
        }),
        Err(TryLockError::Error(source)) => Err(unwritable(source)),
    }
}

/// The store before this one kept its files in `events`.
fn refuse_older(directory: &Path) -> Result<()> {
    let events = directory.join("events");
    match events.is_dir() {
        true => Err(Error::UnknownFormat {
            path: events,
            found: "1 or 2".to_owned(),
            known: "3 (a log and tables)",
        }),
        false => Ok(()),
    }
}
