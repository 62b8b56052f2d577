//! The self-test as an operator sees it: in `status`, and when a hook is detached.

use std::{fs, net::TcpListener, process::Command};

use skep_proto::v1::{self, coverage::Phase, event::Detail};
use skep_sensor::status::HookStatus;
use skep_testing::Finish;
use skep_testing::{
    Program,
    collector::{Absent, Collector},
};

use crate::running::{
    actor, calm, configure, sensor, session_of, status, wait_for, wait_or_explain,
};

/// Seconds between self-tests, each of which has as long to end: some machines are slow.
const INTERVAL: u64 = 5;

fn coverage<'a>(events: &'a [v1::Event], what: &str) -> Vec<&'a v1::Coverage> {
    events
        .iter()
        .filter_map(|event| match &event.detail {
            Some(Detail::Coverage(coverage)) if coverage.what == what => Some(coverage),
            _ => None,
        })
        .collect()
}

/// Ids of the links of another process that are attached to a cgroup as `attach_type`
/// (`enum bpf_attach_type`, linux/bpf.h).
fn cgroup_links(pid: u32, attach_type: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("a running process");
    entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path()).ok()?;
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim().to_owned())
            };
            let is = field("link_type:")? == "cgroup"
                && field("attach_type:")? == attach_type.to_string();
            is.then(|| field("link_id:")?.parse().ok())?
        })
        .collect()
}

/// What `bpftool link detach id ID` does.
fn detach(id: u32) {
    /// `BPF_LINK_GET_FD_BY_ID`, `BPF_LINK_DETACH` (enum bpf_cmd, linux/bpf.h).
    const GET_FD_BY_ID: libc::c_long = 30;
    const DETACH: libc::c_long = 34;
    let call = |command: libc::c_long, number: u32| {
        // `union bpf_attr`: both commands take one number, in the first four bytes.
        let attr = [number, 0, 0, 0];
        // SAFETY: the attributes outlive the call, which reads no more than their size.
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) }
    };
    let fd = u32::try_from(call(GET_FD_BY_ID, id)).expect("a link with this id");
    assert_eq!(call(DETACH, fd), 0);
    // SAFETY: made above, and nobody else's.
    unsafe { libc::close(fd as i32) };
}

/// Whether a self-test did its part; else it accuses no hook.
fn is_sound(canary: &v1::Coverage) -> bool {
    !canary.reason.contains("does not count against any hook")
}

#[test]
fn a_canary_goes_all_the_way_and_status_shows_how_far() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let absent = Absent::new();
    let config = configure_with_canaries(directory.path(), absent.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    let status_now = wait_or_explain(
        "a sound canary in the spool",
        || {
            let status = status(&config)?;
            let is_sound = status.canary.error.is_none();
            (is_sound && status.canary.spooled_seconds_ago.is_some()).then_some(status)
        },
        || format!("{:#?}", status(&config)),
    );
    assert_eq!(
        status_now.canary.acknowledged_seconds_ago, None,
        "nobody is there"
    );
    assert!(status_now.canary.ring_seconds_ago.is_some());
    for hook in &status_now.hooks {
        let tested = hook.canaries.iter().filter(|c| c.seconds_ago.is_some());
        assert!(
            hook.status == HookStatus::Off || tested.count() > 0,
            "{hook:?}"
        );
    }
    let collector = absent.arrive();
    wait_for("a canary to be acknowledged", || {
        status(&config)?.canary.acknowledged_seconds_ago
    });
    let events = collector.events();
    let mut canaries = coverage(&events, "canary");
    canaries.retain(|canary| is_sound(canary));
    assert!(!canaries.is_empty());
    assert!(
        canaries.iter().all(|canary| canary.count > 5),
        "{canaries:?}"
    );
    assert_eq!(running.terminate().code(), Some(0));
}

