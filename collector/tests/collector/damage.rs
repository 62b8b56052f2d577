//! Files that cannot be read, and files that a crash left behind.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::{metadata::KeyValue, properties::WriterProperties},
};

use crate::scene::{
    Collector, HANG, OTHER_SENSOR, SENSOR, Sensor, ask, hello, opens, until, value,
};

/// `sensor_id` to `lost_last`.
const COLUMNS_OF_FORMAT_1: usize = 52;

const COUNT: &str = "SELECT count(*) FROM events";

fn files(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("events")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn ends(files: &[PathBuf], end: &str) -> usize {
    files
        .iter()
        .filter(|file| file.to_str().unwrap().ends_with(end))
        .count()
}

/// Waits until no more than this many files are left.
async fn fewer(data: &Path, count: usize) {
    let left = async {
        while ends(&files(data), ".parquet") > count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, left)
        .await
        .expect("files are merged");
}

/// Stores batches of ten events, each in a file of its own.
async fn store(data: &Path, batches: u64) {
    let collector = Collector::start(data);
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    for batch in 0..batches {
        let first = acked + batch * 10 + 1;
        sensor.send(first, opens(first, 10)).await;
        sensor.acked(first + 9).await;
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_its_footer_is_set_aside_and_the_rest_stays_queryable() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 3).await;
    let cut = files(data.path()).remove(1);
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 100]).unwrap();

    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 20);
    assert_eq!(collector.counter("files_damaged"), 1);
    assert_eq!(ends(&files(data.path()), ".parquet.damaged"), 1);
    // The sensor goes on where it was, and the damaged file's name is not used again.
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 30);
    sensor.send(31, opens(31, 10)).await;
    sensor.acked(40).await;
    collector.stop();
    assert_eq!(ends(&files(data.path()), ".damaged"), 1);
    assert_eq!(ends(&files(data.path()), ".parquet"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotten_pages_are_found_by_the_query_that_meets_them() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 3).await;
    let collector = Collector::start(data.path());
    let rotten = files(data.path()).remove(0);
    let mut bytes = fs::read(&rotten).unwrap();
    // Pages come first and the footer last.
    let pages = bytes.len() / 3;
    bytes[4..pages].fill(0xa5);
    fs::write(&rotten, bytes).unwrap();

    let error = ask(&collector.url(), "SELECT * FROM events")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(rotten.to_str().unwrap()), "{error}");
    assert!(
        error.contains("set aside") && error.contains("again"),
        "{error}"
    );
    let rows = ask(&collector.url(), "SELECT * FROM events").await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 20);
    assert_eq!(collector.counter("files_damaged"), 1);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_larger_ones_without_losing_a_row() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    for batch in 0..40 {
        sensor.send(batch * 10 + 1, opens(batch * 10 + 1, 10)).await;
        sensor.acked(batch * 10 + 10).await;
        assert_eq!(
            value(&collector.url(), COUNT).await,
            batch * 10 + 10,
            "while files merge"
        );
    }
    collector.counted("files_merged", 2).await;
    // Inputs go with the last query that reads them.
    // Two of sixteen, and eight single ones.
    fewer(data.path(), 10).await;
    assert_eq!(
        value(&collector.url(), "SELECT count(DISTINCT seq) FROM events").await,
        400
    );
    collector.stop();

    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 400);
    let (_sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 400);
    collector.stop();
}

