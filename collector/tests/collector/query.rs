//! The tables and views, over a small session.

use serde_json::{Value, json};
use skep_collector::{query::VIEWS, schema};
use skep_proto::v1::Event;

use crate::scene::{
    CHILD_SESSION, Collector, SENSOR, SESSION, Sensor, ask, session_with_gaps, small_session,
};

async fn with_session(data: &std::path::Path) -> Collector {
    with_events(data, small_session()).await
}

async fn with_events(data: &std::path::Path, events: Vec<Event>) -> Collector {
    let collector = Collector::start(data);
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let count = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(count).await;
    collector
}

async fn rows(collector: &Collector, sql: &str) -> Vec<Value> {
    match ask(&collector.url(), sql).await {
        Ok(Value::Array(rows)) => rows,
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_one_row_with_what_it_was_and_did() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let sessions = rows(&collector, "SELECT * FROM sessions ORDER BY started").await;
    assert_eq!(sessions.len(), 2);
    let session = &sessions[0];
    for (column, expected) in [
        ("session", json!(SESSION)),
        ("host", json!("ws-0123")),
        ("agent_family", json!("claude-code")),
        ("agent_version", json!("2.1.91")),
        ("agent_confidence", json!(95)),
        ("started", json!("2025-11-20T08:30:00Z")),
        ("ended", json!("2025-11-20T08:30:07Z")),
        ("last_seen", json!("2025-11-20T08:31:00Z")),
        ("user_name", json!("alice")),
        ("login_uid", json!(1000)),
        ("terminal", json!("/dev/pts/3")),
        ("cwd", json!("/home/alice/app")),
        ("repo_remote", json!("git@github.com:acme/app.git")),
        ("repo_branch", json!("main")),
        ("root_pid", json!(4242)),
        ("processes", json!(2)),
        ("files", json!(203)),
        ("destinations", json!(3)),
        ("parent", Value::Null),
        ("gaps", json!(0)),
        ("found", json!("observed")),
        ("lost", json!(true)),
        ("uncovered", json!(false)),
    ] {
        assert_eq!(session[column], expected, "{column}");
    }
    let child = &sessions[1];
    assert_eq!(child["session"], CHILD_SESSION);
    assert_eq!(child["parent"], SESSION);
    assert_eq!(child["agent_version"], Value::Null, "unknown stays unknown");
    assert_eq!(child["ended"], Value::Null);
    assert_eq!(child["lost"], false, "nothing was lost while it was seen");
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_views_say_what_happened() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let agents = rows(&collector, "SELECT * FROM agents ORDER BY agent_family").await;
    assert_eq!(agents.len(), 2);
    assert_eq!(agents[0]["agent_family"], "claude-code");
    assert_eq!(agents[0]["sessions"], 1);
    assert_eq!(
        agents[0]["evidence"],
        json!(["package.json:@anthropic-ai/claude-code@2.1.91"])
    );
    let exec = rows(
        &collector,
        "SELECT pid, argv, filename FROM exec ORDER BY time, pid",
    )
    .await;
    assert_eq!(exec.len(), 3);
    assert_eq!(exec[2]["argv"], json!(["sh", "-c", "echo 'hi'"]));
    let access = "SELECT access, count(*) AS n FROM files GROUP BY access ORDER BY access";
    let access = rows(&collector, access).await;
    let expected = json!([
        {"access": "create", "n": 1}, {"access": "read", "n": 201}, {"access": "write", "n": 1}
    ]);
    assert_eq!(Value::Array(access), expected);
    let net = rows(
        &collector,
        "SELECT destination, count FROM net ORDER BY destination",
    )
    .await;
    let destinations: Vec<_> = net
        .iter()
        .map(|row| row["destination"].as_str().unwrap())
        .collect();
    assert_eq!(destinations, ["127.0.0.1:8399", "@keyring", "[::1]:443"]);
    let lost = rows(
        &collector,
        "SELECT hop, record, cause, count, first, last FROM lost",
    )
    .await;
    let expected = json!([{
        "hop": "kernel", "record": "open", "cause": "ring_full", "count": 7,
        "first": "2025-11-20T08:30:03Z", "last": "2025-11-20T08:30:04Z"
    }]);
    assert_eq!(Value::Array(lost), expected);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_vouched_for_is_one_row_a_time_and_place() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_events(data.path(), session_with_gaps()).await;
    let gaps = rows(
        &collector,
        "SELECT what, hook, session, date_part('second', first) AS starts,
                date_part('second', last) AS ends, count, reason
         FROM coverage ORDER BY first, what, reason",
    )
    .await;
    let gap = |what: &str, hook: Value, session: Value, range: [Value; 2], count, reason: &str| {
        let [first, last] = range;
        json!({"what": what, "hook": hook, "session": session, "starts": first, "ends": last,
               "count": count, "reason": reason})
    };
    let none = || Value::Null;
    let connect = || json!("cgroup/connect4");
    let range = |first: u64, last: u64| [json!(first), json!(last)];
    let expected = [
        gap("blind", none(), none(), range(0, 1), 0, "because of blind"),
        gap("hook", connect(), none(), range(2, 5), 0, "because of hook"),
        gap(
            "throttled",
            none(),
            json!(SESSION),
            range(2, 4),
            1200,
            "because of throttled",
        ),
        gap(
            "lost",
            none(),
            json!(CHILD_SESSION),
            range(5, 6),
            3,
            "connect records at kernel: throttled",
        ),
        gap(
            "lost",
            none(),
            json!(SESSION),
            range(5, 6),
            3,
            "open records at kernel: throttled",
        ),
        gap(
            "evicted",
            none(),
            none(),
            range(8, 9),
            0,
            "because of evicted",
        ),
        // Told again without an end in between, and then no more.
        gap("hook", connect(), none(), range(8, 9), 0, "because of hook"),
        gap(
            "hook",
            connect(),
            none(),
            [json!(9), none()],
            0,
            "because of hook",
        ),
    ];
    let shown = |gap: &Value| gap.to_string();
    assert_eq!(
        gaps.iter().map(shown).collect::<Vec<_>>(),
        expected.iter().map(shown).collect::<Vec<_>>()
    );
    let told = "SELECT coverage_what, coverage_phase, count FROM events
                WHERE coverage_what = 'canary' AND session IS NULL";
    assert_eq!(
        rows(&collector, told).await.len(),
        1,
        "a self-test is no gap"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_how_it_was_found_and_whether_its_story_has_gaps() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_events(data.path(), session_with_gaps()).await;
    let sql = "SELECT session, gaps, found, lost, uncovered, first_seen, last_seen
               FROM sessions ORDER BY session";
    let sessions = rows(&collector, sql).await;
    let expected = json!([
        {"session": SESSION, "gaps": 2, "found": "running", "lost": true, "uncovered": true,
         "first_seen": "2025-11-20T08:30:01Z", "last_seen": "2025-11-20T08:30:07Z"},
        {"session": CHILD_SESSION, "gaps": null, "found": null, "lost": true, "uncovered": false,
         "first_seen": "2025-11-20T08:30:06Z", "last_seen": "2025-11-20T08:30:06Z"},
    ]);
    assert_eq!(Value::Array(sessions), expected);
    let files = rows(
        &collector,
        "SELECT path, inode, device, links FROM files ORDER BY path",
    )
    .await;
    let expected = json!([
        {"path": "/home/alice/notes", "inode": 1_048_577, "device": "8:1", "links": 2},
        {"path": null, "inode": null, "device": null, "links": null},
    ]);
    assert_eq!(Value::Array(files), expected);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_from_memory_from_files_and_from_both() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let every = "SELECT * FROM events ORDER BY seq";
    let stored = rows(&collector, every).await;
    let (sensor, acked) = Sensor::connect(&collector.url(), SENSOR).await;
    assert_eq!(acked, stored.len() as u64);
    collector.stop();
    drop(sensor);

    let elsewhere = tempfile::tempdir().unwrap();
    let collector = Collector::with(elsewhere.path(), |options| {
        options.store.flush_every = std::time::Duration::from_secs(3600);
    });
    let (sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(1, small_session()).await;
    crate::scene::until(&collector.url(), "SELECT count(*) FROM events", acked).await;
    assert_eq!(rows(&collector, every).await, stored);
    collector.stop();

    let collector = Collector::with(elsewhere.path(), |options| {
        options.store.flush_every = std::time::Duration::from_secs(3600);
    });
    let (sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    sensor.send(acked + 1, small_session()).await;
    let both = "SELECT count(*) FROM events";
    crate::scene::until(&collector.url(), both, acked * 2).await;
    let halves = rows(&collector, every).await;
    let (first, second) = halves.split_at(stored.len());
    assert_eq!(first, stored);
    assert_eq!(second.len(), stored.len());
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_is_in_the_document() {
    let document = include_str!("../../../docs/collector.md");
    for column in schema::COLUMNS {
        let line = format!("| `{}` |", column.name);
        assert!(
            document.contains(&line),
            "docs/collector.md has no line {line}"
        );
        assert!(
            document.contains(column.about),
            "docs/collector.md: {}",
            column.about
        );
    }
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for view in VIEWS {
        assert!(
            document.contains(&format!("`{}`", view.name)),
            "{}",
            view.name
        );
    }
    for table in rows(&collector, "SHOW TABLES").await {
        if table["table_schema"] == "public" {
            let name = table["table_name"].as_str().unwrap();
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }
    collector.stop();
}
