//! Planted secrets never reach output, spool or wire.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use skep_redact::RULES;
use skep_testing::{Finish, Program, collector::Absent};

use crate::running::{actor, configure, ended, sensor, settled, spool_files, spooled, wait_for};

/// Secrets as people put them on command lines: the arguments, and what must not be seen again.
/// None of them was ever valid; they are put together here so that no scanner takes them for real.
fn planted() -> Vec<(Vec<String>, String)> {
    let text = |parts: &[&str]| parts.concat();
    let anthropic = text(&["sk-ant", "-api03-", "Zq8vN3xK2mP7tR5wY1bC4dF6gH9jL0sA"]);
    let openai = text(&["sk-", "proj-", "Hn4Kp9Xw2Rt7Yv5Bq8Zs3Mc6Jd1Lf0Ga"]);
    let github = text(&["ghp", "_", "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"]);
    let aws = text(&["AKIA", "IOSFODNN7QXAMPLE"]);
    let slack = text(&["xox", "b-", "123456789012-abcdefGHIJKLmnop"]);
    let jwt = text(&[
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJzdWIiOiIxMjM0NTY3ODkwIn0.",
        "dozjgNryP4J3jVmNHl0w5N",
    ]);
    let plain = "correct-Horse7battery".to_owned();
    vec![
        (vec![format!("ANTHROPIC_API_KEY={anthropic}")], anthropic),
        (
            vec!["-H".into(), format!("Authorization: Bearer {openai}")],
            openai,
        ),
        (
            vec![format!(
                "https://x-access-token:{github}@example.test/a.git"
            )],
            github,
        ),
        (vec![format!("aws_access_key_id={aws}")], aws),
        (vec![format!("--token={slack}")], slack),
        (vec![jwt.clone()], jwt),
        (vec!["--password".into(), plain.clone()], plain),
    ]
}

/// The agent runs a tool with every secret in its arguments, and one shell command that has them too.
fn act(mark: &str) {
    let secrets = planted();
    let mut command = Command::new(actor());
    command.args(["do", "exec", "/bin/true", mark]);
    for (arguments, _) in &secrets {
        command.args(arguments);
    }
    command.arg("--");
    for (arguments, _) in &secrets {
        command.args(["exec", "/bin/sh", "-c"]);
        command
            .arg(format!("true '{}'", arguments.join("' '")))
            .arg("--");
    }
    assert!(command.spawn().expect("the actor").finish().success());
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for (_, secret) in planted() {
        let found = memchr::memmem::find(bytes, secret.as_bytes());
        assert!(found.is_none(), "{secret} is in {what}");
    }
}

#[test]
fn secrets_never_reach_the_spool_or_the_wire() {
    let directory = tempfile::tempdir().expect("a directory");
    let absent = Absent::new();
    let config = configure(directory.path(), absent.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    act("with-secrets");
    // With nobody to send to, everything stays in the spool: look at every byte of it.
    let spool = directory.path().join("spool");
    let files = || spool_files(&spool);
    spooled(&spool, "with-secrets");
    let collector = absent.arrive();
    wait_for("the run to arrive", || {
        ended(&collector.events(), "with-secrets").then_some(())
    });
    settled(&config);
    let events = collector.events();
    for file in files() {
        assert_clean("the spool", &file);
    }
    let debug = format!("{events:?}");
    assert_clean("the wire", debug.as_bytes());
    assert!(
        debug.contains("[redacted:"),
        "it says that something was there"
    );
    assert_eq!(running.terminate().code(), Some(0));
    for file in files() {
        assert_clean("the spool", &file);
    }
}

#[test]
fn secrets_never_reach_the_output_of_watch() {
    for json in [true, false] {
        let mut command = sensor();
        command.arg("watch").stdout(Stdio::piped());
        if json {
            command.arg("--json");
        }
        let mut watching = Program::start(&mut command);
        let mut stdout = watching.stdout();
        let reader = std::thread::spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).map(|_| output)
        });
        act("watched");
        assert_eq!(watching.terminate().code(), Some(0));
        let output = reader.join().expect("a reader").expect("a pipe");
        assert!(
            memchr::memmem::find(&output, b"watched").is_some(),
            "the run was seen"
        );
        assert!(memchr::memmem::find(&output, b"[redacted:").is_some());
        assert_clean("the output", &output);
    }
}

#[test]
fn explain_names_every_kind_of_secret_that_is_replaced() {
    let output = sensor().args(["explain", "--json"]).finish();
    assert!(output.status.success());
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = manifest["redacted"].as_array().expect("a list");
    assert_eq!(told.len(), RULES.len());
    for (entry, rule) in told.iter().zip(RULES) {
        // The parts of a URL share the placeholder `***` and are told as such.
        let kind = entry["kind"].as_str().expect("a kind");
        assert!(
            kind == rule.kind || kind == "***",
            "{kind} for {}",
            rule.kind
        );
    }
    let tables = manifest["rules"].as_array().expect("tables");
    for (told, table) in tables.iter().zip(skep_redact::tables()) {
        assert_eq!(told["name"], table.name);
        let rules = told["rules"].as_array().expect("rules");
        assert_eq!(rules.len(), table.entries.len());
        assert!(
            rules
                .iter()
                .all(|rule| rule["source"].as_str().is_some_and(|s| !s.is_empty()))
        );
    }
}
