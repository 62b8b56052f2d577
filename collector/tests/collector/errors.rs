//! What a wrong statement is answered with: where the mistake is, and what may have been meant.

use serde_json::{Value, json};

use crate::scene::{Collector, SENSOR, Sensor, ask, opens, value, web};

async fn problem(collector: &Collector, sql: &str) -> Value {
    let reply = web::ask(collector.http(), sql).await;
    assert_eq!(reply.status, 400, "{sql}: {}", reply.text());
    reply.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_is_told_with_its_place_and_the_nearest_known_one() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    for (sql, line, column, detail, hint) in [
        (
            "SELECT sesion FROM events",
            1,
            8,
            "no column sesion",
            "did you mean session?",
        ),
        (
            "SELECT count(*)\nFROM events e\nWHERE e.hots = 'ws-1'",
            3,
            7,
            "no column hots in e",
            "did you mean host?",
        ),
        (
            "SELECT 'é', pid FROM exec ORDER BY tiem",
            1,
            36,
            "no column tiem",
            "did you mean time?",
        ),
        (
            "SELECT * FROM evnts",
            1,
            15,
            "no table evnts",
            "did you mean events?",
        ),
        (
            "SELECT * FROM exec JOIN sesions ON true",
            1,
            25,
            "no table sesions",
            "did you mean sessions?",
        ),
        (
            "SELECT cuont(*) FROM events",
            1,
            8,
            "no function cuont",
            "did you mean count?",
        ),
    ] {
        let problem = problem(&collector, sql).await;
        let position = &problem["position"];
        assert_eq!(
            (&position["line"], &position["column"]),
            (&json!(line), &json!(column)),
            "{sql}: {problem}"
        );
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{sql}: {told}");
        assert_eq!(problem["hint"], hint, "{sql}");
    }
    // A name that is like none.
    let far = problem(&collector, "SELECT * FROM zzzzzzzzzzz").await;
    let hint = far["hint"].as_str().unwrap();
    assert!(
        hint.contains("known are") && hint.contains("sessions"),
        "{hint}"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sql_is_told_with_its_place() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    for (sql, line, column) in [
        ("SELEC 1", 1, 1),
        ("SELECT *\nFROM events\nWHERE pid = = 3", 3, 13),
        ("SELECT 'open", 1, 8),
        ("SELECT (1", 1, 10),
    ] {
        let problem = problem(&collector, sql).await;
        let position = &problem["position"];
        assert_eq!(
            (&position["line"], &position["column"]),
            (&json!(line), &json!(column)),
            "{sql}: {problem}"
        );
        assert!(
            problem["detail"].as_str().unwrap().starts_with("not SQL: "),
            "{problem}"
        );
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_is_told_over_grpc_and_postgres_too() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let sql = "SELECT sesion FROM events";
    let message = ask(&collector.url(), sql).await.unwrap_err().to_string();
    assert!(
        message.contains("line 1, column 8: ") && message.contains("did you mean session?"),
        "{message}"
    );
    let client = crate::postgres::connect(&collector).await;
    for (sql, code, position) in [
        (sql, "42703", Some(8)),
        ("SELECT 1;\n SELECT * FROM evnts", "42P01", Some(26)),
        ("SELECT cuont(*) FROM events", "42883", Some(8)),
        ("SELECT 1 +", "42601", Some(11)),
        ("DELETE FROM events", "25006", None),
        ("SELECT 1/0", "42000", None),
    ] {
        let error = client.simple_query(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), code, "{sql}: {error}");
        let told = error.position().map(|position| match position {
            tokio_postgres::error::ErrorPosition::Original(position) => *position,
            other => panic!("{other:?}"),
        });
        assert_eq!(told, position, "{sql}: {error}");
    }
    let error = client
        .prepare(" SELECT sesion FROM events")
        .await
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.hint(), Some("did you mean session?"));
    assert_eq!(
        error.position(),
        Some(&tokio_postgres::error::ErrorPosition::Original(9))
    );
    collector.stop();
}

/// Each is as deep as it can be made within the bounds, in a way of its own.
#[tokio::test(flavor = "multi_thread")]
async fn no_statement_ends_the_process() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(1, opens(1, 3)).await;
    sensor.acked(3).await;
    let client = crate::postgres::connect(&collector).await;
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!(
            "SELECT {}{inner}{} FROM events",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    let statements = [
        nested("1 + ", "pid", "", 490),
        nested("pid = 1 OR ", "true", "", 160),
        nested("NOT ", "true", "", 480),
        nested("- ", "pid", "", 480),
        nested("(", "pid", ")", 240),
        nested("abs(", "pid", ")", 160),
        nested("CASE WHEN true THEN ", "pid", " END", 120),
        nested("CAST(", "pid", " AS BIGINT)", 120),
        nested("host || ", "host", "", 240),
        nested("ARRAY[", "pid", "]", 240),
        format!(
            "SELECT * FROM {}events{}",
            "(SELECT * FROM ".repeat(120),
            ")".repeat(120)
        ),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(160)),
        format!("SELECT count(*) FROM events e0{}", ", events".repeat(50)),
        format!(
            "WITH {} SELECT * FROM c0",
            (0..60)
                .map(|n| format!(
                    "c{n} AS (SELECT * FROM {})",
                    match n {
                        59 => "events".to_owned(),
                        n => format!("c{}", n + 1),
                    }
                ))
                .rev()
                .collect::<Vec<_>>()
                .join(", ")
        ),
        "SELECT 1".to_owned() + &" ".repeat(65_000),
        "\u{0}\u{1}'".to_owned(),
    ];
    for statement in &statements {
        let _ = ask(&collector.url(), statement).await;
        let _ = web::ask(collector.http(), statement).await;
        let _ = client.simple_query(&statement.replace('\u{0}', "")).await;
        let _ = client.prepare(&statement.replace('\u{0}', "")).await;
    }
    assert_eq!(
        value(&collector.url(), "SELECT count(*) FROM events").await,
        3
    );
    let recorded = value(&collector.url(), "SELECT count(*) FROM queries").await;
    // What was only prepared was not asked.
    let asked = 3 * statements.len() as u64;
    let shown =
        "SELECT front_end, outcome, error, milliseconds, substr(sql, 1, 60) AS sql FROM queries";
    assert!(
        recorded.as_u64().unwrap() >= asked,
        "{recorded} of {asked}: {:#}",
        ask(&collector.url(), shown).await.unwrap()
    );
    collector.stop();
}
