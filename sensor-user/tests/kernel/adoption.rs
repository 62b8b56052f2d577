//! Agents that run before the sensor does.

use std::{
    fs,
    process::{Command, Stdio},
};

use skep_abi::Kind;
use skep_event::{Detail, Event, Found, Phase};
use skep_testing::{Finish, Killed};

use crate::sensor::{Sensor, actor, file, scratch, shown, wait_for};

#[test]
fn a_running_agent_and_its_descendants_are_found_and_marked_as_inferred() {
    let directory = scratch("running");
    let path = file(&directory, "opened-by-the-grandchild");
    let script = format!(
        "cd {}; (while [ ! -e act ]; do sleep 0.1; done; cat {path}; :) & : > ready; wait",
        directory.display()
    );
    let mut agent = Command::new(actor())
        .args(["do", "exec", "/bin/sh", "-c", &script, "--"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the actor");
    let ready = directory.join("ready");
    wait_for("the agent's shells", || ready.exists().then_some(()));
    let sensor = Sensor::start_adopting();
    fs::write(directory.join("act"), "").expect("own directory");
    agent.finish();
    let session = wait_for("what the grandchild opened", || {
        sensor.find(|event| matches!(&event.detail, Detail::Open(file) if shown(file) == path))
    })
    .session;
    let of_session = |phase: Phase| {
        let is = |event: &Event| {
            event.session == session
                && matches!(&event.detail, Detail::Session(info) if info.phase == phase)
        };
        wait_for("what is told of the session", || sensor.find(is))
    };
    let start = of_session(Phase::Start);
    assert!(
        matches!(&start.detail, Detail::Session(info)
            if info.found == Found::Running && info.uid == Some(0) && info.cwd.is_some()),
        "{start:?}"
    );
    let process = start.process.expect("the agent itself");
    assert_eq!(process.pid, agent.id());
    assert!(process.inferred && process.exe.is_some() && process.start.is_some());
    of_session(Phase::End);
    // The shells were met, not seen: their ends are told of processes that are inferred.
    let shells = sensor.of(|event| {
        event.session == session
            && matches!(event.detail, Detail::Exit(_))
            && event
                .process
                .as_ref()
                .is_some_and(|process| process.inferred)
    });
    assert!(shells.len() >= 3, "the agent and two shells: {shells:?}");
    fs::remove_dir_all(directory).expect("own directory");
}

/// A page of ring holds a few dozen processes: the walk goes on where it was full.
#[test]
fn every_agent_that_runs_is_found_however_small_the_ring() {
    /// With what else runs here, several times what a page holds.
    const AGENTS: usize = 60;
    let start = || {
        let mut command = Command::new(actor());
        command.args(["do", "sleep", "600000"]).stdin(Stdio::null());
        Killed(command.spawn().expect("the actor"))
    };
    let agents: Vec<Killed> = (0..AGENTS).map(|_| start()).collect();
    for agent in &agents {
        let cmdline = format!("/proc/{}/cmdline", agent.0.id());
        wait_for("the agent to run", || {
            let argv = fs::read(&cmdline).expect("it runs");
            argv.ends_with(b"600000\0").then_some(())
        });
    }
    let sensor = Sensor::start_adopting_with(4096);
    for agent in &agents {
        let is = |event: &Event| {
            let of_it = event
                .process
                .as_ref()
                .is_some_and(|p| p.pid == agent.0.id());
            of_it && matches!(&event.detail, Detail::Session(info) if info.found == Found::Running)
        };
        assert!(sensor.find(is).is_some(), "{} is not found", agent.0.id());
    }
    let counts = sensor.settled_counts().kernel;
    let mut tasks = counts.iter().filter(|counts| counts.kind == Kind::Task);
    let lost = tasks.next().expect("every kind").lost;
    assert!(lost.iter().all(|(_, count)| *count == 0), "{lost:?}");
}
