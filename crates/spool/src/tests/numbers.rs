//! Numbers near the end of 64 bits, in files and in what is counted.

use super::*;
use crate::{
    segment::{Header, NUMBER_MAX},
    state::{State, StateFile},
};

/// What is appended to a directory comes back, and is acknowledged.
fn works(directory: &Path) {
    let spool = open_spool(directory, MIB);
    spool.append(&open(7, 10, 1));
    spool.sync();
    let records = read(&spool, 0);
    let (last, _) = records.last().unwrap();
    assert!(records.iter().any(|(_, event)| event.time_unix_nano == 7));
    assert_eq!(spool.stats().next_seq, last + 1);
    spool.ack(*last).unwrap();
    spool.new_epoch().unwrap();
    spool.append(&open(8, 10, 1));
    assert_eq!(numbers(&read(&spool, 1)), [(1, 8)]);
}

#[test]
fn a_segment_may_claim_any_numbers() {
    let record = open(1, 10, 1).encode_to_vec();
    for number in [
        NUMBER_MAX,
        NUMBER_MAX + 1,
        i64::MAX as u64,
        u64::MAX - 1,
        u64::MAX,
    ] {
        for tombstone in [false, true] {
            for (id, covers, first_record) in [
                (number, number, 0),
                (1, number, 0),
                (2, 1, 0),
                (1, 1, number),
                (number, number, number),
            ] {
                let dir = tempfile::tempdir().unwrap();
                let header = Header {
                    id,
                    covers,
                    first_record,
                    tombstone,
                    cut: false,
                };
                let file = segment::path(dir.path(), id);
                segment::write(&file, header, std::slice::from_ref(&record)).unwrap();
                // Of the other lane, and to be the newest here.
                let told = segment::told_path(dir.path(), id);
                segment::write(&told, header, std::slice::from_ref(&record)).unwrap();
                works(dir.path());
            }
        }
    }
}

#[test]
fn a_state_may_claim_any_numbers() {
    let usual = State {
        generation: 1,
        epoch: 9,
        acked_seq: 3,
        pinned_seq: 5,
        head_segment: 1,
        head_skip: 1,
    };
    for number in [NUMBER_MAX, NUMBER_MAX + 1, u64::MAX - 1, u64::MAX] {
        let mut states = [usual; 6];
        states[0].generation = number;
        states[1].epoch = number;
        states[2].pinned_seq = number;
        (states[3].acked_seq, states[3].pinned_seq) = (number, number);
        states[4].head_segment = number;
        states[5].head_skip = number;
        for state in states {
            let dir = tempfile::tempdir().unwrap();
            let (file, _) = StateFile::open(&dir.path().join("state")).unwrap();
            file.write(state, true).unwrap();
            drop(file);
            works(dir.path());
        }
    }
}

#[test]
fn a_loss_that_was_handed_over_under_any_number_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let header = Header {
        id: 9,
        covers: 9,
        first_record: 0,
        tombstone: true,
        cut: false,
    };
    let told = segment::told_path(dir.path(), 9);
    segment::write(&told, header, &[open(1, 10, 1).encode_to_vec()]).unwrap();
    let spool = open_spool(dir.path(), MIB);
    let position = spool.position().unwrap();
    drop(spool);
    let spool = open_spool(dir.path(), MIB);
    assert_eq!(spool.position().unwrap(), position);
    assert_eq!(numbers(&read(&spool, 1)), [(1, 1)]);
}

#[test]
fn a_loss_that_loses_its_place_does_not_take_that_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let header = |id, covers| Header {
        id,
        covers,
        first_record: 0,
        tombstone: true,
        cut: false,
    };
    // Up to 4 is taken: what was to be 3 goes behind, where 5 lies already.
    segment::write(&segment::path(dir.path(), 2), header(2, 4), &[]).unwrap();
    for (id, number) in [(3, 1), (5, 2)] {
        let record = open(number, 10, 1).encode_to_vec();
        segment::write(
            &segment::told_path(dir.path(), id),
            header(id, id),
            &[record],
        )
        .unwrap();
    }
    let spool = open_spool(dir.path(), MIB);
    assert_eq!(spool.stats().error, None);
    assert_eq!(numbers(&read(&spool, 1)), [(1, 1), (2, 2)]);
}

#[test]
fn losses_of_any_size_are_counted_as_far_as_a_number_goes() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing fits, so that each is lost as it comes.
    let place = dir.path().join("file");
    fs::write(&place, []).unwrap();
    let spool = open_spool(&place, MIB);
    for _ in 0..2 {
        spool.append(&open(1, 10, u64::MAX));
    }
    assert_eq!(spool.stats().lost["io"], u64::MAX);
}

#[test]
fn drops_of_any_size_are_counted_as_far_as_a_number_goes() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 0..3_000 {
        spool.append(&open(number, 1_000, u64::MAX));
    }
    assert_eq!(spool.stats().lost["spool_full"], u64::MAX);
}
