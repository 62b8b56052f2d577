//! The self-test as an operator sees it: in `status`, and when a hook is detached.

use std::{fs, process::Command};

use skep_proto::v1::{self, coverage::Phase, event::Detail};
use skep_sensor::status::{HookStatus, Status};

use crate::{
    collector::Collector,
    running::{Running, actor, configure, sensor, wait_for},
};

fn status(config: &std::path::Path) -> Option<Status> {
    let output = sensor()
        .args(["status", "--json", "--config"])
        .arg(config)
        .output()
        .ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

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

#[test]
fn a_canary_goes_all_the_way_and_status_shows_how_far() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = Collector::start(0).address.port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let config = configure_with_interval(directory.path(), address, 1);
    let mut running = Running::start(sensor().args(["run", "--config"]).arg(&config));
    let status_now = wait_for("a canary in the spool", || {
        let status = status(&config)?;
        status.canary.spooled_seconds_ago.map(|_| status)
    });
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
    let collector = Collector::start(port);
    wait_for("a canary to be acknowledged", || {
        status(&config)?.canary.acknowledged_seconds_ago
    });
    let events = collector.events();
    let canaries = coverage(&events, "canary");
    assert!(
        canaries.iter().all(|canary| canary.count > 5),
        "{canaries:?}"
    );
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_hook_that_another_process_detaches_is_reported_and_attached_again() {
    /// `BPF_CGROUP_INET4_CONNECT`.
    const CONNECT4: u32 = 10;
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::start(0);
    let config = configure_with_interval(directory.path(), collector.address, 1);
    let mut running = Running::start(sensor().args(["run", "--config"]).arg(&config));
    let pid = wait_for("the first canary", || {
        let status = status(&config)?;
        status.canary.ring_seconds_ago.map(|_| status.pid)
    });
    let links = cgroup_links(pid, CONNECT4);
    assert_eq!(links.len(), 1);
    detach(links[0]);
    let told = |phase: Phase| {
        wait_for("the hook to be told of", || {
            let events = collector.events();
            let hooks = coverage(&events, "hook");
            let is = |hook: &&&v1::Coverage| hook.phase() == phase;
            hooks.iter().find(is).map(|hook| (*hook).clone())
        })
    };
    let begin = told(Phase::Begin);
    let end = told(Phase::End);
    for hook in [&begin, &end] {
        assert_eq!(hook.hook.as_deref(), Some("cgroup/connect4"), "{hook:?}");
    }
    assert_eq!(
        begin.first_unix_nano, end.first_unix_nano,
        "the same silence"
    );
    assert!(begin.last_unix_nano < end.last_unix_nano);
    let events = collector.events();
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
    let act = Command::new(actor())
        .args(["do", "udp4", "127.0.0.1", "9", "connect4", "127.0.0.1", "9"])
        .status();
    assert!(act.is_ok());
    wait_for("the connect", || {
        collector
            .events()
            .into_iter()
            .find(|event| event.hook.as_deref() == Some("cgroup/connect4"))
    });
    let status = status(&config).expect("it runs");
    let inet = status.hooks.iter().find(|hook| hook.fact == "connect_inet");
    assert_eq!(inet.map(|hook| hook.status), Some(HookStatus::Live));
    assert_eq!(running.stop(), Some(0));
}

fn configure_with_interval(
    directory: &std::path::Path,
    collector: std::net::SocketAddr,
    seconds: u64,
) -> std::path::PathBuf {
    let file = configure(directory, collector);
    let text = fs::read_to_string(&file).expect("just written");
    let text = format!("{text}[liveness]\ninterval_seconds = {seconds}\n");
    fs::write(&file, text).expect("own directory");
    file
}
