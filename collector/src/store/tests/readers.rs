//! Several readers of one log.

use std::{path::Path, time::Duration};

use prost::Message;
use redb::{Database, TableDefinition};
use skep_proto::v1;

use super::scene::{HANG, Sensor, facts, flush, open, position, source, until};
use crate::{
    error::Error,
    store::{Gap, Missed, Next, Reader, Start, Store, TABLES},
};

/// The positions, sensors and sequences of the next batches.
async fn read(reader: &mut Reader, batches: usize) -> Vec<(u64, String, Vec<u64>)> {
    let mut found = Vec::new();
    for _ in 0..batches {
        match next(reader).await {
            Next::Batch(batch) => {
                let seqs = batch.rows().map(|row| row.seq).collect();
                found.push((batch.position, batch.origin.sensor_id.clone(), seqs));
            }
            Next::Gap(gap) => panic!("{gap:?} after {found:?}"),
        }
    }
    found
}

async fn next(reader: &mut Reader) -> Next {
    let next = tokio::time::timeout(HANG, reader.next_batch()).await;
    next.expect("there is more").unwrap()
}

async fn nothing_more(reader: &mut Reader) {
    let soon = Duration::from_millis(50);
    let more = tokio::time::timeout(soon, reader.next_batch()).await;
    assert!(more.is_err(), "{more:?}");
}

