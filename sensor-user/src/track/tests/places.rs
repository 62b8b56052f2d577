//! Where processes run, whose users have names later, and a wall clock that is set.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use skep_event::UserSource;

use super::*;
use crate::{clock::Measured, place::Namespaces};

impl World {
    /// An exec in this cgroup and these namespaces.
    fn exec_in(&mut self, pid: u32, name: &str, cgroup: &str, mount: u32) -> Vec<Event> {
        let exec = decode::Exec {
            uid: Some(70_001),
            cgroup: Some(cgroup.into()),
            namespaces: Namespaces {
                mount: Some(mount),
                ..Namespaces::default()
            },
            exe: Some(Text::from(format!("/bin/{name}").as_str())),
            ..decode::Exec::unknown()
        };
        let new = claim(self.now + 1, pid);
        self.record(pid, Some(new), Hook::RawTpExec, Body::Exec(Box::new(exec)))
    }
}

fn info(events: &[Event]) -> &skep_event::SessionInfo {
    let info = events.iter().find_map(|event| match &event.detail {
        Detail::Session(info) => Some(info),
        _ => None,
    });
    info.expect("something is told of the session")
}

#[test]
fn a_process_says_where_it_runs_only_where_that_is_not_where_its_session_does() {
    let mut world = World::new();
    let id = "3f1e5c0b9a7d4e2f8c6b5a4d3e2f1c0b9a8d7e6f5c4b3a2d1e0f9c8b7a6d5e4f";
    let started = world.exec_in(10, "claude", "/user.slice", 1);
    assert_eq!(info(&started).cgroup, Some("/user.slice".into()));
    assert_eq!(info(&started).mount_namespace, Some(1));
    let root = started.last().unwrap().process.clone().unwrap();
    assert_eq!((&root.cgroup, root.mount_namespace), (&None, None));
    world.fork(10, 11, None);
    let inside = world.exec_in(11, "sh", &format!("/docker/{id}"), 2);
    let process = inside.last().unwrap().process.clone().unwrap();
    assert_eq!(process.container_id, Some(id.into()));
    assert_eq!(process.mount_namespace, Some(2));
    // What it starts is where it is.
    world.fork(11, 12, None);
    let opened = world.open(12, None);
    let child = opened.last().unwrap().process.clone().unwrap();
    assert_eq!(child.container_id, Some(id.into()));
    let back = world.exec_in(11, "sh", "/user.slice", 1);
    let process = back.last().unwrap().process.clone().unwrap();
    assert_eq!((&process.cgroup, process.mount_namespace), (&None, None));
}

#[test]
fn a_name_that_comes_later_is_told_as_an_update() {
    let dir = tempfile::tempdir().unwrap();
    let getent = dir.path().join("getent");
    let script = "#!/bin/sh\nsleep 0.3\necho \"alice:*:$2:100:Alice:/home/alice:/bin/sh\"\n";
    fs::write(&getent, script).unwrap();
    fs::set_permissions(&getent, fs::Permissions::from_mode(0o755)).unwrap();
    let mut world = World::new();
    let users = Users::of_file(Path::new("/dev/null")).or_by(&getent);
    world.tracker.enrich = Enrich::new(users);
    let begun = Instant::now();
    let started = world.exec_in(10, "claude", "/", 1);
    assert!(begun.elapsed() < Duration::from_millis(200), "nobody waits");
    assert_eq!(
        (&info(&started).user, info(&started).user_source),
        (&None, None)
    );
    let mut told = Vec::new();
    while told.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "an answer");
        std::thread::sleep(Duration::from_millis(20));
        world.tracker.tell_names(UnixNanos(9), &mut told);
    }
    assert_eq!(info(&told).phase, Phase::Update);
    assert_eq!(info(&told).user.as_deref(), Some("alice"));
    assert_eq!(info(&told).user_source, Some(UserSource::NameService));
    // The next one of that user has it at once.
    let next = world.exec_in(20, "claude", "/", 1);
    assert_eq!(info(&next).user.as_deref(), Some("alice"));
    world.tracker.tell_names(UnixNanos(9), &mut told);
    assert_eq!(told.len(), 1, "told once");
}

#[test]
fn a_process_has_the_same_start_before_and_after_the_clock_is_set() {
    let mut world = World::new();
    let (_, started) = world.exec(10, &["claude"], None);
    let before = started.last().unwrap().clone();
    world.fork(10, 11, None);
    let first = world.open(11, None).remove(0);
    let clock = world.tracker.clock.clone();
    let offset = before.time.0 as i64 - before.boot_time.unwrap() as i64;
    let hour = 3_600_000_000_000;
    let step = Measured {
        boot_ns: world.now + 1,
        offset: offset + hour,
    };
    assert!(clock.measured(step).is_some());
    let second = world.open(11, None).remove(0);
    assert_eq!(first.process, second.process);
    let after = second.time.0 as i64 - second.boot_time.unwrap() as i64;
    assert_eq!(after, offset + hour);
    // One that is met for the first time after it, and began before.
    world.fork(10, 12, None);
    let third = world.open(12, None).remove(0);
    let start = third.process.unwrap().start.unwrap();
    assert_eq!(start.0 as i64, 120 + offset);
}
