//! `skep export`: all events, once each, whatever gets in the way.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use skep_client::{
    Client, ClientError,
    commands::Filter,
    export::{Export, ExportError, Target},
    format::Form,
};
use tokio::sync::Notify;

use crate::{
    client::{printed, skep},
    scene::{
        Collector, OTHER_SENSOR, SENSOR, SESSION, Sensor, opens, session_with_gaps, small_session,
    },
};

/// Of the two scenes below.
const EVENTS: usize = 214 + 15;

/// A collector that gives 20 rows at most, of two sensors with hundreds of events at the same time.
async fn collector(data: &Path) -> Collector {
    let collector = Collector::with(data, |options| options.limits.rows = 20);
    for (id, events) in [
        (SENSOR, small_session()),
        (OTHER_SENSOR, session_with_gaps()),
    ] {
        let (mut sensor, _) = Sensor::connect(&collector.url(), id).await;
        let count = events.len() as u64;
        sensor.send(1, events).await;
        sensor.acked(count).await;
    }
    collector
}

fn ndjson(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids(rows: &[Value]) -> BTreeSet<(String, u64)> {
    rows.iter()
        .map(|row| {
            let sensor = row["sensor_id"].as_str().unwrap().to_owned();
            (sensor, row["seq"].as_u64().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_every_event_once_in_the_order_of_time() {
    let data = tempfile::tempdir().unwrap();
    let collector = collector(data.path()).await;
    let file = data.path().join("all.ndjson");
    let output = skep(&collector, &["export", file.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    assert!(error.contains("229 events in 1 file:"), "{error}");
    let rows = ndjson(&file);
    assert_eq!((rows.len(), ids(&rows).len()), (EVENTS, EVENTS));
    let times = rows.iter().map(|row| {
        let time: jiff::Timestamp = row["time"].as_str().unwrap().parse().unwrap();
        time
    });
    assert!(times.is_sorted());
    for column in skep_collector::schema::COLUMNS.iter() {
        assert!(rows[0].as_object().unwrap().contains_key(column.name));
    }

    let file = data.path().join("all.csv");
    printed(&collector, &["export", file.to_str().unwrap()]);
    assert_eq!(
        fs::read_to_string(&file).unwrap().lines().count(),
        EVENTS + 1
    );

    let file = data.path().join("all.parquet");
    printed(&collector, &["export", file.to_str().unwrap()]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&file).unwrap());
    let rows = reader.unwrap().build().unwrap();
    assert_eq!(
        rows.map(|batch| batch.unwrap().num_rows()).sum::<usize>(),
        EVENTS
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_can_be_of_a_session_a_class_a_host_or_a_time() {
    let data = tempfile::tempdir().unwrap();
    let collector = collector(data.path()).await;
    let count = |arguments: &[&str]| {
        let file = data.path().join("some.ndjson");
        let arguments = [&["export", file.to_str().unwrap()], arguments].concat();
        printed(&collector, &arguments);
        ndjson(&file).len()
    };
    assert_eq!(count(&["--session", SESSION, "--host", "ws-0123"]), 212);
    assert_eq!(count(&["--class", "connect"]), 3);
    assert_eq!(count(&["--host", "ws-fedc"]), 15);
    let range = [
        "--since",
        "2025-11-20T08:30:03Z",
        "--until",
        "2025-11-20T08:30:04Z",
    ];
    assert_eq!(count(&range), 3 + 2);
    assert_eq!(count(&["--since", "1h"]), 0, "and there is a file");
    let table = skep(&collector, &["export", "x.csv", "-o", "table"]);
    assert_eq!(table.status.code(), Some(2));
    collector.stop();
}

fn into(directory: &Path, asked: &str) -> Export {
    Export {
        filter: Filter::default(),
        form: Form::Ndjson,
        to: Target::Directory(directory.to_path_buf()),
        part: 50,
        asked: vec![asked.to_owned()],
    }
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_interrupted_goes_on_from_its_last_file() {
    let data = tempfile::tempdir().unwrap();
    let collector = collector(data.path()).await;
    let directory = data.path().join("export");
    let mut client = Client::new(&collector.url()).unwrap();

    let enough = Arc::new(Notify::new());
    let tell = Arc::clone(&enough);
    let first = into(&directory, "all").run(&mut client, |written, of| {
        assert_eq!(of, EVENTS as u64);
        if written > 130 {
            tell.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = enough.notified() => {}
        ended = first => panic!("ended before it was interrupted: {ended:?}"),
    }
    let before = files(&directory, ".ndjson");
    assert!(!before.is_empty());
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let written: Vec<_> = before.iter().map(modified).collect();

    let other = into(&directory, "something else").run(&mut client, |_, _| {});
    assert!(matches!(
        other.await,
        Err(ClientError::Export(ExportError::Other { .. }))
    ));
    let exported = into(&directory, "all").run(&mut client, |_, _| {});
    let exported = exported.await.unwrap();
    assert_eq!(exported.events, EVENTS as u64);
    let all = files(&directory, ".ndjson");
    assert_eq!(all.len(), exported.files);
    assert!(all.len() > before.len());
    assert_eq!(before.iter().map(modified).collect::<Vec<_>>(), written);
    let rows: Vec<_> = all.iter().flat_map(|path| ndjson(path)).collect();
    assert_eq!((rows.len(), ids(&rows).len()), (EVENTS, EVENTS));
    assert!(files(&directory, ".part").is_empty());

    let again = into(&directory, "all").run(&mut client, |_, _| {}).await;
    assert!(matches!(
        again,
        Err(ClientError::Export(ExportError::Complete {
            events: 229,
            ..
        }))
    ));
    let taken = into(data.path(), "all").run(&mut client, |_, _| {}).await;
    assert!(matches!(
        taken,
        Err(ClientError::Export(ExportError::NotEmpty { .. }))
    ));
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_arrive_late_are_not_passed_over_in_silence() {
    let data = tempfile::tempdir().unwrap();
    let collector = collector(data.path()).await;
    let (late, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    let late = Mutex::new(Some(late));
    let mut client = Client::new(&collector.url()).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let export = into(&data.path().join("export"), "all");
    let ended = export.run(&mut client, |_, _| {
        // Once, after the first page: three events of a time that was written already.
        if let Some(mut sensor) = late.lock().unwrap().take() {
            let stored = async {
                sensor.send(acked + 1, opens(0, 3)).await;
                sensor.acked(acked + 3).await;
            };
            tokio::task::block_in_place(|| runtime.block_on(stored));
        }
    });
    let error = ended.await.unwrap_err();
    assert!(
        matches!(
            &error,
            ClientError::Export(ExportError::Changed {
                written: 229,
                there: 232
            })
        ),
        "{error}"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_a_collector_leaves_nothing_that_looks_like_one() {
    let data = tempfile::tempdir().unwrap();
    let collector = collector(data.path()).await;
    let url = collector.url();
    collector.stop();
    let file = data.path().join("all.parquet");
    let export = Export {
        to: Target::File(file.clone()),
        ..into(data.path(), "all")
    };
    let mut client = Client::new(&url).unwrap();
    let ended = export.run(&mut client, |_, _| {}).await;
    assert!(matches!(ended, Err(ClientError::Unreachable { .. })));
    assert!(!file.exists() && files(data.path(), ".part").is_empty());
}
