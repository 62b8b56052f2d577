//! Stop, start, upgrade and SIGKILL in the middle of a session: the session goes on.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use skep_proto::v1::{
    self,
    event::Detail,
    session_info::{Found, Phase},
};
use skep_testing::Finish;
use skep_testing::{
    Program,
    collector::{Absent, Collector},
};

use crate::running::{
    actor, calm, configure, how_things_stand, sensor, settled, wait_for, wait_or_explain,
};

/// An agent whose tool, a shell script, does one thing after the other when it is told to.
struct Agent {
    directory: PathBuf,
    child: Child,
}

/// What the script uses: `wait_for CUE` until it is told to, `say WORD` to tell us.
const VOCABULARY: &str = "wait_for() { while [ ! -e \"$D/cue-$1\" ]; do sleep 0.05; done; }\n\
    say() { : > \"$D/$1\"; }\n";

impl Agent {
    fn start(directory: &Path, script: &str) -> Self {
        let directory = directory.join("agent");
        fs::create_dir_all(&directory).expect("own directory");
        let file = directory.join("script");
        fs::write(&file, format!("{VOCABULARY}{script}")).expect("own directory");
        let child = Command::new(actor())
            .args(["do", "exec", "/bin/sh"])
            .arg(&file)
            .args(["--token=hunter2hunter2hunter2", "--"])
            .env("D", &directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the actor");
        Self { directory, child }
    }

    fn tell(&self, cue: &str) {
        fs::write(self.directory.join(format!("cue-{cue}")), "").expect("own directory");
    }

    fn has_said(&self, word: &str) {
        let file = self.directory.join(word);
        wait_for(word, || file.exists().then_some(()));
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Whatever a failed test left waiting goes on and ends.
        for cue in ["daemon", "blind", "after", "late", "end"] {
            self.tell(cue);
        }
        // Ended already is as good.
        let _ = self.child.wait();
    }
}

fn opened(events: &[v1::Event], path: &str) -> Option<v1::Event> {
    let is = |event: &&v1::Event| matches!(&event.detail, Some(Detail::Open(file)) if file.path.as_deref() == Some(path));
    events.iter().find(is).cloned()
}

fn session_events(events: &[v1::Event], session: &Option<String>) -> Vec<v1::SessionInfo> {
    events
        .iter()
        .filter(|event| event.session == *session)
        .filter_map(|event| match &event.detail {
            Some(Detail::SessionInfo(info)) => Some(info.clone()),
            _ => None,
        })
        .collect()
}

/// Everything that was collected, once the session has ended.
fn after_the_end(collector: &Collector, config: &Path, session: &Option<String>) -> Vec<v1::Event> {
    wait_or_explain(
        "the end of the session",
        || {
            let told = session_events(&collector.events(), session);
            let over = told.iter().any(|info| info.phase() == Phase::End);
            over.then_some(())
        },
        || how_things_stand(&collector.events(), config, session),
    );
    settled(config);
    collector.events()
}

fn blind(events: &[v1::Event]) -> Vec<(Option<String>, v1::Coverage)> {
    events
        .iter()
        .filter_map(|event| match &event.detail {
            Some(Detail::Coverage(coverage)) if coverage.what == "blind" => {
                Some((event.session.clone(), coverage.clone()))
            }
            _ => None,
        })
        .collect()
}

const SCRIPT: &str = r#"
(setsid sh -c '. "$D/vocabulary"; say daemonised; wait_for daemon; cat "$D/by-the-daemon"; say daemon-done' &)
cat "$D/before"
wait_for blind
sh -c '. "$D/vocabulary"; say forked; wait_for after; cat "$D/by-the-child"; say child-done' &
wait_for after
cat "$D/after"
(setsid sh -c '. "$D/vocabulary"; wait_for late; cat "$D/late-daemon"; say late-done' &)
wait
wait_for end
"#;

fn prepare(directory: &Path) {
    let directory = directory.join("agent");
    fs::create_dir_all(&directory).expect("own directory");
    fs::write(directory.join("vocabulary"), VOCABULARY).expect("own directory");
    for name in [
        "before",
        "by-the-daemon",
        "by-the-child",
        "after",
        "late-daemon",
    ] {
        fs::write(directory.join(name), name).expect("own directory");
    }
}

/// The whole story, with the sensor ended by `end` in the middle of it.
fn a_session_goes_on(end: impl FnOnce(&mut Program)) {
    a_session_goes_on_with(Path::new(env!("CARGO_BIN_EXE_skep-sensor")), end);
}

/// The same with the sensor in this file.
fn a_session_goes_on_with(program: &Path, end: impl FnOnce(&mut Program)) {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    prepare(directory.path());
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let run = || Program::start(Command::new(program).args(["run", "--config"]).arg(&config));
    let mut first = run();
    let agent = Agent::start(directory.path(), SCRIPT);
    agent.has_said("daemonised");
    let before = wait_for("the open before", || {
        opened(&collector.events(), &agent.path("before"))
    });
    assert!(before.session.is_some());
    wait_for("the daemonised shell", || {
        opened(&collector.events(), &agent.path("daemonised"))
    });
    let journal = directory.path().join("state/sessions.journal");
    journal_is_clean(&journal);
    end(&mut first);
    drop(first);
    let ended = skep_sensor::clock::BootClock::measure().now().0;

    // While nobody watches.
    agent.tell("blind");
    agent.has_said("forked");
    let mut second = run();
    agent.tell("daemon");
    agent.tell("after");
    for word in ["daemon-done", "child-done"] {
        agent.has_said(word);
    }
    agent.tell("late");
    agent.has_said("late-done");
    agent.tell("end");
    let events = after_the_end(&collector, &config, &before.session);
    for (name, inferred) in [
        ("by-the-daemon", false),
        ("by-the-child", false),
        ("after", false),
        ("late-daemon", false),
    ] {
        let event = opened(&events, &agent.path(name)).unwrap_or_else(|| {
            let stands = how_things_stand(&events, &config, &before.session);
            panic!("no open of {name}:\n{stands}")
        });
        assert_eq!(event.session, before.session, "{name}");
        let agent = event.agent.expect("known by its session");
        assert_eq!(agent.family, "skep-demo-agent");
        // `cat` was executed before our eyes, whoever did it.
        assert_eq!(
            event.process.expect("a process").inferred,
            inferred,
            "{name}"
        );
    }
    // The shells themselves: one is known from before, one was forked behind our back.
    let fork_of = |word: &str| {
        let path = agent.path(word);
        let event = opened(&events, &path).unwrap_or_else(|| panic!("open of {word}"));
        assert_eq!(event.session, before.session, "{word}");
        event.process.expect("a process")
    };
    let (known, met) = (fork_of("daemon-done"), fork_of("child-done"));
    assert!(!known.inferred, "{known:?}");
    assert!(met.inferred, "{met:?}");
    assert!(
        met.argv.iter().any(|arg| arg.contains("by-the-child")),
        "{met:?}"
    );
    let told: Vec<_> = session_events(&events, &before.session)
        .iter()
        .map(|info| (info.phase(), info.found(), info.gaps.unwrap_or(0)))
        .collect();
    assert_eq!(
        told,
        [
            (Phase::Start, Found::Observed, 0),
            (Phase::Update, Found::Resumed, 1),
            (Phase::End, Found::Resumed, 1),
        ]
    );
    // A walk over the tasks that others upset is told as `blind`, too.
    let is_whole = |(session, gap): &(Option<String>, v1::Coverage)| {
        session.is_none() && gap.reason.starts_with("the sensor was not running")
    };
    let whole: Vec<_> = blind(&events).into_iter().filter(is_whole).collect();
    let [(_, gap)] = whole.as_slice() else {
        panic!("one blind interval: {whole:?}");
    };
    assert!(
        gap.first_unix_nano < ended,
        "{gap:?} but it ended at {ended}"
    );
    assert!(
        ended < gap.last_unix_nano,
        "{gap:?} but it ended at {ended}"
    );
    assert_eq!(second.terminate().code(), Some(0));
}

/// The session is in it; its secrets are not; nobody else may read it.
fn journal_is_clean(journal: &Path) {
    use std::os::unix::fs::MetadataExt;
    let bytes = wait_for("the journal to name the script", || {
        let bytes = fs::read(journal).ok()?;
        memchr::memmem::find(&bytes, b"agent/script").map(|_| bytes)
    });
    assert!(memchr::memmem::find(&bytes, b"hunter2").is_none());
    let mode = fs::metadata(journal).expect("just read").mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_session_goes_on_after_the_sensor_was_killed() {
    a_session_goes_on(|running| {
        running.kill();
    });
}

#[test]
fn a_session_goes_on_after_the_sensor_was_stopped_and_started() {
    a_session_goes_on(|running| assert_eq!(running.terminate().code(), Some(0)));
}

/// As a package manager does it: another file in the place of the one that runs, then a restart.
#[test]
fn a_session_goes_on_over_an_upgrade_of_the_sensor() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("skep-sensor");
    let inode = |path: &Path| fs::metadata(path).expect("it is there").ino();
    let copy_to = |path: &Path| {
        fs::copy(env!("CARGO_BIN_EXE_skep-sensor"), path).expect("own directory");
    };
    copy_to(&program);
    a_session_goes_on_with(&program, |running| {
        let runs = PathBuf::from(format!("/proc/{}/exe", running.pid()));
        let new = directory.path().join("skep-sensor.new");
        copy_to(&new);
        fs::rename(&new, &program).expect("own directory");
        assert_ne!(inode(&runs), inode(&program), "it runs the old one");
        assert_eq!(running.terminate().code(), Some(0));
    });
}

#[test]
fn a_session_that_ended_while_nobody_watched_ends_with_that_reason() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let run = || Program::start(sensor().args(["run", "--config"]).arg(&config));
    let mut first = run();
    let mut agent = Agent::start(directory.path(), "say started; wait_for end\n");
    let started = agent.path("started");
    let event = wait_for("the agent", || opened(&collector.events(), &started));
    first.kill();
    agent.tell("end");
    agent.child.finish();
    let _second = run();
    let events = after_the_end(&collector, &config, &event.session);
    let told = session_events(&events, &event.session);
    let last = told.last().expect("just seen");
    assert_eq!((last.found(), last.gaps), (Found::Resumed, Some(1)));
    let reasons: Vec<_> = blind(&events)
        .into_iter()
        .filter(|(session, _)| *session == event.session)
        .map(|(_, coverage)| coverage.reason)
        .collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains("ended while nobody watched"));
}

