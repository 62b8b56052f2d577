//! The one thread that writes the log: group commit across streams.
//!
//! It takes what waits, checks each batch against the tail of its source, stores all of it in one
//! transaction, makes the rows visible to queries, and then tells each stream how far it is durable.
//! While a transaction waits for the disk the next group gathers, so that one fsync serves many
//! streams.
//!
//! Invariants:
//! - a stream is told a sequence only after the transaction that holds it has returned;
//! - only the newest stream of a source appends: a hello ends the one before (`Superseded`), and
//!   what that one had sent before the hello is taken, what it sends after is not;
//! - a transaction that fails stores nothing and loses nothing: the same group is tried again until
//!   it works or the collector stops; meanwhile nothing is acknowledged, and health says why;
//! - a log that is damaged as it is used, or a panic, ends the thread and nothing else: every stream is
//!   told, health says so, and what is in memory still gets into the tables.
//!
//! Bounds: a group has at most [`GROUP_BYTES`] of batches and [`GROUP_REQUESTS`] requests; what waits
//! behind it holds permits: batches of the memory budget, hellos of [`HELLOS`].

use std::{
    collections::HashMap,
    fs::File,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{
    End, Opened, SensorFacts, Shared, Source, Stream, Tail,
    hot::Hot,
    log::{Entry, Log, Transaction},
};
use crate::{
    error::Error,
    ingest::batch::Batch,
    schema::{Class, Origin, Row, Stored},
};

const GROUP_BYTES: usize = 8 << 20;
const GROUP_REQUESTS: usize = 4096;
/// Hellos that wait for the thread.
pub(super) const HELLOS: usize = 1024;
/// Between two tries to write.
const RETRY: Duration = Duration::from_millis(250);

/// What the thread is asked to do.
pub(super) enum Request {
    Open {
        source: Source,
        facts: Box<SensorFacts>,
        reply: oneshot::Sender<Result<Opened, Error>>,
        /// Among those that wait; nobody may wait for the answer any more.
        place: OwnedSemaphorePermit,
    },
    Append {
        stream: u64,
        batch: Batch,
        entry: Entry,
        memory: OwnedSemaphorePermit,
    },
    /// The stream is over.
    Close { stream: u64 },
    /// The tables have everything up to this position.
    Cut { position: u64 },
    /// Ends the thread once what came before is stored.
    Stop,
}

/// How far a stream is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Highest durable sequence of its source.
    pub durable: u64,
    /// The store takes no more of it.
    pub end: Option<End>,
}

struct Writer {
    log: Log,
    /// Held until the log is closed, however the store ends.
    _lock: Arc<File>,
    /// Sources that have a stream.
    live: HashMap<Source, Live>,
    /// Stream → its source.
    streams: HashMap<u64, Source>,
    next_stream: u64,
    failing: bool,
}

struct Live {
    stream: u64,
    origin: Arc<Origin>,
    tail: Tail,
    progress: watch::Sender<Progress>,
}

/// What one transaction stores, and what follows from it.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    taken: Vec<Taken>,
    sensors: Vec<SensorFacts>,
    opened: Vec<(u64, oneshot::Sender<Result<Opened, Error>>)>,
    /// Where the sources of its entries are after it.
    tails: HashMap<Source, Tail>,
    cut: u64,
    memory: Vec<OwnedSemaphorePermit>,
    requests: usize,
    /// Bytes of its batches.
    size: usize,
    /// The thread ends after it.
    stop: bool,
}

/// The new events of one batch.
struct Taken {
    origin: Arc<Origin>,
    batch: Batch,
    known: usize,
}

pub(super) fn start(
    shared: &Arc<Shared>,
    log: Log,
    requests: mpsc::Receiver<Request>,
) -> std::io::Result<JoinHandle<()>> {
    let mut writer = Writer {
        log,
        _lock: Arc::clone(&shared.lock),
        live: HashMap::new(),
        streams: HashMap::new(),
        next_stream: 1,
        failing: false,
    };
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let run = AssertUnwindSafe(|| writer.run(&shared, &requests));
            match std::panic::catch_unwind(run) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => writer.give_up(&shared, &error.to_string()),
                Err(_) => writer.give_up(&shared, "the thread that writes the log panicked"),
            }
        })
}

// === impl Writer ===

