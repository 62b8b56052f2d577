//! Storms: too many processes, opens, programs and arguments at once, and a quiet agent beside them.
//!
//! After each: the daemon stayed under its memory cap; what it read is what the kernel sent; what was
//! lost was told, to the last record; what was seen of the storm's session and what was told lost of it
//! is what it did; and the quiet agent's story is whole. Sizes are those of a quick test;
//! `SKEP_STORM=full` takes those that break things.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use skep_proto::v1::{self, event::Detail, session_info::Phase};
use skep_sensor::status::Status;
use skep_testing::{Finish, Program, collector::Collector, output_of};

use crate::{
    accounts::{level, told_of},
    running::{
        actor, calm, configure, full_size, how_things_stand, sensor, session_of, settled, wait_for,
        wait_or_explain,
    },
};

/// Default of `[limits] memory_bytes`.
const MEMORY_CAP: u64 = 64 << 20;
/// Files the quiet agent opens, one at a time.
const QUIET: usize = 40;

fn size(quick: u64, full: u64) -> u64 {
    if full_size() { full } else { quick }
}

fn agent(actions: &[&str]) -> Command {
    let mut command = Command::new(actor());
    command.arg("do").args(actions).stdin(Stdio::null());
    command
}

/// Peak resident memory of a process, bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("the kernel tells it") << 10
}

/// What there is of the storm's session, and how to tell it from the rest.
struct Storm<'a> {
    session: &'a str,
    events: Vec<v1::Event>,
    status: &'a Status,
}

// === impl Storm ===

impl Storm<'_> {
    fn opens(&self, is: impl Fn(&str) -> bool) -> impl Iterator<Item = &v1::Open> {
        self.events
            .iter()
            .filter_map(move |event| match &event.detail {
                Some(Detail::Open(file)) if file.path.as_deref().is_some_and(&is) => Some(file),
                _ => None,
            })
    }

    fn execs_of(&self, program: &str) -> u64 {
        let execs = self.events.iter().filter(|event| {
            matches!(event.detail, Some(Detail::Exec(_)))
                && event
                    .process
                    .as_ref()
                    .is_some_and(|process| process.argv.first().is_some_and(|arg| arg == program))
        });
        execs.count() as u64
    }

    /// Seen and told lost are together what was done. What the spool let go of, if it did, is told of
    /// no session.
    fn adds_up(&self, seen: u64, record: &str, done: u64) -> Result<(), String> {
        let lost = told_of(&self.events, self.session, record);
        let dropped: u64 = self.status.spool.bulk.lost.values().sum();
        let figures = format!("{seen} {record} seen, {lost} lost, {dropped} dropped of {done}");
        println!("{figures}");
        let least = done.saturating_sub(dropped);
        expect((least..=done).contains(&(seen + lost)), &figures)
    }
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Whether the end of this session was told.
fn is_over(events: &[v1::Event], session: &Option<String>) -> bool {
    events.iter().any(|event| {
        event.session == *session
            && matches!(&event.detail, Some(Detail::SessionInfo(info)) if info.phase() == Phase::End)
    })
}