/// The first process of a pid namespace, after its exit hooks, waits until everybody in the namespace
/// has been reaped, those too whose parent is outside. So it stays for as long as we want where every
/// process is for a moment: its end was not reported, and will not be, but `/proc` does not show a
/// zombie yet.
#[test]
fn a_process_that_is_just_ending_when_the_sensor_starts_does_not_keep_its_session_open() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let run = || Program::start(sensor().args(["run", "--config"]).arg(&config));
    let mut first = run();
    prepare(directory.path());
    let agent = Agent::start(
        directory.path(),
        "unshare --pid --fork sh -c '. \"$D/vocabulary\"; say inside; wait_for blind; :' & \n\
         echo $! > \"$D/outside\"; wait; wait_for end\n",
    );
    agent.has_said("inside");
    let inside = agent.path("inside");
    let event = wait_for("what the first process of the namespace did", || {
        opened(&collector.events(), &inside)
    });
    let ending = event.process.expect("a process").pid;
    let unshare = fs::read_to_string(agent.path("outside")).expect("it was said before");
    let mut kept_back = in_pid_namespace_of(unshare.trim(), Command::new("sleep").arg("1000"));
    first.kill();
    drop(first);

    agent.tell("blind");
    let killed = rustix::process::Pid::from_child(&kept_back);
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(killed), options).expect("a child");
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{ending}/stat")).expect("it is held");
        stat.rsplit(") ").next().expect("a state").chars().next()
    };
    assert_ne!(state(), Some('Z'));
    let _second = run();
    assert_ne!(state(), Some('Z'), "it was held for all of the start");
    kept_back.finish();
    agent.tell("end");
    let events = after_the_end(&collector, &config, &event.session);
    let told = session_events(&events, &event.session);
    let last = told.last().expect("just seen");
    assert_eq!((last.found(), last.gaps), (Found::Resumed, Some(1)));
}