impl Writer {
    /// Ends when it is told to, or the store is gone; an error is a log that cannot be used any more.
    fn run(
        &mut self,
        shared: &Weak<Shared>,
        requests: &mpsc::Receiver<Request>,
    ) -> Result<(), Error> {
        while let Ok(first) = requests.recv() {
            let Some(shared) = shared.upgrade() else {
                return Ok(());
            };
            let mut group = Group::default();
            let mut waiting = Some(first);
            while let Some(request) = waiting {
                group.size += match &request {
                    Request::Append { batch, .. } => batch.encoded.len(),
                    _ => 0,
                };
                group.requests += 1;
                group.stop = matches!(request, Request::Stop);
                self.take(&shared, request, &mut group);
                let full = group.size >= GROUP_BYTES || group.requests >= GROUP_REQUESTS;
                waiting = match full || group.stop {
                    true => None,
                    false => requests.try_recv().ok(),
                };
            }
            let stop = group.stop;
            if !self.store(&shared, group)? || stop {
                return Ok(());
            }
            shared.wait_for_room();
        }
        Ok(())
    }

    /// Tells everybody that nothing is taken any more.
    fn give_up(&self, shared: &Weak<Shared>, reason: &str) {
        tracing::error!(
            reason,
            "the log cannot be used any more; no events are taken until the collector is started again"
        );
        if let Some(shared) = shared.upgrade() {
            let problem = format!(
                "{reason}; no events are taken any more, and those that were go into the tables: start \
                 the collector again"
            );
            shared.health.set("log", problem);
        }
        for live in self.live.values() {
            live.end(End::Failed);
        }
    }

    fn take(&mut self, shared: &Shared, request: Request, group: &mut Group) {
        match request {
            Request::Open {
                source,
                facts,
                reply,
                place,
            } => {
                drop(place);
                self.open(shared, source, *facts, reply, group);
            }
            Request::Append {
                stream,
                batch,
                entry,
                memory,
            } => {
                group.memory.push(memory);
                self.append(shared, stream, batch, entry, group);
            }
            Request::Close { stream } => self.close(stream),
            Request::Cut { position } => group.cut = group.cut.max(position),
            Request::Stop => {}
        }
    }

