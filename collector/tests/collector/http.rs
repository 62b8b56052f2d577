//! Queries over HTTP.

use std::{collections::BTreeSet, time::Duration};

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::scene::{
    Collector, SENSOR, Sensor, opens, small_session, until,
    web::{self, Reply},
};

/// Method, path, headers and body.
type Sent<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, String);

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn with_events(collector: &Collector) {
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let events = small_session();
    let last = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_answered_with_columns_rows_and_whether_there_were_more() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |options| options.limits.rows = 10);
    with_events(&collector).await;
    let reply = web::ask(
        collector.http(),
        "SELECT agent_family, argv, NULL AS nothing FROM exec ORDER BY time, pid",
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let answer = reply.json();
    let names: Vec<_> = answer["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["agent_family", "argv", "nothing"]);
    let last =
        json!({"agent_family": "claude-code", "argv": ["sh", "-c", "echo 'hi'"], "nothing": null});
    assert_eq!(answer["rows"][2], last);
    assert_eq!(
        (&answer["row_count"], &answer["truncated"]),
        (&json!(3), &json!(false))
    );

    let sql = "SELECT a.value, b.value FROM generate_series(1, 11) a
               JOIN generate_series(1, 11) b ON a.value = b.value ORDER BY a.value";
    let cut = web::ask(collector.http(), sql).await.json();
    assert_eq!(
        (&cut["row_count"], &cut["truncated"]),
        (&json!(10), &json!(true)),
        "{cut}"
    );
    assert_eq!(cut["rows"].as_array().unwrap().len(), 10);
    assert_eq!(cut["rows"][1], json!({"value": 2, "value_2": 2}));
    assert_eq!(cut["columns"][1]["name"], "value_2");

    let host = collector.http().to_string();
    let body = json!({"sql": "SELECT path FROM files", "max_rows": 2}).to_string();
    let headers = [("Host", host.as_str()), JSON];
    let fewer = web::send(
        collector.http(),
        "POST",
        "/v1/query",
        &headers,
        body.as_bytes(),
    )
    .await;
    assert_eq!(fewer.json()["row_count"], 2);
    let none = web::ask(collector.http(), "SELECT 1 AS one WHERE false")
        .await
        .json();
    assert_eq!(
        (&none["rows"], &none["columns"][0]["name"]),
        (&json!([]), &json!("one"))
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_has_the_same_rows() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let sql = "SELECT value AS n, 'a\"b,' || value AS t, ARRAY[value, 2] AS l,
               CASE WHEN value > 1 THEN true END AS m FROM generate_series(1, 20000) ORDER BY n";
    let form = |accept: &'static str| web::ask_as(collector.http(), sql, accept);
    let object = form("text/html;q=0.9, */*;q=0.1").await;
    assert_eq!(object.header("content-type"), Some("application/json"));
    let rows = object.json()["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 20_000);
    assert_eq!(
        rows[0],
        json!({"n": 1, "t": "a\"b,1", "l": [1, 2], "m": null})
    );

    let lines = form("application/x-ndjson").await;
    let parsed: Vec<Value> = lines
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(parsed, rows);

    let csv = form("text/csv").await.text();
    assert!(
        csv.starts_with(
            "n,t,l,m\r\n1,\"a\"\"b,1\",\"[1,2]\",\r\n2,\"a\"\"b,2\",\"[2,2]\",true\r\n"
        ),
        "{}",
        &csv[..200]
    );
    assert_eq!(csv.lines().count(), 20_001);

    let arrow = form("application/vnd.apache.arrow.stream").await;
    let batches = StreamReader::try_new(arrow.body.as_slice(), None).unwrap();
    assert_eq!(
        batches
            .map(|batch| batch.unwrap().num_rows())
            .sum::<usize>(),
        20_000
    );

    assert_eq!(form("image/png").await.status, 406);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fails_in_the_middle_is_broken_off_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |o| o.limits.rows = 10_000_000);
    let sql = "SELECT 1 / (value - 90000) AS n FROM generate_series(1, 100000)";
    let object = web::ask(collector.http(), sql).await;
    assert_eq!((object.status, object.whole), (200, false));
    let answer = object.json();
    assert_eq!(answer["error"]["type"], "urn:skep:problem:statement");
    assert_eq!(
        answer["row_count"],
        answer["rows"].as_array().unwrap().len()
    );

    let lines = web::ask_as(collector.http(), sql, "application/x-ndjson").await;
    assert!(!lines.whole);
    let last: Value = serde_json::from_str(lines.text().lines().last().unwrap()).unwrap();
    assert!(last["error"]["detail"].is_string(), "{last}");
    for form in ["text/csv", "application/vnd.apache.arrow.stream"] {
        assert!(
            !web::ask_as(collector.http(), sql, form).await.whole,
            "{form}"
        );
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_other_front_ends_and_are_named() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |options| {
        options.limits.time = Duration::from_secs(5);
        options.limits.memory = 16 << 20;
        options.limits.concurrent = 1;
    });
    let endless = "SELECT count(*) FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";
    let large = "SELECT value % 999983 AS v, count(*) FROM generate_series(1, 2000000) GROUP BY v";
    for (sql, status, kind, words) in [
        (large, 422, "memory-limit", "memory limit of 16 MiB"),
        (
            "DROP TABLE events",
            403,
            "read-only",
            "only one statement that reads",
        ),
        (endless, 504, "time-limit", "time limit of 5 s"),
    ] {
        let reply = web::ask(collector.http(), sql).await;
        let problem = reply.json();
        assert_eq!(
            (reply.status, problem["status"].as_u64()),
            (status, Some(status.into())),
            "{problem}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(problem["type"], format!("urn:skep:problem:{kind}"));
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{problem}"
        );
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_web_page_can_send_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let host = collector.http().to_string();
    let host = ("Host", host.as_str());
    let body = json!({"sql": "SELECT 1"}).to_string();
    let post = async |headers: &[(&str, &str)]| {
        let reply = web::send(
            collector.http(),
            "POST",
            "/v1/query",
            headers,
            body.as_bytes(),
        )
        .await;
        for (name, _) in &reply.headers {
            assert!(!name.starts_with("access-control"), "{name}");
        }
        reply.status
    };
    assert_eq!(post(&[host, JSON]).await, 200);
    assert_eq!(
        post(&[
            ("Host", "localhost"),
            ("Content-Type", "application/json; charset=utf-8")
        ])
        .await,
        200
    );
    // DNS rebinding, other origins, and the forms that need no permission.
    assert_eq!(post(&[("Host", "evil.example"), JSON]).await, 403);
    assert_eq!(
        post(&[host, JSON, ("Origin", "http://evil.example")]).await,
        403
    );
    assert_eq!(post(&[host, JSON, ("Origin", "null")]).await, 403);
    assert_eq!(
        post(&[host, JSON, ("Sec-Fetch-Site", "cross-site")]).await,
        403
    );
    for form in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        assert_eq!(post(&[host, ("Content-Type", form)]).await, 415, "{form}");
    }
    assert_eq!(post(&[host]).await, 415);
    let asked = [
        host,
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let reply = web::send(collector.http(), "OPTIONS", "/v1/query", &asked, b"").await;
    assert_eq!(reply.status, 403);
    for path in ["/v1/health", "/v1/tables", "/openapi.json", "/"] {
        let reply = web::send(
            collector.http(),
            "GET",
            path,
            &[("Host", "evil.example")],
            b"",
        )
        .await;
        assert_eq!(reply.status, 403, "{path}");
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let reply = web::get(collector.http(), "/v1/health").await;
    assert_eq!(
        (
            reply.json()["status"].clone(),
            reply.json()["problems"].clone()
        ),
        (json!("ok"), json!([]))
    );
    let lag = json!({"entries": 0, "bytes": 0, "seconds": 0});
    let tables = json!({
        "name": "tables", "position": 0, "lag": lag, "still_since": null, "missed": 0,
    });
    assert_eq!(reply.json()["readers"], json!([tables]));
    collector.stop();

    std::fs::write(data.path().join("audit.redb"), "not what it was").unwrap();
    let collector = Collector::open(data.path());
    let health = web::get(collector.http(), "/v1/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert!(
        health["problems"][0]
            .as_str()
            .unwrap()
            .contains("audit.redb.damaged"),
        "{health}"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_row_limit_cut_is_taken_for_a_whole_one_in_no_form() {
    const FORMS: [&str; 3] = [
        "application/x-ndjson",
        "text/csv",
        "application/vnd.apache.arrow.stream",
    ];
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |options| options.limits.rows = 10);
    let address = collector.http();
    let rows = |count: u32| format!("SELECT value FROM generate_series(1, {count})");

    let cut = web::ask(address, &rows(11)).await;
    assert!(cut.whole);
    assert_eq!(cut.json()["row_count"], 10);
    assert_eq!(cut.json()["truncated"], true);
    let hint = cut.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("WHERE"), "{hint}");
    for form in FORMS {
        let cut = web::ask_as(address, &rows(11), form).await;
        assert!(!cut.whole, "{form}");
        match form {
            "text/csv" => assert_eq!(cut.text().lines().count(), 11),
            "application/x-ndjson" => {
                let text = cut.text();
                assert_eq!(text.lines().count(), 11);
                let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
                assert_eq!(last["error"]["type"], "urn:skep:problem:row-limit");
                assert_eq!(last["error"]["hint"], hint);
            }
            _ => {
                let mut rows = StreamReader::try_new(&cut.body[..], None).unwrap();
                assert_eq!(rows.next().unwrap().unwrap().num_rows(), 10);
            }
        }
        let whole = web::ask_as(address, &rows(10), form).await;
        assert!(whole.whole, "{form}");
        assert!(!String::from_utf8_lossy(&whole.body).contains("error"));
    }
    let whole = web::ask(address, &rows(10)).await.json();
    assert_eq!(
        (&whole["truncated"], &whole["hint"]),
        (&json!(false), &Value::Null)
    );

    // Who asked for no more rows has all that was asked for.
    let host = address.to_string();
    let body = json!({"sql": rows(11), "max_rows": 10}).to_string();
    for form in FORMS {
        let headers = [("Host", host.as_str()), JSON, ("Accept", form)];
        let asked = web::send(address, "POST", "/v1/query", &headers, body.as_bytes()).await;
        assert!(asked.whole, "{form}");
    }
    collector.stop();
}

/// Every route, status and schema of the document is met by an answer, and every answer is as the
/// document says.
#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_what_is_answered() {
    const PLACE: &str = "http://skep.test/openapi.json";
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open_with(data.path(), |options| {
        options.limits.time = Duration::from_secs(5);
        options.limits.memory = 16 << 20;
    });
    with_events(&collector).await;
    let document = web::get(collector.http(), "/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");

    let host = collector.http().to_string();
    let own = ("Host", host.as_str());
    let foreign = ("Host", "evil.example");
    let body = |sql: &str| json!({"sql": sql}).to_string();
    let csv = ("Accept", "text/csv");
    let huge = "x".repeat(600_000);
    let endless = "SELECT count(*) FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";
    let large = "SELECT value % 999983 AS v, count(*) FROM generate_series(1, 2000000) GROUP BY v";
    let requests: Vec<Sent> = vec![
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            body("SELECT * FROM events"),
        ),
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            body("SELECT * FROM sessions"),
        ),
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            body("EXPLAIN SELECT 1"),
        ),
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            body("SELECT 1 / (value - 90000) FROM generate_series(1, 100000)"),
        ),
        ("post", "/v1/query", vec![own, JSON, csv], body("SELECT 1")),
        (
            "post",
            "/v1/query",
            vec![own, JSON, ("Accept", "application/x-ndjson")],
            body("SELECT 1 AS a"),
        ),
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            body("SELECT sesion FROM events"),
        ),
        ("post", "/v1/query", vec![own, JSON], body("SELECT 1 +")),
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            "{\"sql\": 1}".to_owned(),
        ),
        ("post", "/v1/query", vec![own, JSON], "{\"sql\"".to_owned()),
        (
            "post",
            "/v1/query",
            vec![own, JSON],
            body("DROP TABLE events"),
        ),
        ("post", "/v1/query", vec![foreign, JSON], body("SELECT 1")),
        (
            "post",
            "/v1/query",
            vec![own, JSON, ("Accept", "image/png")],
            body("SELECT 1"),
        ),
        ("post", "/v1/query", vec![own, JSON], body(&huge)),
        ("post", "/v1/query", vec![own], body("SELECT 1")),
        ("post", "/v1/query", vec![own, JSON], body(large)),
        ("post", "/v1/query", vec![own, JSON], body(endless)),
        ("get", "/v1/tables", vec![own], String::new()),
        ("get", "/v1/tables", vec![foreign], String::new()),
        ("get", "/v1/health", vec![own], String::new()),
        ("get", "/v1/health", vec![foreign], String::new()),
        ("get", "/openapi.json", vec![own], String::new()),
        ("get", "/openapi.json", vec![foreign], String::new()),
    ];
    let mut met = BTreeSet::new();
    for (method, path, headers, body) in requests {
        let reply = web::send(
            collector.http(),
            &method.to_uppercase(),
            path,
            &headers,
            body.as_bytes(),
        )
        .await;
        let said = format!("{method} {path} {} {body:.80}", reply.status);
        let operation = &document["paths"][path][method];
        let response = &operation["responses"][reply.status.to_string()];
        assert!(
            response.is_object(),
            "{said}: not in the document: {}",
            reply.text()
        );
        let sent = reply
            .header("content-type")
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        assert!(response["content"][&sent].is_object(), "{said}: {sent}");
        let pointer = [path, method, "responses"].map(|part| part.replace('/', "~1"));
        let [path_part, method_part, responses] = pointer;
        let place = format!(
            "{PLACE}#/paths/{path_part}/{method_part}/{responses}/{}/content/{}/schema",
            reply.status,
            sent.replace('/', "~1"),
        );
        validate(&document, PLACE, &place, &instance(&reply, &sent), &said);
        if path == "/v1/query" && reply.status == 200 && sent == "application/json" {
            let asked: Value = serde_json::from_str(&body).unwrap();
            let schema = format!("{PLACE}#/components/schemas/Query");
            validate(&document, PLACE, &schema, &asked, &said);
        }
        met.insert((path.to_owned(), method.to_owned(), reply.status.to_string()));
    }
    let operations = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (path, method, operation))
        });
    for (path, method, operation) in operations {
        for status in operation["responses"].as_object().unwrap().keys() {
            // Damage and the lack of a turn are not to be had by asking.
            if status != "500" && status != "503" {
                let wanted = (path.clone(), method.clone(), status.clone());
                assert!(met.contains(&wanted), "no answer was {wanted:?}");
            }
        }
    }
    // Every table that the collector lists is one that it has, and the other way round.
    let listed = web::get(collector.http(), "/v1/tables").await.json();
    let listed = listed["tables"].as_array().unwrap();
    let shown = web::ask(collector.http(), "SHOW TABLES").await.json();
    let shown = shown["rows"].as_array().unwrap();
    let public = shown.iter().filter(|row| row["table_schema"] == "public");
    let names: BTreeSet<_> = public
        .map(|row| &row["table_name"])
        .map(Value::to_string)
        .collect();
    assert_eq!(
        names,
        listed
            .iter()
            .map(|table| table["name"].to_string())
            .collect()
    );
    for table in listed {
        assert!(table["about"].is_string(), "{table}");
    }
    collector.stop();
}

