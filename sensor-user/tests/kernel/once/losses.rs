//! What is lost is counted to the last record, told, and never at the cost of others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use skep_abi::{Cause, Kind};
use skep_event::{CoverageKind, CoveragePhase, Detail, Event, Phase, Process, SessionId};

use skep_sensor::{pipeline::PipelineCounts, probes::KernelCounts, track::Bounds};
use skep_testing::Finish;

use crate::sensor::{Sensor, actor, file, scratch, shown, wait_for};

/// Room for about a thousand records.
const SMALL_RING: u32 = 256 << 10;

/// An agent that opens a file, waits until it is told to go on, and makes many others.
struct Agent {
    child: Child,
    first: String,
    go: PathBuf,
}

// === impl Agent ===

impl Agent {
    fn start(directory: &Path, name: &str, count: usize) -> Self {
        let first = file(directory, name);
        let go = directory.join(format!("{name}.go"));
        let mut command = Command::new(actor());
        command.args(["do", "open", &first, "wait-for"]).arg(&go);
        creates(&mut command, directory, name, count);
        let child = command.stdin(Stdio::null()).spawn().expect("the actor");
        Self { child, first, go }
    }

    /// Has it go on, to its end.
    fn finish(&mut self) {
        std::fs::write(&self.go, "").expect("own directory");
        assert!(self.child.finish().success());
    }
}

fn creates(command: &mut Command, directory: &Path, name: &str, count: usize) {
    for number in 0..count {
        command.arg("create");
        command.arg(directory.join(format!("{name}-{number}")));
    }
}

/// Has an agent open a file and make many others, to its end; the first file.
fn run(directory: &Path, name: &str, count: usize) -> String {
    let first = file(directory, name);
    let mut command = Command::new(actor());
    command.args(["do", "open", &first]);
    creates(&mut command, directory, name, count);
    // Cargo's makes the loader look in dozens of folders first, each a record.
    command.env_remove("LD_LIBRARY_PATH");
    let status = command.stdin(Stdio::null()).spawn();
    assert!(status.expect("the actor").finish().success());
    first
}

/// The session in which `path` was opened.
fn session_of(sensor: &Sensor, path: &str) -> SessionId {
    wait_for("an agent's first open", || {
        sensor
            .find(|event| matches!(&event.detail, Detail::Open(file) if shown(file) == path))
            .and_then(|event| event.session)
    })
}

fn of_kind(counts: &PipelineCounts, kind: Kind) -> &KernelCounts {
    counts
        .kernel
        .iter()
        .find(|counts| counts.kind == kind)
        .expect("every kind is counted")
}

fn lost(counts: &KernelCounts) -> u64 {
    counts.lost.iter().map(|(_, count)| count).sum()
}

/// Losses told, by (session, record, cause).
fn told(sensor: &Sensor) -> BTreeMap<(Option<SessionId>, &'static str, &'static str), u64> {
    let mut told = BTreeMap::new();
    sensor.each(|event| {
        if let Detail::Lost(lost) = &event.detail {
            *told
                .entry((event.session, lost.record, lost.cause))
                .or_default() += lost.count;
        }
    });
    told
}

/// Until every loss the kernel counted was told, for every kind and cause.
fn reconciled(sensor: &Sensor) -> PipelineCounts {
    wait_for("every loss to be told", || {
        let counts = sensor.settled_counts();
        let told = told(sensor);
        let level = counts.kernel.iter().all(|kernel| {
            kernel.lost.iter().all(|(cause, count)| {
                let sum: u64 = told
                    .iter()
                    .filter(|((_, record, why), _)| {
                        *record == kernel.kind.name() && *why == cause.name()
                    })
                    .map(|(_, count)| count)
                    .sum();
                sum == *count
            })
        });
        level.then_some(counts)
    })
}

fn opens(sensor: &Sensor, prefix: &str) -> usize {
    let mut count = 0;
    sensor.each(|event| {
        if let Detail::Open(file) = &event.detail
            && shown(file).starts_with(prefix)
        {
            count += 1;
        }
    });
    count
}

fn throttling(sensor: &Sensor, session: SessionId, phase: CoveragePhase) -> Option<Event> {
    sensor.find(|event| {
        event.session == Some(session)
            && matches!(&event.detail, Detail::Coverage(coverage)
                if coverage.what == CoverageKind::Throttled && coverage.phase == phase)
    })
}

