//! The tables and views, over a small session.

use serde_json::{Value, json};
use skep_collector::{query::VIEWS, schema};
use skep_proto::v1::{
    Change, Coverage, Event, Exec, Exit, coverage::Phase, event::Detail, finding::Severity,
};

use crate::scene::{
    CHILD_SESSION, Collector, NOON, SENSOR, SESSION, Sensor, ask, event, finding,
    session_with_gaps, small_session,
};

async fn with_session(data: &std::path::Path) -> Collector {
    let mut events = small_session();
    events.push(finding(3, "sensor.hook_detached", Severity::High));
    with_events(data, events).await
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
        ("last_seen", json!("2025-11-20T08:30:07Z")),
        ("user_name", json!("alice")),
        ("login_uid", json!(1000)),
        ("terminal", json!("/dev/pts/3")),
        ("cwd", json!("/home/alice/app")),
        ("repo_remote", json!("git@github.com:acme/app.git")),
        ("repo_branch", json!("main")),
        ("root_pid", json!(4242)),
        ("parent", Value::Null),
        ("gaps", json!(0)),
        ("found", json!("observed")),
    ] {
        assert_eq!(session[column], expected, "{column}");
    }
    let child = &sessions[1];
    assert_eq!(child["session"], CHILD_SESSION);
    assert_eq!(child["parent"], SESSION);
    assert_eq!(child["agent_version"], Value::Null, "unknown stays unknown");
    assert_eq!(child["ended"], Value::Null);
    let did = "SELECT * FROM session_activity ORDER BY session";
    let expected = json!([
        {"sensor_id": SENSOR, "session": SESSION, "first_event": "2025-11-20T08:30:00Z",
         "last_event": "2025-11-20T08:31:00Z", "processes": 2, "files": 203, "destinations": 3,
         "findings": 1},
        {"sensor_id": SENSOR, "session": CHILD_SESSION, "first_event": "2025-11-20T08:30:05Z",
         "last_event": "2025-11-20T08:30:05Z", "processes": 1, "files": 0, "destinations": 0,
         "findings": 0},
    ]);
    assert_eq!(Value::Array(rows(&collector, did).await), expected);
    let gaps = "SELECT session, whole_host, what, count FROM session_gaps";
    let expected = json!([{"session": SESSION, "whole_host": true, "what": "lost", "count": 7}]);
    assert_eq!(
        Value::Array(rows(&collector, gaps).await),
        expected,
        "nothing was lost while the child was seen"
    );
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
    assert_eq!(agents[0]["running"], 0);
    assert_eq!(agents[1]["running"], 1, "no end of it was told");
    assert_eq!(agents[0]["last_seen"], "2025-11-20T08:30:07Z");
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
    let findings = rows(
        &collector,
        "SELECT session, pid, rule, title, severity, attack, reason FROM findings",
    )
    .await;
    let expected = json!([{
        "session": SESSION, "pid": 4242, "rule": "sensor.hook_detached",
        "title": "A hook was detached", "severity": "high", "attack": ["T1562.001"],
        "reason": "cgroup/connect4 was detached"
    }]);
    assert_eq!(Value::Array(findings), expected);
    let hosts =
        "SELECT host, sensor_version, hooks_live, hooks_not_live, last_self_test FROM hosts";
    let expected = json!([{
        "host": "ws-0123", "sensor_version": "0.1.0", "hooks_live": 0,
        "hooks_not_live": ["open fallback: lsm/file_open: EPERM"], "last_self_test": null
    }]);
    assert_eq!(Value::Array(rows(&collector, hosts).await), expected);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_put_into_place_is_found_by_the_name_it_got_and_a_failed_exec_by_what_was_tried() {
    let data = tempfile::tempdir().unwrap();
    let renamed = Change {
        op: "rename".to_owned(),
        path: Some("/home/alice/.bashrc.tmp.7".to_owned()),
        to: Some("/home/alice/.bashrc".to_owned()),
        count: 1,
        ..Change::default()
    };
    let removed = Change {
        op: "unlink".to_owned(),
        path: Some("/home/alice/app/old".to_owned()),
        many: true,
        count: 1_234,
        ..Change::default()
    };
    let tried = Event {
        result: Some(-2),
        ..event(
            NOON + 2,
            Detail::Exec(Exec {
                filename: Some("/usr/bin/nmap".to_owned()),
                argv: vec!["nmap".to_owned(), "-sV".to_owned()],
                argv_truncated: false,
            }),
        )
    };
    let events = vec![
        event(NOON, Detail::Change(renamed)),
        event(NOON + 1, Detail::Change(removed)),
        tried,
    ];
    let collector = with_events(data.path(), events).await;
    let sql = "SELECT access, was, many, count FROM files WHERE path = '/home/alice/.bashrc'";
    let was = "/home/alice/.bashrc.tmp.7";
    let expected = json!([{"access": "rename", "was": was, "many": false, "count": 1}]);
    assert_eq!(Value::Array(rows(&collector, sql).await), expected);
    let sql = "SELECT path, was, count FROM files WHERE many AND access = 'unlink'";
    let expected = json!([{"path": "/home/alice/app/old", "was": null, "count": 1_234}]);
    assert_eq!(Value::Array(rows(&collector, sql).await), expected);
    let sql = "SELECT filename, argv, result FROM exec WHERE result < 0";
    let expected = json!([{"filename": "/usr/bin/nmap", "argv": ["nmap", "-sV"], "result": -2}]);
    assert_eq!(Value::Array(rows(&collector, sql).await), expected);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_the_clock_was_set_is_corrected() {
    const BOOT: &str = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";
    const S: u64 = 1_000_000_000;
    let data = tempfile::tempdir().unwrap();
    // It booted at noon, and believed that to be two hours earlier, then one.
    let of_boot = |boot: &str, seconds: u64, wrong_hours: u64, detail| Event {
        boot_time_nano: Some(seconds * S),
        boot_id: Some(boot.to_owned()),
        ..event(NOON + seconds * S - wrong_hours * 3600 * S, detail)
    };
    let exit = || {
        Detail::Exit(Exit {
            code: Some(0),
            signal: None,
        })
    };
    let step = |before: u64, after: u64| {
        let offset = |hours: u64| Some((NOON - hours * 3600 * S) as i64);
        Detail::Coverage(Coverage {
            what: "clock".to_owned(),
            phase: Phase::Point.into(),
            clock_offset_before: offset(before),
            clock_offset_after: offset(after),
            ..Coverage::default()
        })
    };
    let events = vec![
        of_boot(BOOT, 1, 2, exit()),
        of_boot(BOOT, 2, 1, step(2, 1)),
        of_boot(BOOT, 3, 1, exit()),
        of_boot(BOOT, 4, 0, step(1, 0)),
        of_boot(BOOT, 5, 0, exit()),
        of_boot("another", 6, 2, exit()),
        event(NOON, exit()),
    ];
    let collector = with_events(data.path(), events).await;
    let sql = "SELECT time, corrected_time, clock_offset FROM events_corrected \
               WHERE class = 'exit' ORDER BY seq";
    let row = |time: &str, corrected: Value, offset: Value| json!({"time": format!("2025-11-20T{time}Z"), "corrected_time": corrected, "clock_offset": offset});
    let offset = json!(NOON);
    let expected = json!([
        row("06:30:01", json!("2025-11-20T08:30:01Z"), offset.clone()),
        row("07:30:03", json!("2025-11-20T08:30:03Z"), offset.clone()),
        row("08:30:05", json!("2025-11-20T08:30:05Z"), offset),
        row("06:30:06", json!("2025-11-20T06:30:06Z"), Value::Null),
        row("08:30:00", Value::Null, Value::Null),
    ]);
    assert_eq!(Value::Array(rows(&collector, sql).await), expected);
    // The newest is told with the rest of what is not vouched for.
    let sql = "SELECT count(*) AS n FROM coverage WHERE what = 'clock'";
    assert_eq!(rows(&collector, sql).await, [json!({"n": 2})]);
    collector.stop();
}

/// The conditions of each scan of the plan, in which views are resolved.
async fn scans(collector: &Collector, sql: &str) -> Vec<String> {
    let plans = rows(collector, &format!("EXPLAIN {sql}")).await;
    let logical = plans
        .iter()
        .find(|plan| plan["plan_type"] == "logical_plan");
    let logical = logical.unwrap()["plan"].as_str().unwrap();
    let scans = logical
        .lines()
        .filter(|line| line.contains("TableScan: events"));
    let filters = |line: &str| {
        line.split_once("_filters=")
            .unwrap_or_default()
            .1
            .to_owned()
    };
    scans.map(filters).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_a_session_reaches_every_scan_of_a_view() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for view in [
        "exec",
        "files",
        "net",
        "findings",
        "lost",
        "coverage",
        "sessions",
        "session_activity",
    ] {
        let sql = format!("SELECT * FROM {view} WHERE session = 'aaaa0000'");
        let scans = scans(&collector, &sql).await;
        assert!(!scans.is_empty(), "{view}");
        for scan in scans {
            assert!(
                scan.contains(r#"events.session = Utf8View("aaaa0000")"#),
                "{view}: {scan}"
            );
        }
    }
    for view in ["exec", "files", "net", "findings", "lost"] {
        let sql = format!("SELECT * FROM {view} WHERE time > ago('1h') AND host = 'ws-0123'");
        for scan in scans(&collector, &sql).await {
            assert!(
                scan.contains("events.time > ") && scan.contains("events.host = "),
                "{view}: {scan}"
            );
        }
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn inventory_and_sessions_read_the_events_of_class_session_alone() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for view in ["agents", "sessions"] {
        let scans = scans(&collector, &format!("SELECT * FROM {view}")).await;
        assert_eq!(scans.len(), 1, "{view}");
        assert!(
            scans[0].contains(r#"events.class = Utf8View("session")"#),
            "{view}: {}",
            scans[0]
        );
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn times_before_now_are_literals_when_files_are_chosen() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    for condition in [
        "time > ago('1h')",
        "time >= yesterday() AND time < today()",
        "time >= bin(ago('3d'), '1w')",
    ] {
        let sql = format!("SELECT seq FROM events WHERE {condition}");
        let scans = scans(&collector, &sql).await;
        assert_eq!(scans.len(), 1);
        assert!(
            scans[0].contains("events.time >") && scans[0].contains("Timestamp"),
            "{condition}: {}",
            scans[0]
        );
        for function in ["ago(", "yesterday(", "today(", "bin("] {
            assert!(!scans[0].contains(function), "{condition}: {}", scans[0]);
        }
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_written_as_analysts_do() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let sql = "SELECT bin(time, '5s') AS from_then, count(*) AS n FROM events
               WHERE class = 'connect' OR class = 'exec' GROUP BY from_then ORDER BY from_then";
    let expected = json!([{"from_then": "2025-11-20T08:30:00Z", "n": 6}]);
    assert_eq!(Value::Array(rows(&collector, sql).await), expected);
    let sql =
        "SELECT bin(arrow_cast('2025-11-20T08:30:00Z', 'Timestamp(ns, \"UTC\")'), '1w') AS week,
               ago('1h30m') = now() - INTERVAL '90 minutes' OR
                   now() - ago('1h30m') < INTERVAL '91 minutes' AS before,
               ago('1d') < today() AND yesterday() <= ago('1d') AS in_days,
               today() - yesterday() = INTERVAL '24 hours' AS a_day";
    let expected = json!([
        {"week": "2025-11-17T00:00:00Z", "before": true, "in_days": true, "a_day": true}
    ]);
    assert_eq!(Value::Array(rows(&collector, sql).await), expected);
    let recent = "SELECT count(*) AS n FROM events WHERE time > ago('1d')";
    assert_eq!(rows(&collector, recent).await, [json!({"n": 0})]);

    for (sql, texts) in [
        (
            "SELECT seq FROM events WHERE time > ago('1 hour')",
            ["'1 hour'", "90s, 15m, 2h"],
        ),
        ("SELECT ago('5y')", ["'5y'", "90s, 15m, 2h"]),
        ("SELECT ago(5)", ["in quotes", "ago('15m')"]),
        (
            "SELECT bin(time, '5q') FROM events",
            ["'5q'", "90s, 15m, 2h"],
        ),
        (
            "SELECT bin(time, session) FROM events",
            ["in quotes", "bin(time, '5m')"],
        ),
        ("SELECT bin(time, '0s') FROM events", ["no width", "1s"]),
        (
            "SELECT bin(session, '5m') FROM events",
            ["wants a time", "bin(time, '5m')"],
        ),
    ] {
        let error = ask(&collector.url(), sql).await.unwrap_err().to_string();
        for text in texts {
            assert!(error.contains(text), "{sql}: {error}");
        }
    }
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
    let sql = "SELECT session, gaps, found, first_seen, last_seen FROM sessions";
    let sessions = rows(&collector, sql).await;
    let expected = json!([
        {"session": SESSION, "gaps": 2, "found": "running",
         "first_seen": "2025-11-20T08:30:01Z", "last_seen": "2025-11-20T08:30:07Z"},
    ]);
    assert_eq!(Value::Array(sessions), expected);
    let sql = "SELECT session, whole_host, what, hook FROM session_gaps
               ORDER BY session, whole_host, what, hook";
    let gap = |session: &str, whole_host, what: &str, hook: Option<&str>| json!({"session": session, "whole_host": whole_host, "what": what, "hook": hook});
    let expected = [
        gap(SESSION, false, "lost", None),
        gap(SESSION, false, "throttled", None),
        gap(SESSION, true, "blind", None),
        gap(SESSION, true, "hook", Some("cgroup/connect4")),
        gap(CHILD_SESSION, false, "lost", None),
    ];
    assert_eq!(rows(&collector, sql).await, expected);
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
    let collector = with_events(data.path(), small_session()).await;
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
    for column in schema::COLUMNS.iter() {
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
