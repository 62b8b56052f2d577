//! The program `skep`, with every command in every form.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use skep_proto::v1::finding::Severity;
use skep_testing::Finish;

use crate::scene::{
    CHILD_SESSION, Collector, OTHER_SENSOR, SENSOR, SESSION, Sensor, finding, opens,
    session_with_gaps, small_session,
};

async fn with_session(data: &Path) -> Collector {
    let collector = Collector::start(data);
    let (mut sensor, _) = Sensor::connect(&collector.url(), SENSOR).await;
    let mut events = small_session();
    events.push(finding(3, "sensor.hook_detached", Severity::High));
    events.push(finding(9, "sensor.canary_silent", Severity::Low));
    let count = events.len() as u64;
    sensor.send(1, events).await;
    sensor.acked(count).await;
    collector
}

pub fn skep(collector: &Collector, arguments: &[&str]) -> Output {
    let url = collector.url();
    run(&[&["--server", &url], arguments].concat())
}

/// The program of another package, built before these tests run.
fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_skep-collector")).with_file_name("skep")
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).env("COLUMNS", "140").finish()
}

pub fn printed(collector: &Collector, arguments: &[&str]) -> String {
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
    (&["findings"], "sensor.hook_detached"),
    (&["hosts"], "6.12.9-amd64"),
    (&["coverage"], "ring_full"),
    (
        &[
            "query",
            "SELECT host, agent_family, pid FROM events WHERE agent_family <> 'codex' ORDER BY seq",
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

        let lines = printed(&collector, &[command, &["-o", "ndjson"][..]].concat());
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows.as_array(), Some(&lines), "{command:?}");

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
async fn parquet_goes_to_a_file_or_a_pipe_and_has_the_types_of_the_collector() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let file = data.path().join("answer.parquet");
    let name = file.to_str().unwrap();
    for (command, _) in COMMANDS
        .iter()
        .filter(|(command, _)| command[0] != "session")
    {
        let json = printed(&collector, &[command, &["-o", "json"][..]].concat());
        let json: Value = serde_json::from_str(&json).unwrap();
        let to_file = [command, &["-o", "parquet", "--out", name][..]].concat();
        assert_eq!(printed(&collector, &to_file), "");
        let bytes = std::fs::read(&file).unwrap();
        let piped = skep(&collector, &[command, &["-o", "parquet"][..]].concat());
        assert_eq!(piped.stdout, bytes, "{command:?}");

        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let columns = reader.schema().fields().len();
        assert_eq!(columns, json[0].as_object().unwrap().len(), "{command:?}");
        let rows = reader
            .build()
            .unwrap()
            .map(|batch| batch.unwrap().num_rows());
        assert_eq!(rows.sum::<usize>(), json.as_array().unwrap().len());
    }
    let output = skep(&collector, &["session", SESSION, "-o", "parquet"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("skep export --session"), "{error}");
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn output_to_a_file_is_there_whole_or_not_at_all() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let out = data.path().join("out.csv");
    let name = out.to_str().unwrap();
    printed(&collector, &["agents", "-o", "csv", "--out", name]);
    let written = std::fs::read_to_string(&out).unwrap();
    assert_eq!(written, printed(&collector, &["agents", "-o", "csv"]));

    // Fails when some rows are written already.
    let fails = "SELECT seq, 1 / (CASE WHEN seq = 200 THEN 0 ELSE 1 END) AS one FROM events";
    let output = skep(&collector, &["query", fails, "-o", "csv", "--out", name]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), written);
    assert!(!data.path().join("out.csv.part").exists());
    let elsewhere = data.path().join("no such folder/out.csv");
    let output = skep(
        &collector,
        &["agents", "--out", elsewhere.to_str().unwrap()],
    );
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no such folder"), "{error}");
    collector.stop();
}

/// Runs on a terminal of its own; `script` is in every Debian.
fn on_a_terminal(collector: &Collector, arguments: &str, pager: &str) -> String {
    let skep = program();
    let command = format!(
        "{} --server {} {arguments}",
        skep.display(),
        collector.url()
    );
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("PAGER", pager)
        .stdin(std::process::Stdio::null())
        .finish();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_trees_on_a_terminal_go_through_the_pager() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let mark = "sed s/^/paged:/";
    for command in ["agents", "session aaaa", "query 'SELECT 1 AS one'"] {
        let paged = on_a_terminal(&collector, command, mark);
        assert!(paged.starts_with("paged:"), "{command}: {paged}");
        for (arguments, pager) in [
            (format!("--no-pager {command}"), mark),
            (format!("{command} -o json"), mark),
            (command.to_owned(), ""),
            (command.to_owned(), "no-such-pager --at-all"),
        ] {
            let plain = on_a_terminal(&collector, &arguments, pager);
            let words = ["claude", "one"];
            assert!(words.iter().any(|word| plain.contains(word)), "{plain}");
            assert!(!plain.contains("paged:"), "{arguments}: {plain}");
        }
    }
    let refused = on_a_terminal(&collector, "agents -o parquet", mark);
    assert!(refused.contains("not for a terminal"), "{refused}");
    collector.stop();
}

/// The options that the hint on standard error says to add.
fn next_page(output: &Output) -> Option<Vec<String>> {
    let error = String::from_utf8_lossy(&output.stderr);
    let (_, add) = error.split_once("for the next, add ")?;
    Some(add.split_whitespace().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_list_are_the_list_whatever_comes_in_meanwhile() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let (mut other, _) = Sensor::connect(&collector.url(), OTHER_SENSOR).await;
    let mut sent = 0;
    for (list, names, whole) in [
        ("events", "sensor_id seq", 216_usize),
        ("sessions", "session", 2),
        ("findings", "rule", 2),
        ("agents", "agent_family", 2),
    ] {
        let limit = if list == "events" { "50" } else { "1" };
        let mut pinned: Vec<String> = Vec::new();
        let mut seen = Vec::new();
        let mut pages = 0;
        loop {
            let mut arguments = vec![list, "-o", "json", "--limit", limit];
            arguments.extend(pinned.iter().map(String::as_str));
            let output = skep(&collector, &arguments);
            let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
            for row in rows.as_array().unwrap() {
                let name = |name: &str| row[name].to_string();
                seen.push(names.split(' ').map(name).collect::<Vec<_>>());
            }
            pages += 1;
            let Some(add) = next_page(&output) else { break };
            let until = pinned.iter().position(|word| word == "--until");
            let kept = until.map(|at| pinned[at..at + 2].to_vec());
            pinned = add;
            if !pinned.iter().any(|word| word == "--until") {
                pinned.extend(kept.unwrap_or_default());
            }
            if list == "events" {
                // Newer than all there is.
                other.send(sent + 1, opens(1_000_000 + sent, 20)).await;
                sent += 20;
                other.acked(sent).await;
            }
        }
        assert_eq!(
            pages,
            whole.div_ceil(limit.parse::<usize>().unwrap()),
            "{list}"
        );
        assert_eq!(seen.len(), whole, "{list}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), whole, "{list}: rows twice");
    }
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_can_be_narrowed_to_a_time_and_a_host() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let day = ["--since", "2025-11-20", "--until", "2025-11-21"];
    let after = ["--since", "2025-11-20T08:30:08Z"];
    let before = ["--until", "2025-11-20T08:30:00Z"];
    let host = ["--host", "ws-0123"];
    let nobody = ["--host", "x' OR host <> 'x"];
    // On that day, from its end on, before it, on the host, on none.
    for (list, counts) in [
        ("agents", [2, 1, 0, 2, 0]),
        ("sessions", [2, 1, 0, 2, 0]),
        ("findings", [2, 1, 0, 2, 0]),
        ("coverage", [1, 0, 0, 1, 0]),
        ("events", [100, 2, 0, 100, 0]),
    ] {
        let filters = [&day[..], &after, &before, &host, &nobody];
        for (filter, count) in filters.into_iter().zip(counts) {
            let json = printed(&collector, &[&[list, "-o", "json"], filter].concat());
            let rows: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(rows.as_array().unwrap().len(), count, "{list} {filter:?}");
        }
    }
    let severe = printed(&collector, &["findings", "--severity", "medium"]);
    assert!(severe.contains("hook_detached") && !severe.contains("canary_silent"));
    let none = skep(&collector, &["findings", "--since", "1h"]);
    assert_eq!(none.status.code(), Some(0));
    assert_eq!(none.stderr, b"skep: no findings to show\n");
    let tree = printed(
        &collector,
        &["session", "aaaa", "--since", "2025-11-20T08:30:04Z"],
    );
    assert!(tree.contains("4250 sh") && !tree.contains("/home/alice/.claude.json"));
    collector.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_a_limit_of_its_own_and_other_forms_the_collectors() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start(data.path());
    let many = "SELECT * FROM generate_series(1, 10050)";
    let table = skep(&collector, &["query", many]);
    assert_eq!(table.stdout.split(|byte| *byte == b'\n').count(), 10_002);
    let error = String::from_utf8(table.stderr).unwrap();
    assert!(error.contains("cut at 10000 rows"), "{error}");
    let csv = skep(&collector, &["query", many, "-o", "csv"]);
    assert_eq!(csv.stdout.split(|byte| *byte == b'\n').count(), 10_052);
    assert!(csv.stderr.is_empty());
    collector.stop();
}

#[test]
fn shells_are_told_how_to_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completion", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["findings", "export", "since", "ndjson"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let bash = run(&["completion", "bash"]).stdout;
    let checked = Command::new("bash")
        .args(["-n", "-c", &String::from_utf8(bash).unwrap()])
        .spawn();
    assert!(checked.unwrap().finish().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_every_column_and_csv_every_value() {
    let data = tempfile::tempdir().unwrap();
    let collector = with_session(data.path()).await;
    let json = printed(&collector, &["events", "--class", "lost", "-o", "json"]);
    let rows: Value = serde_json::from_str(&json).unwrap();
    let row = rows[0].as_object().unwrap();
    for column in skep_collector::schema::COLUMNS.iter() {
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
        "\n  FINDINGS\n  2025-11-20 08:30:03.000Z  high: A hook was detached (sensor.hook_detached)  \
         pid 4242\n    cgroup/connect4 was detached\n",
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
    assert_eq!(count(&["--limit", "1000"]), 216);
    assert_eq!(count(&["--class", "connect"]), 3);
    assert_eq!(count(&["--session", "bbbb"]), 1);
    assert_eq!(count(&["--session", CHILD_SESSION, "--class", "exec"]), 0);
    let from = ["--since", "2025-11-20T08:30:07Z"];
    assert_eq!(count(&from), 3);
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
        (&["events", "--since", "tomorrow"], 2, "not a time"),
        (
            &["agents", "--since", "1h", "--until", "2h"],
            2,
            "nothing is between",
        ),
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
