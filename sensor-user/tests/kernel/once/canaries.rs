//! What a self-test tells, and what it does not.

use std::{fs, time::Duration};

use skep_event::{CoverageKind, CoveragePhase, Detail, Event};

use skep_sensor::pipeline::watchdog::Canaries;
use skep_testing::test_program;

use crate::{
    liveness::{canaries, canaries_of, coverage, text},
    sensor::{Sensor, scratch, wait_for},
};

#[test]
fn canaries_leave_no_event_but_their_outcome() {
    let sensor = Sensor::start_folding(&[]);
    sensor.stall().send_canaries(canaries());
    wait_for("three canaries", || {
        let of = |event: &Event| {
            matches!(&event.detail, Detail::Coverage(coverage)
                if coverage.what == CoverageKind::Canary && coverage.count > 5)
        };
        (sensor.of(of).len() >= 3).then_some(())
    });
    let me = std::process::id();
    let about_me = |event: &Event| event.process.as_ref().is_some_and(|p| p.pid == me);
    assert_eq!(sensor.of(about_me), []);
    let hooks = sensor.of(|event| {
        matches!(&event.detail, Detail::Coverage(coverage) if coverage.what == CoverageKind::Hook)
    });
    assert_eq!(hooks, [], "nothing was detached");
}

#[test]
fn a_step_that_this_host_cannot_do_accuses_no_hook() {
    let sensor = Sensor::start_folding(&[]);
    let program = test_program();
    let canaries = canaries_of(text(&program), &["canary", "--without-network"]);
    sensor.stall().send_canaries(canaries);
    wait_for("three canaries", || {
        (coverage(&sensor, CoverageKind::Canary).len() >= 3).then_some(())
    });
    for canary in coverage(&sensor, CoverageKind::Canary) {
        assert!(canary.count > 3, "{canary:?}");
        assert!(
            canary.reason.contains("could not do an IPv4 connect"),
            "{canary:?}"
        );
    }
    // The hooks on connects were proven by their trial, and are there.
    assert_eq!(coverage(&sensor, CoverageKind::Hook), []);
    assert_eq!(coverage(&sensor, CoverageKind::Untested), []);
}

#[test]
fn hooks_that_cannot_be_tested_are_told_of_once_and_when_they_are_tested_again() {
    let sensor = Sensor::start_folding(&[]);
    let directory = scratch("untested");
    let flag = directory.join("go");
    let program = test_program();
    // Says nothing of what it has done until it may.
    let script = format!(
        "test -e {} && exec {} canary",
        flag.display(),
        program.display()
    );
    sensor
        .stall()
        .send_canaries(canaries_of("/bin/sh", &["-c", &script]));
    wait_for("five canaries", || {
        (coverage(&sensor, CoverageKind::Canary).len() >= 5).then_some(())
    });
    let told = coverage(&sensor, CoverageKind::Untested);
    let [begin] = told.as_slice() else {
        panic!("one beginning: {told:?}")
    };
    assert_eq!(begin.phase, CoveragePhase::Begin);
    assert!(begin.reason.contains("did not say"), "{begin:?}");
    assert_eq!(coverage(&sensor, CoverageKind::Hook), []);
    fs::write(&flag, "").expect("own directory");
    let told = wait_for("hooks to be tested again", || {
        let told = coverage(&sensor, CoverageKind::Untested);
        (told.len() > 1).then_some(told)
    });
    assert_eq!(told[1].phase, CoveragePhase::End);
    assert_eq!(told[1].first, begin.first);
    fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_canary_that_cannot_be_started_is_told_of_once() {
    let sensor = Sensor::start_folding(&[]);
    let canaries = Canaries {
        interval: Duration::from_millis(100),
        ..canaries_of("/no/such/program", &[])
    };
    sensor.stall().send_canaries(canaries);
    let told = || coverage(&sensor, CoverageKind::Untested);
    wait_for("that it cannot be started", || {
        (!told().is_empty()).then_some(())
    });
    let attempts = wait_for("further attempts", || {
        let report = sensor.stall().liveness()?;
        (report.attempts >= 5).then_some(report.attempts)
    });
    assert_eq!(told().len(), 1, "after {attempts} attempts");
    assert!(told()[0].reason.contains("cannot be started"));
}
