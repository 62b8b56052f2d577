//! A disk that is full: a small file system of this test's own.

use std::{path::PathBuf, process::Command};

use prost::Message;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use skep_proto::v1::{self, event::Detail};
use skep_spool::{Lane, Lanes};
use skep_testing::Finish;
use skep_testing::{
    Program,
    collector::{Absent, Collector},
};

use crate::{
    accounts::told_of,
    running::{actor, calm, configure, ended, sensor, settled, status, wait_for, wait_or_explain},
};

/// A tmpfs of so many bytes; taken away when dropped, also when the test fails.
struct SmallDisk {
    place: PathBuf,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    fn new(bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("disk");
        Self::at(directory, place, bytes)
    }

    fn at(directory: tempfile::TempDir, place: PathBuf, bytes: u64) -> Self {
        std::fs::create_dir_all(&place).expect("own directory");
        let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).expect("no zero");
        mount(
            "tmpfs",
            &place,
            "tmpfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .expect("root may mount");
        Self {
            place,
            _directory: directory,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open keeps it until that is closed.
        if let Err(errno) = unmount(&self.place, UnmountFlags::DETACH) {
            eprintln!("{}: {errno}", self.place.display());
        }
    }
}

fn open(number: u64) -> v1::Event {
    let file = v1::Open {
        path: Some("x".repeat(1_000)),
        count: 1,
        ..v1::Open::default()
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(Detail::Open(file)),
        ..v1::Event::default()
    }
}

/// Everything that waits in a lane, acknowledged: times of opens, and how many are told lost by `io`
/// and by other causes.
fn take_all(lanes: &Lanes, lane: Lane) -> (Vec<u64>, u64, u64) {
    let (mut opens, mut io, mut other) = (Vec::new(), 0, 0);
    let spool = lanes.lane(lane);
    let acked = spool.position().expect("it is open").1;
    // Pinning is a write, which needs no room: the state file is there.
    let records = spool
        .read_from(acked + 1, usize::MAX, usize::MAX)
        .expect("it can be read");
    for (_, record) in &records {
        let event = v1::Event::decode(&record[..]).expect("an event");
        match event.detail {
            Some(Detail::Lost(lost)) if lost.cause == "io" => io += lost.count,
            Some(Detail::Lost(lost)) => other += lost.count,
            _ => opens.push(event.time_unix_nano),
        }
    }
    if let Some((last, _)) = records.last() {
        spool.ack(*last).expect("it was handed out");
    }
    (opens, io, other)
}

#[test]
fn a_full_disk_costs_what_did_not_fit_and_says_how_much() {
    let disk = SmallDisk::new(3 << 20);
    // As far as the sensor knows there is plenty of room.
    let lanes = Lanes::open(&disk.place.join("spool"), 1 << 30, 1 << 27);
    let mut appended = 0;
    let append_until = |appended: &mut u64, what: &str, done: &dyn Fn() -> bool| {
        wait_for(what, || {
            for _ in 0..200 {
                *appended += 1;
                lanes.append(&open(*appended));
            }
            lanes.sync();
            done().then_some(())
        });
    };
    let lost = || lanes.bulk.stats().lost.get("io").copied().unwrap_or(0);
    let mut arrived = Vec::new();
    let (mut io, mut other) = (0, 0);
    for _ in 0..3 {
        let before = lost();
        append_until(&mut appended, "the disk to be full", &|| {
            lost() > before + 1_000
        });
        assert!(lanes.bulk.stats().error.is_some(), "status says so");
        // The collector takes what there is, and so there is room again.
        for lane in [Lane::Bulk, Lane::Findings] {
            let (opens, of_io, of_others) = take_all(&lanes, lane);
            arrived.extend(opens);
            (io, other) = (io + of_io, other + of_others);
        }
        let kept = || lanes.bulk.stats().records;
        append_until(&mut appended, "it to be written again", &|| kept() > 0);
    }
    // What was lost while nothing could be written is told once something can.
    wait_for("the last loss to be told", || {
        lanes.sync();
        for lane in [Lane::Bulk, Lane::Findings] {
            let (opens, of_io, of_others) = take_all(&lanes, lane);
            arrived.extend(opens);
            (io, other) = (io + of_io, other + of_others);
        }
        (io == lost()).then_some(())
    });
    assert!(io > 3_000 && lanes.bulk.stats().error.is_none());
    assert_eq!(other, 0);
    assert_eq!(arrived.len() as u64 + io, appended);
    assert!(arrived.is_sorted_by(|a, b| a < b), "in order, none twice");
}

#[test]
fn lanes_on_two_file_systems_account_for_what_is_dropped_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = directory.path().to_owned();
    let findings = spool.join("findings");
    let _disk = SmallDisk::at(directory, findings, 3 << 20);
    let lanes = Lanes::open(&spool, 4 << 20, 1 << 20);
    for number in 1..=8_000 {
        lanes.append(&open(number));
    }
    lanes.sync();
    let dropped = lanes.bulk.stats().lost["spool_full"];
    assert!(dropped > 0);
    // What cannot move to the other lane is told where it is.
    let (opens, _, told) = take_all(&lanes, Lane::Bulk);
    assert_eq!((opens.len() as u64 + told, told), (8_000, dropped));
    assert_eq!(lanes.findings.stats().records, 0);
    drop(lanes);
    let lanes = Lanes::open(&spool, 4 << 20, 1 << 20);
    assert_eq!(lanes.bulk.stats().records, 0);
    assert_eq!(lanes.bulk.stats().lost.len(), 0, "nothing of it is damage");
}

