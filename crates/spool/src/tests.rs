//! The spool against a model, across restarts, damage and full disks.

mod faults;
mod numbers;

use std::{collections::VecDeque, fs, path::Path, time::Instant};

use proptest::prelude::*;
use prost::Message;

use super::*;

const MIB: u64 = 1 << 20;

/// A spool alone, as both lanes are.
fn open_spool(directory: &Path, max_bytes: u64) -> Spool {
    Spool::open(Place {
        directory: directory.to_owned(),
        max_bytes,
        lane: Lane::Findings,
    })
}

fn open(number: u64, size: usize, count: u64) -> v1::Event {
    let file = v1::Open {
        path: Some("x".repeat(size)),
        count,
        ..v1::Open::default()
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(v1::event::Detail::Open(file)),
        ..v1::Event::default()
    }
}

fn decode(bytes: &[u8]) -> v1::Event {
    v1::Event::decode(bytes).unwrap()
}

fn read(spool: &Spool, seq: u64) -> Vec<(u64, v1::Event)> {
    let records = spool.read_from(seq, usize::MAX, usize::MAX).unwrap();
    records
        .into_iter()
        .map(|(seq, bytes)| (seq, decode(&bytes)))
        .collect()
}

fn numbers(records: &[(u64, v1::Event)]) -> Vec<(u64, u64)> {
    records
        .iter()
        .map(|(seq, event)| (*seq, event.time_unix_nano))
        .collect()
}

/// Events an event stands for: what was seen, and what is said to be lost.
fn weigh(event: &v1::Event) -> (u64, u64) {
    match event.detail.as_ref().unwrap() {
        v1::event::Detail::Lost(lost) => (0, lost.count),
        v1::event::Detail::Open(file) => (file.count, 0),
        _ => (1, 0),
    }
}

/// Flips a bit of the byte that `at` gives for the file's size; the bytes that are in it now.
fn damage(file: &Path, at: impl FnOnce(usize) -> usize) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(file, &bytes).unwrap();
    bytes
}

#[test]
fn records_come_back_in_order_until_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=5 {
        spool.append(&open(number, 10, 1));
    }
    assert_eq!(
        numbers(&read(&spool, 1)),
        [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    );
    spool.ack(3).unwrap();
    assert_eq!(numbers(&read(&spool, 1)), [(4, 4), (5, 5)]);
    assert_eq!(numbers(&read(&spool, 5)), [(5, 5)]);
    assert_eq!(read(&spool, 6), []);
    let stats = spool.stats();
    assert_eq!((stats.records, stats.acked_seq, stats.next_seq), (2, 3, 6));
}

#[test]
fn a_read_is_bounded_by_bytes_and_records_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=5 {
        spool.append(&open(number, 1000, 1));
    }
    assert_eq!(spool.read_from(1, 1, 100).unwrap().len(), 1);
    assert_eq!(spool.read_from(1, 2500, 100).unwrap().len(), 2);
    assert_eq!(spool.read_from(2, usize::MAX, 3).unwrap().len(), 3);
}

#[test]
fn a_restart_keeps_records_numbers_and_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=4 {
        spool.append(&open(number, 10, 1));
    }
    read(&spool, 1);
    spool.ack(2).unwrap();
    let before = spool.position();
    drop(spool);
    let spool = open_spool(dir.path(), MIB);
    assert_eq!(spool.position(), before);
    spool.append(&open(5, 10, 1));
    assert_eq!(numbers(&read(&spool, 1)), [(3, 3), (4, 4), (5, 5)]);
}

#[test]
fn what_was_never_handed_out_cannot_be_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    spool.append(&open(1, 10, 1));
    let error = spool.ack(1).unwrap_err();
    assert!(
        matches!(error, SpoolError::NeverSent { seq: 1, last: 0 }),
        "{error}"
    );
}

#[test]
fn a_torn_record_at_the_end_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=3 {
        spool.append(&open(number, 10, 1));
    }
    let epoch = spool.position().unwrap().0;
    drop(spool);
    let segment = segment::path(dir.path(), 1);
    let length = fs::metadata(&segment).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap()
        .set_len(length - 3)
        .unwrap();
    let spool = open_spool(dir.path(), MIB);
    spool.append(&open(9, 10, 1));
    assert_eq!(numbers(&read(&spool, 1)), [(1, 1), (2, 2), (3, 9)]);
    assert_eq!(spool.position().unwrap().0, epoch);
}

