//! Two sensors with one identity: a machine was cloned, spool and all.

use std::{collections::BTreeSet, fs};

use super::*;

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn epoch(sensor: &Sensor) -> u64 {
    sensor.lanes.bulk.position().unwrap().0
}

fn stored(collector: &Collector) -> BTreeSet<u64> {
    numbers(&collector.events()).into_iter().collect()
}

/// A sensor that has sent five events, of which the collector has stored and acknowledged all, and a
/// copy of it.
fn original_and_copy(port: u16) -> (Sensor, Sensor, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let mut original = Sensor::at(&first, 2 << 20);
    original.connect(port);
    original.append(1..=5);
    original.settle();
    drop(original);
    copy_tree(&first, &second);
    let sensors = [first, second].map(|place| Sensor::at(&place, 2 << 20));
    let [original, copy] = sensors;
    assert_eq!(epoch(&original), epoch(&copy));
    (original, copy, dir)
}

#[test]
fn copies_that_run_at_the_same_time_end_up_with_epochs_of_their_own_and_lose_nothing() {
    let collector = Collector::new();
    let port = collector.address.port();
    let (mut original, mut copy, _dir) = original_and_copy(port);
    let shared = epoch(&original);
    original.connect(port);
    copy.connect(port);
    let mut next = 100;
    eventually("epochs of their own", HANGS, || {
        if epoch(&original) != epoch(&copy) {
            return Some(());
        }
        original.append(next..=next + 2);
        copy.append(next + 1_000_000..=next + 1_000_002);
        next += 3;
        None
    });
    original.append(next..=next + 50);
    copy.append(next + 1_000_000..=next + 1_000_050);
    original.settle();
    copy.settle();
    let expected: BTreeSet<u64> = (1..=5)
        .chain(100..=next + 50)
        .chain(1_000_100..=next + 1_000_050)
        .collect();
    assert_eq!(stored(&collector), expected);
    assert_eq!(collector.events().len(), expected.len(), "nothing twice");
    let store = collector.store.lock().unwrap();
    assert!(store.refusals.iter().any(|code| code == "superseded"));
    assert!(
        store.refusals.iter().all(|code| code == "superseded"),
        "{:?}",
        store.refusals
    );
    // One of them may have kept the epoch that both had.
    let bulk: BTreeSet<u64> = store
        .hellos_of(v1::Lane::Unspecified)
        .iter()
        .map(|hello| hello.epoch)
        .collect();
    assert!(bulk.contains(&shared) && bulk.len() >= 2, "{bulk:?}");
}

#[test]
fn a_copy_that_finds_another_event_under_a_number_it_handed_out_begins_a_new_epoch() {
    let collector = Collector::new();
    let port = collector.address.port();
    let (mut original, mut copy, _dir) = original_and_copy(port);
    // Both have given the number 6 to an event of their own; the collector has the original's.
    original.append(6..=6);
    copy.append(1_000_006..=1_000_006);
    let taken = |sensor: &Sensor| sensor.lanes.bulk.read_from(6, 1 << 20, 10).unwrap();
    assert_eq!((taken(&original)[0].0, taken(&copy)[0].0), (6, 6));
    original.connect(port);
    original.settle();
    let before = epoch(&copy);
    copy.connect(port);
    copy.settle();
    assert_ne!(epoch(&copy), before);
    assert_eq!(epoch(&original), before);
    assert_eq!(numbers(&collector.events()), [1, 2, 3, 4, 5, 6, 1_000_006]);
    let store = collector.store.lock().unwrap();
    assert!(
        store.refusals.iter().all(|code| code == "superseded"),
        "{:?}",
        store.refusals
    );
}

#[test]
fn a_copy_that_is_behind_what_is_stored_begins_a_new_epoch() {
    let collector = Collector::new();
    let port = collector.address.port();
    let (mut original, mut copy, _dir) = original_and_copy(port);
    original.connect(port);
    original.append(6..=9);
    original.settle();
    copy.append(1_000_006..=1_000_007);
    copy.connect(port);
    copy.settle();
    assert_ne!(epoch(&copy), epoch(&original));
    assert_eq!(
        numbers(&collector.events()),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 1_000_006, 1_000_007]
    );
}

#[test]
fn a_lane_without_events_learns_from_the_other_that_it_is_a_copy() {
    let collector = Collector::new();
    let port = collector.address.port();
    let (mut original, mut copy, _dir) = original_and_copy(port);
    original.connect(port);
    copy.connect(port);
    // Only findings happen; the bulk has nothing by which it could tell.
    let mut found = 1_000;
    original.wait(|original| {
        for sensor in [original, &copy] {
            found += 1;
            sensor.lanes.append(&v1::Event {
                time_unix_nano: found,
                detail: Some(v1::event::Detail::Finding(v1::Finding::default())),
                ..v1::Event::default()
            });
        }
        epoch(original) != epoch(&copy)
    });
    original.settle();
    copy.settle();
    let mut arrived = numbers(&collector.events());
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=5).chain(1_001..=found).collect::<Vec<_>>());
}

#[test]
fn what_was_stored_and_not_acknowledged_is_no_copy_also_when_it_was_replaced() {
    let store = Arc::new(Mutex::new(Store {
        poison: Some("/2".into()),
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let mut sensor = Sensor::new(collector.address.port());
    sensor.append(1..=1);
    sensor.settle();
    let before = epoch(&sensor);
    // The event that is given up is stored as the last one, and then the stream breaks; so it goes
    // again after a restart, when nothing in memory tells what was sent.
    sensor.append(2..=2);
    sensor.wait(|_| collector.store.lock().unwrap().refusals.len() == 3);
    {
        let mut store = collector.store.lock().unwrap();
        (store.break_after_store, store.closes_when_it_breaks) = (1, true);
    }
    sensor.wait(|_| collector.events().len() == 2);
    sensor.uplink = None;
    assert_eq!(
        sensor.lanes.bulk.position(),
        Some((before, 1)),
        "not acknowledged"
    );
    collector.store.lock().unwrap().closed = false;
    sensor.connect(collector.address.port());
    sensor.append(3..=3);
    sensor.settle();
    assert_eq!(epoch(&sensor), before);
    assert_eq!(numbers(&collector.events()), [1, 2, 3]);
}

#[test]
fn a_source_that_two_streams_claim_is_not_fought_over_without_a_pause() {
    let collector = Collector::new();
    let port = collector.address.port();
    let (mut original, mut copy, _dir) = original_and_copy(port);
    original.connect(port);
    copy.connect(port);
    // Without new events they cannot know that they are two; they take turns.
    let turns = || collector.store.lock().unwrap().refusals.len();
    original.wait(|_| turns() >= 20);
    let (before, start) = (turns(), Instant::now());
    original.wait(|_| turns() >= before + 20);
    let least = QUICK.last_backoff / 2;
    // Two lanes of two sensors, each of which pauses at least so long between two turns.
    assert!(
        start.elapsed() >= least * 20 / 4 / 2,
        "{:?}",
        start.elapsed()
    );
}
