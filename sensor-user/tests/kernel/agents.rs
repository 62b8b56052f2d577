//! Recognition, lineage and processes.

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use skep_event::{CoverageKind, Detail, Phase, Text};
use skep_testing::Finish;

use crate::sensor::{actor, scratch, sensor, wait_for};

#[test]
fn an_agent_run_is_one_session_from_start_to_end() {
    let run = sensor().run(&["exec", "/bin/sh", "-c", "exit 3", "--"]);
    let phases: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Session(info) => Some(info.phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [Phase::Start, Phase::End], "{}", run.describe());
    let execs = run.execs();
    assert_eq!(execs.len(), 2, "{}", run.describe());
    let (root, _) = &execs[0];
    let (tool, argv) = &execs[1];
    assert_eq!(argv, &["/bin/sh", "-c", "exit 3"]);
    assert_eq!(tool.ppid, Some(root.pid));
    assert_eq!(root.uid, Some(0));
    assert_eq!(root.ppid, Some(std::process::id()));
    assert!(root.cwd.is_some() && root.exe.is_some() && root.start.is_some());
    let exits: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Exit(exit) => Some((event.process.as_ref()?.pid, exit.code)),
            _ => None,
        })
        .collect();
    assert_eq!(
        exits,
        [(tool.pid, Some(3)), (root.pid, Some(1))],
        "the actor fails with its tool"
    );
    for event in &run.events {
        let agent = event
            .agent
            .as_ref()
            .expect("every event of a session names its agent");
        assert_eq!(agent.family, "skep-demo-agent");
        assert_eq!(agent.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_program_that_is_no_agent_leaves_no_event() {
    let mut child = Command::new("/bin/sh")
        .args([
            "-c",
            "cat /proc/self/status /proc/self/maps > /dev/null; exec true",
        ])
        .spawn()
        .expect("a shell");
    let pid = child.id();
    assert!(child.finish().success());
    // An agent after it: once that is reported, whatever there was of the shell would be too.
    sensor().run(&[]);
    let events = sensor().of_pid(pid);
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_daemon_that_outlives_the_agent_stays_in_its_session() {
    let directory = scratch("daemon");
    let path = directory.join("opened-by-the-daemon");
    let path = path.to_str().expect("text");
    let run = sensor().run(&["create", path, "double-fork", path]);
    let opens = run.opens(path);
    assert_eq!(opens.len(), 2, "{}", run.describe());
    let (first, second) = (opens[0].0.process.as_ref(), opens[1].0.process.as_ref());
    assert_ne!(
        first.map(|process| process.pid),
        second.map(|process| process.pid)
    );
    assert_eq!(opens[1].0.session, Some(run.session));
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_thread_that_executes_a_program_keeps_the_process() {
    let run = sensor().run(&["thread-exec", "/bin/sh", "-c", "true", "--"]);
    let execs = run.execs();
    assert_eq!(execs.len(), 2, "{}", run.describe());
    // The actor forks, and a thread of the child executes the program: it takes over the child's
    // pid, not its own thread id, and the child's place in the lineage.
    let (root, tool) = (&execs[0].0, &execs[1].0);
    assert_eq!(tool.ppid, Some(root.pid));
    let exited = run
        .events
        .iter()
        .filter(|event| matches!(event.detail, Detail::Exit(_)));
    let pids: Vec<_> = exited
        .filter_map(|event| Some(event.process.as_ref()?.pid))
        .collect();
    assert_eq!(pids, [tool.pid, root.pid], "no process but these two");
}

#[test]
fn what_a_process_does_is_told_as_whom_it_is_at_that_moment() {
    let directory = scratch("ids");
    let everybody = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("own file");
    };
    everybody(&directory, 0o755);
    let file = directory.join("opened");
    std::fs::write(&file, "").expect("own directory");
    everybody(&file, 0o644);
    let with_rights = directory.join("set-user-id");
    std::fs::copy(actor(), &with_rights).expect("a copy");
    everybody(&with_rights, 0o4755);
    let (path, program) = (
        file.to_str().expect("text"),
        with_rights.to_str().expect("text"),
    );
    // One executable, one file, one moment: nothing but the user ids tells the first two apart.
    let run = sensor().run(&[
        "open", path, "as-user", "65534", "open", path, "as-user", "65534", "exec", program, "do",
        "open", path, "--",
    ]);
    let ids: Vec<_> = run
        .opens(path)
        .iter()
        .filter_map(|(event, _)| event.process.as_ref().map(|who| (who.uid, who.euid)))
        .collect();
    let user = Some(65_534);
    let expected = [(Some(0), Some(0)), (user, user), (user, Some(0))];
    assert_eq!(ids, expected, "{}", run.describe());
    let ran = run.execs();
    let rights = ran.last().map(|(process, _)| (process.uid, process.euid));
    assert_eq!(rights, Some((user, Some(0))), "{}", run.describe());
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn renamed_linked_and_copied_agents_are_recognised() {
    let directory = scratch("names");
    let copy = directory.join("kworker");
    std::fs::copy(actor(), &copy).expect("a copy");
    let hard = directory.join("vim");
    std::fs::hard_link(&copy, &hard).expect("a hard link");
    let soft = directory.join("ls");
    std::os::unix::fs::symlink(&copy, &soft).expect("a symbolic link");
    for path in [copy, hard, soft] {
        let mut command = Command::new(&path);
        command.arg("do");
        let run = sensor().run_command(command);
        let agent = run.events[0].agent.as_ref().expect("an agent");
        assert_eq!(agent.family, "skep-demo-agent", "{}", path.display());
    }
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn an_empty_argv0_and_environment_change_nothing() {
    let sensor = sensor();
    let mut command = Command::new(actor());
    command.arg0("").args(["do", "sleep", "1"]).env_clear();
    assert!(command.spawn().expect("the actor").finish().success());
    let event = wait_for("the exec", || {
        sensor.find(|event| {
            let argv = event
                .process
                .as_ref()
                .map(|process| process.argv.as_slice());
            matches!(event.detail, Detail::Exec(_))
                && argv.is_some_and(|argv| argv.first() == Some(&Text::from("")))
        })
    });
    assert_eq!(
        event.agent.map(|agent| agent.family.clone()).as_deref(),
        Some("skep-demo-agent")
    );
    let argv: Vec<_> = event
        .process
        .iter()
        .flat_map(|p| p.argv.iter().map(Text::escaped))
        .collect();
    assert_eq!(argv, ["", "do", "sleep", "1"]);
}

#[test]
fn every_argument_arrives_as_it_was_even_long_and_not_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let odd = std::ffi::OsString::from_vec(vec![b'a', 0xff, b'\\', b'\n', 0xc3]);
    let long = "x".repeat(5_000);
    let mut command = Command::new(actor());
    command
        .args(["do", "exec", "/bin/sh", "-c", ":", "", &long])
        .arg(&odd)
        .arg("--");
    let run = sensor().run_command(command);
    let (_, argv) = run.execs().pop().expect("the tool");
    assert_eq!(
        argv,
        ["/bin/sh", "-c", ":", "", &long, "a\\xff\\\\\\x0a\\xc3"]
    );
}

#[test]
fn an_argv_beyond_the_limit_is_told_at_both_ends_and_said_to_be_cut() {
    let sensor = sensor();
    let mut command = Command::new(actor());
    command.args([
        "do",
        "exec",
        "/bin/sh",
        "-c",
        ":",
        &"y".repeat(100_000),
        "and; then more; echo the-end",
        "--",
    ]);
    assert!(command.spawn().expect("the actor").finish().success());
    let cut = wait_for("the long exec", || {
        sensor.find(|event| {
            event.process.as_ref().is_some_and(|process| {
                process.argv_truncated
                    && process
                        .argv
                        .first()
                        .is_some_and(|arg| arg.as_bytes() == b"/bin/sh")
            })
        })
    });
    let process = cut.process.expect("found by it");
    let argv: Vec<_> = process.argv.iter().map(Text::escaped).collect();
    assert_eq!(argv[..3], ["/bin/sh", "-c", ":"]);
    let (before, after) = argv[3].split_once('…').expect("a gap");
    assert_eq!(before.len(), 8192 - 2048 - "/bin/sh -c : ".len());
    // A word that begins in the gap is not told in part.
    assert!(after.ends_with("bytes left out]…"), "{after}");
    assert_eq!(argv[4..], ["and; then more; echo the-end"]);
}

#[test]
fn a_program_its_user_may_run_and_not_read_is_named_as_not_judged() {
    use std::os::unix::fs::PermissionsExt;
    const NOBODY: u32 = 65_534;
    let sensor = sensor();
    let directory = scratch("unreadable");
    let program = directory.join("tool");
    std::fs::copy(actor(), &program).expect("own directory");
    std::fs::set_permissions(&program, Permissions::from_mode(0o711)).expect("mode");
    let ran = Command::new(&program)
        .args(["do", "open", "/dev/null"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .expect("everybody may run it");
    assert!(ran.status.success(), "{ran:?}");
    let named = format!(
        "program {}, uid {NOBODY}: it could not be read",
        program.display()
    );
    let told = wait_for("what was not judged", || {
        let told = crate::liveness::coverage(sensor, CoverageKind::Unjudged);
        told.into_iter()
            .find(|coverage| coverage.reason.contains(&named))
    });
    assert_eq!(told.count, 1);
    assert!(told.reason.contains("Permission denied"), "{}", told.reason);
    std::fs::remove_dir_all(&directory).expect("own directory");
}