/// Starts a child of ours in the pid namespace that the children of `pid` are in.
fn in_pid_namespace_of(pid: &str, command: &mut Command) -> Child {
    let namespace = fs::File::open(format!("/proc/{pid}/ns/pid_for_children")).expect("it runs");
    std::thread::scope(|scope| {
        // It is the thread's children that go there, and this one has no other.
        let child = scope.spawn(|| {
            rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::ProcessID),
            )
            .expect("root may");
            command.spawn().expect("sleep")
        });
        child.join().expect("a child")
    })
}

#[test]
fn an_agent_that_ran_before_the_first_start_is_found_running() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    prepare(directory.path());
    let agent = Agent::start(
        directory.path(),
        "say started; wait_for after; cat \"$D/after\"; wait_for end\n",
    );
    agent.has_said("started");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    agent.tell("after");
    let event = wait_for("the open", || {
        opened(&collector.events(), &agent.path("after"))
    });
    agent.tell("end");
    let events = after_the_end(&collector, &config, &event.session);
    let told: Vec<_> = session_events(&events, &event.session)
        .iter()
        .map(|info| (info.phase(), info.found(), info.gaps.unwrap_or(0)))
        .collect();
    assert_eq!(
        told,
        [
            (Phase::Start, Found::Running, 0),
            (Phase::End, Found::Running, 0)
        ]
    );
    let start = events
        .iter()
        .find(|start| {
            start.session == event.session && matches!(start.detail, Some(Detail::SessionInfo(_)))
        })
        .and_then(|start| start.process.clone())
        .expect("the agent's process");
    assert_eq!(start.pid, agent.child.id());
    assert!(start.inferred);
    assert_eq!(blind(&events), [], "nothing is claimed about before");
    assert_eq!(running.terminate().code(), Some(0));
}

