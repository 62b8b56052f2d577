//! The real program, killed while sensors send to it.

use std::{process::Command, time::Duration};

use skep_proto::v1::collector_message::Body as Down;

use crate::{
    program::Program,
    scene::{SENSOR, Sensor, value},
};

/// How often it is killed.
fn rounds() -> u64 {
    let rounds = std::env::var("SKEP_KILL_ROUNDS").ok();
    rounds.map_or(6, |rounds| {
        rounds.parse().expect("SKEP_KILL_ROUNDS is a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_keeps_what_it_acknowledged_and_stores_nothing_twice() {
    let data = tempfile::tempdir().unwrap();
    let mut told = 0;
    for round in 0..rounds() {
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
        // Sends without waiting; at some moment the process is gone, with whatever it was doing: writing
        // the log, moving rows into the tables, merging, or nothing at all.
        sensor.flood(acked + 1, 200);
        let moment = Duration::from_millis((round * 7919) % 1500);
        let kill = tokio::time::sleep(moment);
        tokio::pin!(kill);
        loop {
            tokio::select! {
                () = &mut kill => break,
                heard = sensor.hear() => match heard {
                    Some(Down::Ack(ack)) => told = ack.seq,
                    other => panic!("not acknowledged but {other:?}"),
                },
            }
        }
        program.kill();
        // What was on its way was acknowledged, too.
        while let Some(heard) = sensor.hear().await {
            if let Down::Ack(ack) = heard {
                told = ack.seq;
            }
        }
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
