//! Files that cannot be read, a log that cannot be read, and a disk that is full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use skep_proto::v1::sensor_message::Body as Up;
use skep_testing::{Bound, Finish};

use crate::scene::{
    Collector, HANG, OTHER_SENSOR, SENSOR, Sensor, ask, hello, opens, until, value,
};

const COUNT: &str = "SELECT count(*) FROM events";

/// The files of the table `open`, the first of them first.
pub fn files(data: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for day in fs::read_dir(data.join("table/open")).unwrap() {
        let day = day.unwrap().path();
        if day
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("day=")
        {
            let of_day = fs::read_dir(day).unwrap();
            files.extend(of_day.map(|file| file.unwrap().path()));
        }
    }
    files.sort_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
    files
}

/// Stores batches of ten events, each in a file of its own.
pub async fn store(data: &Path, batches: u64) {
    for _ in 0..batches {
        let collector = Collector::with(data, no_merge);
        let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
        sensor.send(acked + 1, opens(acked + 1, 10)).await;
        sensor.acked(acked + 10).await;
        collector.stop();
    }
}

pub fn no_merge(options: &mut skep_collector::serve::Options) {
    options.store.merging = false;
}

/// The log is not moved into the tables, however long a test takes.
pub fn no_flush(options: &mut skep_collector::serve::Options) {
    options.store.flush_every = Duration::from_secs(3600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_rotten_or_gone_is_named_and_set_aside_and_the_rest_stays_queryable() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 4).await;
    let collector = Collector::with(data.path(), no_merge);
    let [rotten, cut, gone, _] = &files(data.path())[..] else {
        panic!("{:?}", files(data.path()));
    };
    let mut bytes = fs::read(rotten).unwrap();
    // Pages come first and the footer last.
    let pages = bytes.len() / 3;
    bytes[4..pages].fill(0xa5);
    fs::write(rotten, bytes).unwrap();
    let bytes = fs::read(cut).unwrap();
    fs::write(cut, &bytes[..bytes.len() - 100]).unwrap();
    fs::remove_file(gone).unwrap();

    let failed = ask(&collector.url(), "SELECT * FROM events").await;
    let error = failed.unwrap_err().to_string();
    for file in [rotten, cut, gone] {
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
    assert!(
        error.contains("set aside") && error.contains("again"),
        "{error}"
    );
    let rows = ask(&collector.url(), "SELECT * FROM events").await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 10);
    assert_eq!(collector.counter("files_damaged"), 3);
    assert_eq!(collector.counter("rows_damaged"), 30);
    let problems = collector.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    // What is left of them is kept.
    let kept = fs::read_dir(data.path().join("damaged")).unwrap().count();
    assert_eq!(kept, 2);
    // The sensor goes on where it was.
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 40);
    sensor.send(41, opens(41, 10)).await;
    sensor.acked(50).await;
    collector.stop();
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 20);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_looked_for_only_in_files_that_the_query_reads() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 12).await;
    let collector = Collector::with(data.path(), no_merge);
    let url = collector.url();
    let all = files(data.path());
    let (first, last) = (&all[0], &all[11]);
    for rotten in [first, last] {
        let bytes = fs::read(rotten).unwrap();
        fs::write(rotten, &bytes[..bytes.len() / 2]).unwrap();
    }
    // Of the first file: each has ten events, and each event a millisecond.
    let early = "SELECT file_path FROM events WHERE time < '2025-11-20T08:30:00.0105Z'";
    let error = ask(&url, early).await.unwrap_err().to_string();
    assert!(error.contains(first.to_str().unwrap()), "{error}");
    assert!(!error.contains(last.to_str().unwrap()), "{error}");
    assert_eq!(collector.counter("files_damaged"), 1);
    // What is damaged elsewhere keeps nobody from reading the rest.
    let middle = "SELECT count(file_path) FROM events
        WHERE time < '2025-11-20T08:30:00.1105Z'";
    assert_eq!(value(&url, middle).await, 100);
    assert_eq!(collector.counter("files_damaged"), 1);
    let error = ask(&url, "SELECT file_path FROM events").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains(last.to_str().unwrap()), "{error}");
    assert_eq!(collector.counter("files_damaged"), 2);
    assert_eq!(value(&url, COUNT).await, 100);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_larger_ones_without_losing_a_row() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 7).await;
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, acked) = Sensor::connect(&url, SENSOR).await;
    assert_eq!(acked, 70);
    let asking = {
        let url = url.clone();
        tokio::spawn(async move {
            let sql = "SELECT count(*) AS n, count(DISTINCT seq) AS d, max(seq) AS m FROM events";
            loop {
                let rows = ask(&url, sql).await.unwrap();
                assert_eq!(rows[0]["n"], rows[0]["d"], "while files merge");
                assert_eq!(rows[0]["n"], rows[0]["m"]);
            }
        })
    };
    let mut seq = acked;
    let bound = Bound::of("a merge", HANG);
    while collector.counter("files_merged") == 0 {
        bound.check();
        sensor.send(seq + 1, opens(seq + 1, 10)).await;
        seq += 10;
        sensor.acked(seq).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!asking.is_finished(), "{:?}", asking.await);
    }
    asking.abort();
    assert!(collector.counter("rows_merged") >= 20);
    assert_eq!(
        value(&url, "SELECT count(DISTINCT seq) FROM events").await,
        seq
    );
    collector.stop();

    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, seq);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_no_log_is_set_aside_and_sensors_go_on_where_the_tables_are() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 2).await;
    let log = data.path().join("log.redb");
    let mut bytes = fs::read(&log).unwrap();
    bytes[..4096].fill(0xa5);
    fs::write(&log, bytes).unwrap();

    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 20);
    assert_eq!(collector.counter("files_damaged"), 1);
    let problems = collector.problems();
    assert!(problems[0].contains("log.redb.damaged"), "{problems:?}");
    assert!(data.path().join("log.redb.damaged").exists());
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 20);
    sensor.send(21, opens(21, 10)).await;
    sensor.acked(30).await;
    collector.stop();
    let collector = Collector::start(data.path());
    let once = "SELECT count(*) = 30 AND count(DISTINCT seq) = 30 FROM events";
    assert_eq!(value(&collector.url(), once).await, true);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_written_keep_the_events_in_the_log_and_health_says_so() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    let (folder, away) = (data.path().join("table"), data.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "in the way").unwrap();
    sensor.send(1, opens(1, 10)).await;
    sensor.acked(10).await;
    assert_eq!(value(&url, COUNT).await, 10);
    let failing = "SELECT value > 1 FROM counters WHERE name = 'write_failures'";
    until(&url, failing, true).await;
    let problems = collector.problems();
    assert!(problems[0].contains("stay in the log"), "{problems:?}");
    let stored = |column: &str| format!("SELECT {column} FROM storage WHERE class = 'open'");
    assert_eq!(value(&url, &stored("waiting")).await, 10);
    assert_eq!(value(&url, &stored("rows + files + bytes")).await, 0);
    // Neither a crash nor an orderly stop loses them.
    collector.lose();
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    let collector = Collector::start(data.path());
    let (_sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, 10);
    collector.flushed(10).await;
    let url = collector.url();
    assert_eq!(value(&url, COUNT).await, 10);
    assert_eq!(value(&url, &stored("waiting")).await, 0);
    assert_eq!(value(&url, &stored("rows")).await, 10);
    assert!(collector.problems().is_empty());
    let bytes = value(&url, &stored("bytes")).await.as_u64();
    collector.stop();
    let [file] = files(data.path()).try_into().expect("one file");
    assert_eq!(bytes, Some(fs::metadata(file).unwrap().len()));
}

