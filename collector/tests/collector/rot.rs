//! A log that rots, on disk and while it is used; a stop and a start when the disk is full.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use redb::ReadableTable;
use serde_json::json;
use skep_testing::Finish;

use crate::{
    damage::{Disk, files, fill, no_flush, no_merge, store},
    program::Program,
    scene::{Collector, HANG, OTHER_SENSOR, SENSOR, Sensor, ask, opens, value},
};

const COUNT: &str = "SELECT count(*) FROM events";
/// Each event from the first to the last, once.
const DENSE: &str =
    "SELECT count(*) = coalesce(max(seq), 0) AND count(DISTINCT seq) = count(*) FROM events";
const PAGE: usize = 4096;

/// Twenty events in the tables, and ten that were acknowledged and are only in the log.
async fn half_in_the_log(data: &Path) {
    store(data, 2).await;
    let collector = Collector::with(data, no_flush);
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 20);
    sensor.send(21, opens(21, 10)).await;
    sensor.acked(30).await;
    collector.lose();
    // Closed as at an orderly stop.
    drop(opened(data));
}

/// The log itself; a collector that was lost lets go of it a moment later.
fn opened(data: &Path) -> redb::Database {
    let until = Instant::now() + HANG;
    loop {
        match redb::Database::open(data.join("log.redb")) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Starts with this as the log: everything that is acknowledged is there once, or health says what is
/// not, and the sensor goes on.
async fn starts_with(data: &Path, log: &[u8], what: &str) {
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains(".damaged") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::write(data.join("log.redb"), log).unwrap();
    let collector = Collector::with(data, no_flush);
    let problems = collector.problems();
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert!(acked == 20 || acked == 30, "{what}: {acked}");
    assert!(acked == 30 || !problems.is_empty(), "{what}: {acked}");
    assert_eq!(value(&collector.url(), COUNT).await, acked, "{what}");
    assert_eq!(value(&collector.url(), DENSE).await, true, "{what}");
    sensor.send(acked + 1, opens(acked + 1, 10)).await;
    sensor.acked(acked + 10).await;
    collector.lose();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_rotten_page_keeps_nothing_from_starting() {
    let data = tempfile::tempdir().unwrap();
    half_in_the_log(data.path()).await;
    let whole = fs::read(data.path().join("log.redb")).unwrap();
    let used = (0..whole.len() / PAGE).filter(|page| {
        let bytes = &whole[page * PAGE..][..PAGE];
        bytes.iter().any(|byte| *byte != 0)
    });
    let used: Vec<usize> = used.collect();
    assert!(used.len() >= 4, "{used:?}");
    for page in used.iter().step_by(used.len().div_ceil(16)) {
        let mut rotten = whole.clone();
        for byte in &mut rotten[page * PAGE..][..PAGE] {
            *byte = !*byte;
        }
        starts_with(data.path(), &rotten, &format!("page {page} of {used:?}")).await;
    }
    let mut rotten = whole.clone();
    for byte in &mut rotten[PAGE..] {
        *byte = !*byte;
    }
    starts_with(data.path(), &rotten, "every page").await;
    starts_with(data.path(), &whole, "none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_short_keeps_nothing_from_starting() {
    let data = tempfile::tempdir().unwrap();
    half_in_the_log(data.path()).await;
    let whole = fs::read(data.path().join("log.redb")).unwrap();
    for length in [0, 100, PAGE, 5 * PAGE + 1, whole.len() / 2, whole.len() - 1] {
        starts_with(data.path(), &whole[..length], &format!("{length} bytes")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_rots_while_it_is_used_ends_streams_and_loses_nothing_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::mount(data.path(), 24 << 20);
    let collector = Collector::with(data.path(), no_flush);
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(1, opens(1, 100)).await;
    sensor.acked(100).await;
    let ballast = fill(data.path());
    let log = data.path().join("log.redb");
    let length = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
    let mut file = OpenOptions::new().write(true).open(&log).unwrap();
    // Of the file there is as much as was ever written.
    let _ = file.write_all(&vec![0xa5; length]);
    drop(file);
    // The first write that fails has the file opened again, and looked at.
    let mut seq = 100;
    let refused = async {
        loop {
            sensor.send(seq + 1, opens(seq + 1, 2000)).await;
            seq += 2000;
            if collector.problems().iter().any(|p| p.contains("no events")) {
                return sensor.refused().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (code, _) = tokio::time::timeout(HANG, refused).await.expect("no end");
    assert_eq!(code, "internal");
    let problems = collector.problems();
    assert!(problems[0].contains("log.redb"), "{problems:?}");
    // It still answers, and new streams are told, too.
    let visible = value(&collector.url(), COUNT).await.as_u64().unwrap();
    assert!(visible >= 100);
    let mut later = Sensor::silent(&collector.url()).await;
    let hello = skep_proto::v1::sensor_message::Body::Hello(crate::scene::hello(SENSOR));
    later.say(hello).await;
    assert_eq!(later.refused().await.0, "internal");
    fs::remove_file(ballast).unwrap();
    collector.stop();

    let collector = Collector::start(data.path());
    let (_sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, visible);
    assert_eq!(value(&collector.url(), COUNT).await, visible);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_is_kept_before_the_log_is_cut() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::with(data.path(), no_flush);
    for sensor in [SENSOR, OTHER_SENSOR] {
        let (mut sensor, _) = Sensor::connect(&collector.url(), sensor).await;
        sensor.send(1, opens(1, 10)).await;
        sensor.acked(10).await;
    }
    collector.lose();
    let batches = redb::TableDefinition::<u64, &[u8]>::new("batches");
    let (position, damaged) = {
        let log = opened(data.path());
        let write = log.begin_write().unwrap();
        let changed = {
            let mut batches = write.open_table(batches).unwrap();
            let first = batches.first().unwrap().unwrap();
            let (position, mut bytes) = (first.0.value(), first.1.value().to_vec());
            drop(first);
            // Within what the checksum of the batch is of.
            let at = bytes.len() - 10;
            bytes[at] ^= 0x55;
            batches.insert(position, bytes.as_slice()).unwrap();
            (position, bytes)
        };
        write.commit().unwrap();
        changed
    };
    let collector = Collector::start(data.path());
    assert_eq!(collector.counter("entries_damaged"), 1);
    let problems = collector.problems();
    let kept: Vec<_> = fs::read_dir(data.path().join("damaged")).unwrap().collect();
    let [Ok(kept)] = &kept[..] else {
        panic!("{kept:?}");
    };
    assert!(
        problems[0].contains(kept.path().to_str().unwrap()),
        "{problems:?}"
    );
    assert!(
        problems[0].contains(&format!("entry {position}")),
        "{problems:?}"
    );
    assert_eq!(fs::read(kept.path()).unwrap(), damaged);
    assert_eq!(value(&collector.url(), COUNT).await, 10);
    collector.stop();
    assert_eq!(fs::read(kept.path()).unwrap(), damaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_and_files_that_are_lost_too_leave_the_rest() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 4).await;
    let [rotten, gone, ..] = &files(data.path())[..] else {
        panic!("{:?}", files(data.path()));
    };
    fs::write(rotten, "no Parquet").unwrap();
    fs::remove_file(gone).unwrap();
    fs::write(data.path().join("log.redb"), "no log".repeat(1000)).unwrap();

    let collector = Collector::with(data.path(), no_merge);
    let problems = collector.problems();
    for file in [rotten, gone] {
        let name = file.to_str().unwrap();
        assert!(problems.iter().any(|p| p.contains(name)), "{problems:?}");
    }
    let (_sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 40, "the last file has the last event");
    ask(&collector.url(), "SELECT * FROM events")
        .await
        .unwrap_err();
    assert_eq!(value(&collector.url(), COUNT).await, 20);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_in_health_until_it_is_moved_away() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 1).await;
    fs::write(data.path().join("log.redb"), "no log".repeat(1000)).unwrap();
    Collector::start(data.path()).stop();
    let collector = Collector::start(data.path());
    let problems = collector.problems();
    let aside = data.path().join("log.redb.damaged");
    assert!(
        problems[0].contains(aside.to_str().unwrap()),
        "{problems:?}"
    );
    collector.stop();
    fs::remove_file(aside).unwrap();
    let collector = Collector::start(data.path());
    assert_eq!(json!(collector.problems()), json!([]));
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_does_not_keep_the_program_from_stopping() {
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::mount(data.path(), 24 << 20);
    let program = Program::through(&[], data.path(), &["--flush-every", "1h"]);
    let (mut sensor, _) = Sensor::connect(&program.url, SENSOR).await;
    sensor.send(1, opens(1, 100)).await;
    sensor.acked(100).await;
    let ballast = fill(data.path());
    // Records of queries until they do not fit any more, and wait to be written.
    let long = format!("SELECT '{}' AS long", "x".repeat(60_000));
    for _ in 0..64 {
        ask(&program.url, &long).await.unwrap();
    }
    drop(sensor);
    let stopped = tokio::task::spawn_blocking(|| program.terminate());
    let stopped = tokio::time::timeout(HANG, stopped).await;
    stopped.expect("it stops").unwrap();

    fs::remove_file(&ballast).unwrap();
    let program = Program::serve(data.path());
    let (_sensor, acked) = Sensor::connect(&program.url, SENSOR).await;
    assert_eq!(acked, 100);
    assert_eq!(value(&program.url, DENSE).await, true);
    program.terminate();
    drop(disk);
}

fn start(data: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skep-collector"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--http", "off", "--postgres", "off", "--data"])
        .arg(data)
        .finish()
}

#[test]
fn a_disk_that_is_full_or_cannot_be_written_is_named_at_the_start_with_the_remedy() {
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::mount(data.path(), 1 << 20);
    fill(data.path());
    let output = start(data.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let log = data.path().join("log.redb");
    assert!(
        error.contains(log.to_str().unwrap()) && error.contains("make room"),
        "{error}"
    );
    let read_only = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(data.path())
        .spawn();
    assert!(read_only.unwrap().finish().success());
    let output = start(data.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(data.path().to_str().unwrap()) && error.contains("make it writable"),
        "{error}"
    );
    drop(disk);
}
