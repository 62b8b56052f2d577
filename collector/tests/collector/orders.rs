//! Orders: given through the collector, followed or refused by the sensor, recorded.

use serde_json::{Value, json};
use skep_client::{Client, ClientError, fleet::Level};
use skep_proto::v1::{
    Hello, Lane, Order, Outcome, collector_message::Body as Down, order::Body, outcome::Kind,
    sensor_message::Body as Up,
};

use crate::{
    client::skep,
    scene::{Collector, EPOCH, OTHER_SENSOR, SENSOR, Sensor, ask, hello, opens, until},
};

/// The lane that takes orders.
fn findings(sensor_id: &str) -> Hello {
    Hello {
        epoch: EPOCH + 1,
        lane: Lane::Findings.into(),
        takes_orders: true,
        ..hello(sensor_id)
    }
}

async fn give(url: &str, sensor: &str) -> Result<String, ClientError> {
    let mut client = Client::new(url)?;
    client.set_log_level(sensor, Level::Debug).await
}

async fn order(sensor: &mut Sensor) -> Order {
    loop {
        match sensor.hear().await {
            Some(Down::Order(order)) => return order,
            Some(Down::Ack(_)) => {}
            other => panic!("no order but {other:?}"),
        }
    }
}

async fn answer(sensor: &mut Sensor, kind: Kind, reason: &str) {
    let order = order(sensor).await;
    let Some(Body::SetLogLevel(level)) = order.body else {
        panic!("{order:?}")
    };
    assert_eq!(level.level, "debug");
    let outcome = Outcome {
        id: order.id,
        kind: kind.into(),
        reason: reason.to_owned(),
    };
    sensor.say(Up::Outcome(outcome)).await;
}

async fn recorded(url: &str) -> Vec<Value> {
    let sql = "SELECT sensor_id, what, outcome, error, peer LIKE '127.0.0.1:%' AS peer, \
               front_end, milliseconds >= 0 AS took, started IS NOT NULL AS at \
               FROM orders ORDER BY id";
    ask(url, sql).await.unwrap().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_applied_or_refused_by_the_sensor_and_recorded_with_its_outcome() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (_bulk, _) = Sensor::connect(&url, SENSOR).await;
    let (mut sensor, _) = Sensor::welcome(&url, findings(SENSOR)).await;
    let (_old, _) = Sensor::connect(&url, OTHER_SENSOR).await;
    // By the first digits of its id.
    let (given, ()) = tokio::join!(
        give(&url, &SENSOR[..6]),
        answer(&mut sensor, Kind::Applied, "")
    );
    assert_eq!(given.unwrap(), format!("{SENSOR} (ws-0123)"));
    let (given, ()) = tokio::join!(
        give(&url, SENSOR),
        answer(&mut sensor, Kind::Refused, "not today")
    );
    let refused = given.unwrap_err().to_string();
    assert!(
        refused.contains("not today") && refused.contains(SENSOR),
        "{refused}"
    );
    // The stream goes on.
    sensor.send(1, opens(1, 3)).await;
    sensor.acked(3).await;
    let row = |outcome: &str, error: Value| {
        json!({
            "sensor_id": SENSOR, "what": "log debug", "outcome": outcome, "error": error,
            "peer": true, "front_end": "grpc", "took": true, "at": true,
        })
    };
    assert_eq!(
        recorded(&url).await,
        [row("applied", Value::Null), row("refused", refused.into())]
    );
    // An order is no query, and a query no order.
    let queries = ask(&url, "SELECT sql FROM queries WHERE sql LIKE 'log %'").await;
    assert_eq!(queries.unwrap(), json!([]));
    collector.stop();
    let collector = Collector::start(data.path());
    assert_eq!(recorded(&collector.url()).await.len(), 2);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_order_gets_none_and_it_is_said_why() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let error = async |sensor: &str| give(&url, sensor).await.unwrap_err().to_string();
    let unknown = error(SENSOR).await;
    assert!(unknown.contains("no sensor begins with"), "{unknown}");
    // Today's sensor of before: it never said that it takes orders.
    let (mut old, _) = Sensor::connect(&url, SENSOR).await;
    let too_old = error(SENSOR).await;
    assert!(
        too_old.contains("takes no orders") && too_old.contains("update"),
        "{too_old}"
    );
    old.send(1, opens(1, 3)).await;
    match old.hear().await {
        Some(Down::Ack(ack)) => assert_eq!(ack.seq, 3, "and no order before it"),
        other => panic!("{other:?}"),
    }
    drop(old);
    let gone = async {
        while !error(SENSOR).await.contains("not connected") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::scene::HANG, gone)
        .await
        .unwrap();
    let _similar = Sensor::connect(&url, &format!("{}0", &SENSOR[..31])).await;
    let several = error(&SENSOR[..8]).await;
    assert!(several.contains("several sensors"), "{several}");
    // Its stream ends before it answers.
    let (mut sensor, _) = Sensor::welcome(&url, findings(SENSOR)).await;
    let (given, ()) = tokio::join!(give(&url, SENSOR), async {
        order(&mut sensor).await;
        drop(sensor);
    });
    let gone = given.unwrap_err().to_string();
    assert!(gone.contains("ended before it answered"), "{gone}");
    let outcomes = "SELECT count(*) > 0 FROM orders WHERE outcome = 'failed'";
    until(&url, outcomes, true).await;
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_asked_for_is_passed_over_and_one_that_is_none_refused() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::welcome(&url, findings(SENSOR)).await;
    let outcome = |kind: Kind| Outcome {
        id: 77,
        kind: kind.into(),
        reason: String::new(),
    };
    sensor.say(Up::Outcome(outcome(Kind::Applied))).await;
    sensor.send(1, opens(1, 3)).await;
    sensor.acked(3).await;
    sensor.say(Up::Outcome(outcome(Kind::Unspecified))).await;
    let (code, reason) = sensor.refused().await;
    assert_eq!(
        (code.as_str(), reason.contains("outcome")),
        ("malformed", true)
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_what_became_of_an_order() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::welcome(&url, findings(SENSOR)).await;
    let answering = tokio::spawn(async move {
        answer(&mut sensor, Kind::Applied, "").await;
        sensor
    });
    let run = |arguments: &[&str]| {
        let output = skep(&collector, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, printed, error) = run(&["sensor", SENSOR, "log", "debug"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(
        printed,
        format!("sensor {SENSOR} (ws-0123) logs at debug\n")
    );
    let _sensor = answering.await.unwrap();
    let (code, _, error) = run(&["sensor", OTHER_SENSOR, "log", "debug"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no sensor begins with"), "{error}");
    for wrong in [
        ["sensor", "host-1", "log", "debug"],
        ["sensor", SENSOR, "log", "loud"],
    ] {
        let (code, ..) = run(&wrong);
        assert_eq!(code, Some(2), "{wrong:?}");
    }
    collector.stop();
}
