//! What leaves the tables, and when its files are deleted.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use skep_collector::{schema::Class, store::Retention};
use skep_proto::v1::Event;
use skep_testing::Bound;

use crate::{
    damage::{files, no_merge, store},
    program::Program,
    scene::{Collector, HANG, SENSOR, Sensor, opens, until, value},
};

const COUNT: &str = "SELECT count(*) FROM events";

/// Events of this moment.
pub fn now(mut events: Vec<Event>) -> Vec<Event> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for event in &mut events {
        event.time_unix_nano = u64::try_from(now.as_nanos()).unwrap();
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_too_old_leave_their_table_and_then_the_disk() {
    let data = tempfile::tempdir().unwrap();
    let soon = [
        "--expire-every",
        "100ms",
        "--vacuum-every",
        "100ms",
        "--vacuum-after",
        "0s",
    ];
    let keep = [
        "--keep",
        "open=30d",
        "--keep",
        "exec=10d",
        "--flush-every",
        "10ms",
    ];
    let program = Program::through(&[], data.path(), &[&soon[..], &keep].concat());
    let (mut sensor, _) = Sensor::connect(&program.url, SENSOR).await;
    // A year before the others.
    sensor.send(1, opens(1, 10)).await;
    sensor.acked(10).await;
    let counter = |name: &str| format!("SELECT value FROM counters WHERE name = '{name}'");
    until(&program.url, &counter("rows_flushed"), 10).await;
    sensor.send(11, now(opens(11, 10))).await;
    sensor.acked(20).await;
    until(&program.url, &counter("rows_expired"), 10).await;
    assert_eq!(value(&program.url, &counter("files_expired")).await, 1);
    // Its age counts up to the newest commit.
    let mut seq = 20;
    let bound = Bound::of("an expired file to be deleted", HANG);
    while value(&program.url, &counter("files_deleted")).await == 0 {
        bound.check();
        sensor.send(seq + 1, now(opens(seq + 1, 10))).await;
        seq += 10;
        sensor.acked(seq).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(value(&program.url, COUNT).await, seq - 10);
    assert_eq!(value(&program.url, "SELECT min(seq) FROM events").await, 11);
    program.terminate();
    let of_old = |file: &std::path::PathBuf| file.to_str().unwrap().contains("2025-11-20");
    assert!(!files(data.path()).iter().any(of_old));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_events_go_when_the_tables_are_too_large() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 4).await;
    let bytes = |files: &[std::path::PathBuf]| -> u64 {
        files
            .iter()
            .map(|file| std::fs::metadata(file).unwrap().len())
            .sum()
    };
    let stored = files(data.path());
    let most = bytes(&stored[2..]);
    let collector = Collector::with(data.path(), |options| {
        no_merge(options);
        options.store.expire_every = Duration::from_millis(50);
        options.store.retention = Retention {
            ages: vec![(Class::Open, Duration::from_secs(3600 * 24 * 3650))],
            bytes: Some(most),
        };
    });
    collector.counted("files_expired", 2).await;
    assert_eq!(value(&collector.url(), COUNT).await, 20);
    let oldest = "SELECT min(seq) FROM events";
    assert_eq!(value(&collector.url(), oldest).await, 21);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_merged_are_deleted_in_their_time() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 8).await;
    let often = Duration::from_millis(50);
    // By default, a day later.
    let collector = Collector::with(data.path(), |options| options.store.vacuum_every = often);
    collector.counted("files_merged", 8).await;
    let runs = collector.counter("vacuum_runs");
    let bound = Bound::of("two more vacuums", HANG);
    while collector.counter("vacuum_runs") < runs + 2 {
        bound.check();
        tokio::time::sleep(often).await;
    }
    assert_eq!(collector.counter("files_deleted"), 0);
    assert_eq!(files(data.path()).len(), 9);
    collector.stop();

    let collector = Collector::with(data.path(), |options| {
        no_merge(options);
        options.store.flush_every = Duration::from_millis(10);
        options.store.vacuum_every = often;
        options.store.vacuum_after = Duration::ZERO;
    });
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(acked + 1, opens(acked + 1, 10)).await;
    sensor.acked(acked + 10).await;
    collector.counted("files_deleted", 8).await;
    assert_eq!(
        files(data.path()).len(),
        2,
        "the merged one and the new one"
    );
    assert_eq!(value(&collector.url(), COUNT).await, 90);
    collector.stop();
}

/// Runs the program with a wrong clock until it has looked for what to expire and to delete.
async fn care(clock: &str, data: &Path, mut seq: u64) -> u64 {
    // Files keep their true dates.
    let wrapper = ["env", "NO_FAKE_STAT=1", "faketime", "-f", clock];
    let often = ["--expire-every", "100ms", "--vacuum-every", "100ms"];
    let keep = ["--keep", "open=90d", "--flush-every", "10ms"];
    let program = Program::through(&wrapper, data, &[&often[..], &keep].concat());
    let (mut sensor, acked) = Sensor::connect(&program.url, SENSOR).await;
    assert_eq!(acked, seq, "{clock}");
    sensor.send(seq + 1, now(opens(seq + 1, 10))).await;
    seq += 10;
    sensor.acked(seq).await;
    let counter = |name: &str| format!("SELECT value FROM counters WHERE name = '{name}'");
    until(&program.url, &counter("rows_flushed"), 10).await;
    for runs in ["expire_runs", "vacuum_runs"] {
        let before = value(&program.url, &counter(runs)).await.as_u64().unwrap();
        let twice = format!(
            "SELECT value >= {} FROM counters WHERE name = '{runs}'",
            before + 2
        );
        until(&program.url, &twice, true).await;
    }
    assert_eq!(value(&program.url, COUNT).await, seq, "{clock}");
    assert_eq!(
        value(&program.url, &counter("files_expired")).await,
        0,
        "{clock}"
    );
    assert_eq!(
        value(&program.url, &counter("files_deleted")).await,
        0,
        "{clock}"
    );
    program.terminate();
    seq
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_doubles_expires_and_deletes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut seq = 0;
    // Two years ahead the events would be too old to keep, if the clock were right.
    for clock in ["+0", "+730d", "-400d", "+0"] {
        seq = care(clock, data.path(), seq).await;
        // Of a collector that is about to commit it.
        let stored = files(data.path());
        std::fs::write(stored[0].with_file_name("other.parquet"), "rows").unwrap();
    }
    let others = files(data.path());
    let others = others.iter().filter(|path| path.ends_with("other.parquet"));
    assert_eq!(others.count(), 1);
    let program = Program::serve(data.path());
    let whole = "SELECT count(*) = max(seq) AND count(DISTINCT seq) = max(seq) FROM events";
    assert_eq!(value(&program.url, whole).await, true);
    assert_eq!(value(&program.url, COUNT).await, seq);
    program.terminate();
}
