//! Settings of a running sensor, and who set them.

use std::{io::Write, path::Path};

use skep_testing::{Finish, Program, collector::Absent};

use crate::running::{configure, sensor, status, wait_for};

fn shown(arguments: &[&str], config: &Path) -> String {
    let mut command = sensor();
    let output = command.args(arguments).arg(config).finish();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_command_that_shows_a_setting_says_who_set_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let absent = Absent::new();
    let config = configure(directory.path(), absent.address);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&config)
        .expect("own file");
    writeln!(file, "[log]\nlevel = \"warn\"").expect("own file");

    let checked = shown(&["check-config"], &config);
    for line in [
        "level = \"warn\"  # file",
        "max_bytes = 268435456  # default",
    ] {
        assert!(
            checked.lines().any(|have| have == line),
            "{line} not in\n{checked}"
        );
    }
    let explained = shown(&["explain", "--config"], &config);
    let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "state_directory (file), spool.directory (file), spool.max_bytes (default)";
    assert!(explained.contains(expected), "{explained}");

    let mut run = sensor();
    let run = run.env_remove("RUST_LOG").args(["run", "--config"]);
    let mut running = Program::start(run.arg(&config));
    let figures = wait_for("the sensor's status", || status(&config));
    let by = |key: &str| {
        let setting = &figures.settings[key];
        (setting.value.as_str(), setting.by.as_str())
    };
    assert_eq!(by("log.level"), ("warn", "file"));
    assert_eq!(by("liveness.interval_seconds"), ("10", "default"));
    let steps: Vec<&str> = figures
        .steps
        .iter()
        .map(|step| step.step.as_str())
        .collect();
    let in_order = ["decode", "track", "first sight", "fold", "stamp", "redact"];
    assert_eq!(steps, in_order);
    let page = shown(&["status", "--config"], &config);
    for line in [
        format!("uplink            http://{} (file)", absent.address),
        "log               warn (file)".to_owned(),
    ] {
        assert!(
            page.lines().any(|have| have == line),
            "{line} not in\n{page}"
        );
    }
    assert!(running.terminate().success());

    let mut run = sensor();
    let run = run
        .env("RUST_LOG", "skep_sensor=debug")
        .args(["run", "--config"]);
    let _running = Program::start(run.arg(&config));
    let figures = wait_for("the sensor's status", || status(&config));
    let log = &figures.settings["log.level"];
    assert_eq!(log.value, "skep_sensor=debug");
    assert_eq!(log.by, "environment RUST_LOG");
}