/// Has an agent perform a storm beside a quiet one; `check` looks at what came of it.
fn storm(name: &str, actions: &[&str], check: impl Fn(&Storm) -> Result<(), String>) {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));

    let in_directory = |name: &str| format!("{}/{name}", directory.path().display());
    let (first, go) = (in_directory("first"), in_directory("go"));
    std::fs::write(&first, "").expect("own directory");
    let loud = agent(&["open", &first, "wait-for", &go])
        .args(actions)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the actor");
    // It has its verdict: what is lost of it from now on is told of its session.
    let session = wait_for("the storm's agent to be known", || {
        session_of(&collector.events(), &first)
    });

    let quiet_folder = in_directory("quiet");
    std::fs::create_dir(&quiet_folder).expect("own directory");
    let paths: Vec<String> = (0..QUIET)
        .map(|number| format!("{quiet_folder}/{number}"))
        .collect();
    let mut quiet_actions = vec!["sleep", "300"];
    for path in &paths {
        quiet_actions.extend(["create", path, "sleep", "20"]);
    }
    let mut quiet = agent(&quiet_actions).spawn().expect("the actor");

    std::fs::write(&go, "").expect("own directory");
    let output = output_of(loud);
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(quiet.finish().success());
    let quiet_session = wait_for("the quiet agent", || {
        session_of(&collector.events(), &paths[0])
    });
    for session in [&session, &quiet_session].map(|session| Some(session.clone())) {
        wait_or_explain(
            "the end of a session",
            || is_over(&collector.events(), &session).then_some(()),
            || how_things_stand(&collector.events(), &config, &session),
        );
    }
    settled(&config);
    let status = level(&config, &collector);
    let inspector = status.inspector.pid.expect("it runs");
    let peaks = [running.pid(), inspector].map(peak);
    println!("{name}: peaks {peaks:?} bytes; {:?}", status.kernel);
    assert!(
        peaks.iter().sum::<u64>() <= MEMORY_CAP,
        "{name}: {peaks:?} bytes"
    );

    let quiet_events = of_session(&collector, &quiet_session);
    let opened: BTreeSet<_> = quiet_events
        .iter()
        .filter_map(|event| match &event.detail {
            Some(Detail::Open(file)) => file.path.as_ref(),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = paths.iter().filter(|path| !opened.contains(path)).collect();
    let lost: Vec<_> = quiet_events
        .iter()
        .filter(|event| matches!(event.detail, Some(Detail::Lost(_))))
        .collect();
    assert!(
        missing.is_empty() && lost.is_empty(),
        "{name}: the quiet agent's files {missing:?}; told as lost of it: {lost:#?}"
    );
    // Counts of repeated opens follow when their epoch is over.
    let outcome = || {
        check(&Storm {
            session: &session,
            events: of_session(&collector, &session),
            status: &status,
        })
    };
    wait_or_explain(
        "the storm to add up",
        || outcome().ok(),
        || format!("{name}: {:?}, {status:#?}", outcome()),
    );
    assert_eq!(running.terminate().code(), Some(0));
}

fn of_session(collector: &Collector, session: &str) -> Vec<v1::Event> {
    let mut events = collector.events();
    events.retain(|event| event.session.as_deref() == Some(session));
    events
}

#[test]
fn an_open_storm_is_counted_to_the_last_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().to_str().expect("text").to_owned();
    let count = size(20_000, 1_000_000);
    let actions = ["create-storm", &folder, &count.to_string()];
    let prefix = format!("{folder}/");
    storm("open storm", &actions, |storm| {
        let opens = storm.opens(|path| path.starts_with(&prefix));
        let seen = opens.map(|file| file.count).sum();
        storm.adds_up(seen, "open", count)
    });
}

#[test]
fn the_same_file_opened_again_and_again_is_a_count() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("0");
    std::fs::write(&file, "x").expect("own directory");
    let path = file.to_str().expect("text");
    let count = size(20_000, 1_000_000);
    let script = format!("n=0; while [ $n -lt {count} ]; do : < {path}; n=$((n+1)); done");
    let actions = ["exec", "/bin/sh", "-c", &script, "--"];
    storm("repeated opens", &actions, |storm| {
        let opens = storm.opens(|opened| opened == path).collect::<Vec<_>>();
        let seen = opens.iter().map(|file| file.count).sum();
        expect(
            opens.len() < 2_000,
            &format!("{} events for them", opens.len()),
        )?;
        storm.adds_up(seen, "open", count)
    });
}

#[test]
fn a_fork_storm_is_followed() {
    let count = size(3_000, 20_000);
    storm("fork storm", &["fork-storm", &count.to_string()], |storm| {
        let is_exit = |event: &&v1::Event| matches!(event.detail, Some(Detail::Exit(_)));
        let exits = storm.events.iter().filter(is_exit).count() as u64;
        // The agent itself has ended, too.
        storm.adds_up(exits, "exit", count + 1)
    });
}

#[test]
fn an_exec_storm_is_followed() {
    let count = size(300, 20_000);
    let actions = ["exec-storm", "/bin/true", &count.to_string()];
    storm("exec storm", &actions, |storm| {
        storm.adds_up(storm.execs_of("/bin/true"), "exec", count)
    });
}

#[test]
fn two_megabytes_of_arguments_and_long_paths_are_cut_and_said_to_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().to_str().expect("text");
    // Nearly all the kernel takes (two megabytes), in arguments of the most one may have
    // (MAX_ARG_STRLEN); the agent has them, and hands them on.
    let big = "a".repeat(128 * 1024 - 1);
    let mut actions = vec!["exec", "/bin/true"];
    actions.extend(std::iter::repeat_n(big.as_str(), 14));
    // A path of more than 4,096 bytes.
    actions.extend(["--", "deep-create", folder, "24"]);
    storm("large arguments", &actions, |storm| {
        let is_cut = |event: &&v1::Event| {
            matches!(event.detail, Some(Detail::Exec(_)))
                && event
                    .process
                    .as_ref()
                    .is_some_and(|process| process.argv_truncated)
        };
        let cut = storm.events.iter().filter(is_cut).count();
        let mut deep = storm.opens(|path| path.starts_with('…') && path.ends_with("/leaf"));
        expect(
            cut == 2 && deep.next().is_some(),
            "the execs of agent and tool say that argv was cut, the open that its path was",
        )
    });
}
