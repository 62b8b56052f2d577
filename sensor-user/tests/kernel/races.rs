//! Nothing is lost between an exec and the verdict on it.

use std::{net::TcpListener, process::Command};

use skep_sensor::event::Detail;

use crate::sensor::{actor, scratch, sensor, shown, wait_for};

/// Agents started in all; `SKEP_RACE_RUNS` for another number.
const RUNS: usize = 200;
/// How many of them at the same time.
const BATCH: usize = 20;

/// Every agent opens a file of its own and connects, first thing after its exec: while the sensor has
/// not even read that exec. `start` makes the command that starts it.
fn every_first_act_is_seen(name: &str, start: impl Fn(&[&str]) -> Command) {
    let sensor = sensor(); // attached before the first agent starts
    let runs = std::env::var("SKEP_RACE_RUNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(RUNS);
    let directory = scratch(name);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let accepting = std::thread::spawn(move || {
        for _ in 0..runs {
            drop(listener.accept());
        }
    });
    let paths: Vec<String> = (0..runs)
        .map(|number| format!("{}/{number}", directory.display()))
        .collect();
    for batch in paths.chunks(BATCH) {
        let port = port.to_string();
        let children: Vec<_> = batch
            .iter()
            .map(|path| {
                start(&["do", "create", path, "connect4", "127.0.0.1", &port])
                    .spawn()
                    .expect("the actor")
            })
            .collect();
        for mut child in children {
            assert!(child.wait().expect("a child").success());
        }
    }
    accepting.join().expect("every agent connects");
    let prefix = format!("{}/", directory.display());
    let seen = wait_for("every agent's acts", || {
        let mut opened = Vec::new();
        let mut connected = 0;
        sensor.each(|event| match &event.detail {
            Detail::Open(file) if shown(file).starts_with(&prefix) => opened.push(shown(file)),
            Detail::Connect(net) if net.port == Some(port) => connected += 1,
            _ => {}
        });
        (opened.len() >= runs && connected >= runs).then_some((opened, connected))
    });
    let (mut opened, connected) = seen;
    opened.sort();
    let mut expected = paths;
    expected.sort();
    assert_eq!(opened, expected, "each file once");
    assert_eq!(connected, runs, "each connection once");
    assert_eq!(sensor.lost(), Vec::<String>::new());
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn an_agents_first_acts_are_seen_however_many_start_at_once() {
    every_first_act_is_seen("first-acts", |arguments| {
        let mut command = Command::new(actor());
        command.args(arguments);
        command
    });
}

#[test]
fn an_agent_that_replaces_an_unknown_program_is_seen_from_its_first_act() {
    // A copy of the shell that no verdict exists for: pending, then the agent, in the same process.
    let directory = scratch("unknown-shell");
    let shell = directory.join("unknown");
    let copied = Command::new("cp").arg("/bin/sh").arg(&shell).status();
    assert!(copied.expect("cp").success());
    every_first_act_is_seen("first-acts-after-another", |arguments| {
        let mut command = Command::new(&shell);
        // busybox takes its applet from argv[0].
        std::os::unix::process::CommandExt::arg0(&mut command, "sh");
        command
            .args(["-c", "exec \"$0\" \"$@\""])
            .arg(actor())
            .args(arguments);
        command
    });
    std::fs::remove_dir_all(directory).expect("own directory");
}
