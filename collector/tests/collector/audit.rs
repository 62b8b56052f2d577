//! The record of queries.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Collector, ask, until, web};

const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";

async fn recorded(collector: &Collector, sql: &str) -> Value {
    let columns = "front_end, user_name, application, outcome, rows, truncated, error, \
                   peer LIKE '127.0.0.1:%' AS peer, milliseconds >= 0 AS took, started IS NOT NULL AS at";
    let sql = sql.replace('\'', "''");
    let asked = format!("SELECT {columns} FROM queries WHERE sql = '{sql}' ORDER BY id");
    ask(&collector.url(), &asked).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_is_recorded_with_its_origin_and_what_became_of_it() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |options| {
        options.limits.rows = 10;
        options.limits.time = Duration::from_secs(2);
    });
    let client = crate::postgres::connect(&collector).await;
    let queries = [
        ("SELECT value FROM generate_series(1, 11)", "answered"),
        ("SELECT sesion FROM events", "refused"),
        ("SELEC 1", "refused"),
        ("DROP TABLE events", "refused"),
        (ENDLESS, "stopped"),
    ];
    for (sql, _) in queries {
        let _ = ask(&collector.url(), sql).await;
        let _ = web::ask(collector.http(), sql).await;
        let _ = client.simple_query(sql).await;
    }
    for (sql, outcome) in queries {
        let rows = recorded(&collector, sql).await;
        let rows = rows.as_array().unwrap();
        let fronts: Vec<_> = rows
            .iter()
            .map(|row| row["front_end"].as_str().unwrap())
            .collect();
        assert_eq!(fronts, ["grpc", "http", "postgres"], "{sql}");
        for row in rows {
            assert_eq!(row["outcome"], outcome, "{row}");
            assert_eq!(
                (&row["peer"], &row["took"], &row["at"]),
                (&json!(true), &json!(true), &json!(true)),
                "{row}"
            );
            assert_eq!(row["error"].is_null(), outcome == "answered", "{row}");
            if outcome == "answered" {
                assert_eq!(
                    (&row["rows"], &row["truncated"]),
                    (&json!(10), &json!(true)),
                    "{row}"
                );
            }
        }
        assert_eq!(rows[1]["application"], "skep-tests/1");
        assert_eq!(
            (&rows[2]["user_name"], &rows[2]["application"]),
            (&json!("alice"), &json!("tests"))
        );
    }
    // What a statement was given is part of what was asked.
    let sql = "SELECT count(*) FROM events WHERE session = $1 AND pid > $2";
    client.query(sql, &[&"abc", &7_i32]).await.unwrap();
    let given = format!("SELECT parameters FROM queries WHERE sql = '{sql}'");
    let given = ask(&collector.url(), &given).await.unwrap();
    assert_eq!(given, json!([{"parameters": ["abc", "7"]}]));
    assert!(client.prepare("SELECT nothing FROM events").await.is_err());
    let refused = recorded(&collector, "SELECT nothing FROM events").await;
    assert_eq!(refused[0]["outcome"], "refused");
    // The one that asks is among them.
    let own = "SELECT outcome FROM queries WHERE outcome = 'running'";
    assert_eq!(
        ask(&collector.url(), own)
            .await
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_outlives_the_collector_and_says_what_was_interrupted() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    ask(&collector.url(), "SELECT 1 AS kept").await.unwrap();
    let url = collector.url();
    let running = tokio::spawn(async move { ask(&url, ENDLESS).await });
    let begun = format!("SELECT count(*) FROM queries WHERE sql = '{ENDLESS}'");
    until(&collector.url(), &begun, 1).await;
    collector.lose();
    assert!(running.await.unwrap().is_err());

    let collector = Collector::open(data.path());
    assert_eq!(
        recorded(&collector, "SELECT 1 AS kept").await[0]["outcome"],
        "answered"
    );
    assert_eq!(
        recorded(&collector, ENDLESS).await[0]["outcome"],
        "interrupted"
    );
    ask(&collector.url(), "SELECT 2 AS after").await.unwrap();
    let numbers = "SELECT count(*) = max(id) AND min(id) = 1 FROM queries";
    until(&collector.url(), numbers, true).await;
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_set_aside_and_a_new_one_begun() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("audit.redb");
    let collector = Collector::open(data.path());
    ask(&collector.url(), "SELECT 1 AS kept").await.unwrap();
    collector.stop();
    let whole = std::fs::read(&file).unwrap();
    let cases: [(&str, Vec<u8>); 4] = [
        (
            "other bytes",
            b"this is no record of queries at all".repeat(400),
        ),
        ("cut", whole[..whole.len() / 3].to_vec()),
        ("zeroes", vec![0; whole.len()]),
        ("rotten pages", {
            let mut rotten = whole.clone();
            rotten.iter_mut().skip(4096).for_each(|byte| *byte = !*byte);
            rotten
        }),
    ];
    for (index, (what, bytes)) in cases.into_iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let collector = Collector::open(data.path());
        let health = web::get(collector.http(), "/v1/health").await.json();
        assert_eq!(health["status"], "degraded", "{what}");
        let aside = match index {
            0 => "audit.redb.damaged".to_owned(),
            n => format!("audit.redb.damaged.{n}"),
        };
        assert!(
            health["problems"][0].as_str().unwrap().contains(&aside),
            "{what}: {health}"
        );
        assert!(data.path().join(aside).exists(), "{what}");
        ask(&collector.url(), "SELECT 2 AS new").await.unwrap();
        assert_eq!(
            recorded(&collector, "SELECT 1 AS kept").await,
            json!([]),
            "{what}"
        );
        assert_eq!(
            recorded(&collector, "SELECT 2 AS new").await[0]["outcome"],
            "answered",
            "{what}"
        );
        collector.stop();
    }
}
