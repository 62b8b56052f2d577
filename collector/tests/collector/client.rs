//! The program `skep`, with every command in every form.

use std::process::{Command, Output};

use serde_json::Value;

use crate::scene::{
    CHILD_SESSION, Collector, SENSOR, SESSION, Sensor, session_with_gaps, small_session,
};

async fn with_session(data: &std::path::Path) -> Collector {
    let collector = Collector::start(data);
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let events = small_session();
    let count = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(count).await;
    collector
}

fn skep(collector: &Collector, arguments: &[&str]) -> Output {
    let url = collector.url();
    run(&[&["--server", &url], arguments].concat())
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command
        .args(arguments)
        .env("COLUMNS", "140")
        .output()
        .unwrap()
}

fn printed(collector: &Collector, arguments: &[&str]) -> String {
    let output = skep(collector, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands, with a text that each of its forms must hold.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["agents"], "claude-code"),
    (&["sessions"], "claude-code"),
    (&["session", SESSION], "claude-code"),
    (&["events"], "/usr/lib/node/150.js"),
    (
        &[
            "query",
            "SELECT host, agent_family, pid FROM events WHERE agent_family <> 'codex'",
        ],
        "ws-0123",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_json_csv_and_a_table_that_fits() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    for (command, text) in COMMANDS {
        let json = printed(&collector, &[command, &["-o", "json"][..]].concat());
        let rows: Value = serde_json::from_str(&json).unwrap();
        assert!(!rows.as_array().unwrap().is_empty());
        assert!(json.contains(text), "{command:?}: {json}");

        let csv = printed(&collector, &[command, &["-o", "csv"][..]].concat());
        assert!(
            csv.lines().count() > 1 && csv.lines().next().unwrap().contains(','),
            "{csv}"
        );
        let in_csv = if command[0] == "session" {
            "say hi"
        } else {
            text
        };
        assert!(csv.contains(in_csv), "{command:?}: {csv}");

        let table = printed(&collector, &[command, &["-o", "table"][..]].concat());
        assert_eq!(
            table,
            printed(&collector, command),
            "a table is the default"
        );
        assert!(table.contains(text), "{command:?}: {table}");
        assert!(!table.contains("08:30:0…"), "times are never cut: {table}");
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!table.contains(control), "{command:?}: {table}");
        for line in table.lines().filter(|line| !line.starts_with("in full: ")) {
            assert!(line.chars().count() <= 140, "{command:?}: {line}");
        }
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_every_column_and_csv_every_value() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let json = printed(&collector, &["events", "--class", "lost", "-o", "json"]);
    let rows: Value = serde_json::from_str(&json).unwrap();
    let row = rows[0].as_object().unwrap();
    for column in skep_collector::schema::COLUMNS {
        assert!(row.contains_key(column.name), "{}", column.name);
    }
    assert_eq!(row["session"], Value::Null);
    let csv = printed(
        &collector,
        &[
            "query",
            "SELECT path FROM files WHERE access = 'write'",
            "-o",
            "csv",
        ],
    );
    assert_eq!(
        csv,
        "path\r\n\"/home/alice/\\xff\u{1b}[31m,\"\"red\"\"\"\r\n"
    );
    let argv = "SELECT argv, exe, time FROM exec WHERE pid = 4250";
    let csv = printed(&collector, &["query", argv, "-o", "csv"]);
    let row = "\"[\"\"sh\"\",\"\"-c\"\",\"\"echo 'hi'\"\"]\",/usr/bin/node,2025-11-20T08:30:04Z";
    assert_eq!(csv, format!("argv,exe,time\r\n{row}\r\n"));
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_tree_of_processes_with_their_files_and_destinations() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let tree = printed(&collector, &["session", "aaaa"]);
    for text in [
        "claude-code 2.1.91  (95% sure)",
        "evidence    package.json:@anthropic-ai/claude-code@2.1.91",
        "host        ws-0123",
        "user        alice (uid 1000, login uid 1000)",
        "terminal    /dev/pts/3",
        "directory   /home/alice/app",
        "repository  /home/alice/app  git@github.com:acme/app.git  branch main",
        "time        2025-11-20 08:30:00Z, 7 s",
        "LOST",
        "\n4242 claude -p 'say hi'",
        "was      /usr/bin/env node claude",
        "created  /home/alice/.claude.json",
        "wrote    /home/alice/\\xff\\u{1b}[31m",
        "/usr/lib/node/0.js",
        "… and 190 more under /usr/lib",
        "failed   /home/alice/.claude/settings.json  ENOENT",
        "connect  127.0.0.1:8399 tcp  ×2",
        "[::1]:443 tcp  ×2",
        "@keyring unix  ×2",
        "\n└─ 4250 sh -c 'echo '\\''hi'\\'''  [exit 0]",
        "started codex version unknown, session bbbb0000000000000000000000000002",
        "in full: skep query",
    ] {
        assert!(tree.contains(text), "no {text:?} in\n{tree}");
    }
    let json = printed(&collector, &["session", SESSION, "-o", "json"]);
    let story: Value = serde_json::from_str(&json).unwrap();
    let root = &story[0]["processes"][0];
    assert_eq!(root["execs"].as_array().unwrap().len(), 2);
    assert_eq!(root["files"].as_array().unwrap().len(), 203);
    assert_eq!(root["children"][0]["argv"][2], "echo 'hi'");
    assert_eq!(root["children"][0]["exit"]["code"], 0);
    assert_eq!(story[0]["child_sessions"][0]["session"], CHILD_SESSION);
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_gaps_shows_them_and_marks_what_was_not_observed() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let events = session_with_gaps();
    let count = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(count).await;
    let tree = printed(&collector, &["session", "aaaa"]);
    for text in [
        "found       running when the sensor first saw it",
        "GAPS        2 known gaps: the tree may have holes",
        "LOST        records were lost meanwhile",
        "\n  NOT VOUCHED FOR\n  2025-11-20 08:30:02.000Z to 2025-11-20 08:30:04.000Z  this session: \
         throttled, 1,200 records: because of throttled\n",
        "this session: lost, 3 records: open records at kernel: throttled\n",
        "whole host: blind: because of blind\n",
        "whole host: hook cgroup/connect4: because of hook\n",
        "\n~4242 claude\n",
        "failed   (path unknown)  ENOENT",
        "\n└─ 4250 cat notes\n",
        "read     /home/alice/notes  (2 hard links)",
        "\n~ not observed from its start: read from /proc",
    ] {
        assert!(tree.contains(text), "no {text:?} in\n{tree}");
    }
    for text in ["evicted", "canary", "connect records"] {
        assert!(
            !tree.contains(text),
            "{text} is none of this session's:\n{tree}"
        );
    }
    let observed = printed(&collector, &["session", CHILD_SESSION]);
    assert!(!observed.contains('~'), "{observed}");

    let json = printed(&collector, &["session", SESSION, "-o", "json"]);
    let story: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(story[0]["session"]["gaps"], 2);
    assert_eq!(story[0]["processes"][0]["inferred"], true);
    assert_eq!(story[0]["not_vouched_for"].as_array().unwrap().len(), 4);
    let csv = printed(&collector, &["session", SESSION, "-o", "csv"]);
    let gap = "gap,,,,because of throttled,throttled,,1200,\
               2025-11-20T08:30:02Z,2025-11-20T08:30:04Z,\r\n";
    assert!(csv.contains(gap), "{csv}");
    let sessions = printed(&collector, &["sessions"]);
    assert!(sessions.contains("GAPS"), "{sessions}");
    let events = printed(&collector, &["events", "--class", "coverage"]);
    assert!(
        events.contains("throttled end: because of throttled"),
        "{events}"
    );
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_can_be_narrowed() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let count = |arguments: &[&str]| {
        let arguments = [&["events", "-o", "json"], arguments].concat();
        let rows: Value = serde_json::from_str(&printed(&collector, &arguments)).unwrap();
        rows.as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 100);
    assert_eq!(count(&["--limit", "5"]), 5);
    assert_eq!(count(&["--limit", "1000"]), 214);
    assert_eq!(count(&["--class", "connect"]), 3);
    assert_eq!(count(&["--session", "bbbb"]), 1);
    assert_eq!(count(&["--session", CHILD_SESSION, "--class", "exec"]), 0);
    let from = ["--since", "2025-11-20T08:30:07Z"];
    assert_eq!(count(&from), 2);
    assert_eq!(
        count(&[&from[..], &["--until", "2025-11-20T08:30:08Z"]].concat()),
        1
    );
    assert_eq!(count(&["--since", "1h"]), 0, "it was in 2025");
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_one_clear_line() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    for (arguments, code, text) in [
        (&["session", "cccc"][..], 1, "no session begins with cccc"),
        (&["session", "x'; DROP"], 2, "not a session id"),
        (&["events", "--since", "yesterday"], 2, "not a time"),
        (&["query", "SELECT nothing FROM events"], 1, "nothing"),
        (
            &["query", "DROP TABLE events"],
            1,
            "only one statement that reads",
        ),
    ] {
        let output = skep(&collector, arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(
            error.starts_with("skep: ") && error.contains(text),
            "{error}"
        );
        assert!(output.stdout.is_empty());
    }
    collector.stop();

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for (command, _) in COMMANDS {
        let output = run(&[&["--server", &url], *command].concat());
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "skep: cannot reach the collector at {url}; start it, or name another with --server\n"
        );
        assert_eq!(error, expected);
    }
    assert_eq!(
        run(&["--server", "nonsense", "agents"]).status.code(),
        Some(2)
    );
}
