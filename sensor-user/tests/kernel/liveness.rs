//! Hooks that somebody detaches behind the sensor's back.
//!
//! A cgroup link is detached by its id, as any root process can. The kernel has no such call for
//! links of tracepoints, fentry and LSM programs (`bpf_link_ops::detach` is not set): those only go
//! with their last descriptor, which another root process can take away with ptrace. Here, in the
//! sensor's own process, another file is put in the descriptor's place, which is the same to the
//! kernel.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsRawFd,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use skep_abi::Hook;
use skep_event::{Coverage, CoverageKind, CoveragePhase, Detail, Event};

use skep_sensor::pipeline::watchdog::Canaries;
use skep_testing::{Finish, test_program};

use crate::sensor::{Sensor, actor, file, scratch, shown, wait_for};

/// Between self-tests, each of which has as long to end, which takes a while where the machine is
/// emulated.
const INTERVAL: Duration = Duration::from_secs(4);

pub fn canaries() -> Canaries {
    canaries_of(text(&test_program()), &["canary"])
}

pub fn canaries_of(program: &str, arguments: &[&str]) -> Canaries {
    Canaries {
        interval: INTERVAL,
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("own names are text")
}

/// Coverage events of a kind, in their order.
pub fn coverage(sensor: &Sensor, what: CoverageKind) -> Vec<Coverage> {
    let of = |event: Event| match event.detail {
        Detail::Coverage(coverage) if coverage.what == what => Some(coverage),
        _ => None,
    };
    sensor.of(|_| true).into_iter().filter_map(of).collect()
}

/// A link of this process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    fd: i32,
    id: u32,
    kind: String,
    /// What a tracepoint's link is on.
    tracepoint: String,
}

fn links() -> BTreeSet<Link> {
    let entries = fs::read_dir("/proc/self/fdinfo").expect("own descriptors");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let text = fs::read_to_string(&path).ok()?;
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim_start_matches(':').trim().to_owned())
            };
            Some(Link {
                fd: path.file_name()?.to_str()?.parse().ok()?,
                id: field("link_id")?.parse().ok()?,
                kind: field("link_type")?,
                tracepoint: field("tp_name").unwrap_or_default(),
            })
        })
        .collect()
}

impl Link {
    fn cut(&self) {
        if self.kind == "cgroup" {
            return self.detach();
        }
        let null = fs::File::open("/dev/null").expect("a device every system has");
        // SAFETY: both are descriptors of this process; the link's owner closes what is there now.
        let replaced = unsafe { libc::dup3(null.as_raw_fd(), self.fd, libc::O_CLOEXEC) };
        assert_eq!(replaced, self.fd, "{self:?}");
    }

    /// By its id, as another process would.
    fn detach(&self) {
        /// `BPF_LINK_GET_FD_BY_ID`, `BPF_LINK_DETACH` (enum bpf_cmd, linux/bpf.h).
        const GET_FD_BY_ID: libc::c_long = 30;
        const DETACH: libc::c_long = 34;
        let call = |command: libc::c_long, number: u32| {
            // `union bpf_attr`: both commands take one number, in the first four bytes.
            let attr = [number, 0, 0, 0];
            // SAFETY: the attributes outlive the call, which reads no more than their size.
            unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(&attr)) }
        };
        let fd = u32::try_from(call(GET_FD_BY_ID, self.id)).expect("a link with this id");
        assert_eq!(call(DETACH, fd), 0, "{self:?}");
        // SAFETY: made above, and nobody else's.
        unsafe { libc::close(fd as i32) };
    }
}

fn told(sensor: &Sensor, phase: CoveragePhase) -> BTreeSet<&'static str> {
    let is = |event: &Event| {
        matches!(&event.detail, Detail::Coverage(coverage)
            if coverage.what == CoverageKind::Hook && coverage.phase == phase)
    };
    let name = |event: Event| match event.detail {
        Detail::Coverage(coverage) => coverage.hook,
        _ => None,
    };
    sensor.of(is).into_iter().filter_map(name).collect()
}

