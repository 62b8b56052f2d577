//! From a data directory to a running store.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, atomic::AtomicBool, mpsc},
};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};

use super::{
    Options, Shared, State, blocking, damage,
    hot::{Hot, rows_of},
    kibibytes,
    lock::lock,
    log::{Found, Log},
    maintain,
    medium::{LogFile, Medium},
    place::Place,
    readers::{Marks, Readers, TABLES},
    recover,
    sensors::Sensors,
    table::Table,
};
use crate::{
    batch::Batch,
    counters::Counters,
    error::{Error, Result},
    schema::Class,
    store::Health,
};

/// Entries of the log that are taken back at once.
const CHUNK: usize = 64;

/// What a store writes to.
pub(super) struct Backends {
    pub log: Arc<dyn Medium>,
    pub tables: Place,
}

// === impl Backends ===

impl Backends {
    /// Those that the options name.
    pub fn of(options: &Options) -> Result<Self> {
        Ok(Self {
            log: Arc::new(LogFile(options.directory.join("log.redb"))),
            tables: match &options.table {
                Some(url) => Place::url(url)?,
                None => Place::folder(&options.directory.join("table"))?,
            },
        })
    }
}

pub(super) async fn open(
    options: Options,
    counters: Arc<Counters>,
    backends: Backends,
) -> Result<(Arc<Shared>, maintain::Work)> {
    let lock = lock(&options.directory)?;
    refuse_older(&options.directory)?;
    let Backends { log, tables: place } = backends;
    let health = Health::default();
    damage::tell_earlier(&options.directory, &health);
    let (mut log, found) = blocking(move || Log::open(log)).await?;
    let tables = open_tables(&place, &health).await?;
    let lost = match found {
        Found::Whole => None,
        // Tables that others write, too, say nothing of it.
        Found::New if options.table.is_some() => None,
        Found::New if tables.iter().all(|table| table.files().is_empty()) => None,
        Found::New => Some(
            "there are tables and no log; events that were acknowledged and not yet in the tables are \
             lost with it"
                .to_owned(),
        ),
        Found::Behind => Some(
            "the last that was written to the log cannot be read; events that were acknowledged then \
             and are not in the tables are lost"
                .to_owned(),
        ),
        Found::SetAside(aside) => Some(format!(
            "the log was damaged and set aside as {}; events that were acknowledged and not yet in \
             the tables are only there",
            aside.display()
        )),
    };
    if let Some(problem) = lost {
        tracing::error!(problem, "the log is damaged");
        counters.files_damaged.add(1);
        health.add("damage", problem);
        log = recover::tails(log, &place, &tables, &health).await?;
    }
    let (mut log, positions) = positions(log, &tables).await?;
    let (requests, receiver) = mpsc::channel();
    let state = State {
        files: std::array::from_fn(|index| tables[index].files()),
        flushing: None,
        hot: Hot::default(),
    };
    let mut tables = tables.into_iter().map(AsyncMutex::new);
    let marks = Marks::new(options.log_bytes);
    let (log, readers) = blocking(move || {
        let (standings, cut) = log.readers()?;
        let marks = log.mark(marks)?;
        Ok((log, (standings, cut, marks)))
    })
    .await?;
    let (standings, cut, marks) = readers;
    let after = standings.get(TABLES).map_or(0, |tables| tables.position);
    let last = log.next_position() - 1;
    let mut log = log;
    let shared = Arc::new(Shared {
        sensors: Sensors::of(log.sensors()?),
        readers: Readers::new(standings, cut, last, marks, options.log_bytes),
        log_id: log.id().to_owned(),
        budget: Arc::new(Semaphore::new(kibibytes(options.buffer_bytes) as usize)),
        hellos: Arc::new(Semaphore::new(super::commit::HELLOS)),
        emissions: Arc::new(Semaphore::new(super::own::WAITING)),
        options,
        counters,
        health,
        place,
        state: Mutex::new(state),
        room: Condvar::new(),
        tables: std::array::from_fn(|_| tables.next().expect("one a class")),
        requests,
        flush_now: Notify::new(),
        flush: AsyncMutex::default(),
        in_doubt: AtomicBool::new(false),
        unmerged: AtomicBool::new(true),
        stopping: AtomicBool::new(false),
        lock: Arc::new(lock),
    });
    let log = replay(&shared, log, after, positions).await?;
    let work = maintain::Work::start(&shared, log, receiver)?;
    Ok((shared, work))
}

/// The tables of all classes; what is wrong with the table of one does not keep the others.
async fn open_tables(place: &Place, health: &Health) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    let mut failed = Vec::new();
    for class in Class::ALL {
        let opening = {
            let place = place.clone();
            // Apart, since what is in a table may panic.
            tokio::spawn(async move { Table::open(&place, class).await })
        };
        let reason = match opening.await {
            Ok(Ok(table)) => {
                tables.push(table);
                continue;
            }
            Ok(Err(error)) => {
                let reason = error.to_string();
                failed.push(error);
                reason
            }
            Err(_) => "reading it panicked".to_owned(),
        };
        tables.push(Table::unavailable(place, class, reason));
    }
    if failed.len() == Class::COUNT {
        // It is the place, and not a table.
        return Err(failed.swap_remove(0));
    }
    for table in &tables {
        if let Err(error) = table.available() {
            tracing::error!(%error, "a table is not available; its events stay in the log");
            let problem = format!("{error}; until then its events stay in the log");
            health.add("unavailable", problem);
        }
    }
    Ok(tables)
}

/// Up to which position the table of each class has the log's entries.
async fn positions(mut log: Log, tables: &[Table]) -> Result<(Log, [u64; Class::COUNT])> {
    let mut positions = log.known_to_tables()?;
    for (position, table) in positions.iter_mut().zip(tables) {
        if table.available().is_ok() {
            *position = table.position(log.id()).await?.max(*position);
        }
    }
    if positions.iter().any(|known| *known >= log.next_position()) {
        tracing::warn!(
            log = log.id(),
            "the tables have entries that the log has not: it was copied, or is an older one; it goes \
             on under a new name"
        );
        log = blocking(move || {
            log.rename(positions)?;
            Ok(log)
        })
        .await?;
    }
    Ok((log, positions))
}

/// Takes the rows back that are in the log after a position and not in the tables.
async fn replay(
    shared: &Arc<Shared>,
    mut log: Log,
    mut after: u64,
    tables: [u64; Class::COUNT],
) -> Result<Log> {
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
                Err(mut damage) => {
                    after = damage.position;
                    let bytes = std::mem::take(&mut damage.bytes);
                    damage::entry(shared, after, bytes.into(), damage.into()).await?;
                    continue;
                }
            };
            after = entry.position;
            let bytes = Bytes::from(entry.batch);
            let batch = match Batch::decode(bytes.clone()) {
                Ok(batch) => batch,
                Err(error) => {
                    let reason = format!("entry {after} of the log: {error}");
                    damage::entry(shared, after, bytes, reason).await?;
                    continue;
                }
            };
            let rows: Vec<_> = rows_of(&batch, &entry.origin, entry.known).collect();
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