fn cut(store: &Store) -> u64 {
    store.shared.readers.cut()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_every_batch_once_in_order_and_goes_on_where_it_committed() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path(), |_| {}).await;
    assert!(store.add_reader("siem", Start::Oldest).await.unwrap());
    let mut reader = store.reader("siem").await.unwrap();
    let mut one = Sensor::connect(&store, 1).await;
    let mut two = Sensor::connect(&store, 2).await;
    one.send(&store, 3, 10).await;
    two.send(&store, 2, 10).await;
    // Half of it was taken before.
    one.seq = 2;
    one.send(&store, 3, 10).await;
    let (first, second) = (source(1).sensor_id, source(2).sensor_id);
    let expected = vec![
        (1, first.clone(), vec![1, 2, 3]),
        (2, second, vec![1, 2]),
        (3, first, vec![4, 5]),
    ];
    assert_eq!(read(&mut reader, 3).await, expected);
    nothing_more(&mut reader).await;
    reader.commit(2).await.unwrap();
    // What was committed before changes nothing; what is not there yet is refused.
    reader.commit(1).await.unwrap();
    assert!(matches!(
        reader.commit(4).await,
        Err(Error::ReadAhead { last: 3, .. })
    ));
    flush(&store).await;
    store.close().await.unwrap();
    assert!(matches!(reader.next_batch().await, Err(Error::Closed)));
    drop((reader, store, one, two));

    let store = open(data.path(), |_| {}).await;
    assert_eq!(position(&store, "siem"), 2);
    let mut reader = store.reader("siem").await.unwrap();
    assert_eq!(read(&mut reader, 1).await, expected[2..]);
    // One that waits is woken by what comes.
    let waiting = tokio::spawn(async move { read(&mut reader, 1).await });
    let mut one = Sensor::connect(&store, 1).await;
    one.send(&store, 1, 10).await;
    assert_eq!(waiting.await.unwrap()[0].2, [6]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_cut_at_the_slowest_reader_and_never_past_the_tables() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path(), |_| {}).await;
    store.add_reader("slow", Start::Oldest).await.unwrap();
    store.add_reader("quick", Start::Oldest).await.unwrap();
    let quick = store.reader("quick").await.unwrap();
    let slow = store.reader("slow").await.unwrap();
    let mut sensor = Sensor::connect(&store, 1).await;
    for _ in 0..6 {
        sensor.send(&store, 5, 10).await;
    }
    quick.commit(6).await.unwrap();
    slow.commit(5).await.unwrap();
    assert_eq!(cut(&store), 0, "the tables have nothing");
    flush(&store).await;
    assert_eq!(cut(&store), 5, "the slowest has read five");
    slow.commit(6).await.unwrap();
    assert_eq!(cut(&store), 6);
    sensor.send(&store, 5, 10).await;
    quick.commit(7).await.unwrap();
    flush(&store).await;
    assert_eq!(cut(&store), 6);
    let lag = store
        .readers()
        .into_iter()
        .find(|known| known.name == "slow")
        .unwrap();
    assert_eq!((lag.position, lag.entries, lag.missed), (6, 1, 0));
    assert!(lag.bytes > 0 && lag.still_since.is_some(), "{lag:?}");
    // Who is no more keeps nothing.
    assert!(store.remove_reader("slow").await.unwrap());
    assert_eq!(cut(&store), 7);
    assert!(matches!(slow.commit(7).await, Err(Error::NoReader { .. })));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_is_cut_past_and_told_from_where_to_where() {
    let data = tempfile::tempdir().unwrap();
    let bounded = |options: &mut crate::store::Options| options.log_bytes = 256 << 10;
    let store = open(data.path(), bounded).await;
    store.add_reader("siem", Start::Oldest).await.unwrap();
    let mut sensor = Sensor::connect(&store, 1).await;
    // Each some 20 KiB, and so 32 in the file.
    for _ in 0..20 {
        sensor.send(&store, 10, 4000).await;
    }
    assert_eq!(
        cut(&store),
        0,
        "what the tables have not stays, however much it is"
    );
    flush(&store).await;
    // The bound is looked at again with the next entry, at the latest.
    sensor.send(&store, 10, 4000).await;
    let gone = cut(&store);
    assert!((8..=19).contains(&gone), "{gone}");
    let counted = || store.shared.counters.reader_entries_missed.get();
    until("it is counted", || counted() == gone).await;
    let health = store
        .readers()
        .into_iter()
        .find(|known| known.name == "siem")
        .unwrap();
    assert_eq!(
        (health.position, health.entries, health.missed),
        (0, 21 - gone, gone)
    );
    assert!(health.bytes <= 256 << 10, "{health:?}");
    let problems = || store.health().problems();
    let told = |(part, problem): &(&str, String)| {
        *part == "readers" && problem.contains(&format!("entries 1 to {gone}"))
    };
    until("health says it", || problems().iter().any(told)).await;
    drop(sensor);
    store.close().await.unwrap();
    drop(store);

    let store = open(data.path(), bounded).await;
    let mut reader = store.reader("siem").await.unwrap();
    let Next::Gap(gap) = next(&mut reader).await else {
        panic!("no gap")
    };
    let expected = Gap {
        from: 1,
        to: gone,
        why: Missed::Cut,
    };
    assert_eq!(gap, expected);
    let rest = read(&mut reader, usize::try_from(21 - gone).unwrap()).await;
    let positions: Vec<_> = rest.iter().map(|(position, ..)| *position).collect();
    assert_eq!(positions, (gone + 1..=21).collect::<Vec<_>>());
    reader.commit(21).await.unwrap();
    until("health is well", || store.health().problems().is_empty()).await;
    let health = store
        .readers()
        .into_iter()
        .find(|known| known.name == "siem")
        .unwrap();
    assert_eq!((health.entries, health.missed), (0, gone));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_added_and_removed_for_good_and_what_cannot_be_one_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path(), |_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 1, 10).await;
    assert!(store.add_reader("late", Start::Now).await.unwrap());
    assert!(store.add_reader("gone", Start::Now).await.unwrap());
    assert!(!store.add_reader("late", Start::Oldest).await.unwrap());
    assert_eq!(position(&store, "late"), 1);
    assert!(store.remove_reader("gone").await.unwrap());
    assert!(!store.remove_reader("gone").await.unwrap());
    for name in ["", "Siem", "a b", &"x".repeat(65)] {
        let refused = store.add_reader(name, Start::Now).await;
        assert!(matches!(refused, Err(Error::ReaderName { .. })), "{name}");
    }
    let refused = store.remove_reader(TABLES).await;
    assert!(matches!(refused, Err(Error::TablesReader)));
    for name in [TABLES, "gone"] {
        let refused = store.reader(name).await.err();
        assert!(matches!(refused, Some(Error::NoReader { .. })), "{name}");
    }
    for number in 0..14 {
        store
            .add_reader(&format!("r{number}"), Start::Now)
            .await
            .unwrap();
    }
    let refused = store.add_reader("one-more", Start::Now).await;
    assert!(matches!(refused, Err(Error::TooManyReaders { limit: 16 })));
    drop(sensor);
    store.close().await.unwrap();
    drop(store);
    let store = open(data.path(), |_| {}).await;
    let names: Vec<_> = store
        .readers()
        .into_iter()
        .map(|reader| reader.name)
        .collect();
    assert_eq!(names.len(), 16);
    assert!(names.contains(&"late".to_owned()) && !names.contains(&"gone".to_owned()));
    store.close().await.unwrap();
}

/// An entry as the collector kept it before there were readers.
#[derive(Clone, PartialEq, Message)]
struct OldEntry {
    #[prost(string, tag = "1")]
    sensor_id: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(string, optional, tag = "3")]
    hostname: Option<String>,
    #[prost(string, optional, tag = "4")]
    kernel: Option<String>,
    #[prost(uint64, tag = "5")]
    known: u64,
    #[prost(bytes = "vec", tag = "6")]
    batch: Vec<u8>,
}

