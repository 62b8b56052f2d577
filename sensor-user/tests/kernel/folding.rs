//! Repeated opens are counted in the kernel: few records, every open in a count.

use std::{process::Command, sync::OnceLock};

use skep_abi::{FOLD_KINDS, Kind};
use skep_event::{Detail, Event, SessionId, Text};

use skep_sensor::pipeline::PipelineCounts;

use crate::sensor::{Sensor, actor, attach, file, scratch, shown, wait_for};

fn sensor() -> &'static Sensor {
    static FOLDING: OnceLock<Sensor> = OnceLock::new();
    FOLDING.get_or_init(|| Sensor::start_folding(&[]))
}

/// Runs a shell script in a session of its own.
fn run(script: &str) -> SessionId {
    sensor().run(&["exec", "/bin/sh", "-c", script]).session
}

/// What was told of opens of `path` in a session.
fn opens(session: SessionId, path: &str) -> Vec<Event> {
    let mut opens = Vec::new();
    sensor().each(|event| {
        if event.session == Some(session)
            && let Detail::Open(open) = &event.detail
            && shown(open) == path
        {
            opens.push(event.clone());
        }
    });
    opens
}

fn count(event: &Event) -> u64 {
    match &event.detail {
        Detail::Open(open) => open.count,
        _ => 0,
    }
}

/// The events of opens of `path`, once they stand for as many opens as there were.
fn all_opens(session: SessionId, path: &str, expected: u64) -> Vec<Event> {
    wait_for("every open to be counted", || {
        let opens = opens(session, path);
        let total = opens.iter().map(count).sum::<u64>();
        assert!(total <= expected, "{total} of {expected}: {opens:?}");
        (total == expected).then_some(opens)
    })
}

fn records(counts: &PipelineCounts) -> (u64, u64) {
    let open = counts
        .kernel
        .iter()
        .find(|counts| counts.kind == Kind::Open)
        .expect("every kind is counted");
    (open.sent, open.folded)
}

#[test]
fn ten_thousand_opens_of_a_file_are_few_records_and_counted_to_the_last() {
    let directory = scratch("repeated");
    let path = file(&directory, "again");
    let (sent_before, folded_before) = records(&sensor().settled_counts());
    let session = run(&format!(
        "i=0; while [ $i -lt 10000 ]; do : < {path}; i=$((i+1)); done"
    ));
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
    assert!(storm.wait().expect("own child").success());
    std::fs::write(at("quiet"), "").expect("own directory");
    assert!(quiet.wait().expect("own child").success());
    drop(reader);
    let (_, after) = records(&sensor.settled_counts());
    assert!(after - before >= 9_999, "{} folded", after - before);
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn opens_of_two_programs_are_not_folded_together() {
    let directory = scratch("programs");
    let path = file(&directory, "shared");
    // Under the name busybox knows itself by.
    let other = directory.join("sh");
    std::fs::copy("/bin/sh", &other).expect("own directory");
    let other = other.to_str().expect("text");
    let session = run(&format!(
        ": < {path}; : < {path}; {other} -c ': < {path}; : < {path}; : < {path}'; : < {path}"
    ));
    let opens = all_opens(session, &path, 6);
    let by = |exe: &str| {
        opens
            .iter()
            .filter(|event| {
                let process = event.process.as_ref().expect("an open has a process");
                process.exe.as_ref().map(Text::escaped).as_deref() == Some(exe)
            })
            .map(count)
            .sum::<u64>()
    };
    assert_eq!(by(other), 3, "{opens:?}");
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn opens_by_other_names_of_a_file_are_told_by_those_names() {
    let directory = scratch("names");
    let path = file(&directory, "first");
    let at = |name: &str| {
        directory
            .join(name)
            .into_os_string()
            .into_string()
            .expect("text")
    };
    let (link, moved) = (at("link"), at("moved"));
    std::fs::hard_link(&path, &link).expect("own directory");
    let session = run(&format!(
        ": < {path}; : < {link}; : < {path}; : < {link}; mv {path} {moved}; : < {moved}; : < {moved}"
    ));
    for name in [&path, &link, &moved] {
        all_opens(session, name, 2);
    }
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_sensor_that_stops_at_once_has_counted_every_open() {
    let directory = scratch("stopped");
    let path = file(&directory, "again");
    let mut pipeline = attach(4 << 20, &[]);
    let (mut opens, mut lost) = (0, 0);
    let mut look = |event: Event| match &event.detail {
        Detail::Open(open) if shown(open) == path => opens += open.count,
        Detail::Lost(_) => lost += 1,
        _ => {}
    };
    pipeline.round(false, &mut look);
    let script = format!("i=0; while [ $i -lt 2000 ]; do : < {path}; i=$((i+1)); done");
    let mut agent = Command::new(actor())
        .args(["do", "exec", "/bin/sh", "-c", &script])
        .spawn()
        .expect("the actor");
    while agent.try_wait().expect("own child").is_none() {
        pipeline.round(false, &mut look);
    }
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
