//! What a query may not do, and what it is told then.

use std::time::Duration;

use skep_client::{Client, ClientError};
use tonic::Code;

use crate::scene::{Collector, SENSOR, Sensor, ask, opens, value};

fn refusal(error: ClientError) -> (Code, String) {
    match error {
        ClientError::Refused(status) => (status.code(), status.message().to_owned()),
        other => panic!("not refused but {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_reading_is_allowed() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let url = collector.url();
    let (mut sensor, _) = Sensor::connect(&url, SENSOR).await;
    sensor.send(1, opens(1, 3)).await;
    sensor.acked(3).await;
    let secret = data.path().join("secret.csv");
    std::fs::write(&secret, "a\n1\n").unwrap();
    let secret = secret.display();
    for sql in [
        "DROP TABLE events".to_owned(),
        "DROP VIEW sessions".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{secret}'"),
        "INSERT INTO events SELECT * FROM events".to_owned(),
        "DELETE FROM events".to_owned(),
        "UPDATE events SET seq = 0".to_owned(),
        format!("COPY events TO '{}/out.parquet'", data.path().display()),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "EXPLAIN ANALYZE DELETE FROM events".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
    ] {
        let (code, message) = refusal(ask(&url, &sql).await.unwrap_err());
        assert_eq!(code, Code::PermissionDenied, "{sql}: {message}");
        assert!(
            message.contains("only one statement that reads"),
            "{sql}: {message}"
        );
    }
    for sql in [
        "SELECT 1; SELECT 2".to_owned(),
        format!("SELECT * FROM '{secret}'"),
        "SELEC 1".to_owned(),
        String::new(),
    ] {
        let (code, message) = refusal(ask(&url, &sql).await.unwrap_err());
        assert_eq!(code, Code::InvalidArgument, "{sql}: {message}");
    }
    assert_eq!(value(&url, "SELECT count(*) FROM events").await, 3);
    assert!(!data.path().join("out.parquet").exists());
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_column_is_answered_with_the_nearest_known_one() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let (_, message) = refusal(
        ask(&collector.url(), "SELECT sesion FROM events")
            .await
            .unwrap_err(),
    );
    assert!(
        message.contains("sesion") && message.contains("session"),
        "{message}"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_over_the_row_limit_is_cut_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::with(data.path(), |options| options.limits.rows = 10);
    let mut client = Client::new(&collector.url()).unwrap();
    let answer = client
        .ask("SELECT * FROM generate_series(1, 11)")
        .await
        .unwrap();
    assert_eq!((answer.rows(), answer.truncated), (10, true));
    let answer = client
        .ask("SELECT * FROM generate_series(1, 10)")
        .await
        .unwrap();
    assert_eq!((answer.rows(), answer.truncated), (10, false));
    let answer = client.ask("SELECT 1 AS one WHERE false").await.unwrap();
    assert_eq!((answer.rows(), answer.truncated), (0, false));
    assert_eq!(answer.schema.field(0).name(), "one");
    assert_eq!(answer.json().unwrap(), b"[]");
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_query_is_stopped_and_told_how_to_be_faster() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::with(data.path(), |options| {
        options.limits.time = Duration::from_millis(200);
    });
    let endless = "SELECT count(*) FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";
    let (code, message) = refusal(ask(&collector.url(), endless).await.unwrap_err());
    assert_eq!(code, Code::DeadlineExceeded, "{message}");
    assert!(
        message.contains("time limit of 0.2 s") && message.contains("WHERE"),
        "{message}"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_the_memory_limit_is_stopped_and_told_how_to_be_smaller() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::with(data.path(), |options| options.limits.memory = 2 << 20);
    let large = "SELECT value % 999983 AS v, count(*) FROM generate_series(1, 2000000) GROUP BY v";
    let (code, message) = refusal(ask(&collector.url(), large).await.unwrap_err());
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(
        message.contains("memory limit of 2 MiB") && message.contains("WHERE"),
        "{message}"
    );
    assert_eq!(
        value(&collector.url(), "SELECT 1").await,
        1,
        "the next one is not affected"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_made_to_exhaust_the_planner_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for statement in [
        format!("SELECT {}1", "1+".repeat(40_000)),
        format!("SELECT {}1", "1+".repeat(20_000)),
        format!("SELECT {}1{}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("SELECT {} true", "NOT ".repeat(15_000)),
    ] {
        let (code, message) = refusal(ask(&collector.url(), &statement).await.unwrap_err());
        assert_eq!(code, Code::InvalidArgument, "{message}");
    }
    // As deep as is allowed: answered or refused, and on no more stack than there is.
    for operator in ["+", " OR pid = ", " || ", " * "] {
        let chain = format!("1{operator}").repeat(240);
        let _ = ask(
            &collector.url(),
            &format!("SELECT pid = {chain}1 FROM events"),
        )
        .await;
    }
    let sum = format!("SELECT {}1 AS n", "1+".repeat(480));
    assert_eq!(value(&collector.url(), &sum).await, 481);
    collector.stop();
}