#[test]
fn a_hook_that_another_process_detaches_is_reported_and_attached_again() {
    /// `BPF_CGROUP_INET4_CONNECT`.
    const CONNECT4: u32 = 10;
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure_with_canaries(directory.path(), collector.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    let pid = wait_for("the first sound canary", || {
        let status = status(&config)?;
        let is_sound = status.canary.error.is_none();
        (is_sound && status.canary.ring_seconds_ago.is_some()).then_some(status.pid)
    });
    let links = cgroup_links(pid, CONNECT4);
    assert_eq!(links.len(), 1);
    detach(links[0]);
    let told = |phase: Phase| {
        wait_for("the hook to be told of", || {
            let events = collector.events();
            events.into_iter().find_map(|event| match event.detail {
                Some(Detail::Coverage(hook)) if hook.what == "hook" && hook.phase() == phase => {
                    Some((event.time_unix_nano, hook))
                }
                _ => None,
            })
        })
    };
    let (noticed, begin) = told(Phase::Begin);
    let (_, end) = told(Phase::End);
    for hook in [&begin, &end] {
        assert_eq!(hook.hook.as_deref(), Some("cgroup/connect4"), "{hook:?}");
    }
    assert_eq!(
        begin.first_unix_nano, end.first_unix_nano,
        "the same silence"
    );
    assert!(begin.last_unix_nano < end.last_unix_nano);
    let events = collector.events();
    // It was silent from its last record on, of the last test before. The first sound one after that
    // noticed it.
    let mut canaries = coverage(&events, "canary");
    canaries.retain(|canary| is_sound(canary));
    let after = |canary: &&&v1::Coverage| canary.first_unix_nano > begin.first_unix_nano;
    let first = canaries.iter().find(after).expect("one noticed it");
    assert_eq!(first.last_unix_nano, noticed, "{canaries:#?}");
    assert!(
        first.reason.contains("not reported by cgroup/connect4"),
        "{first:?}"
    );
    // And that one began when it was due.
    let before = canaries.iter().rev().find(|canary| !after(canary));
    let before = before.expect("the one that was waited for");
    let apart = first.first_unix_nano - before.first_unix_nano;
    let tests = coverage(&events, "canary")
        .iter()
        .filter(|canary| {
            (before.first_unix_nano..first.first_unix_nano).contains(&canary.first_unix_nano)
        })
        .count();
    // Half an interval late at most: it waits for the sensor's turn, on a machine that is slow.
    let most = tests as u64 * INTERVAL * 1_000_000_000 + INTERVAL * 500_000_000;
    assert!(apart <= most, "{apart} ns and {tests} tests apart");

    let findings: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.detail {
            Some(Detail::Finding(finding)) => Some((event.hook.as_deref(), finding)),
            _ => None,
        })
        .collect();
    let [(Some("cgroup/connect4"), finding)] = findings.as_slice() else {
        panic!("one finding of this hook: {findings:?}")
    };
    assert_eq!(finding.rule, "sensor.hook_detached");
    assert_eq!(finding.severity(), v1::finding::Severity::High);
    assert_eq!(finding.attack, ["T1562.001"]);
    assert!(finding.reason.contains("cgroup/connect4"), "{finding:?}");
    assert_ne!(cgroup_links(pid, CONNECT4), links);
    // Events flow again: an agent's connect is seen by that very hook.
    let peer = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = peer.local_addr().expect("bound").port();
    let mark = port.to_string();
    let act = Command::new(actor())
        .args(["do", "connect4", "127.0.0.1", &mark])
        .spawn();
    assert!(act.expect("the actor").finish().success());
    let connect = wait_for("the connect", || {
        collector.events().into_iter().find(|event| {
            matches!(&event.detail, Some(Detail::Connect(net)) if net.port == Some(port.into()))
        })
    });
    assert_eq!(connect.hook.as_deref(), Some("cgroup/connect4"));
    assert!(connect.session.is_some());
    assert_eq!(connect.session, session_of(&collector.events(), &mark));
    let status = status(&config).expect("it runs");
    let inet = status.hooks.iter().find(|hook| hook.fact == "connect_inet");
    assert_eq!(inet.map(|hook| hook.status), Some(HookStatus::Live));
    assert_eq!(running.terminate().code(), Some(0));
}

fn configure_with_canaries(
    directory: &std::path::Path,
    collector: std::net::SocketAddr,
) -> std::path::PathBuf {
    let file = configure(directory, collector);
    let text = fs::read_to_string(&file).expect("just written");
    let text = format!("{text}[liveness]\ninterval_seconds = {INTERVAL}\n");
    fs::write(&file, text).expect("own directory");
    file
}
