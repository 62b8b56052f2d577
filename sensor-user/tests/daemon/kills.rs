//! SIGKILL of the daemon at random moments while agents work. `SKEP_KILL_ROUNDS` kills instead of a few;
//! `SKEP_SEED` says when: the seed is printed.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use prost::Message;
use skep_proto::v1;
use skep_spool::{Lane, Lanes};
use skep_testing::{Finish, Program, Random, collector::Collector};

use crate::running::{actor, calm, configure, sensor, settled};

fn rounds() -> u64 {
    std::env::var("SKEP_KILL_ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"))
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("own directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("room for it");
        }
    }
}

/// What waits in a spool, read from a copy: nothing of its own is touched.
pub fn left(spool: &Path) -> Vec<Vec<u8>> {
    let copy = tempfile::tempdir().expect("a directory");
    copy_tree(spool, copy.path());
    let lanes = Lanes::open(copy.path(), 1 << 30, 1 << 27);
    let mut records = Vec::new();
    for lane in [Lane::Bulk, Lane::Findings] {
        let spool = lanes.lane(lane);
        assert_eq!((spool.stats().error, spool.stats().lost.len()), (None, 0));
        let acked = spool.position().expect("it is open").1;
        let all = spool.read_from(acked + 1, usize::MAX, usize::MAX);
        records.extend(
            all.expect("it can be read")
                .into_iter()
                .map(|(_, record)| record),
        );
    }
    records
}

/// How often each event is there, by its encoding: two are the same only if their time, process and
/// all else are.
fn counted<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> BTreeMap<&'a [u8], usize> {
    events
        .into_iter()
        .fold(BTreeMap::new(), |mut counts, event| {
            *counts.entry(event).or_default() += 1;
            counts
        })
}

#[test]
fn whatever_was_spooled_when_the_daemon_was_killed_arrives_once() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let mut random = Random::from_environment();
    let mut spooled = Vec::new();
    for _ in 0..rounds() {
        let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
        // In memory: so many files take a disk that others work on a while, and its removal longer.
        let folder = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let mut agent = Command::new(actor())
            .args(["do", "create-storm"])
            .arg(folder.path())
            .arg("20000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the actor");
        std::thread::sleep(Duration::from_millis(random.below(1_500)));
        running.kill();
        spooled.extend(left(&directory.path().join("spool")));
        assert!(agent.finish().success());
    }
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    settled(&config);
    let arrived: Vec<Vec<u8>> = collector
        .events()
        .iter()
        .map(v1::Event::encode_to_vec)
        .collect();
    let arrived = counted(arrived.iter().map(Vec::as_slice));
    // One that waited through two kills was found there twice.
    for record in counted(spooled.iter().map(Vec::as_slice)).keys() {
        assert_eq!(
            arrived.get(record),
            Some(&1),
            "{:?}",
            v1::Event::decode(*record)
        );
    }
    for (event, times) in &arrived {
        assert_eq!(*times, 1, "{:?}", v1::Event::decode(*event));
    }
    assert!(!arrived.is_empty());
    assert_eq!(running.terminate().code(), Some(0));
}