/// A small disk of its own.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(at: &Path, bytes: u64) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "skep-test"])
            .arg(at)
            .spawn()
            .unwrap()
            .finish();
        assert!(mounted.success(), "mounting a tmpfs needs root");
        Self(at.to_owned())
    }

    /// A folder that cannot be written until this is dropped.
    pub fn read_only(at: &Path) -> Self {
        let mount = |arguments: &[&str]| {
            let mounted = Command::new("mount").args(arguments).arg(at).spawn();
            assert!(
                mounted.unwrap().finish().success(),
                "{arguments:?} needs root"
            );
        };
        mount(&["--bind", at.to_str().unwrap()]);
        let disk = Self(at.to_owned());
        mount(&["-o", "remount,bind,ro"]);
        disk
    }
}

/// Leaves no room on the disk that a folder is on; the file that takes it.
pub fn fill(folder: &Path) -> PathBuf {
    let ballast = folder.join("ballast");
    let fill = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", "status=none"])
        .arg(format!("of={}", ballast.display()))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
        .finish();
    assert!(!fill.success(), "the disk is full");
    ballast
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a collector that was lost may still hold a file of it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Sends until the log cannot be written, since there is no room left on the disk: the last event
/// sent, and the file to delete for there to be room.
async fn send_until_full(collector: &Collector, data: &Path, sensor: &Sensor) -> (u64, PathBuf) {
    let ballast = fill(data);
    let mut seq = 0;
    let bound = Bound::of("a full disk", HANG);
    while collector.problems().is_empty() {
        bound.check();
        sensor.send(seq + 1, opens(seq + 1, 2000)).await;
        seq += 2000;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (seq, ballast)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_for_a_full_disk_leaves_nothing_behind() {
    const GONE: usize = 50;
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::mount(data.path(), 24 << 20);
    let collector = Collector::with(data.path(), no_flush);
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    let (seq, ballast) = send_until_full(&collector, data.path(), &sensor).await;
    let before = collector.tasks();
    let mut gone = Vec::new();
    for number in 0..GONE {
        let silent = Sensor::silent(&url).await;
        silent
            .say(Up::Hello(hello(&format!("{number:032x}"))))
            .await;
        gone.push(silent);
    }
    assert!(collector.tasks() >= before + GONE);
    drop(gone);
    let left = async {
        while collector.tasks() > before + GONE / 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, left)
        .await
        .expect("they are let go");
    // The log has what was asked of it in its order, and goes on.
    fs::remove_file(&ballast).unwrap();
    sensor.acked(seq).await;
    let (_sensor, acked) = Sensor::connect(&url, OTHER_SENSOR).await;
    assert_eq!(acked, 0);
    collector.stop();
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_acknowledgement_and_nothing_else_and_goes_on_when_there_is_room() {
    let data = tempfile::tempdir().unwrap();
    let disk = Disk::mount(data.path(), 24 << 20);
    let collector = Collector::with(data.path(), no_flush);
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    let (seq, ballast) = send_until_full(&collector, data.path(), &sensor).await;
    let problems = collector.problems();
    assert!(
        problems[0].contains("nothing is acknowledged"),
        "{problems:?}"
    );
    assert!(problems[0].contains("log.redb"), "{problems:?}");
    // It still answers.
    let visible = value(&url, COUNT).await.as_u64().unwrap();
    assert!(visible < seq, "{visible} of {seq}");

    fs::remove_file(&ballast).unwrap();
    sensor.acked(seq).await;
    let recovered = async {
        while !collector.problems().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, recovered).await.unwrap();
    collector.lose();

    let collector = Collector::with(data.path(), no_flush);
    let sql = format!("SELECT count(*) = {seq} AND count(DISTINCT seq) = {seq} FROM events");
    assert_eq!(value(&collector.url(), &sql).await, true);
    collector.stop();
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_sensors_outlive_the_collector() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for sensor in [SENSOR, OTHER_SENSOR] {
        let _ = Sensor::connect(&collector.url(), sensor).await;
    }
    collector.lose();

    let collector = Collector::start(data.path());
    let hosts = ask(&collector.url(), "SELECT * FROM hosts ORDER BY sensor_id")
        .await
        .unwrap();
    assert_eq!(hosts.as_array().unwrap().len(), 2);
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
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_an_older_collector_are_not_passed_over() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("events")).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let store = skep_collector::store::Options::new(data.path());
    let options = skep_collector::serve::Options::new(store, listen);
    let error = match skep_collector::serve::Server::start(options).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };
    assert!(
        error.contains("events") && error.contains("format"),
        "{error}"
    );
}
