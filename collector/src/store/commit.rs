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
    panic::AssertUnwindSafe,
    sync::{Arc, Weak, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    End, Opened, Party, SensorFacts, Shared, Source, Stream, Tail,
    entry::Entry,
    group::{Group, Taken},
    hot::{Hot, rows_of},
    lock::Lock,
    log::{Log, Transaction},
    own::{Own, OwnSource},
    readers::{self, Standings, TABLES},
    request::Request,
};
use crate::{batch::Batch, error::Error, schema::Origin};

const GROUP_BYTES: usize = 8 << 20;
const GROUP_REQUESTS: usize = 4096;
/// Hellos that wait for the thread.
pub(super) const HELLOS: usize = 1024;
/// Between two tries to write.
const RETRY: Duration = Duration::from_millis(250);

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
    _lock: Arc<Lock>,
    /// Sources that have a stream.
    live: HashMap<Source, Live>,
    /// Stream → its source.
    streams: HashMap<u64, Source>,
    next_stream: u64,
    failing: bool,
    own: OwnSource,
    /// Last durable position; readers wait for it.
    durable: watch::Sender<u64>,
}

struct Live {
    stream: u64,
    origin: Arc<Origin>,
    tail: Tail,
    who: Party,
    /// Who had the stream before it, until now.
    superseded: Option<Party>,
    progress: watch::Sender<Progress>,
}

pub(super) fn start(
    shared: &Arc<Shared>,
    mut log: Log,
    requests: mpsc::Receiver<Request>,
) -> Result<JoinHandle<()>, Error> {
    let own = OwnSource::open(&mut log)?;
    let mut writer = Writer {
        own,
        durable: watch::Sender::new(log.next_position() - 1),
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
        .map_err(Error::Threads)
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

    fn take(&mut self, shared: &Arc<Shared>, request: Request, group: &mut Group) {
        match request {
            Request::Open {
                source,
                facts,
                peer,
                reply,
                place,
            } => {
                drop(place);
                let who = Party {
                    peer,
                    hostname: facts.hostname.clone(),
                    boot_id: facts.boot_id.clone(),
                };
                self.open(shared, source, *facts, who, reply, group);
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
            Request::Emit {
                events,
                reply,
                place,
            } => {
                drop(place);
                self.emit(shared, events, group);
                group.tell(reply, Ok(()));
            }
            Request::Close { stream } => self.close(stream),
            Request::AddReader {
                reader,
                start,
                reply,
            } => {
                let last = *self.durable.borrow();
                let added = self.change_readers(shared, group, |readers, cut| {
                    readers::add(readers, &reader, start, cut, last)
                });
                group.tell(reply, added);
            }
            Request::RemoveReader { reader, reply } => {
                let removed = self.change_readers(shared, group, |readers, _| {
                    readers::remove(readers, &reader)
                });
                group.tell(reply, removed);
            }
            Request::OpenReader { reader, reply } => {
                let opened = self.open_reader(shared, reader);
                let _ = reply.send(opened);
            }
            Request::Read {
                after,
                bytes,
                reply,
            } => {
                let cut = shared.readers.cut();
                let entries = self.log.packed_after(after.max(cut), bytes);
                let _ = reply.send(entries.map(|entries| (cut, entries)));
            }
            Request::Commit {
                reader,
                position,
                reply,
            } => {
                let last = *self.durable.borrow();
                let committed = self.change_readers(shared, group, |readers, _| {
                    readers::advance(readers, &reader, position, last)
                });
                match reply {
                    Some(reply) => group.tell(reply, committed),
                    None => committed.expect("the tables are a reader of every log"),
                }
            }
            Request::Stop => {}
        }
    }

    /// Changes where the readers are after the group.
    fn change_readers<T>(
        &self,
        shared: &Shared,
        group: &mut Group,
        change: impl FnOnce(&mut Standings, u64) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let standings = group
            .readers
            .get_or_insert_with(|| shared.readers.standings());
        change(standings, shared.readers.cut())
    }

    fn open_reader(
        &self,
        shared: &Shared,
        name: String,
    ) -> Result<(u64, watch::Receiver<u64>), Error> {
        let known = shared.readers.standings();
        // The tables read by themselves.
        match known.get(&name).filter(|_| name != TABLES) {
            Some(standing) => Ok((standing.position, self.durable.subscribe())),
            None => Err(Error::NoReader { name }),
        }
    }

    fn open(
        &mut self,
        shared: &Shared,
        source: Source,
        facts: SensorFacts,
        who: Party,
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
        let mut live = Live {
            stream,
            origin: Arc::new(Origin {
                sensor_id: source.sensor_id.clone(),
                epoch: source.epoch,
                hostname: facts.hostname.clone(),
                kernel: facts.kernel.clone(),
            }),
            tail,
            who,
            superseded: None,
            progress: watch::Sender::new(Progress {
                durable: tail.seq,
                end: None,
            }),
        };
        if let Some(before) = self.live.remove(&source) {
            self.streams.remove(&before.stream);
            before.end(End::Superseded);
            live.superseded = Some(before.who);
        }
        self.live.insert(source.clone(), live);
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

    /// Takes events of the collector's own.
    fn emit(&mut self, shared: &Shared, events: Vec<Own>, group: &mut Group) {
        let OwnSource {
            source,
            origin,
            tail,
        } = &mut self.own;
        if events.is_empty() {
            return;
        }
        let batch = OwnSource::batch(tail.seq + 1, events);
        let entry = Entry::new(origin, 0, &batch.encoded);
        let mut entry = entry.expect("zstd compresses any bytes into memory");
        entry.position = self.log.next_position() + group.entries.len() as u64;
        *tail = Tail {
            seq: tail.seq + batch.events.len() as u64,
            crc32: batch.last_crc32,
        };
        group.tails.insert(source.clone(), *tail);
        group.entries.push(entry);
        shared.counters.own_events.add(batch.events.len() as u64);
        group.taken.push(Taken {
            origin: Arc::clone(origin),
            batch,
            known: 0,
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
        let added: Vec<_> = group.entries.iter().map(Entry::added).collect();
        let readers = shared.readers.changes(&added, group.readers);
        let transaction = Transaction {
            entries: &group.entries,
            tails: &tails,
            sensors: &group.sensors,
            readers: &readers.rows,
            cut: readers.cut,
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
        let missed = shared.readers.apply(readers);
        shared.counters.reader_entries_missed.add(missed);
        drop(group.memory);
        self.tell(shared, tails, group.sensors, group.opened);
        group.told.into_iter().for_each(|tell| tell());
        let last = self.log.next_position() - 1;
        self.durable
            .send_if_modified(|durable| std::mem::replace(durable, last) != last);
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
                .and_then(|source| self.live.get_mut(source));
            // Superseded by another hello of the same group: its end says so.
            let Some(live) = live else { continue };
            let stream = Stream {
                number: stream,
                origin: Arc::clone(&live.origin),
                progress: live.progress.subscribe(),
                shared: Arc::downgrade(shared),
            };
            let opened = Opened {
                stream,
                tail: live.tail,
                superseded: live.superseded.take(),
            };
            // A stream that is gone closes itself as it is dropped.
            let _ = reply.send(Ok(opened));
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
        rows.extend(rows_of(batch, origin, *known));
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
        let Self {
            entries,
            tails,
            sensors,
            readers,
            cut,
        } = self;
        entries.is_empty()
            && tails.is_empty()
            && sensors.is_empty()
            && readers.is_empty()
            && *cut == 0
    }
}
