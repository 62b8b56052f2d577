//! The wall clock is set, of a virtual machine and never of the host.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use skep_event::{CoverageKind, Detail};

use crate::{
    liveness::coverage,
    sensor::{Sensor, wait_for},
};

const HOUR: i64 = 3600;
const S: i64 = 1_000_000_000;

/// Where the clock may be set: what runs the tests in a virtual machine says so, and the machine is one.
fn is_guest() -> bool {
    let vendor = std::fs::read_to_string("/sys/class/dmi/id/sys_vendor");
    std::env::var_os("SKEP_VM_OUTPUT").is_some()
        && vendor.is_ok_and(|vendor| vendor.trim() == "QEMU")
}

fn set_by(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let time = Timespec {
        tv_sec: now.tv_sec + seconds,
        ..now
    };
    clock_settime(ClockId::Realtime, time).expect("root in a machine of its own");
}

#[test]
fn a_clock_that_is_set_is_followed_and_told_and_changes_nothing_before_it() {
    if !is_guest() {
        println!("the clock of a machine that others use is not set");
        return;
    }
    let sensor = Sensor::start_folding(&[]);
    let before = sensor.run(&["exec", "/bin/sh", "-c", "true", "--"]);
    let steps = || coverage(&sensor, CoverageKind::Clock);
    assert_eq!(steps(), []);
    for (number, seconds) in [(1, HOUR), (2, -2 * HOUR), (3, HOUR)] {
        set_by(seconds);
        let told = wait_for("the step to be told", || {
            let steps = steps();
            (steps.len() == number).then(|| steps[number - 1].clone())
        });
        let (first, second) = (told.clock_offset_before, told.clock_offset_after);
        let by = second.expect("an offset") - first.expect("an offset");
        assert!((by - seconds * S).abs() < S, "{told:?}");
        let run = sensor.run(&["exec", "/bin/sh", "-c", "true", "--"]);
        let now = clock_gettime(ClockId::Realtime).tv_sec * S;
        for event in &run.events {
            let age = Duration::from_secs(600).as_nanos() as i64;
            assert!((now - event.time.0 as i64).abs() < age, "{event:?}");
            let boot_ns = event.boot_time.expect("every event has one");
            assert_eq!(Some(event.time.0 as i64 - boot_ns as i64), second);
        }
    }
    // What was told before has its times, by the clock as it was.
    let again = sensor.of(|event| event.session == Some(before.session));
    assert!(
        again
            .iter()
            .any(|event| matches!(event.detail, Detail::Exec(_)))
    );
    assert_eq!(again[..before.events.len()], before.events[..]);
}
