//! Many repeated opens: how few records they are, and that every one is in a count.

use std::{path::Path, process::Command};

use rustix::fs::{CWD, Mode, mkfifoat};
use skep_abi::{FOLD_KINDS, Kind};
use skep_event::{Detail, Event, SessionId};

use skep_sensor::pipeline::PipelineCounts;
use skep_testing::Finish;

use crate::{
    folding::{all_opens, run, sensor},
    sensor::{Sensor, actor, attach, file, scratch, shown, wait_for},
};

fn records(counts: &PipelineCounts) -> (u64, u64) {
    let open = counts
        .kernel
        .iter()
        .find(|counts| counts.kind == Kind::Open)
        .expect("every kind is counted");
    (open.sent, open.folded)
}

/// A script that opens a file, waits for somebody to open a FIFO, without executing anything, and goes on: once that open is told, its verdict is
/// there, without which nothing is folded.
fn once_judged(directory: &Path, script: &str) -> (String, String, String) {
    let ready = file(directory, "ready");
    let go = directory.join("go").display().to_string();
    mkfifoat(CWD, &go, Mode::RUSR | Mode::WUSR).expect("own directory");
    let script = format!(": < {ready}; : < {go}; {script}");
    (ready, go, script)
}

/// Runs a script in a session of its own, once it is judged.
fn run_once_judged(directory: &Path, script: &str) -> SessionId {
    let (ready, go, script) = once_judged(directory, script);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&script));
        wait_for("the verdict", || {
            let is_ready =
                |event: &Event| matches!(&event.detail, Detail::Open(open) if shown(open) == ready);
            sensor().find(is_ready)
        });
        std::fs::write(&go, "").expect("own directory");
        running.join().expect("it was run")
    })
}

#[test]
fn ten_thousand_opens_of_a_file_are_few_records_and_counted_to_the_last() {
    let directory = scratch("repeated");
    let path = file(&directory, "again");
    let (sent_before, folded_before) = records(&sensor().settled_counts());
    let script = format!("i=0; while [ $i -lt 10000 ]; do : < {path}; i=$((i+1)); done");
    let session = run_once_judged(&directory, &script);
    let opens = all_opens(session, &path, 10_000);
    let (sent, folded) = records(&sensor().settled_counts());
    assert!(sent - sent_before < 1_000, "{} records", sent - sent_before);
    assert!(folded - folded_before > 9_000);
    assert!(opens.len() < 500, "{} events", opens.len());
    // Everything that was folded finds its event, and nothing was lost on the way.
    wait_for("everything folded to be handed out", || {
        let counts = sensor().settled_counts();
        (records(&counts).1 == counts.folded.added + counts.folded.lost).then_some(())
    });
    assert_eq!(sensor().lost(), Vec::<String>::new());
    std::fs::remove_dir_all(directory).expect("own directory");
}

/// A storm beside it must not take the room in which the opens of another session are counted. The
/// reader stands still meanwhile, so that nothing is taken out of that room.
#[test]
fn opens_are_folded_whatever_another_session_opens_meanwhile() {
    let sensor = Sensor::start_folding_with(16 << 20, &[]);
    let directory = scratch("beside");
    let path = file(&directory, "again");
    let at = |name: &str| {
        let path = directory.join(name);
        path.into_os_string().into_string().expect("text")
    };
    // Both agents run before the reader stops, since a program without a verdict is not folded.
    let wait = |go: &str| {
        format!(
            ": > {0}.ready; while [ ! -e {0} ]; do sleep 0.1; done; ",
            at(go)
        )
    };
    let storm = wait("storm")
        + &format!(
            "i=0; while [ $i -lt {} ]; do : > {}/$i; i=$((i+1)); done",
            FOLD_KINDS + FOLD_KINDS / 8,
            at("files")
        );
    let quiet =
        wait("quiet") + &format!("i=0; while [ $i -lt 10000 ]; do : < {path}; i=$((i+1)); done");
    std::fs::create_dir(at("files")).expect("own directory");
    let start = |script: &str| {
        let arguments = ["do", "exec", "/bin/sh", "-c", script];
        Command::new(actor())
            .args(arguments)
            .spawn()
            .expect("the actor")
    };
    let (mut storm, mut quiet) = (start(&storm), start(&quiet));
    for name in ["storm.ready", "quiet.ready"] {
        wait_for(name, || directory.join(name).exists().then_some(()));
    }
    let (_, before) = records(&sensor.settled_counts());
    let reader = sensor.stall();
    std::fs::write(at("storm"), "").expect("own directory");
    assert!(storm.finish().success());
    std::fs::write(at("quiet"), "").expect("own directory");
    assert!(quiet.finish().success());
    drop(reader);
    let (_, after) = records(&sensor.settled_counts());
    assert!(after - before >= 9_999, "{} folded", after - before);
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_sensor_that_stops_at_once_has_counted_every_open() {
    let directory = scratch("stopped");
    let path = file(&directory, "again");
    let mut pipeline = attach(4 << 20, &[]);
    let script = format!("i=0; while [ $i -lt 2000 ]; do : < {path}; i=$((i+1)); done");
    let (ready, go, script) = once_judged(&directory, &script);
    let (mut opens, mut lost) = (0, 0);
    let mut look = |event: Event| match &event.detail {
        Detail::Open(open) if shown(open) == path => opens += open.count,
        Detail::Open(open) if shown(open) == ready => {
            std::fs::write(&go, "").expect("own directory");
        }
        Detail::Lost(_) => lost += 1,
        _ => {}
    };
    pipeline.round(false, &mut look);
    let mut agent = Command::new(actor())
        .args(["do", "exec", "/bin/sh", "-c", &script])
        .spawn()
        .expect("the actor");
    wait_for("the agent to end", || {
        pipeline.round(false, &mut look);
        agent.try_wait().expect("own child")
    });
    while pipeline.round(true, &mut look) {}
    assert_eq!((opens, lost), (2_000, 0));
    let counts = pipeline.counts();
    let (_, folded) = records(&counts);
    assert!(folded > 0);
    assert_eq!(
        folded, counts.folded.added,
        "exactly what the kernel counted"
    );
    for (kernel, (kind, read)) in counts.kernel.iter().zip(&counts.read) {
        assert_eq!(kernel.kind, *kind);
        assert!(kernel.sent >= *read);
    }
    std::fs::remove_dir_all(directory).expect("own directory");
}