#[test]
fn damage_inside_is_counted_and_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=400 {
        spool.append(&open(number, 1000, 1));
    }
    let epoch = spool.position().unwrap().0;
    drop(spool);
    let segment = segment::path(dir.path(), 1);
    damage(&segment, |bytes| bytes / 2);
    let spool = open_spool(dir.path(), MIB);
    spool.sync();
    assert_ne!(spool.position().unwrap().0, epoch);
    let records = read(&spool, 1);
    let (seen, lost) = total(&records);
    assert_eq!(seen + lost, 400);
    assert!(lost > 0 && spool.stats().lost["corrupt"] == lost);
}

#[test]
fn what_damage_hid_is_told_once_and_the_numbers_stay_after_that() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=400 {
        spool.append(&open(number, 1000, 1));
    }
    drop(spool);
    let segment = segment::path(dir.path(), 1);
    damage(&segment, |bytes| bytes / 2);
    let spool = open_spool(dir.path(), MIB);
    spool.sync();
    let (epoch, records) = (spool.position().unwrap().0, read(&spool, 1));
    drop(spool);
    for _ in 0..2 {
        let spool = open_spool(dir.path(), MIB);
        spool.sync();
        assert_eq!(spool.position().unwrap().0, epoch);
        assert_eq!(read(&spool, 1), records);
    }
}

#[test]
fn a_damaged_header_costs_the_records_of_its_segment_which_are_counted_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=3 {
        spool.append(&open(number, 10, 1));
    }
    drop(spool);
    let segment = segment::path(dir.path(), 1);
    let bytes = damage(&segment, |_| 20);
    let spool = open_spool(dir.path(), MIB);
    spool.sync();
    assert_eq!(total(&read(&spool, 1)), (0, 3));
    assert_eq!(spool.stats().lost["corrupt"], 3);
    let aside = segment::damaged_path(dir.path(), 1);
    assert_eq!(fs::read(aside).unwrap(), bytes);
}

#[test]
fn a_damaged_header_of_any_segment_costs_what_is_counted() {
    for id in 1..=4 {
        let dir = tempfile::tempdir().unwrap();
        let spool = open_spool(dir.path(), MIB);
        for number in 1..=400 {
            spool.append(&open(number, 1000, 1));
        }
        drop(spool);
        let segment = segment::path(dir.path(), id);
        let mut bytes = fs::read(&segment).unwrap();
        bytes[20] ^= 1;
        fs::write(&segment, &bytes).unwrap();
        let spool = open_spool(dir.path(), MIB);
        spool.sync();
        let (seen, lost) = total(&read(&spool, 1));
        assert!(lost > 0 && seen + lost == 400, "{id}: {seen} and {lost}");
    }
}

#[test]
fn pinned_records_that_are_gone_begin_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    spool.append(&open(1, 10, 1));
    read(&spool, 1);
    let epoch = spool.position().unwrap().0;
    drop(spool);
    fs::remove_file(segment::path(dir.path(), 1)).unwrap();
    let spool = open_spool(dir.path(), MIB);
    assert_ne!(spool.position().unwrap().0, epoch);
    spool.append(&open(2, 10, 1));
    assert_eq!(numbers(&read(&spool, 1)), [(1, 2)]);
}

#[test]
fn a_lost_state_file_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    spool.append(&open(1, 10, 1));
    let epoch = spool.position().unwrap().0;
    drop(spool);
    fs::write(dir.path().join("state"), "garbage").unwrap();
    let spool = open_spool(dir.path(), MIB);
    assert_ne!(spool.position().unwrap().0, epoch);
    assert_eq!(numbers(&read(&spool, 1)), [(1, 1)]);
}

#[test]
fn a_new_epoch_numbers_what_is_left_from_one() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=4 {
        spool.append(&open(number, 10, 1));
    }
    read(&spool, 1);
    spool.ack(2).unwrap();
    let epoch = spool.position().unwrap().0;
    assert!(spool.new_epoch().unwrap() > epoch);
    assert_eq!(numbers(&read(&spool, 1)), [(1, 3), (2, 4)]);
    drop(spool);
    let spool = open_spool(dir.path(), MIB);
    assert_eq!(numbers(&read(&spool, 1)), [(1, 3), (2, 4)]);
    spool.ack(2).unwrap();
    assert_eq!(spool.stats().records, 0);
}

fn total(records: &[(u64, v1::Event)]) -> (u64, u64) {
    records
        .iter()
        .map(|(_, event)| weigh(event))
        .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
}

#[test]
fn a_full_spool_drops_the_oldest_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=5000 {
        spool.append(&open(number, 1000, 2));
    }
    let stats = spool.stats();
    assert!(stats.bytes <= MIB, "{stats:?}");
    let records = read(&spool, 1);
    assert!(
        records
            .iter()
            .map(|(seq, _)| *seq)
            .eq(1..=records.len() as u64)
    );
    let (seen, lost) = total(&records);
    assert_eq!(seen + lost, 10_000);
    assert_eq!(stats.lost["spool_full"], lost);
    let Some(v1::event::Detail::Lost(first)) = &records[0].1.detail else {
        panic!("{records:?}")
    };
    assert_eq!(
        (first.hop.as_str(), first.cause.as_str()),
        ("spool", "spool_full")
    );
    assert_eq!((first.first_unix_nano, first.last_unix_nano), (1, lost / 2));
    assert_eq!(
        numbers(&records).last(),
        Some(&(records.len() as u64, 5000))
    );
}