#[test]
fn watching_finds_running_agents_too() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().expect("a directory");
    prepare(directory.path());
    let agent = Agent::start(
        directory.path(),
        "say started; wait_for after; cat \"$D/after\"; wait_for end\n",
    );
    agent.has_said("started");
    let mut watching = Program::start(sensor().args(["watch", "--json"]).stdout(Stdio::piped()));
    agent.tell("after");
    let path = agent.path("after");
    let (sender, lines) = std::sync::mpsc::channel();
    let stdout = BufReader::new(watching.stdout());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // Nobody listens any more: the test is over.
            let _ = sender.send(line);
        }
    });
    let event = wait_for("the open", || {
        let line = lines.try_iter().find(|line| line.contains(&path))?;
        serde_json::from_str::<serde_json::Value>(&line).ok()
    });
    assert_eq!(event["agent"]["family"], "skep-demo-agent");
    assert_eq!(watching.terminate().code(), Some(0));
}

#[test]
fn a_damaged_journal_is_set_aside_and_running_agents_are_found_all_the_same() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    prepare(directory.path());
    let absent = Absent::new();
    let config = configure(directory.path(), absent.address);
    let run = || Program::start(sensor().args(["run", "--config"]).arg(&config));
    let mut first = run();
    let agent = Agent::start(
        directory.path(),
        "say started; wait_for after; cat \"$D/after\"; wait_for end\n",
    );
    agent.has_said("started");
    let journal = directory.path().join("state/sessions.journal");
    journal_is_clean(&journal);
    first.kill();
    let mut bytes = fs::read(&journal).expect("a journal");
    bytes[64..].fill(0xa5);
    fs::write(&journal, bytes).expect("a journal");
    let collector = absent.arrive();
    let mut second = run();
    agent.tell("after");
    let event = wait_for("the open", || {
        opened(&collector.events(), &agent.path("after"))
    });
    // What is told of sessions comes by a lane of its own.
    settled(&config);
    let events = collector.events();
    // The same id, though nothing was left to read it from.
    let told: Vec<_> = session_events(&events, &event.session)
        .iter()
        .map(|info| (info.phase(), info.found()))
        .collect();
    assert_eq!(
        told,
        [
            (Phase::Start, Found::Observed),
            (Phase::Start, Found::Running)
        ]
    );
    let aside = directory.path().join("state/sessions.journal.damaged");
    assert!(aside.exists());
    assert_eq!(second.terminate().code(), Some(0));
}
