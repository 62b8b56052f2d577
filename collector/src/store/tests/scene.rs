//! The vocabulary of these tests: a store in a folder, and sensors that append to it.

use std::{path::Path, sync::Arc, time::Duration};

use prost::Message;
use skep_proto::v1::{self, event::Detail};

use tempfile::TempDir;

use super::{
    disk::Disk,
    objects::{Fault, Objects},
};
use crate::{
    batch::Batch,
    counters::Counters,
    error::Error,
    schema::{Class, Rows},
    store::{
        Options, SensorFacts, Source, Store, Stream, TABLES, maintain, open::Backends, place::Place,
    },
};

/// Longer than anything here takes; reached only by a hang.
pub const HANG: Duration = Duration::from_secs(60);
/// 2025-11-20T08:30:00Z
const NOON: u64 = 1_763_627_400_000_000_000;

/// A sensor with a stream.
pub struct Sensor {
    pub stream: Stream,
    /// Last sequence that was sent.
    pub seq: u64,
}

/// A store that moves nothing into the tables by itself.
pub async fn open(directory: &Path, change: impl FnOnce(&mut Options)) -> Store {
    let options = options(directory, change);
    let opened = async {
        loop {
            let counters = Arc::new(Counters::default());
            match Store::open(options.clone(), counters).await {
                // One that was dropped lets go of its directory a moment later.
                Err(Error::DataDirectoryInUse { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(HANG, opened)
        .await
        .expect("the directory is free")
}

fn options(directory: &Path, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(directory);
    options.flush_every = Duration::from_secs(3600);
    options.merging = false;
    change(&mut options);
    options
}

/// A store on back ends that fail on command.
pub struct Failing {
    /// For the lock, and what is set aside.
    pub directory: TempDir,
    pub disk: Disk,
    pub objects: Objects,
}

// === impl Failing ===

impl Failing {
    pub fn new() -> Self {
        Self::of(Disk::default(), Objects::default())
    }

    pub fn of(disk: Disk, objects: Objects) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            disk,
            objects,
        }
    }

    pub async fn open(&self, change: impl FnOnce(&mut Options)) -> Store {
        let options = options(self.directory.path(), change);
        let backends = Backends {
            log: Arc::new(self.disk.clone()),
            tables: Place::over(Arc::new(self.objects.clone())),
        };
        let counters = Arc::new(Counters::default());
        Store::open_on(options, counters, backends).await.unwrap()
    }

    /// What is there after the power went, whatever was going on; `parts` says how much of each write
    /// that was not synced.
    pub fn power_cut(&self, parts: &[u8]) -> Self {
        // Nothing gets into the tables any more that is not in the log that is left.
        self.objects.fail("", Fault::Off, usize::MAX);
        let objects = self.objects.copy();
        self.disk.fail(|faults| faults.off = true);
        Self::of(self.disk.cut(parts), objects)
    }
}

/// Rows in the tables and in memory.
pub fn rows(store: &Store) -> u64 {
    let snapshot = store.snapshot();
    let of_class = |class| {
        let files: u64 = snapshot.files(class).iter().map(|file| file.rows).sum();
        let waiting: usize = snapshot.rows(class).iter().map(Rows::len).sum();
        files + waiting as u64
    };
    Class::ALL.into_iter().map(of_class).sum()
}

/// Numbers from a seed, which is printed: set SKEP_SEED to have the same again.
pub struct Random(u64);

// === impl Random ===

impl Random {
    pub fn new() -> Self {
        let given = std::env::var("SKEP_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        });
        eprintln!("SKEP_SEED={seed}");
        Self(seed)
    }

    /// Below a number (splitmix64).
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut next = self.0;
        next = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (next ^ (next >> 31)) % most
    }
}

/// Moves everything into the tables, and waits until the log knows.
pub async fn flush(store: &Store) {
    let last = store.shared.state().hot.position();
    maintain::flush_all(&store.shared).await.unwrap();
    until("the tables have it", || position(store, TABLES) >= last).await;
}

pub fn position(store: &Store, reader: &str) -> u64 {
    let all = store.readers().into_iter();
    all.filter(|known| known.name == reader)
        .map(|known| known.position)
        .next()
        .unwrap()
}

pub async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(HANG, waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn source(number: u64) -> Source {
    Source {
        sensor_id: format!("{number:032x}"),
        epoch: 7,
    }
}

pub fn facts(source: &Source) -> SensorFacts {
    SensorFacts {
        sensor_id: source.sensor_id.clone(),
        epoch: source.epoch,
        findings_epoch: None,
        sensor_version: None,
        hostname: Some("ws-1".to_owned()),
        os: None,
        kernel: None,
        arch: None,
        boot_id: None,
        hooks: Vec::new().into(),
        first_hello: 1,
        last_hello: 1,
    }
}

/// `count` opens, the path of each with some `bytes` that do not compress well.
pub fn batch(first_seq: u64, count: u64, bytes: usize) -> Batch {
    let event = |seq: u64| {
        let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut path = format!("/{seq}/");
        while path.len() < bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            path.push_str(&format!("{state:x}"));
        }
        let file = v1::Open {
            path: Some(path),
            count: 1,
            ..v1::Open::default()
        };
        v1::Event {
            time_unix_nano: NOON + seq * 1_000_000,
            detail: Some(Detail::Open(file)),
            ..v1::Event::default()
        }
    };
    let events = (first_seq..first_seq + count).map(event).collect();
    let message = v1::Batch { first_seq, events };
    Batch::decode(message.encode_to_vec().into()).unwrap()
}

// === impl Sensor ===

impl Sensor {
    pub async fn connect(store: &Store, number: u64) -> Self {
        let source = source(number);
        let opened = store
            .begin(source.clone(), facts(&source), None)
            .await
            .unwrap();
        Self {
            seq: opened.tail.seq,
            stream: opened.stream,
        }
    }

    /// Sends and waits until it is acknowledged.
    pub async fn send(&mut self, store: &Store, count: u64, bytes: usize) {
        self.append(store, count, bytes).await;
        self.acknowledged().await;
    }

    pub async fn append(&mut self, store: &Store, count: u64, bytes: usize) {
        let batch = batch(self.seq + 1, count, bytes);
        self.seq += count;
        store.append(&self.stream, batch).await.unwrap();
    }

    pub async fn acknowledged(&mut self) {
        let seq = self.seq;
        let waiting = async {
            while self.stream.durable().unwrap() < seq {
                self.stream.changed().await;
            }
        };
        tokio::time::timeout(HANG, waiting)
            .await
            .expect("an acknowledgement");
    }
}
