//! The real program, killed while sensors send to it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use skep_proto::v1::collector_message::Body as Down;

use crate::scene::{SENSOR, Sensor, value};

struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn serve(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--http",
                "off",
                "--postgres",
                "off",
                "--data",
            ])
            .arg(data)
            .env("SKEP_LOG", "warn")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned));
        // The rest of standard error is read, so that the program never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            url: format!("http://{}", ready.expect("it said ready")),
            child,
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Gone already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_keeps_what_it_acknowledged_and_stores_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let mut told = 0;
    for round in 0..6 {
        let program = Program::serve(data.path());
        let (mut sensor, acked) = Sensor::connect(&program.url, SENSOR).await;
        assert!(
            acked >= told,
            "round {round}: {told} was acknowledged, and now {acked}"
        );
        let url = &program.url;
        assert_eq!(value(url, "SELECT count(*) FROM events").await, acked);
        assert_eq!(
            value(url, "SELECT count(DISTINCT seq) FROM events").await,
            acked
        );
        if acked > 0 {
            assert_eq!(value(url, "SELECT max(seq) FROM events").await, acked);
        }
        // Sends without waiting, until some more acknowledgements came; then the power is gone.
        sensor.flood(acked + 1);
        for _ in 0..=round {
            match sensor.hear().await {
                Some(Down::Ack(ack)) => told = ack.seq,
                other => panic!("not acknowledged but {other:?}"),
            }
        }
        program.kill();
    }
    let program = Program::serve(data.path());
    let (_sensor, acked) = Sensor::connect(&program.url, SENSOR).await;
    assert!(acked >= told);
    let count = value(&program.url, "SELECT count(DISTINCT seq) FROM events").await;
    assert_eq!(count, acked);
    program.terminate();
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_reason() {
    let data = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7317"] {
        let output = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
            .args(["serve", "--listen", address, "--data"])
            .arg(data.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{address}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("TLS") && error.contains("loopback"),
            "{error}"
        );
    }
    assert_eq!(
        std::fs::read_dir(data.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--postgres",
            "off",
            "--data",
        ])
        .arg(file.join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("a-file/data") && error.contains("--data"),
        "{error}"
    );

    let running = Program::serve(data.path());
    let output = Command::new(env!("CARGO_BIN_EXE_skep-collector"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--postgres",
            "off",
            "--data",
        ])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("in use by another collector")
    );
    running.terminate();
}
