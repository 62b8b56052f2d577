//! The wall clock is set, of a virtual machine and never of the host.

use std::{collections::BTreeSet, fs, time::Duration};

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
    let vendor = fs::read_to_string("/sys/class/dmi/id/sys_vendor");
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

/// Has the machine sleep for some seconds; how long it slept, or why it cannot.
fn suspend(seconds: u32) -> Result<Duration, String> {
    let slept = || {
        let nanos = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec * S + time.tv_nsec
        };
        nanos(ClockId::Boottime) - nanos(ClockId::Monotonic)
    };
    let states = fs::read_to_string("/sys/power/state").map_err(|error| error.to_string())?;
    let state = ["mem", "freeze"]
        .into_iter()
        .find(|state| states.contains(state));
    let state = state.ok_or(format!("no state to sleep in: {states:?}"))?;
    let write = |file: &str, text: &str| {
        fs::write(file, text).map_err(|error| format!("{file}: {text}: {error}"))
    };
    let before = slept();
    write("/sys/class/rtc/rtc0/wakealarm", "0")?;
    write("/sys/class/rtc/rtc0/wakealarm", &format!("+{seconds}"))?;
    write("/sys/power/state", state)?;
    Ok(Duration::from_nanos((slept() - before).unsigned_abs()))
}

#[test]
fn a_suspend_is_no_step_of_the_clock() {
    if !is_guest() {
        println!("a machine that others use is not suspended");
        return;
    }
    let sensor = Sensor::start_folding(&[]);
    let before = sensor.run(&["exec", "/bin/sh", "-c", "true", "--"]);
    match suspend(4) {
        Ok(slept) => assert!(slept >= Duration::from_secs(2), "{slept:?}"),
        Err(why) => {
            println!("this machine cannot be suspended: {why}");
            return;
        }
    }
    let after = sensor.run(&["exec", "/bin/sh", "-c", "true", "--"]);
    let offset = |event: &skep_event::Event| event.time.0 - event.boot_time.expect("every event");
    let offsets = before.events.iter().chain(&after.events).map(offset);
    let offsets: BTreeSet<u64> = offsets.collect();
    assert_eq!(offsets.len(), 1, "both clocks slept alike");
    assert_eq!(coverage(&sensor, CoverageKind::Clock), []);
}
