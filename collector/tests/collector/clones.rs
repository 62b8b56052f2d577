//! Two machines with the state of one sensor: what the collector says of them itself.

use std::time::Duration;

use skep_proto::v1::{Hello, Host};

use crate::{
    client::printed,
    scene::{Collector, SENSOR, Sensor, ask, hello, opens, until, value},
};

const FINDINGS: &str = "SELECT count(*) FROM findings";
const COLLECTOR: &str = "ffffffffffffffffffffffffffffffff";

fn of(host: &str) -> Hello {
    let host = Host {
        hostname: host.to_owned(),
        boot_id: format!("boot of {host}"),
        ..Host::default()
    };
    Hello {
        host: Some(host),
        ..hello(SENSOR)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_comes_back_after_its_clone_is_one_finding_however_often() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let url = collector.url();
    let (mut first, _) = Sensor::welcome(&url, of("ws-1")).await;
    first.send(1, opens(1, 10)).await;
    first.acked(10).await;
    // The clone takes the stream over: that alone proves nothing.
    let (clone, _) = Sensor::welcome(&url, of("ws-1-copy")).await;
    assert_eq!(first.refused().await.0, "superseded");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(value(&url, FINDINGS).await, 0);
    let (mut first, _) = Sensor::welcome(&url, of("ws-1")).await;
    until(&url, FINDINGS, 1).await;
    drop(clone);
    for _ in 0..10 {
        let (clone, _) = Sensor::welcome(&url, of("ws-1-copy")).await;
        assert_eq!(first.refused().await.0, "superseded");
        (first, _) = Sensor::welcome(&url, of("ws-1")).await;
        drop(clone);
    }
    let found = ask(&url, "SELECT * FROM findings").await.unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["sensor_id"], COLLECTOR);
    assert_eq!(found[0]["rule"], "collector.stream_superseded");
    assert_eq!(found[0]["severity"], "medium");
    let reason = found[0]["reason"].as_str().unwrap();
    for part in [SENSOR, "ws-1 (127.0.0.1)", "ws-1-copy (127.0.0.1)"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let listed = printed(&collector, &["findings"]);
    assert!(listed.contains("collector.stream_superseded"), "{listed}");
    // The collector is no sensor, and no host.
    let sensors = "SELECT count(*) FROM sensors";
    assert_eq!(value(&url, sensors).await, 1);
    drop(first);
    collector.stop();

    // The end told how often it was, of both; sequences go on within the epoch.
    let collector = Collector::start(data.path());
    let url = collector.url();
    assert_eq!(value(&url, FINDINGS).await, 2);
    let folded = "SELECT reason FROM findings ORDER BY time DESC LIMIT 1";
    let folded = value(&url, folded).await;
    assert!(
        folded.as_str().unwrap().contains("; 20 times more from 20"),
        "{folded}"
    );
    let (_first, _) = Sensor::welcome(&url, of("ws-1")).await;
    let (_clone, _) = Sensor::welcome(&url, of("ws-1-copy")).await;
    let (_first, _) = Sensor::welcome(&url, of("ws-1")).await;
    until(&url, FINDINGS, 3).await;
    let dense = format!(
        "SELECT count(*) = 3 AND max(seq) = 3 AND count(DISTINCT seq) = 3 AND count(DISTINCT epoch) = 1 \
         FROM events WHERE sensor_id = '{COLLECTOR}'"
    );
    assert_eq!(value(&url, &dense).await, true);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_only_connects_again_is_no_finding() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(Sensor::welcome(&url, of("ws-1")).await);
    }
    collector.counted("refused_superseded", 4).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(value(&url, FINDINGS).await, 0);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sensor_says_hello_as_the_collector() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let mut sensor = Sensor::silent(&collector.url()).await;
    sensor
        .say(skep_proto::v1::sensor_message::Body::Hello(hello(
            COLLECTOR,
        )))
        .await;
    let (code, reason) = sensor.refused().await;
    assert_eq!(code, "malformed");
    assert!(
        reason.contains(COLLECTOR) && reason.contains("reserved"),
        "{reason}"
    );
    collector.stop();
}