#[test]
fn with_a_stalled_reader_every_open_is_sent_or_counted_as_lost() {
    const FILES: usize = 4_000;
    let sensor = Sensor::start_with(SMALL_RING, &[]);
    let directory = scratch("stalled");
    let mut agent = Agent::start(&directory, "many", FILES);
    let session = session_of(&sensor, &agent.first);
    let stalled = sensor.stall();
    agent.finish();
    drop(stalled);

    let counts = reconciled(&sensor);
    let open = of_kind(&counts, Kind::Open);
    assert!(
        lost(open) > 1_000,
        "a small ring cannot hold them: {open:?}"
    );
    // What was seen and what was told of the session make up what it did, to the last open.
    let seen = opens(&sensor, &format!("{}/many", directory.display()));
    let of_session: u64 = told(&sensor)
        .iter()
        .filter(|((of, record, _), _)| *of == Some(session) && *record == "open")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(seen as u64 + of_session, FILES as u64 + 1);
    // The session knows that its story is incomplete.
    wait_for("the mark of the gap", || {
        sensor.find(|event| {
            event.session == Some(session)
                && matches!(&event.detail, Detail::Session(info) if info.gaps > 0)
        })
    });
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn one_sessions_storm_does_not_take_the_room_of_another() {
    let sensor = Sensor::start_with(SMALL_RING, &[]);
    let directory = scratch("storm");
    let mut loud = Agent::start(&directory, "loud", 4_000);
    let mut quiet = Agent::start(&directory, "quiet", 20);
    let loud_session = session_of(&sensor, &loud.first);
    let quiet_session = session_of(&sensor, &quiet.first);

    // The quiet one acts when the loud one has filled the ring as far as it may.
    let stalled = sensor.stall();
    loud.finish();
    quiet.finish();
    drop(stalled);

    let counts = reconciled(&sensor);
    let throttled = of_kind(&counts, Kind::Open)
        .lost
        .iter()
        .find(|(cause, _)| *cause == Cause::Throttled)
        .map(|(_, count)| *count);
    assert!(
        throttled.is_some_and(|count| count > 1_000),
        "{throttled:?}"
    );
    assert_eq!(
        opens(&sensor, &format!("{}/quiet-", directory.display())),
        20,
        "the quiet session is whole"
    );
    for ((session, record, cause), count) in told(&sensor) {
        assert_ne!(session, Some(quiet_session), "{record} {cause} {count}");
    }
    let ended = sensor.find(|event| {
        event.session == Some(quiet_session)
            && matches!(&event.detail, Detail::Session(info) if info.phase == Phase::End)
    });
    let ended = ended.expect("the quiet session's end");
    assert!(matches!(&ended.detail, Detail::Session(info) if info.gaps == 0));

    let begin = wait_for("the record of its beginning", || {
        throttling(&sensor, loud_session, CoveragePhase::Begin)
    });
    let end = wait_for("the record of its end", || {
        throttling(&sensor, loud_session, CoveragePhase::End)
    });
    let Detail::Coverage(coverage) = &end.detail else {
        unreachable!("found by its detail")
    };
    assert!(coverage.count > 1_000 && begin.time <= end.time);
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_storm_of_one_that_waits_for_its_verdict_does_not_take_the_beginning_of_another() {
    // A claim's own share of it, 16 KiB, is twice what the quiet one needs.
    let sensor = Sensor::start_with(1 << 20, &[]);
    let directory = scratch("pending-storm");
    // Nobody judges them: both wait for their verdict for as long as they run.
    let stalled = sensor.stall();
    let loud_first = run(&directory, "loud", 10_000);
    let quiet_first = run(&directory, "quiet", 20);
    drop(stalled);

    let quiet_session = session_of(&sensor, &quiet_first);
    let loud_session = session_of(&sensor, &loud_first);
    let counts = reconciled(&sensor);
    let open = of_kind(&counts, Kind::Open);
    assert!(lost(open) > 1_000, "the ring was never tight: {open:?}");
    // What was lost before the verdict is told of the machine, and the session knows of it.
    wait_for("the mark of the gap", || {
        sensor.find(|event| {
            event.session == Some(loud_session)
                && matches!(&event.detail, Detail::Session(info) if info.gaps > 0)
        })
    });
    assert_eq!(
        opens(&sensor, &format!("{}/quiet-", directory.display())),
        20,
        "the quiet one is whole"
    );
    let ended = wait_for("the quiet session's end", || {
        sensor.find(|event| {
            event.session == Some(quiet_session)
                && matches!(&event.detail, Detail::Session(info) if info.phase == Phase::End)
        })
    });
    assert!(matches!(&ended.detail, Detail::Session(info) if info.gaps == 0));
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_session_whose_last_exit_was_lost_ends_all_the_same_and_says_why() {
    let sensor = Sensor::start_folding_with(SMALL_RING, &[]);
    let directory = scratch("lost-exit");
    let first = file(&directory, "first");
    let go = directory.join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let mut command = Command::new(actor());
    command.args(["do", "open", &first, "exec", "/bin/sh", "-c", &wait, "--"]);
    // Forks and exits of its own until the ring takes no more of this session, its end included.
    command.args(["fork-storm", "3000"]);
    let mut child = command.stdin(Stdio::null()).spawn().expect("the actor");
    let session = session_of(&sensor, &first);
    let stalled = sensor.stall();
    std::fs::write(go, "").expect("own directory");
    assert!(child.finish().success());
    drop(stalled);

    let counts = reconciled(&sensor);
    let exit = of_kind(&counts, Kind::Exit);
    assert!(
        lost(exit) > 1_000,
        "a small ring cannot hold them: {exit:?}"
    );
    let own = sensor.find(|event| {
        let of_it = |process: &Arc<Process>| process.pid == child.id();
        matches!(event.detail, Detail::Exit(_)) && event.process.as_ref().is_some_and(of_it)
    });
    assert_eq!(own, None, "the exit of the agent itself is among them");
    let end = wait_for("the end of the session", || {
        sensor.find(|event| {
            event.session == Some(session)
                && matches!(&event.detail, Detail::Session(info) if info.phase == Phase::End)
        })
    });
    let vanished = sensor.of(|event| {
        event.session == Some(session)
            && matches!(&event.detail, Detail::Coverage(coverage)
                if coverage.what == CoverageKind::Vanished && coverage.count > 0)
    });
    // Some may have lived on for a census more; the end comes with the last.
    let last = vanished.last().expect("it is told");
    assert_eq!(last.time, end.time);
    assert!(matches!(&end.detail, Detail::Session(info) if info.gaps > 0));
    // Whoever else is followed at the moment ends as well.
    wait_for("nobody to be followed any more", || {
        let counts = sensor.settled_counts();
        ((counts.track.processes, counts.track.sessions) == (0, 0)).then_some(())
    });
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn what_full_tables_refuse_is_told_of_its_session_to_the_last_record() {
    const FORKS: u64 = 200;
    let bounds = Bounds {
        processes: 1,
        ..Bounds::default()
    };
    let sensor = Sensor::start_bounded(bounds);
    let directory = scratch("refused");
    let first = file(&directory, "first");
    let status = Command::new(actor())
        .args(["do", "open", &first, "fork-storm", &FORKS.to_string()])
        .stdin(Stdio::null())
        .spawn();
    assert!(status.expect("the actor").finish().success());
    let session = session_of(&sensor, &first);
    wait_for("the accounts to be level", || {
        let track = sensor.settled_counts().track;
        let of_cause: Vec<_> = told(&sensor)
            .into_iter()
            .filter(|((_, _, cause), _)| *cause == "table_full")
            .collect();
        let sum: u64 = of_cause.iter().map(|(_, count)| count).sum();
        let own = of_cause
            .iter()
            .find(|((of, _, _), _)| *of == Some(session))
            .map_or(0, |(_, count)| *count);
        let mut evicted = 0;
        sensor.each(|event| {
            if let Detail::Coverage(coverage) = &event.detail
                && coverage.what == CoverageKind::Evicted
            {
                evicted += coverage.count;
            }
        });
        let level = sum == track.refused && evicted == track.evicted.total();
        (level && own >= FORKS).then_some(())
    });
    let gap = sensor.find(|event| {
        event.session == Some(session)
            && matches!(&event.detail, Detail::Session(info) if info.gaps > 0)
    });
    assert!(gap.is_some());
    std::fs::remove_dir_all(directory).expect("own directory");
}