#[test]
fn what_was_handed_out_keeps_its_number_when_the_spool_overflows() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=300 {
        spool.append(&open(number, 1000, 1));
    }
    let sent = spool.read_from(1, usize::MAX, 150).unwrap();
    for number in 301..=4000 {
        spool.append(&open(number, 1000, 1));
    }
    drop(spool);
    let spool = open_spool(dir.path(), MIB);
    assert_eq!(spool.read_from(1, usize::MAX, 150).unwrap(), sent);
    let (seen, lost) = total(&read(&spool, 1));
    assert_eq!(seen + lost, 4000);
    // The collector stored half of it before the connection broke.
    spool.ack(75).unwrap();
    assert_eq!(numbers(&read(&spool, 1))[0], (76, 76));
}

#[test]
fn when_everything_is_pinned_the_new_is_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=900 {
        spool.append(&open(number, 1000, 1));
    }
    let sent = read(&spool, 1).len() as u64;
    for number in 901..=3000 {
        spool.append(&open(number, 1000, 1));
        if number % 7 == 0 {
            read(&spool, 1);
        }
    }
    assert!(spool.stats().bytes <= MIB);
    let pinned = read(&spool, 1).len() as u64;
    assert!(pinned >= sent);
    spool.ack(pinned).unwrap();
    spool.append(&open(3001, 10, 1));
    let rest = read(&spool, pinned + 1);
    let (seen, lost) = total(&rest);
    assert_eq!(pinned + seen + lost, 3001);
    assert_eq!(rest.last().unwrap().1.time_unix_nano, 3001);
}

#[test]
fn a_directory_that_cannot_be_used_costs_events_but_not_the_sensor() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("spool");
    fs::write(&place, "a file").unwrap();
    let spool = open_spool(&place, MIB);
    spool.append(&open(1, 10, 3));
    assert!(spool.stats().error.is_some());
    assert_eq!(spool.stats().lost["io"], 3);
    assert_eq!(spool.position(), None);
    assert!(spool.read_from(1, 1, 1).is_err());
    fs::remove_file(&place).unwrap();
    if let Err(unavailable) = &mut spool.lock().disk {
        unavailable.retry = Instant::now();
    }
    spool.append(&open(2, 10, 1));
    let records = read(&spool, 1);
    assert_eq!(total(&records), (1, 3));
    assert_eq!(spool.stats().error, None);
}

#[test]
fn a_directory_serves_one_sensor_only() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open_spool(dir.path(), MIB);
    let second = open_spool(dir.path(), MIB);
    let error = second.stats().error.unwrap();
    assert_eq!(error, "another sensor uses this directory");
}

