//! Everything wrong that can be: the exit code tells what kind, the message where and what to do.

use skep_testing::Finish;
use std::{os::unix::process::CommandExt, process::Output};

use crate::running::sensor;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `watch`, `run` and `check-config` with a configuration; all must refuse it alike.
fn refused(text: &str, expected: &[&str]) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("sensor.toml");
    std::fs::write(&file, text).expect("own directory");
    for arguments in [
        &["watch", "--config"][..],
        &["run", "--config"],
        &["check-config"],
    ] {
        let output = sensor().args(arguments).arg(&file).finish();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        let place = format!("{}:", file.display());
        for part in expected.iter().copied().chain([place.as_str()]) {
            assert!(said.contains(part), "{arguments:?}: no {part:?} in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_bad_configuration_is_refused_with_its_place() {
    refused("[kernel]\nring_byte = 4096\n", &[":2:", "ring_byte"]);
    refused("[kernel]\n\nring_bytes = \"big\"\n", &[":3:", "big"]);
    refused("[kernel]\nring_bytes = 5000\n", &[":2:", "power of two"]);
    refused(
        "[collector]\naddress = \"http://192.0.2.1:7317\"\n",
        &[":2:", "loopback"],
    );
    refused("[collector\n", &[":1:"]);
}

#[test]
fn a_missing_configuration_file_is_named() {
    let output = sensor()
        .args(["run", "--config", "/no/such/sensor.toml"])
        .finish();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("/no/such/sensor.toml"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_bad_catalogue_is_refused_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("sensor.toml");
    let catalogue = directory.path().join("catalogue");
    std::fs::create_dir(&catalogue).expect("own directory");
    std::fs::write(catalogue.join("mine.toml"), "id = \"mine\"\nnonsense = 1\n").expect("own");
    let text = format!("[catalogue]\ndirectory = \"{}\"\n", catalogue.display());
    std::fs::write(&file, text).expect("own directory");
    let output = sensor().arg("watch").arg("--config").arg(&file).finish();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("mine.toml"), "{}", said(&output));
}

#[test]
fn without_capabilities_it_says_what_is_missing_and_what_to_do() {
    // A copy, since the build directory may lie where only root can look.
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("skep-sensor");
    // By another program: a descriptor of ours, open for writing, could be inherited by a child that
    // another test starts meanwhile, and the copy would be "busy".
    let copied = std::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_skep-sensor"))
        .arg(&copy)
        .spawn();
    assert!(copied.expect("cp").finish().success());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("own directory");
    let output = std::process::Command::new(&copy)
        .arg("watch")
        .uid(65_534)
        .finish();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for part in ["CAP_SYS_ADMIN", "run as root"] {
        assert!(
            said(&output).contains(part),
            "no {part:?} in: {}",
            said(&output)
        );
    }
}

#[test]
fn without_a_daemon_status_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("sensor.toml");
    let text = format!(
        "[status]\nsocket = \"{}/none.sock\"\n",
        directory.path().display()
    );
    std::fs::write(&file, text).expect("own directory");
    let output = sensor().args(["status", "--config"]).arg(&file).finish();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("none.sock"), "{}", said(&output));
}