/// What the schema speaks of: JSON, a line of it, or text.
fn instance(reply: &Reply, sent: &str) -> Value {
    match sent {
        "application/x-ndjson" => {
            serde_json::from_str(reply.text().lines().next().unwrap()).unwrap()
        }
        "text/csv" => Value::String(reply.text()),
        _ => reply.json(),
    }
}

fn validate(document: &Value, place: &str, schema: &str, instance: &Value, said: &str) {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.set_default_draft(boon::Draft::V2020_12);
    compiler.add_resource(place, document.clone()).unwrap();
    let index = compiler
        .compile(schema, &mut schemas)
        .unwrap_or_else(|e| panic!("{said}: {schema}: {e}"));
    let valid = schemas.validate(instance, index);
    valid.unwrap_or_else(|error| panic!("{said}: {error:#}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_query() {
    use tokio::io::AsyncWriteExt;
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::open(data.path());
    let sql = "SELECT value FROM generate_series(1, 9000000000000000) WHERE value % 7 = 8";
    let body = json!({"sql": sql}).to_string();
    let mut stream = tokio::net::TcpStream::connect(collector.http())
        .await
        .unwrap();
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let outcome = |outcome: &str| {
        format!("SELECT count(*) FROM queries WHERE front_end = 'http' AND outcome = '{outcome}'")
    };
    until(&collector.url(), &outcome("running"), 1).await;
    drop(stream);
    until(&collector.url(), &outcome("cancelled"), 1).await;
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(1, opens(1, 3)).await;
    sensor.acked(3).await;
    collector.stop();
}