/// Each silence was noticed by the first self-test after it began that did its part.
fn noticed_at_once(sensor: &Sensor) {
    let coverage = |what: CoverageKind| {
        let events = sensor.of(
            |event| matches!(&event.detail, Detail::Coverage(coverage) if coverage.what == what),
        );
        events.into_iter().filter_map(|event| match event.detail {
            Detail::Coverage(coverage) => Some((event.time, coverage)),
            _ => None,
        })
    };
    let mut canaries: Vec<_> = coverage(CoverageKind::Canary).collect();
    canaries.retain(|(_, canary)| !canary.reason.contains("does not count against any hook"));
    let begun = |(_, hook): &(_, Coverage)| hook.phase == CoveragePhase::Begin;
    for (noticed, silence) in coverage(CoverageKind::Hook).filter(begun) {
        let since = silence.first;
        let first = canaries.iter().find(|(_, canary)| canary.first > since);
        assert_eq!(first.map(|(at, _)| *at), Some(noticed), "{silence:?}");
    }
}

/// Hooks that a canary has reached.
fn reached(sensor: &Sensor) -> BTreeSet<&'static str> {
    let report = sensor.stall().liveness().expect("canaries are sent");
    let seen = report.hooks.iter().filter(|known| known.seen_ns.is_some());
    seen.map(|known| known.hook.name()).collect()
}

fn hooks_come_back(avoid: &[&str]) {
    let before = links();
    let sensor = Sensor::start_folding(avoid);
    let mine: Vec<Link> = links().difference(&before).cloned().collect();
    assert!(mine.len() >= 6, "{mine:#?}");
    sensor.stall().send_canaries(canaries());
    wait_for("a canary to be judged", || {
        sensor.stall().liveness()?.last.map(|_| ())
    });
    let hooks = reached(&sensor);
    println!("reached by canaries: {hooks:?}");
    assert!(hooks.len() >= 6, "{hooks:?}");

    // An agent that forks when the fork hook is away, and acts when it is back.
    let directory = scratch("detached");
    let path = file(&directory, "opened-by-the-child");
    let script = format!(
        "cd {}; while [ ! -e fork ]; do sleep 0.1; done; \
         (while [ ! -e act ]; do sleep 0.1; done; cat {path}) & wait",
        directory.display()
    );
    let mut command = Command::new(actor());
    command
        .args(["do", "exec", "/bin/sh", "-c", &script, "--"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut agent = sensor.spawn(&mut command).expect("the actor");
    wait_for("the agent's shell", || {
        sensor.find(|event| {
            matches!(event.detail, Detail::Exec(_))
                && event.process.as_ref().is_some_and(|process| {
                    let is = |arg: &skep_event::Text| arg.escaped().contains(&path);
                    process.argv.iter().any(is)
                })
        })
    });

    let fork = Hook::RawTpFork.name();
    let is_fork = |link: &&Link| link.tracepoint == "sched_process_fork";
    mine.iter()
        .filter(|link| !is_fork(link))
        .for_each(Link::cut);
    let others: BTreeSet<_> = hooks.iter().copied().filter(|hook| *hook != fork).collect();
    for phase in [CoveragePhase::Begin, CoveragePhase::End] {
        wait_for("every hook but fork to be told of", || {
            told(&sensor, phase).is_superset(&others).then_some(())
        });
    }
    mine.iter().filter(is_fork).for_each(Link::cut);
    fs::write(directory.join("fork"), "").expect("own directory");
    for phase in [CoveragePhase::Begin, CoveragePhase::End] {
        wait_for("the fork hook to be told of", || {
            told(&sensor, phase).contains(fork).then_some(())
        });
    }
    fs::write(directory.join("act"), "").expect("own directory");
    agent.finish();
    let opened = wait_for("what the child opened", || {
        sensor.find(|event| matches!(&event.detail, Detail::Open(file) if shown(file) == path))
    });
    let session = opened.session.expect("an agent's");
    wait_for("the session to end, with its gaps", || {
        sensor.find(|event| {
            event.session == Some(session)
                && matches!(&event.detail, Detail::Session(info)
                    if info.phase == skep_event::Phase::End && info.gaps >= 2)
        })
    });
    noticed_at_once(&sensor);
    // And everything is as before.
    let run = sensor.run(&["open", &path, "exec", "/bin/true", "--"]);
    assert!(!run.opens(&path).is_empty(), "{}", run.describe());
    assert_eq!(run.execs().len(), 2, "{}", run.describe());
    fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn hooks_that_were_detached_are_reported_and_attached_again() {
    hooks_come_back(&[]);
}

#[test]
fn so_are_those_of_the_fallback_tier() {
    hooks_come_back(&["lsm/", "fentry/", "cgroup/"]);
}