/// Rewrites a file as the first version of this program wrote it: format 1, without the columns that
/// came later.
fn as_format_1(path: &Path) {
    let file = fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let sources = pairs
        .unwrap()
        .iter()
        .find(|pair| pair.key == "skep.sources");
    let pairs = vec![
        KeyValue::new("skep.format".to_owned(), "1".to_owned()),
        sources.unwrap().clone(),
    ];
    let columns: Vec<usize> = (0..COLUMNS_OF_FORMAT_1).collect();
    let batches: Vec<_> = reader
        .build()
        .unwrap()
        .map(|batch| batch.unwrap().project(&columns).unwrap())
        .collect();
    assert_eq!(
        batches[0].schema().fields().last().unwrap().name(),
        "lost_last"
    );
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs));
    let file = fs::File::create(path).unwrap();
    let mut writer =
        ArrowWriter::try_new(file, batches[0].schema(), Some(properties.build())).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_format_1_are_read_and_merged_with_null_in_the_columns_that_came_later() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 5).await;
    for file in files(data.path()) {
        as_format_1(&file);
    }
    let collector = Collector::start(data.path());
    let older = "SELECT count(*) FROM events WHERE file_path LIKE '/home/alice/%'
                 AND file_inode IS NULL AND process_inferred IS NULL AND coverage_what IS NULL";
    let newer = "SELECT count(*) FROM files WHERE inode = 1048577 AND device = '8:1'";
    assert_eq!(value(&collector.url(), older).await, 50);
    let sessions = "SELECT count(*) FROM sessions WHERE gaps IS NULL AND found IS NULL";
    assert_eq!(value(&collector.url(), sessions).await, 1);
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 50);
    for batch in 5..16 {
        sensor.send(batch * 10 + 1, opens(batch * 10 + 1, 10)).await;
        sensor.acked(batch * 10 + 10).await;
    }
    collector.counted("files_merged", 1).await;
    fewer(data.path(), 1).await;
    assert_eq!(value(&collector.url(), older).await, 50);
    assert_eq!(value(&collector.url(), newer).await, 110);
    assert_eq!(collector.counter("files_damaged"), 0);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_that_a_crash_leaves_is_recovered() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 15).await;
    let inputs: Vec<_> = files(data.path())
        .into_iter()
        .map(|f| (fs::read(&f).unwrap(), f))
        .collect();
    assert_eq!(inputs.len(), 15);
    store(data.path(), 1).await;
    // The sixteen are merged before that collector stops, or when they are opened again.
    let collector = Collector::start(data.path());
    fewer(data.path(), 1).await;
    collector.stop();
    let merged = files(data.path());

    // Killed after the merged file was in place and before its inputs were removed, and while
    // another file was being written.
    for (bytes, file) in &inputs {
        fs::write(file, bytes).unwrap();
    }
    let unfinished = data
        .path()
        .join("events/00000000000000000017-00000000000000000017.parquet.tmp");
    fs::write(&unfinished, b"PAR1").unwrap();
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 160);
    assert_eq!(files(data.path()), merged);
    collector.stop();

    // The merged file does not survive the disk, and its inputs are still there.
    for (bytes, file) in &inputs {
        fs::write(file, bytes).unwrap();
    }
    fs::write(&merged[0], b"PAR1 and nothing else").unwrap();
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 150);
    assert_eq!(collector.counter("files_damaged"), 1);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_keeps_its_files_while_they_are_merged_away() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    let asking = tokio::spawn(async move {
        for _ in 0..60 {
            let rows = ask(
                &url,
                "SELECT count(*) AS n, count(DISTINCT seq) AS d FROM events",
            );
            let rows = rows.await.unwrap();
            assert_eq!(rows[0]["n"], rows[0]["d"]);
        }
    });
    let mut seq = 0;
    while !asking.is_finished() {
        sensor.send(seq + 1, opens(seq + 1, 10)).await;
        seq += 10;
        sensor.acked(seq).await;
    }
    asking.await.unwrap();
    assert!(collector.counter("files_merged") > 0);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_writing_fails_nothing_is_acknowledged_until_it_works_again() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    let (folder, away) = (data.path().join("events"), data.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    sensor.send(1, opens(1, 10)).await;
    until(&url, COUNT, 10).await;
    until(
        &url,
        "SELECT value > 1 FROM counters WHERE name = 'write_failures'",
        true,
    )
    .await;
    let (_other, acked) = Sensor::connect(&url, SENSOR).await;
    assert_eq!(acked, 0);
    fs::rename(&away, &folder).unwrap();
    sensor.acked(10).await;
    collector.stop();
    store(data.path(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_sensors_outlive_the_collector_and_a_damaged_one_is_set_aside() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for sensor in [SENSOR, OTHER_SENSOR] {
        let _ = Sensor::connect(&collector.url(), sensor).await;
    }
    collector.lose();
    fs::write(
        data.path().join(format!("sensors/{OTHER_SENSOR}.json")),
        "{",
    )
    .unwrap();

    let collector = Collector::start(data.path());
    let hosts = ask(&collector.url(), "SELECT * FROM hosts").await.unwrap();
    assert_eq!(hosts.as_array().unwrap().len(), 1);
    let told = hello(SENSOR).host.unwrap();
    assert_eq!(hosts[0]["host"], told.hostname);
    assert_eq!(hosts[0]["kernel"], told.kernel);
    assert_eq!(
        hosts[0]["boot_id"],
        serde_json::Value::Null,
        "left empty is unknown"
    );
    let hooks = ask(&collector.url(), "SELECT * FROM hooks").await.unwrap();
    assert_eq!(hooks[0]["status"], "fallback");
    assert_eq!(hooks[0]["reason"], "lsm/file_open: EPERM");
    assert_eq!(collector.counter("files_damaged"), 1);
    collector.stop();
}
