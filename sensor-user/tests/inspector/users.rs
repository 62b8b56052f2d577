//! As whom files are read.

use std::{fs, os::unix::fs::chown, time::Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use skep_sensor::identify::{CodeFrom, Unjudged};

use crate::desk::{
    NOBODY, Place, Running, SOMEBODY, inspector, is_root, judge, limits, me, str_of,
};

#[test]
fn an_agent_is_recognised_by_what_its_user_may_read() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let process = Running::start(&node, None);
    let script = place.agent_of(me());
    let judgement = judge(
        &mut inspector,
        &node,
        (process.pid(), me()),
        &["node", str_of(&script)],
    );
    let agent = judgement.agent.expect("an agent");
    assert_eq!(agent.family, "gemini-cli");
    assert_eq!(agent.version.as_deref(), Some("0.9.1"));
}

#[test]
fn nothing_is_read_that_the_user_of_the_process_may_not_read() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let (own, other) = (
        Running::start(&node, Some(NOBODY)),
        Running::start(&node, Some(SOMEBODY)),
    );
    let script = place.agent_of(NOBODY);
    let words = ["node", str_of(&script)];
    let own = judge(&mut inspector, &node, (own.pid(), NOBODY), &words);
    assert!(own.agent.is_some(), "{own:?}");
    let other = judge(&mut inspector, &node, (other.pid(), SOMEBODY), &words);
    assert_eq!(other.agent, None);
    let errno = libc::EACCES;
    assert_eq!(other.unjudged, Some(Unjudged::Unreadable { errno }));
    assert_eq!(other.place, Some(crate::desk::text(&script)));
    assert!(!other.never);
}

#[test]
fn root_reads_what_root_may_read() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let process = Running::start(&node, None);
    let script = place.agent_of(NOBODY);
    let judgement = judge(
        &mut inspector,
        &node,
        (process.pid(), 0),
        &["node", str_of(&script)],
    );
    assert!(judgement.agent.is_some(), "{judgement:?}");
}

#[test]
fn a_program_that_its_user_may_run_but_not_read_is_not_called_no_agent() {
    use std::os::unix::fs::PermissionsExt;
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut inspector = inspector(limits());
    let program = place.program("tool");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).expect("mode");
    chown(&program, Some(0), Some(0)).expect("owner");
    let process = Running::start(&program, Some(NOBODY));
    let judgement = judge(&mut inspector, &program, (process.pid(), NOBODY), &["tool"]);
    let errno = libc::EACCES;
    assert_eq!(judgement.unjudged, Some(Unjudged::Unreadable { errno }));
    assert_eq!((judgement.agent, judgement.never), (None, false));
}

#[test]
fn what_is_not_there_is_a_no_and_what_never_runs_anything_is_one_for_good() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let (node, tool) = (place.program("node"), place.program("tool"));
    let process = Running::start(&node, None);
    let missing = judge(
        &mut inspector,
        &node,
        (process.pid(), me()),
        &["node", "/nowhere/x.js"],
    );
    assert_eq!((missing.agent, missing.unjudged), (None, None));
    let asked = inspector.counts().asked;
    for _ in 0..2 {
        let never = judge(&mut inspector, &tool, (process.pid(), me()), &["tool"]);
        assert!(never.never && never.unjudged.is_none(), "{never:?}");
    }
    assert_eq!(inspector.counts().asked, asked + 1, "asked once");
}

#[test]
fn a_fifo_and_a_lease_hold_nobody_up() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let process = Running::start(&node, None);
    let who = (process.pid(), me());
    let fifo = place.path("fifo.js");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("makes a FIFO");
    let began = Instant::now();
    let judgement = judge(&mut inspector, &node, who, &["node", str_of(&fifo)]);
    let by_pipe = Unjudged::UnseenCode(CodeFrom::Stream);
    assert_eq!((judgement.agent, judgement.unjudged), (None, Some(by_pipe)));

    let leased = place.file("leased.js", "1\n");
    let holder = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&leased)
        .expect("opens");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&holder);
    // SAFETY: plain numbers; the signal that asks for the lease back is ignored in this process.
    let taken = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(taken, 0, "{}", std::io::Error::last_os_error());
    let judgement = judge(&mut inspector, &node, who, &["node", str_of(&leased)]);
    let errno = libc::EAGAIN;
    assert_eq!(judgement.unjudged, Some(Unjudged::Unreadable { errno }));
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    drop(holder);
    let judgement = judge(&mut inspector, &node, who, &["node", str_of(&leased)]);
    assert_eq!(judgement.unjudged, None);
}

#[test]
fn files_of_the_kernel_are_not_read_and_not_called_no_agent() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let process = Running::start(&node, None);
    let link = place.path("link.js");
    std::os::unix::fs::symlink("/proc/version", &link).expect("links");
    for script in [
        "/proc/version",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        str_of(&link),
    ] {
        let judgement = judge(
            &mut inspector,
            &node,
            (process.pid(), me()),
            &["node", script],
        );
        assert_eq!(judgement.unjudged, Some(Unjudged::Refused), "{script}");
        assert_eq!(judgement.agent, None);
    }
}

#[test]
fn a_repository_counts_when_its_user_or_root_has_made_it() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut inspector = inspector(limits());
    let tool = place.program("tool");
    let process = Running::start(&tool, Some(NOBODY));
    let git = place.path("work/.git");
    place.file("work/.git/HEAD", "ref: refs/heads/main\n");
    place.file("work/deep/x", "");
    let cwd = crate::desk::text(&place.path("work/deep"));
    let mut repository_of = |owner: u32| {
        chown(&git, Some(owner), Some(owner)).expect("owner");
        let candidate = skep_sensor::identify::Candidate {
            pid: process.pid(),
            file: skep_abi::FileKey::UNKNOWN,
            file_size: 0,
            exe: None,
            filename: None,
            argv: &[],
            argv_truncated: false,
            cwd: Some(&cwd),
            uid: Some(NOBODY),
            switches: None,
            since: None,
        };
        skep_sensor::track::Judge::repository(&mut inspector, &candidate, &mut || ())
    };
    for owner in [NOBODY, 0] {
        let found = repository_of(owner).expect("a repository");
        assert_eq!(found.branch, Some(skep_event::Text::from("main")));
    }
    assert_eq!(repository_of(SOMEBODY), None);
}

#[test]
fn an_inspector_that_is_killed_is_replaced() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let process = Running::start(&node, None);
    let script = place.agent_of(me());
    let who = (process.pid(), me());
    let words = ["node", str_of(&script)];
    let first = inspector.counts().pid.expect("it runs");
    let pid = rustix::process::Pid::from_raw(first.cast_signed()).expect("a pid");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
    assert!(judge(&mut inspector, &node, who, &words).agent.is_some());
    let counts = inspector.counts();
    assert_eq!(counts.replaced, 1);
    assert_ne!(counts.pid, Some(first));
}
