//! The real program, killed while sensors send to it.
//!
//! `SKEP_KILL_ROUNDS` says how often, `SKEP_SEED` when: the seed is printed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use skep_proto::v1::{Event, Lane, collector_message::Body as Down, event::Detail};
use skep_testing::{Finish, Random};
use tokio::sync::Barrier;

use crate::{
    program::Program,
    scene::{EPOCH, HANG, Sensor, ask, finding, hello, session_with_gaps, small_session, value},
};

/// How often it is killed.
fn rounds() -> u64 {
    std::env::var("SKEP_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().expect("a number"))
}

/// One lane of one sensor, and what it was told.
#[derive(Clone)]
struct Source {
    sensor_id: String,
    epoch: u64,
    lane: Lane,
    told: u64,
}

/// Four sensors with both lanes.
fn sources() -> Vec<Source> {
    let lanes = [Lane::Unspecified, Lane::Findings];
    let both = |sensor: u32| {
        lanes.map(|lane| Source {
            sensor_id: format!("{sensor:032x}"),
            epoch: EPOCH + u64::from(lane == Lane::Findings),
            lane,
            told: 0,
        })
    };
    (1..=4).flat_map(both).collect()
}

/// Events of every class of a lane.
fn events(lane: Lane) -> Vec<Event> {
    let severity = skep_proto::v1::finding::Severity::High;
    let mut events = small_session();
    events.truncate(20);
    events.extend(session_with_gaps());
    events.push(finding(1, "sensor.hook_detached", severity));
    let bulk = |event: &Event| {
        let detail = event.detail.as_ref().unwrap();
        let (exec, exit) = (
            matches!(detail, Detail::Exec(_)),
            matches!(detail, Detail::Exit(_)),
        );
        exec || exit || matches!(detail, Detail::Open(_) | Detail::Connect(_))
    };
    events.retain(|event| bulk(event) == (lane == Lane::Unspecified));
    events
}

/// Connects, waits for the others, sends without waiting as long as the collector lives, and gives back
/// what it was told.
async fn load(url: String, mut source: Source, all: Arc<Barrier>) -> Source {
    let hello = skep_proto::v1::Hello {
        epoch: source.epoch,
        lane: source.lane.into(),
        ..hello(&source.sensor_id)
    };
    let (mut sensor, welcome) = Sensor::welcome(&url, hello).await;
    let told = source.told;
    assert!(
        welcome.acked_seq >= told,
        "{told} was acknowledged: {welcome:?}"
    );
    source.told = welcome.acked_seq;
    let pool = events(source.lane);
    all.wait().await;
    sensor.pour(source.told + 1, move |_| pool.clone());
    while let Some(heard) = sensor.hear().await {
        match heard {
            Down::Ack(ack) => source.told = ack.seq,
            other => panic!("not acknowledged but {other:?}"),
        }
    }
    source
}

/// What was acknowledged is stored, without a gap and once, and nothing is damaged.
async fn check(url: &str, sources: &[Source], round: u64) {
    let damaged =
        "SELECT sum(value) FROM counters WHERE name IN ('files_damaged', 'entries_damaged')";
    assert_eq!(value(url, damaged).await, 0, "round {round}");
    let sql = "SELECT sensor_id, epoch, count(*) AS rows, count(DISTINCT seq) AS seqs, \
               min(seq) AS first, max(seq) AS last FROM events GROUP BY sensor_id, epoch";
    let answer = ask(url, sql).await.unwrap();
    let mut stored: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for row in answer.as_array().unwrap() {
        let number = |name: &str| row[name].as_u64().unwrap();
        let last = number("last");
        let counts = [number("first"), number("rows"), number("seqs")];
        assert_eq!(counts, [1, last, last], "round {round}: {row}");
        let sensor = row["sensor_id"].as_str().unwrap().to_owned();
        stored.insert((sensor, number("epoch")), last);
    }
    for source in sources {
        let key = (source.sensor_id.clone(), source.epoch);
        let last = stored.get(&key).copied().unwrap_or(0);
        let told = source.told;
        assert!(last >= told, "round {round}: {last} of {told} of {key:?}");
    }
}

/// The files of the tables: commits, and rows that no commit names.
fn stored(data: &Path) -> (usize, usize) {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(&data.join("table"), &mut found);
    let text = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let is_commit = |path: &&PathBuf| {
        let log = path.parent().unwrap().ends_with("_delta_log");
        log && path.extension().is_some_and(|ending| ending == "json")
    };
    let commits: Vec<String> = found.iter().filter(is_commit).map(text).collect();
    let named = commits.concat();
    let rows = found.iter().filter_map(|path| path.file_name()?.to_str());
    let unnamed = rows.filter(|name| name.starts_with("part-") && !named.contains(*name));
    (commits.len(), unnamed.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_keeps_what_it_acknowledged_and_stores_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let mut random = Random::from_environment();
    let (mut sources, rounds) = (sources(), rounds());
    let (mut before, mut flushed, mut hit) = ((0, 0), 0, 0);
    for round in 0..rounds {
        let program = Program::through(&[], data.path(), &["--flush-every", "20ms"]);
        check(&program.url, &sources, round).await;
        let all = Arc::new(Barrier::new(sources.len() + 1));
        let load = |source: &Source| {
            let (url, source, all) = (program.url.clone(), source.clone(), Arc::clone(&all));
            tokio::spawn(load(url, source, all))
        };
        let running: Vec<_> = sources.iter().map(load).collect();
        tokio::time::timeout(HANG, all.wait())
            .await
            .expect("every sensor is welcomed");
        // At some moment the process is gone, with whatever it was doing: writing the log, moving rows
        // into the tables, merging.
        tokio::time::sleep(Duration::from_millis(100 + random.below(900))).await;
        program.kill();
        for (source, load) in sources.iter_mut().zip(running) {
            // What was on its way was acknowledged, too.
            *source = load.await.unwrap();
        }
        let after = stored(data.path());
        flushed += u64::from(after.0 > before.0);
        hit += u64::from(after.1 > before.1);
        before = after;
    }
    println!(
        "{rounds} kills: {flushed} after a commit of a table, {hit} between rows and their commit"
    );
    assert!(
        flushed * 2 > rounds,
        "{flushed} of {rounds} rounds had a commit"
    );
    assert!(
        rounds < 20 || hit > 0,
        "no kill came between rows and their commit"
    );
    let program = Program::serve(data.path());
    check(&program.url, &sources, rounds).await;
    program.terminate();
    assert!(sources.iter().all(|source| source.told > 0));
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_reason() {
    let data = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7317"] {
        let output = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
            .args(["serve", "--listen", address, "--data"])
            .arg(data.path())
            .finish();
        assert_eq!(output.status.code(), Some(2), "{address}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("TLS") && error.contains("loopback"),
            "{error}"
        );
    }
    assert_eq!(
        fs::read_dir(data.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("a-file");
    fs::write(&file, "x").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--postgres",
            "off",
            "--data",
        ])
        .arg(file.join("data"))
        .finish();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("a-file/data") && error.contains("--data"),
        "{error}"
    );

    let running = Program::serve(data.path());
    let output = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--postgres",
            "off",
            "--data",
        ])
        .arg(data.path())
        .finish();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("in use by another collector")
    );
    running.terminate();
}
