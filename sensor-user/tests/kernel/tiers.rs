//! The tiers: which hooks serve here, and that the lesser ones work too.

use std::net::TcpListener;

use skep_sensor::probes::HookStatus;

use crate::sensor::{Sensor, file, scratch, sensor};

/// Set by `cargo xtask vm`: on those kernels every fact must have its best hook.
const EXPECT_BEST: &str = "SKEP_EXPECT_BEST";

#[test]
fn every_fact_is_served_and_a_lesser_hook_says_why() {
    for hook in &sensor().hooks {
        assert_ne!(hook.status, HookStatus::Off, "{hook:?}");
        assert_eq!(
            hook.status == HookStatus::Live,
            hook.reason.is_empty(),
            "{hook:?}"
        );
        if std::env::var_os(EXPECT_BEST).is_some() {
            assert_eq!(hook.status, HookStatus::Live, "{hook:?}");
        }
    }
}

/// Runs the same scenario with the better hooks left out. Where a tier is not to be had, its hooks
/// are skipped by the sensor as always, so the scenario then runs on the tier below it.
fn scenario(avoid: &[&str]) -> Sensor {
    let tier = Sensor::start(avoid);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let directory = scratch(&format!("tier-{}", avoid.len()));
    let (own, of_tool) = (file(&directory, "own"), file(&directory, "of-the-tool"));
    let socket = directory
        .join("socket")
        .into_os_string()
        .into_string()
        .expect("text");
    let redirect = format!(": < {of_tool}");
    let _unix = std::os::unix::net::UnixListener::bind(&socket).expect("own directory");
    let run = tier.run(&[
        "open",
        &own,
        "connect4",
        "127.0.0.1",
        &port.to_string(),
        "unix",
        &socket,
        "exec",
        "/bin/sh",
        "-c",
        &redirect,
        "--",
    ]);
    std::fs::remove_dir_all(directory).expect("own directory");
    assert!(run.open(&own).1.resolved);
    assert!(
        !run.opens(&of_tool).is_empty(),
        "the tool's open: {}",
        run.describe()
    );
    let ports: Vec<_> = run
        .connects()
        .into_iter()
        .filter_map(|(_, net)| net.port)
        .collect();
    assert_eq!(ports, [port], "{}", run.describe());
    let paths = run
        .connects()
        .into_iter()
        .filter(|(_, net)| net.path.is_some())
        .count();
    assert_eq!(paths, 1, "{}", run.describe());
    assert_eq!(tier.lost(), Vec::<String>::new());
    tier
}

/// What must serve a fact where the best tiers are to be had.
fn served_by(tier: &Sensor, fact: &str, hook: &str) {
    let report = tier.hook(fact);
    assert_eq!(report.status, HookStatus::Fallback, "{report:?}");
    if std::env::var_os(EXPECT_BEST).is_some() {
        assert_eq!(report.hook, Some(hook), "{report:?}");
    }
}

#[test]
fn the_lsm_serves_where_vfs_open_cannot_be_hooked() {
    let tier = scenario(&["fentry/"]);
    served_by(&tier, "open", "lsm/file_open");
}

#[test]
fn fentry_serves_where_the_lsm_does_not() {
    let tier = scenario(&["fentry/vfs_open", "fentry/unix_stream_connect", "lsm/"]);
    served_by(&tier, "open", "fentry/security_file_open");
    served_by(&tier, "connect_unix", "fentry/security_socket_connect");
}

#[test]
fn tracepoints_serve_where_nothing_else_does() {
    let tier = scenario(&["lsm/", "fentry/", "fexit/", "cgroup/"]);
    served_by_tracepoints(&tier, "tp/sys_");
}

/// As before 5.15, where the arguments cannot be had at the exit.
#[test]
fn tracepoints_of_entry_and_exit_serve_where_those_of_the_exit_do_not() {
    let exits = ["tp/sys_open", "tp/sys_connect", "tp/sys_socket"];
    let tier = scenario(&[&["lsm/", "fentry/", "cgroup/"][..], &exits].concat());
    served_by_tracepoints(&tier, "tp/sys_enter_");
    let socket = tier.hook("socket");
    assert_eq!(socket.hook, Some("tp/sys_enter_socket"), "{socket:?}");
}

fn served_by_tracepoints(tier: &Sensor, prefix: &str) {
    for fact in ["open", "connect_inet", "connect_unix"] {
        let hook = tier.hook(fact);
        assert_eq!(hook.status, HookStatus::Fallback, "{hook:?}");
        assert!(
            hook.hook.is_some_and(|name| name.starts_with(prefix)),
            "{hook:?}"
        );
        assert!(
            hook.reason.contains("io_uring"),
            "what it does not see is said: {hook:?}"
        );
    }
}

#[test]
fn a_part_of_the_best_hook_that_is_missing_is_said() {
    let tier = Sensor::start(&["cgroup/sendmsg"]);
    let hook = tier.hook("connect_inet");
    assert_eq!(hook.status, HookStatus::Fallback, "{hook:?}");
    assert!(
        hook.hook.is_some_and(|name| name.starts_with("cgroup/")),
        "the rest of it serves: {hook:?}"
    );
    for part in ["cgroup/sendmsg4", "cgroup/sendmsg6"] {
        assert_eq!(hook.reason.matches(part).count(), 1, "{hook:?}");
    }
}