#[test]
fn an_event_too_large_to_keep_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), 4 * MIB);
    spool.append(&open(1, MAX_RECORD, 1));
    spool.append(&open(2, 10, 1));
    assert_eq!(total(&read(&spool, 1)), (1, 1));
    assert_eq!(spool.stats().lost["too_large"], 1);
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        size: usize,
        count: u64,
    },
    Read {
        records: usize,
    },
    /// Acknowledges this share (of 16) of what was handed out.
    Ack {
        share: u64,
    },
    Restart,
    NewEpoch,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1..40_000usize, 1..4u64).prop_map(|(size, count)| Step::Append { size, count }),
        4 => (1..20usize).prop_map(|records| Step::Read { records }),
        4 => (0..=16u64).prop_map(|share| Step::Ack { share }),
        1 => Just(Step::Restart),
        1 => Just(Step::NewEpoch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is stored by the collector, what is left in the spool and what is said to be lost is what
    /// came in; a sequence once handed out means the same record until it is acknowledged.
    #[test]
    fn nothing_is_lost_unsaid(steps in prop::collection::vec(step(), 1..200)) {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open_spool(dir.path(), MIB);
        let mut epoch = spool.position().unwrap().0;
        let (mut appended, mut stored) = (0, (0, 0));
        let mut next = 1;
        let mut handed_out: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Append { size, count } => {
                    spool.append(&open(number, size, count));
                    appended += count;
                }
                Step::Read { records } => {
                    let from = next;
                    for (seq, bytes) in spool.read_from(from, 1 << 30, records).unwrap() {
                        prop_assert_eq!(seq, next);
                        handed_out.push_back((seq, bytes));
                        next += 1;
                    }
                    let again = spool.read_from(1, usize::MAX, handed_out.len()).unwrap();
                    prop_assert_eq!(again, handed_out.iter().cloned().collect::<Vec<_>>());
                }
                Step::Ack { share } => {
                    let count = handed_out.len() as u64 * share / 16;
                    for _ in 0..count {
                        let (seq, bytes) = handed_out.pop_front().unwrap();
                        let (seen, lost) = weigh(&decode(&bytes));
                        stored = (stored.0 + seen, stored.1 + lost);
                        spool.ack(seq).unwrap();
                    }
                }
                Step::Restart => {
                    spool.sync();
                    drop(spool);
                    spool = open_spool(dir.path(), MIB);
                    prop_assert_eq!(spool.position().unwrap().0, epoch);
                }
                Step::NewEpoch => {
                    epoch = spool.new_epoch().unwrap();
                    handed_out.clear();
                    next = 1;
                }
            }
            let stats = spool.stats();
            prop_assert!(stats.bytes <= MIB, "{:?}", stats);
        }
        spool.sync();
        let left = total(&read(&spool, 1));
        let pending: u64 = {
            let pending = std::mem::take(&mut spool.lock().pending);
            pending.into_events().map(|event| weigh(&event).1).sum()
        };
        prop_assert_eq!(stored.0 + stored.1 + left.0 + left.1 + pending, appended);
    }

    #[test]
    fn any_bytes_in_the_directory_are_opened_without_panic(
        segment in prop::collection::vec(any::<u8>(), 0..200),
        state in prop::collection::vec(any::<u8>(), 0..100),
        cut in 0..300u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let spool = open_spool(dir.path(), MIB);
        for number in 1..=3 {
            spool.append(&open(number, 50, 1));
        }
        drop(spool);
        let first = segment::path(dir.path(), 1);
        fs::OpenOptions::new().write(true).open(&first).unwrap().set_len(cut).unwrap();
        fs::write(segment::path(dir.path(), 2), segment).unwrap();
        fs::write(dir.path().join("state"), state).unwrap();
        let spool = open_spool(dir.path(), MIB);
        spool.append(&open(7, 10, 1));
        let records = read(&spool, 1);
        prop_assert!(records.iter().any(|(_, event)| event.time_unix_nano == 7));
    }
}

#[test]
fn the_record_that_was_handed_out_under_a_number_can_be_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=5 {
        spool.append(&open(number, 10, 1));
    }
    let time = |seq| {
        let record = spool.handed_out(seq).unwrap();
        record.map(|bytes| decode(&bytes).time_unix_nano)
    };
    assert_eq!(time(1), None, "not handed out yet");
    spool.read_from(1, usize::MAX, 3).unwrap();
    assert_eq!([0, 1, 3, 4].map(time), [None, Some(1), Some(3), None]);
    spool.ack(2).unwrap();
    // The last one that was acknowledged is still there.
    assert_eq!([1, 2, 3].map(time), [None, Some(2), Some(3)]);
    spool.new_epoch().unwrap();
    spool.read_from(1, usize::MAX, 2).unwrap();
    assert_eq!([0, 1, 2].map(time), [None, Some(3), Some(4)]);
    spool.ack(1).unwrap();
    assert_eq!([0, 1, 2].map(time), [None, Some(3), Some(4)]);
}

#[test]
fn what_is_noted_of_a_record_is_known_until_it_is_acknowledged_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let canary = |time| {
        let coverage = v1::Coverage {
            what: "canary".into(),
            ..v1::Coverage::default()
        };
        v1::Event {
            time_unix_nano: time,
            detail: Some(v1::event::Detail::Coverage(coverage)),
            ..v1::Event::default()
        }
    };
    let noted = [2, 4].map(|time| (time, Note::Canary(skep_event::UnixNanos(time))));
    let mut spool = open_spool(dir.path(), MIB);
    for event in [open(1, 10, 1), canary(2), open(3, 10, 1), canary(4)] {
        spool.append(&event);
    }
    for restarted in [false, true] {
        if restarted {
            drop(spool);
            spool = open_spool(dir.path(), MIB);
        }
        read(&spool, 1);
        assert_eq!(spool.notes(1..=4).unwrap(), noted);
        assert_eq!(spool.notes(3..=4).unwrap(), noted[1..]);
    }
    spool.ack(2).unwrap();
    assert_eq!(spool.notes(3..=4).unwrap(), noted[1..]);
    spool.append(&open(5, 10, 1));
    assert_eq!(read(&spool, 3).len(), 3);
    spool.ack(5).unwrap();
    spool.append(&open(6, 10, 1));
    read(&spool, 6);
    assert_eq!(spool.notes(6..=6).unwrap(), []);
}
