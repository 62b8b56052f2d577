//! Killed between two steps, told wrongly that a step failed, copied, or with a table that rots: each
//! event is there once.

use std::{fs, path::Path, time::Duration};

use crate::{
    damage::{Disk, no_flush, no_merge, store},
    program::Program,
    scene::{Collector, HANG, OTHER_SENSOR, SENSOR, Sensor, opens, small_session, until, value},
};

const COUNT: &str = "SELECT count(*) FROM events";
/// Each event of each sensor from the first to the last, once.
const DENSE: &str = "SELECT count(*) = 0 FROM (SELECT sensor_id FROM events GROUP BY sensor_id \
                     HAVING count(*) <> max(seq) OR count(DISTINCT seq) <> max(seq))";

/// The session's events are acknowledged and in the log alone. How many they are.
async fn in_the_log(data: &Path) -> u64 {
    let collector = Collector::with(data, no_flush);
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let events = small_session();
    let count = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(count).await;
    collector.lose();
    count
}

fn commits(data: &Path, class: &str) -> Vec<std::path::PathBuf> {
    let log = fs::read_dir(data.join("table").join(class).join("_delta_log")).unwrap();
    let mut commits: Vec<_> = log.map(|file| file.unwrap().path()).collect();
    commits.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    commits.sort();
    commits
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_tables_and_the_cut_of_the_log_it_stores_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let count = in_the_log(data.path()).await;
    let log = data.path().join("log.redb");
    let before = fs::read(&log).unwrap();
    let flush = || {
        let collector = Collector::start(data.path());
        collector.stop();
    };
    flush();
    assert_eq!(commits(data.path(), "open").len(), 2);

    // The tables have all of it, and the log still has, too.
    fs::write(&log, &before).unwrap();
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, count);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
    assert_eq!(commits(data.path(), "open").len(), 2, "nothing to add");

    // Some tables have it, and others have not.
    fs::write(&log, &before).unwrap();
    for class in ["connect", "session"] {
        fs::remove_file(commits(data.path(), class).pop().unwrap()).unwrap();
    }
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, count);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, count);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_worked_and_was_said_to_have_failed_is_not_made_again() {
    let data = tempfile::tempdir().unwrap();
    Collector::start(data.path()).stop();
    // The commit is there under its name; what fails is the sync of its folder, once.
    let folder = data.path().join("table/open/_delta_log");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P"];
    let error = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1"];
    let wrapper = [&strace[..], &[folder.to_str().unwrap()], &error].concat();
    let program = Program::through(&wrapper, data.path(), &["--flush-every", "10ms"]);
    let (mut sensor, _) = Sensor::connect(&program.url, SENSOR).await;
    sensor.send(1, opens(1, 10)).await;
    sensor.acked(10).await;
    let counter = |name: &str| format!("SELECT value FROM counters WHERE name = '{name}'");
    until(&program.url, &counter("rows_flushed"), 10).await;
    assert_eq!(value(&program.url, &counter("write_failures")).await, 1);
    assert_eq!(value(&program.url, COUNT).await, 10);
    assert_eq!(value(&program.url, DENSE).await, true);
    program.terminate();
    assert_eq!(commits(data.path(), "open").len(), 2);
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 10);
    collector.stop();
}

/// Everything in a data directory but its tables.
fn copy_log(from: &Path, to: &Path) {
    fs::copy(from.join("log.redb"), to.join("log.redb")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_older_than_the_tables_goes_on_under_a_new_name() {
    let data = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    store(data.path(), 1).await;
    let collector = Collector::with(data.path(), no_flush);
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(11, opens(11, 10)).await;
    sensor.acked(20).await;
    collector.lose();
    // A machine and its clone, with tables in one place; the first goes on.
    copy_log(data.path(), other.path());
    store(data.path(), 1).await;
    let tables = format!("file://{}/table", data.path().display());
    let clone = |options: &mut skep_collector::serve::Options| {
        no_merge(options);
        options.store.table = Some(tables.clone());
    };
    // Killed before it has moved anything, and started again.
    for _ in 0..2 {
        let collector = Collector::with(other.path(), |options| {
            clone(options);
            no_flush(options);
        });
        assert_eq!(value(&collector.url(), COUNT).await, 30);
        assert_eq!(value(&collector.url(), DENSE).await, true);
        collector.lose();
    }
    let collector = Collector::with(other.path(), clone);
    let (mut sensor, _) = Sensor::connect(&collector.url(), OTHER_SENSOR).await;
    sensor.send(1, opens(1, 10)).await;
    sensor.acked(10).await;
    collector.lose();
    // What it took has positions that the first has used, too.
    let collector = Collector::with(other.path(), clone);
    assert_eq!(value(&collector.url(), COUNT).await, 40);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
    let collector = Collector::start(data.path());
    assert_eq!(value(&collector.url(), COUNT).await, 40);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_opened_keeps_no_other_and_its_events_stay_in_the_log() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 2).await;
    let commit = commits(data.path(), "open").remove(1);
    let whole = fs::read(&commit).unwrap();
    fs::write(&commit, "{\"this\": is no commit").unwrap();

    let collector = Collector::start(data.path());
    let url = collector.url();
    let problems = collector.problems();
    let table = data.path().join("table/open");
    assert!(
        problems[0].contains(table.to_str().unwrap()) && problems[0].contains("_delta_log"),
        "{problems:?}"
    );
    let (mut sensor, acked) = Sensor::connect(&url, SENSOR).await;
    assert_eq!(acked, 20);
    let (mut other, _) = Sensor::connect(&url, OTHER_SENSOR).await;
    let session = small_session();
    let count = session.len() as u64;
    sensor.send(21, opens(21, 10)).await;
    other.send(1, session).await;
    sensor.acked(30).await;
    other.acked(count).await;
    // Other classes get into their tables; what is visible of this one is what came since.
    let stored = "SELECT rows > 0 FROM storage WHERE class = 'exec'";
    until(&url, stored, true).await;
    let sql = format!("SELECT count(*) FROM events WHERE sensor_id = '{SENSOR}'");
    assert_eq!(value(&url, &sql).await, 10);
    collector.stop();

    fs::write(&commit, whole).unwrap();
    let collector = Collector::start(data.path());
    assert!(collector.problems().is_empty());
    assert_eq!(value(&collector.url(), COUNT).await, 30 + count);
    assert_eq!(value(&collector.url(), DENSE).await, true);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_which_none_can_be_opened_are_an_error() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("table"), "in the way").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let store = skep_collector::store::Options::new(data.path());
    let options = skep_collector::serve::Options::new(store, listen);
    let error = match skep_collector::serve::Server::start(options).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("table"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_on_the_tables_that_fails_is_in_health_until_it_works() {
    let data = tempfile::tempdir().unwrap();
    store(data.path(), 2).await;
    let disk = Disk::read_only(&data.path().join("table/open/_delta_log"));
    // Two files of a day that is over: to be merged.
    let collector = Collector::with(data.path(), |options| {
        no_flush(options);
        options.store.expire_every = Duration::from_millis(50);
    });
    let told = async |there: bool| {
        let fails = |problem: &String| problem.contains("cannot look after the tables");
        let changed = async {
            while collector.problems().iter().any(fails) != there {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let changed = tokio::time::timeout(HANG, changed).await;
        changed.unwrap_or_else(|_| panic!("{there}: {:?}", collector.problems()));
    };
    told(true).await;
    drop(disk);
    told(false).await;
    assert_eq!(collector.counter("files_merged"), 2);
    assert_eq!(value(&collector.url(), COUNT).await, 20);
    collector.stop();
}