    fn open(
        &mut self,
        shared: &Shared,
        source: Source,
        facts: SensorFacts,
        reply: oneshot::Sender<Result<Opened, Error>>,
        group: &mut Group,
    ) {
        let tail = match self.live.get(&source) {
            Some(live) => Ok(Some(live.tail)),
            None => match group.tails.get(&source) {
                Some(tail) => Ok(Some(*tail)),
                None => self.log.tail(&source),
            },
        };
        let tail = match tail {
            Ok(tail) => tail.unwrap_or_default(),
            Err(error) => {
                // Nobody waits any more: as good.
                let _ = reply.send(Err(error));
                return;
            }
        };
        let facts = match shared.sensors.merge(facts) {
            Ok(facts) => facts,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let stream = self.next_stream;
        self.next_stream += 1;
        let live = Live {
            stream,
            origin: Arc::new(Origin {
                sensor_id: source.sensor_id.clone(),
                epoch: source.epoch,
                hostname: facts.hostname.clone(),
                kernel: facts.kernel.clone(),
            }),
            tail,
            progress: watch::Sender::new(Progress {
                durable: tail.seq,
                end: None,
            }),
        };
        if let Some(before) = self.live.insert(source.clone(), live) {
            self.streams.remove(&before.stream);
            before.end(End::Superseded);
        }
        self.streams.insert(stream, source);
        group.sensors.push(facts);
        group.opened.push((stream, reply));
    }

    /// Takes the events that are new; the sequence of each source has no gap.
    fn append(
        &mut self,
        shared: &Shared,
        stream: u64,
        batch: Batch,
        entry: Entry,
        group: &mut Group,
    ) {
        let counters = &shared.counters;
        // Superseded, or refused before: told already.
        let Some(source) = self.streams.get(&stream) else {
            return;
        };
        let live = self
            .live
            .get_mut(source)
            .expect("a stream has a live source");
        let expected = live.tail.seq + 1;
        if batch.first_seq > expected {
            live.end(End::Gap {
                expected,
                got: batch.first_seq,
            });
            let source = source.clone();
            self.streams.remove(&stream);
            self.live.remove(&source);
            return;
        }
        let known = usize::try_from(expected - batch.first_seq)
            .unwrap_or(usize::MAX)
            .min(batch.events.len());
        counters.duplicates.add(known as u64);
        let fresh = batch.events.len() - known;
        if fresh == 0 {
            return;
        }
        counters.events.add(fresh as u64);
        counters.batches.add(1);
        live.tail = Tail {
            seq: live.tail.seq + fresh as u64,
            crc32: batch.last_crc32,
        };
        group.tails.insert(source.clone(), live.tail);
        let entry = match known {
            0 => Ok(entry),
            _ => Entry::new(&live.origin, known, &batch.encoded),
        };
        let mut entry = entry.expect("zstd compresses any bytes into memory");
        entry.position = self.log.next_position() + group.entries.len() as u64;
        group.entries.push(entry);
        group.taken.push(Taken {
            origin: Arc::clone(&live.origin),
            batch,
            known,
        });
    }

    fn close(&mut self, stream: u64) {
        if let Some(source) = self.streams.remove(&stream) {
            self.live.remove(&source);
        }
    }

    /// Stores a group and tells the streams; false when the collector stops before it could.
    fn store(&mut self, shared: &Arc<Shared>, group: Group) -> Result<bool, Error> {
        let tails: Vec<_> = group.tails.into_iter().collect();
        let transaction = Transaction {
            entries: &group.entries,
            tails: &tails,
            sensors: &group.sensors,
            cut: group.cut,
        };
        let empty = transaction.is_empty();
        if !empty && !self.commit(shared, &transaction)? {
            return Ok(false);
        }
        if !empty && self.failing {
            self.failing = false;
            shared.health.clear("log");
            tracing::info!("writing the log works again");
        }
        if let Some(last) = group.entries.last() {
            show(shared, &group.taken, last.position);
        }
        drop(group.memory);
        self.tell(shared, tails, group.sensors, group.opened);
        Ok(true)
    }

    /// Tries until it works; false when the collector stops before. A log that is damaged, and still so
    /// when it was opened and checked again, is an error.
    fn commit(&mut self, shared: &Shared, transaction: &Transaction) -> Result<bool, Error> {
        let mut damaged = false;
        loop {
            match self.log.commit(transaction) {
                Ok(()) => return Ok(true),
                Err(error @ Error::Damaged { .. }) if damaged => return Err(error),
                Err(error) => {
                    damaged = matches!(error, Error::Damaged { .. });
                    if !self.fail(shared, &error) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Says that writing fails and waits; false when the collector stops.
    fn fail(&mut self, shared: &Shared, error: &Error) -> bool {
        shared.counters.write_failures.add(1);
        if !self.failing {
            tracing::error!(%error, "cannot write the log; nothing is acknowledged until it works");
            shared.health.set(
                "log",
                format!("{error}; nothing is acknowledged until it can be written again"),
            );
            self.failing = true;
        }
        std::thread::sleep(RETRY);
        !shared.stopping.load(Ordering::Relaxed)
    }

    fn tell(
        &mut self,
        shared: &Arc<Shared>,
        tails: Vec<(Source, Tail)>,
        sensors: Vec<SensorFacts>,
        opened: Vec<(u64, oneshot::Sender<Result<Opened, Error>>)>,
    ) {
        for facts in sensors {
            shared.sensors.keep(facts);
        }
        for (source, tail) in tails {
            if let Some(live) = self.live.get(&source) {
                live.progress
                    .send_modify(|progress| progress.durable = progress.durable.max(tail.seq));
            }
        }
        for (stream, reply) in opened {
            let live = self
                .streams
                .get(&stream)
                .and_then(|source| self.live.get(source));
            // Superseded by another hello of the same group: its end says so.
            let Some(live) = live else { continue };
            let stream = Stream {
                number: stream,
                origin: Arc::clone(&live.origin),
                progress: live.progress.subscribe(),
                shared: Arc::downgrade(shared),
            };
            let tail = live.tail;
            // A stream that is gone closes itself as it is dropped.
            let _ = reply.send(Ok(Opened { stream, tail }));
        }
    }
}

/// Makes the new rows visible to queries.
fn show(shared: &Shared, taken: &[Taken], position: u64) {
    let mut rows = Vec::new();
    for Taken {
        origin,
        batch,
        known,
        ..
    } in taken
    {
        rows.extend(batch.rows(origin, *known));
    }
    let mut fresh = Hot::default();
    fresh.add(&rows, position, |_| true);
    let added = shared.state().hot.append(fresh);
    // The rows are in the log, and the next start makes them visible; cannot happen as long as
    // the columns of a class have its schema.
    if let Err(error) = added {
        tracing::error!(%error, "new rows are not visible until the collector is started again");
    }
    shared.wake_flush();
}

// === impl Live ===

impl Live {
    fn end(&self, end: End) {
        self.progress
            .send_modify(|progress| progress.end = Some(end));
    }
}

// === impl Transaction ===

impl Transaction<'_> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tails.is_empty() && self.sensors.is_empty() && self.cut == 0
    }
}

/// Rows of the classes of their events.
impl Batch {
    pub(super) fn rows<'a>(
        &'a self,
        origin: &'a Origin,
        known: usize,
    ) -> impl Iterator<Item = Row<'a>> {
        let numbered = (self.first_seq..).zip(&self.events).skip(known);
        numbered.filter_map(move |(seq, event)| {
            Some(Row {
                origin,
                seq,
                class: Class::of_event(event)?,
                event,
                parts: &self.parts,
            })
        })
    }
}
