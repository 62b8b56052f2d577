//! Queries over PostgreSQL's protocol, by psql and by a client with prepared statements.

use std::{process::Command, time::Duration};

use futures::StreamExt;
use skep_testing::Finish;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage, types::Type};

use crate::scene::{Collector, HANG, SENSOR, SESSION, Sensor, opens, small_session, until};

pub async fn connect(collector: &Collector) -> Client {
    let (client, connection) = tokio_postgres::connect(&parameters(collector), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn parameters(collector: &Collector) -> String {
    let address = collector.postgres();
    format!(
        "host={} port={} user=alice dbname=skep application_name=tests",
        address.ip(),
        address.port()
    )
}

/// What psql prints, on standard output and standard error.
fn psql(collector: &Collector, arguments: &[&str]) -> (String, String) {
    let output = Command::new("psql")
        .args(["-X", "-d", &parameters(collector)])
        .args(arguments)
        .env("PGCONNECT_TIMEOUT", "30")
        .finish();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

async fn with_events(collector: &Collector) {
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let events = small_session();
    let last = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_describes_and_queries() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    with_events(&collector).await;
    let sql = "SELECT agent_family, argv, time FROM exec ORDER BY time, pid";
    let (rows, errors) = psql(&collector, &["-At", "-c", sql]);
    assert_eq!(errors, "");
    let last = rows.lines().last().unwrap();
    assert!(
        last.starts_with("claude-code|{sh,-c,\"echo 'hi'\"}|2025-11-20 08:30:04"),
        "{rows}"
    );

    for command in ["\\dt", "\\dv", "\\d"] {
        let (listed, errors) = psql(&collector, &["-c", command]);
        assert_eq!(errors, "", "{command}");
        let (name, other) = match command {
            "\\dv" => ("sessions", " events "),
            _ => ("events", "nothing"),
        };
        assert!(
            listed.contains(name) && !listed.contains(other),
            "{command}: {listed}"
        );
    }
    for table in ["events", "sessions", "queries"] {
        let (described, errors) = psql(&collector, &["-c", &format!("\\d {table}")]);
        assert_eq!(errors, "", "{table}");
        let column = match table {
            "queries" => "started",
            _ => "sensor_id",
        };
        assert!(
            described.contains(column) && described.contains("timestamp with time zone"),
            "{described}"
        );
    }
    let (listed, errors) = psql(&collector, &["-c", "\\l", "-c", "\\dn", "-c", "\\conninfo"]);
    assert!(
        errors.is_empty() && listed.contains("public"),
        "{errors}{listed}"
    );

    let (_, errors) = psql(&collector, &["-c", "SELECT pid,\n sesion FROM events"]);
    let expected = "ERROR:  there is no column sesion\nLINE 2:  sesion FROM events\n         ^\n\
                    HINT:  did you mean session?\n";
    assert_eq!(errors, expected);
    let (out, errors) = psql(
        &collector,
        &[
            "-c",
            "BEGIN; SELECT 1 AS one; COMMIT; SET TIME ZONE 'UTC'; SHOW search_path",
        ],
    );
    assert!(
        errors.is_empty() && out.contains("one") && out.contains("COMMIT"),
        "{out}{errors}"
    );
    for write in [
        "DELETE FROM events",
        "CREATE TABLE t (a INT)",
        "INSERT INTO events SELECT * FROM events",
        "COPY events TO '/tmp/x'",
        "TRUNCATE events",
    ] {
        let (_, errors) = psql(&collector, &["-c", write]);
        assert!(errors.starts_with("ERROR:  "), "{write}: {errors}");
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_takes_values_and_sees_what_came_later() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    with_events(&collector).await;
    let client = connect(&collector).await;
    let statement = client
        .prepare("SELECT path, flags::bigint AS flags, argv IS NULL AS none, count(*) OVER () AS n
                  FROM (SELECT f.path, f.flags, NULL AS argv FROM files f WHERE session = $1 AND path LIKE $2)
                  ORDER BY path LIMIT $3::bigint")
        .await
        .unwrap();
    assert_eq!(statement.params(), [Type::TEXT, Type::TEXT, Type::INT8]);
    let rows = client
        .query(&statement, &[&SESSION, &"/home/alice/.claude%", &5_i64])
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].get::<_, &str>("path"), "/home/alice/.claude.json");
    assert_eq!(rows[0].get::<_, i64>("flags"), 0o101);
    assert!(rows[0].get::<_, bool>("none"));

    let lists = client
        .query_one("SELECT argv FROM exec WHERE pid = 4250", &[])
        .await
        .unwrap();
    assert_eq!(lists.get::<_, Vec<String>>(0), ["sh", "-c", "echo 'hi'"]);

    let count = client.prepare("SELECT count(*) FROM events").await.unwrap();
    let before: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
    let (mut sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(acked + 1, opens(1, 3)).await;
    sensor.acked(acked + 3).await;
    let after: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(after, before + 3);

    let error = client.query("SELECT $1::bigint + 1", &[&"x"]).await;
    assert!(error.is_err(), "a text is no number");
    assert_eq!(
        client
            .query_one("SELECT 1::bigint", &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        1
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_gives_its_rows_in_parts() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let mut client = connect(&collector).await;
    let transaction = client.transaction().await.unwrap();
    let statement = transaction
        .prepare("SELECT value FROM generate_series(1, 25000)")
        .await
        .unwrap();
    let portal = transaction.bind(&statement, &[]).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let part = transaction.query_portal(&portal, 10_000).await.unwrap();
        if part.is_empty() {
            break;
        }
        assert!(part.len() <= 10_000);
        seen.extend(part.iter().map(|row| row.get::<_, i64>(0)));
    }
    assert_eq!(seen, (1..=25_000).collect::<Vec<_>>());
    // More than there could be: all of it, and no room is made for what does not come.
    let portal = transaction.bind(&statement, &[]).await.unwrap();
    assert_eq!(
        transaction
            .query_portal(&portal, i32::MAX)
            .await
            .unwrap()
            .len(),
        25_000
    );
    transaction.commit().await.unwrap();
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_other_front_ends_and_are_named() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |options| {
        options.limits.rows = 10;
        options.limits.memory = 16 << 20;
        options.limits.time = Duration::from_secs(2);
    });
    let (client, mut connection) = tokio_postgres::connect(&parameters(&collector), NoTls)
        .await
        .unwrap();
    let (notices, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages =
            futures::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message {
                notices.send(notice.message().to_owned()).unwrap();
            }
        }
    });
    let sql = "SELECT value FROM generate_series(1, 11)";
    assert_eq!(client.query(sql, &[]).await.unwrap().len(), 10);
    let notice = tokio::time::timeout(HANG, told.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(notice.contains("cut at the limit of 10 rows"), "{notice}");
    let simple = client.simple_query(sql).await.unwrap();
    let rows = simple
        .iter()
        .filter(|m| matches!(m, SimpleQueryMessage::Row(_)))
        .count();
    assert_eq!(rows, 10);
    let notice = tokio::time::timeout(HANG, told.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(notice.contains("cut at the limit of 10 rows"), "{notice}");

    let endless = "SELECT count(*) FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";
    let large = "SELECT value % 999983 AS v, count(*) FROM generate_series(1, 2000000) GROUP BY v";
    for (sql, code, words) in [
        (large, "53200", "memory limit of 16 MiB"),
        (endless, "57014", "time limit of 2 s"),
    ] {
        let error = client.query(sql, &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), code, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    client
        .simple_query("SET statement_timeout = 100")
        .await
        .unwrap();
    let error = client.simple_query(endless).await.unwrap_err();
    let error = error.as_db_error().unwrap().message().to_owned();
    assert!(error.contains("time limit of 0.1 s"), "{error}");
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_can_be_cancelled() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let client = connect(&collector).await;
    let cancel = client.cancel_token();
    let endless = "SELECT value FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";
    let running = tokio::spawn(async move {
        let error = client.simple_query(endless).await.unwrap_err();
        (
            client,
            error.as_db_error().unwrap().code().code().to_owned(),
        )
    });
    let state = |outcome| {
        format!(
            "SELECT count(*) FROM queries WHERE front_end = 'postgres' AND outcome = '{outcome}'"
        )
    };
    until(&collector.url(), &state("running"), 1).await;
    cancel.cancel_query(NoTls).await.unwrap();
    let (client, code) = tokio::time::timeout(HANG, running).await.unwrap().unwrap();
    assert_eq!(code, "57014");
    until(&collector.url(), &state("cancelled"), 1).await;
    client.simple_query("SELECT 1").await.unwrap();
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_client_sends_ends_more_than_its_connection() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let client = connect(&collector).await;
    let mut start = 17_u32.to_be_bytes().to_vec();
    start.extend(196_608_u32.to_be_bytes());
    start.extend(b"user\0al\0\0");
    let after_start = |bytes: &[u8]| [start.as_slice(), bytes].concat();
    let portal = |execute: i32| {
        let mut bytes = after_start(b"P\0\0\0\x10\0SELECT 1\0\0\0");
        bytes.extend(b"B\0\0\0\x0c\0\0\0\0\0\0\0\0");
        bytes.extend(b"E\0\0\0\x09\0");
        bytes.extend(execute.to_be_bytes());
        bytes.extend(b"S\0\0\0\x04");
        bytes
    };
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0; 64],
        after_start(&[b'Q', 0xff, 0xff, 0xff, 0xff]),
        after_start(&[b'Q', 0x7f, 0xff, 0xff, 0xff]),
        after_start(b"Q\0\0\0\x08\xff\xfe\xfd\0"),
        after_start(&[0xee; 40]),
        // Three formats for one column, and none for a value.
        after_start(b"P\0\0\0\x10\0SELECT 1\0\0\0B\0\0\0\x12\0\0\0\0\0\0\0\x03\0\x01\0\x01\0\x01D\0\0\0\x06P\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"),
        portal(-1),
        portal(i32::MIN),
        portal(i32::MAX),
    ] {
        let mut stream = TcpStream::connect(collector.postgres()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(HANG, stream.read_to_end(&mut answer)).await;
        let _ = ended.expect("the connection ends");
    }
    // Names of statements are bounded.
    let mut kept = Vec::new();
    let error = loop {
        match client.prepare("SELECT 1").await {
            Ok(statement) => kept.push(statement),
            Err(error) => break error,
        }
    };
    assert_eq!(error.as_db_error().unwrap().code().code(), "53400");
    assert_eq!(kept.len(), 256);
    kept.pop();
    client.simple_query("SELECT 1").await.unwrap();
    client.prepare("SELECT 1").await.unwrap();
    collector.stop();
}
