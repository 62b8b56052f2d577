//! The collector's own events.

use skep_proto::v1;

use super::scene::{Failing, Random, Sensor, flush, open, rows};
use crate::store::{COLLECTOR, Next, Own, Reader, Start, Store};

fn finding(reason: &str) -> Own {
    Own::Finding(v1::Finding {
        rule: "collector.test".to_owned(),
        severity: v1::finding::Severity::Low.into(),
        reason: reason.to_owned(),
        ..v1::Finding::default()
    })
}

fn coverage() -> Own {
    Own::Coverage(v1::Coverage {
        what: "blind".to_owned(),
        phase: v1::coverage::Phase::Point.into(),
        ..v1::Coverage::default()
    })
}

/// Epoch and sequences of the next batch, which is the collector's.
async fn next(reader: &mut Reader) -> (u64, Vec<u64>) {
    match reader.next_batch().await.unwrap() {
        Next::Batch(batch) => {
            assert_eq!(batch.origin.sensor_id, COLLECTOR);
            assert!(batch.origin.hostname.is_some(), "it has a host");
            (
                batch.origin.epoch,
                batch.rows().map(|row| row.seq).collect(),
            )
        }
        Next::Gap(gap) => panic!("{gap:?}"),
    }
}

async fn read_all(store: &Store) -> Reader {
    store.add_reader("all", Start::Oldest).await.unwrap();
    store.reader("all").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn own_events_are_dense_within_one_epoch_over_restarts_and_in_the_tables() {
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path(), |_| {}).await;
    let mut reader = read_all(&store).await;
    store
        .emit(vec![finding("one"), finding("two")])
        .await
        .unwrap();
    store.emit(Vec::new()).await.unwrap();
    store.emit(vec![coverage()]).await.unwrap();
    let (epoch, seqs) = next(&mut reader).await;
    assert_eq!(seqs, [1, 2]);
    assert_eq!(next(&mut reader).await, (epoch, vec![3]));
    reader.commit(2).await.unwrap();
    assert_eq!(rows(&store), 3);
    // Lost as it is: what was emitted is there.
    drop((store, reader));
    let store = open(data.path(), |_| {}).await;
    assert_eq!(rows(&store), 3);
    let mut reader = read_all(&store).await;
    store.emit(vec![finding("four")]).await.unwrap();
    assert_eq!(next(&mut reader).await, (epoch, vec![4]));
    flush(&store).await;
    assert_eq!(rows(&store), 4);
    // It is no sensor.
    assert!(store.sensors().is_empty());
    store.close().await.unwrap();
    assert!(store.emit(vec![coverage()]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_has_another_epoch() {
    let data = tempfile::tempdir().unwrap();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let store = open(data.path(), |_| {}).await;
        let mut reader = read_all(&store).await;
        store.emit(vec![finding("one")]).await.unwrap();
        let (epoch, seqs) = next(&mut reader).await;
        assert_eq!(seqs, [1]);
        epochs.push(epoch);
        store.close().await.unwrap();
        drop((store, reader));
        std::fs::remove_file(data.path().join("log.redb")).unwrap();
    }
    assert!(epochs[0] < epochs[1], "{epochs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emission_returns_once_it_is_synced() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut random = Random::new();
    failing
        .disk
        .fail(|faults| faults.syncs = 2 + random.below(3));
    let before = failing.disk.faults().synced;
    store.emit(vec![finding("one")]).await.unwrap();
    assert_eq!(failing.disk.faults().syncs, 0);
    assert!(failing.disk.faults().synced > before);
    let left = failing.power_cut(&[0]);
    let after = left.open(|_| {}).await;
    assert_eq!(rows(&after), 1);
    let mut sensor = Sensor::connect(&after, 1).await;
    sensor.send(&after, 1, 10).await;
    assert_eq!(rows(&after), 2);
    after.close().await.unwrap();
}