/// A log as that collector wrote it: what came before position `cut` is in the tables.
fn old_log(path: &Path, cut: u64, last: u64) {
    const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
    const SOURCES: TableDefinition<(&str, u64), (u64, u32)> = TableDefinition::new("sources");
    const SENSORS: TableDefinition<&str, &[u8]> = TableDefinition::new("sensors");
    const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
    let source = source(1);
    let write = Database::create(path).unwrap();
    let write = write.begin_write().unwrap();
    {
        let mut batches = write.open_table(BATCHES).unwrap();
        for position in cut + 1..=last {
            let event = v1::Event {
                detail: Some(v1::event::Detail::Exec(v1::Exec::default())),
                ..v1::Event::default()
            };
            let batch = v1::Batch {
                first_seq: position,
                events: vec![event],
            };
            let entry = OldEntry {
                sensor_id: source.sensor_id.clone(),
                epoch: source.epoch,
                hostname: Some("ws-1".to_owned()),
                kernel: None,
                known: 0,
                batch: zstd::bulk::compress(&batch.encode_to_vec(), 1).unwrap(),
            };
            batches
                .insert(position, entry.encode_to_vec().as_slice())
                .unwrap();
        }
        let mut sources = write.open_table(SOURCES).unwrap();
        sources
            .insert((source.sensor_id.as_str(), source.epoch), (last, 1))
            .unwrap();
        let facts = serde_json::to_vec(&facts(&source)).unwrap();
        let mut sensors = write.open_table(SENSORS).unwrap();
        sensors
            .insert(source.sensor_id.as_str(), facts.as_slice())
            .unwrap();
        let mut meta = write.open_table(META).unwrap();
        meta.insert("format", "1").unwrap();
        meta.insert("id", "skep-collector-0").unwrap();
        if cut > 0 {
            meta.insert("cut", cut.to_string().as_str()).unwrap();
        }
    }
    write.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_before_there_were_readers_opens_without_loss() {
    for (cut_before, last) in [(0, 3), (4, 9), (5, 5)] {
        let data = tempfile::tempdir().unwrap();
        old_log(&data.path().join("log.redb"), cut_before, last);
        let store = open(data.path(), |_| {}).await;
        let left = last - cut_before;
        assert_eq!(store.shared.state().hot.rows() as u64, left);
        assert_eq!(
            (position(&store, TABLES), cut(&store)),
            (cut_before, cut_before)
        );
        store.add_reader("siem", Start::Oldest).await.unwrap();
        let mut reader = store.reader("siem").await.unwrap();
        let seqs: Vec<_> = read(&mut reader, usize::try_from(left).unwrap()).await;
        let seqs: Vec<_> = seqs.into_iter().flat_map(|(_, _, seqs)| seqs).collect();
        assert_eq!(seqs, (cut_before + 1..=last).collect::<Vec<_>>());
        let mut sensor = Sensor::connect(&store, 1).await;
        assert_eq!(sensor.seq, last, "as far as it was");
        sensor.send(&store, 1, 10).await;
        assert_eq!(read(&mut reader, 1).await[0].0, last + 1);
        reader.commit(last + 1).await.unwrap();
        flush(&store).await;
        assert_eq!(cut(&store), last + 1);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_without_readers_cut_meanwhile_is_a_gap() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path(), |_| {}).await;
    store.add_reader("siem", Start::Oldest).await.unwrap();
    let mut sensor = Sensor::connect(&store, 1).await;
    for _ in 0..4 {
        sensor.send(&store, 1, 10).await;
    }
    flush(&store).await;
    drop(sensor);
    store.close().await.unwrap();
    drop(store);
    {
        // It knows nothing of the readers and cuts what the tables have.
        let log = Database::create(data.path().join("log.redb")).unwrap();
        let write = log.begin_write().unwrap();
        {
            let batches: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
            let mut batches = write.open_table(batches).unwrap();
            batches.retain_in(..=4, |_, _| false).unwrap();
            let meta: TableDefinition<&str, &str> = TableDefinition::new("meta");
            write.open_table(meta).unwrap().insert("cut", "4").unwrap();
        }
        write.commit().unwrap();
    }
    let store = open(data.path(), |_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 1, 10).await;
    let mut reader = store.reader("siem").await.unwrap();
    assert!(matches!(
        next(&mut reader).await,
        Next::Gap(Gap { from: 1, to: 4, .. })
    ));
    assert_eq!(read(&mut reader, 1).await[0].0, 5);
    store.close().await.unwrap();
}