/// Opens of files under `folder` that the collector has, those the kernel side told lost of their
/// session, and those the spool told lost, of whatever session.
fn account(events: &[v1::Event], folder: &str) -> (u64, u64, u64) {
    let (mut seen, mut dropped, mut session) = (0, 0, None);
    for event in events {
        match &event.detail {
            Some(Detail::Open(file))
                if file
                    .path
                    .as_deref()
                    .is_some_and(|path| path.starts_with(folder)) =>
            {
                seen += file.count;
                session = event.session.as_deref();
            }
            Some(Detail::Lost(told)) if told.hop == "spool" && told.record == "open" => {
                dropped += told.count;
            }
            _ => {}
        }
    }
    let lost = session.map_or(0, |session| told_of(events, session, "open"));
    (seen, lost, dropped)
}

#[test]
fn a_sensor_whose_disk_is_full_goes_on_and_recovers() {
    const OPENS: u64 = 6_000;
    let _calm = calm();
    let disk = SmallDisk::new(1 << 20);
    let directory = tempfile::tempdir().expect("a directory");
    let absent = Absent::new();
    let config = configure(directory.path(), absent.address);
    let text = std::fs::read_to_string(&config).expect("just written");
    let here = format!("{}/spool", directory.path().display());
    let there = format!("{}/spool", disk.place.display());
    // The kernel has room for all of it: what is lost here is lost to the disk.
    let text = text.replace(&here, &there) + "[kernel]\nring_bytes = 16777216\n";
    std::fs::write(&config, text).expect("own directory");
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));

    let folder = tempfile::tempdir().expect("a directory");
    let folder = folder.path().to_str().expect("text");
    let storm = Command::new(actor())
        .args(["do", "create-storm", folder, &OPENS.to_string()])
        .spawn();
    assert!(storm.expect("the actor").finish().success());
    let lost = wait_for("losses to be counted", || {
        let status = status(&config)?;
        status.spool.bulk.lost.get("io").copied()
    });
    assert!(lost > 0);
    // Somebody takes what is there, and with it the disk has room again.
    let collector = absent.arrive();
    let (seen, lost, _) = wait_or_explain(
        "the account to be level",
        || {
            let account = account(&collector.events(), folder);
            let (seen, lost, dropped) = account;
            (seen > 0 && dropped > 0 && seen + lost + dropped >= OPENS).then_some(account)
        },
        || format!("{:?}", account(&collector.events(), folder)),
    );
    assert!(
        seen + lost <= OPENS,
        "{seen} seen, {lost} lost in the kernel"
    );
    let act = Command::new(actor())
        .args([
            "do",
            "open",
            "/proc/self/comm",
            "exec",
            "/bin/true",
            "after-the-full-disk",
            "--",
        ])
        .spawn();
    assert!(act.expect("the actor").finish().success());
    wait_for("a run since then", || {
        ended(&collector.events(), "after-the-full-disk").then_some(())
    });
    settled(&config);
    wait_for("both lanes to say that all is well", || {
        let spool = status(&config)?.spool;
        ((spool.bulk.error, spool.findings.error) == (None, None)).then_some(())
    });
    assert_eq!(running.terminate().code(), Some(0));
}

#[test]
fn a_journal_that_cannot_be_written_is_told_and_shown_until_it_can() {
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    // What is in the way of the file that is to take the journal's place.
    let in_the_way = directory.path().join("state/sessions.journal.new/x");
    std::fs::create_dir_all(&in_the_way).expect("own directory");
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    let told = |phase: v1::coverage::Phase| {
        wait_for("the journal to be told of", || {
            collector
                .events()
                .into_iter()
                .find_map(|event| match event.detail {
                    Some(Detail::Coverage(coverage))
                        if coverage.what == "degraded" && coverage.phase() == phase =>
                    {
                        Some(coverage)
                    }
                    _ => None,
                })
        })
    };
    let begin = told(v1::coverage::Phase::Begin);
    assert!(begin.reason.contains("journal"), "{begin:?}");
    assert!(status(&config).expect("it runs").journal_error.is_some());
    let parent = in_the_way.parent().expect("made above");
    std::fs::remove_dir_all(parent).expect("own directory");
    let end = told(v1::coverage::Phase::End);
    assert_eq!(end.first_unix_nano, begin.first_unix_nano);
    wait_for("status to say so", || {
        status(&config)?.journal_error.is_none().then_some(())
    });
    assert_eq!(running.terminate().code(), Some(0));
}
