//! Programs that are attached and detached while the sensor runs.

use std::{net::UdpSocket, time::Duration};

use skep_event::{CoverageKind, Detail, Event};
use skep_sensor::{
    pipeline::watchdog::Canaries,
    probes::{self, HookReport, HookStatus, ProgramReport},
};

use crate::{
    liveness::canaries,
    sensor::{Sensor, wait_for},
};

const PROGRAM: &str = "cgroup_sendmsg4";
const HOOK: &str = "cgroup/sendmsg4";

fn program(sensor: &Sensor) -> ProgramReport {
    let programs = sensor.stall().programs();
    let of_it = programs
        .into_iter()
        .find(|report| report.program == PROGRAM);
    of_it.expect("a report on a program that was not to be attached")
}

fn fact(sensor: &Sensor) -> HookReport {
    let hooks = sensor.stall().hooks().to_vec();
    let of_it = hooks
        .into_iter()
        .find(|report| report.fact == "connect_inet");
    of_it.expect("a fact of every kernel")
}

/// Sends a datagram without a connect, as an agent; the hooks that report it.
fn reported_by(sensor: &Sensor, port: &str) -> Vec<Option<&'static str>> {
    let run = sensor.run(&["udp4", "127.0.0.1", port]);
    let connects = run.connects();
    connects.iter().map(|(event, _)| event.hook).collect()
}

/// Self-tests that were judged, and hooks that they called silent.
fn judged(sensor: &Sensor) -> (usize, usize) {
    let of = |kind: CoverageKind| {
        let is = move |event: &Event| matches!(&event.detail, Detail::Coverage(coverage) if coverage.what == kind);
        sensor.of(is).len()
    };
    (of(CoverageKind::Canary), of(CoverageKind::Hook))
}

#[test]
fn a_program_that_is_attached_at_run_time_reports_and_detached_it_is_silent_and_accuses_nobody() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = peer.local_addr().expect("bound").port().to_string();
    let spec = probes::program(PROGRAM).expect("a program of the kernel object");
    let sensor = Sensor::start_folding(&[HOOK]);
    assert_eq!(reported_by(&sensor, &port), []);
    let report = program(&sensor);
    assert_eq!(report.status, HookStatus::Off);
    assert_eq!(report.reason, "not to be used, by configuration");
    assert_eq!(fact(&sensor).status, HookStatus::Fallback);
    sensor.stall().send_canaries(Canaries {
        interval: Duration::from_secs(2),
        ..canaries()
    });

    for _ in 0..2 {
        let attached = sensor.stall().attach_program(spec);
        assert_eq!((attached.status, &*attached.reason), (HookStatus::Live, ""));
        assert_eq!(
            sensor.stall().attach_program(spec),
            attached,
            "attached once"
        );
        assert_eq!(program(&sensor), attached);
        assert_eq!(
            fact(&sensor).status,
            HookStatus::Live,
            "{:?}",
            fact(&sensor)
        );
        assert_eq!(reported_by(&sensor, &port), [Some(HOOK)]);
        wait_for("a self-test to go through it", || {
            let report = sensor.stall().liveness()?;
            let mut hooks = report.hooks.iter();
            hooks.find(|known| known.hook.name() == HOOK)?.seen_ns
        });

        let detached = sensor.stall().detach_program(attached.id);
        let detached = detached.expect("a program that is attached");
        assert_eq!(detached.status, HookStatus::Off);
        assert_eq!((detached.id, &*detached.reason), (attached.id, "detached"));
        assert_eq!(program(&sensor), detached);
        let fact = fact(&sensor);
        assert_eq!(fact.status, HookStatus::Fallback);
        assert!(
            fact.reason.contains("without cgroup/sendmsg4: detached"),
            "{fact:?}"
        );
        assert_eq!(reported_by(&sensor, &port), []);
        let (before, _) = judged(&sensor);
        let (_, silent) = wait_for("two self-tests without it", || {
            let (now, silent) = judged(&sensor);
            (now >= before + 2).then_some((now, silent))
        });
        assert_eq!(silent, 0, "it was detached on purpose");
    }
}
