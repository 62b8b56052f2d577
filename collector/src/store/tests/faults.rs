//! Disks and object storage that fail, wait, write halves, or say that they failed.

use std::time::{Duration, Instant};

use super::{
    objects::Fault,
    scene::{Failing, Sensor, flush, position, rows, until},
};
use crate::{
    schema::Class,
    store::{Store, TABLES, maintain},
};

fn problem(store: &Store, part: &str) -> Option<String> {
    let problems = store.health().problems();
    problems
        .into_iter()
        .find(|(of, _)| *of == part)
        .map(|(_, problem)| problem)
}

fn files(store: &Store) -> usize {
    store.snapshot().files(Class::Open).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_writes_stops_acknowledgement_and_nothing_else() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    failing
        .disk
        .fail(|faults| faults.writes = Some(std::io::ErrorKind::StorageFull));
    sensor.append(&store, 10, 10).await;
    sensor.append(&store, 10, 10).await;
    until("health says it", || problem(&store, "log").is_some()).await;
    assert_eq!(
        sensor.stream.durable().unwrap(),
        10,
        "nothing is acknowledged"
    );
    assert_eq!(rows(&store), 10, "and the rest is answered");
    let counted = store.shared.counters.write_failures.get();
    assert!(counted > 0);
    failing.disk.fail(|faults| faults.writes = None);
    sensor.acknowledged().await;
    assert!(problem(&store, "log").is_none());
    assert_eq!(rows(&store), 30);
    // What was acknowledged is on the disk.
    let left = failing.power_cut(&[0]);
    let after = left.open(|_| {}).await;
    assert_eq!(
        (rows(&after), Sensor::connect(&after, 1).await.seq),
        (30, 30)
    );
    after.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_acknowledges_nothing_and_is_done_again() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    for round in 1..=12 {
        failing.disk.fail(|faults| faults.syncs = round % 3);
        sensor.send(&store, 5, 10).await;
        assert_eq!(failing.disk.faults().syncs, 0, "round {round}");
    }
    assert!(store.shared.counters.write_failures.get() >= 8);
    let left = failing.power_cut(&[0, 255, 100]);
    let after = left.open(|_| {}).await;
    assert_eq!(
        (rows(&after), Sensor::connect(&after, 1).await.seq),
        (60, 60)
    );
    after.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_slow_disk_one_sync_serves_all_streams_that_wait() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensors = Vec::new();
    for number in 1..=20 {
        sensors.push(Sensor::connect(&store, number).await);
    }
    let slow = Duration::from_millis(200);
    failing.disk.fail(|faults| faults.slow = slow);
    let (before, began) = (failing.disk.faults().synced, Instant::now());
    for sensor in &mut sensors {
        sensor.append(&store, 10, 10).await;
    }
    for sensor in &mut sensors {
        sensor.acknowledged().await;
    }
    assert!(began.elapsed() >= slow, "the disk is slow");
    let syncs = failing.disk.faults().synced - before;
    assert!(syncs <= 8, "{syncs} for twenty streams");
    assert_eq!(rows(&store), 200);
    failing.disk.fail(|faults| faults.slow = Duration::ZERO);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_written_keep_the_events_in_the_log_and_health_says_so() {
    let failing = Failing::new();
    let store = failing
        .open(|options| options.flush_every = Duration::from_millis(10))
        .await;
    failing.objects.fail(".parquet", Fault::Put, usize::MAX);
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    until("health says it", || problem(&store, "tables").is_some()).await;
    sensor.send(&store, 10, 10).await;
    assert_eq!(
        (rows(&store), files(&store), position(&store, TABLES)),
        (20, 0, 0)
    );
    // Lost meanwhile: the log has all of it.
    let left = failing.power_cut(&[0]);
    let after = left.open(|_| {}).await;
    assert_eq!(rows(&after), 20);
    flush(&after).await;
    assert_eq!((rows(&after), after.shared.state().hot.rows()), (20, 0));
    after.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_work_again_get_what_waited_and_the_log_is_cut() {
    let failing = Failing::new();
    let store = failing
        .open(|options| options.flush_every = Duration::from_millis(10))
        .await;
    failing.objects.fail("_delta_log", Fault::Put, 3);
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    until("health says it", || problem(&store, "tables").is_some()).await;
    until("the tables have it", || position(&store, TABLES) == 1).await;
    until("health is well", || problem(&store, "tables").is_none()).await;
    assert_eq!((rows(&store), store.shared.readers.cut()), (10, 1));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_worked_and_was_said_to_have_failed_is_not_made_again() {
    let failing = Failing::new();
    let store = failing
        .open(|options| options.flush_every = Duration::from_millis(10))
        .await;
    failing.objects.fail("open/_delta_log", Fault::PutAnswer, 1);
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    until("the tables have it", || position(&store, TABLES) == 1).await;
    assert_eq!(store.shared.counters.write_failures.get(), 1);
    assert_eq!((rows(&store), files(&store)), (10, 1));
    store.close().await.unwrap();
    drop(store);
    let again = Failing::of(failing.disk.clone(), failing.objects.clone());
    let store = again.open(|_| {}).await;
    assert_eq!((rows(&store), files(&store)), (10, 1));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_file_is_in_no_table_and_its_rows_are_there_once() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    failing.objects.fail(".parquet", Fault::PutHalf, 1);
    assert!(maintain::flush_all(&store.shared).await.is_err());
    assert_eq!(
        (rows(&store), files(&store), position(&store, TABLES)),
        (10, 0, 0)
    );
    flush(&store).await;
    let named = |name: &&String| name.ends_with(".parquet");
    let written = failing.objects.names().await;
    assert_eq!(written.iter().filter(named).count(), 2, "{written:?}");
    assert_eq!((rows(&store), files(&store)), (10, 1));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_flushes_at_the_same_time_move_each_row_once() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    let late = Duration::from_millis(200);
    failing.objects.fail(".parquet", Fault::PutLate(late), 1);
    let flush = || maintain::flush_all(&store.shared);
    let (first, second) = tokio::join!(flush(), flush());
    assert_eq!((first.is_ok(), second.is_ok()), (true, true));
    assert_eq!((rows(&store), files(&store)), (10, 1));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_slow_delays_no_acknowledgement() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    sensor.send(&store, 10, 10).await;
    let late = Duration::from_secs(3600);
    failing.objects.fail(".parquet", Fault::PutLate(late), 1);
    let shared = std::sync::Arc::clone(&store.shared);
    let flushing = tokio::spawn(async move { maintain::flush_all(&shared).await });
    until("it flushes", || store.shared.state().flushing.is_some()).await;
    for _ in 0..10 {
        sensor.send(&store, 10, 10).await;
    }
    assert_eq!(rows(&store), 110);
    flushing.abort();
    let _ = flushing.await;
    flush(&store).await;
    assert_eq!(rows(&store), 110);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_that_fails_is_in_health_until_it_works_and_loses_no_row() {
    let failing = Failing::new();
    let store = failing.open(|_| {}).await;
    let mut sensor = Sensor::connect(&store, 1).await;
    // Two files of a day that is over.
    for _ in 0..2 {
        sensor.send(&store, 10, 10).await;
        flush(&store).await;
    }
    assert_eq!(files(&store), 2);
    store.close().await.unwrap();
    drop((sensor, store));
    failing.objects.fail("part-", Fault::Get, usize::MAX);
    let again = Failing::of(failing.disk.clone(), failing.objects.clone());
    let store = again
        .open(|options| {
            options.merging = true;
            options.expire_every = Duration::from_millis(20);
        })
        .await;
    until("health says it", || problem(&store, "merge").is_some()).await;
    assert_eq!((rows(&store), files(&store)), (20, 2));
    failing.objects.heal();
    until("health is well", || problem(&store, "merge").is_none()).await;
    until("they are one", || files(&store) == 1).await;
    assert_eq!(rows(&store), 20);
    store.close().await.unwrap();
}
