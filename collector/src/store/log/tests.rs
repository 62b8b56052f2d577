//! The log on a disk that loses what was not synced.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{schema::Origin, store::tests::disk::Disk};

fn open(disk: Disk) -> Log {
    let (log, _) = Log::open(Arc::new(disk)).unwrap();
    log
}

fn origin(sensor: u8) -> Origin {
    Origin {
        sensor_id: format!("{sensor:032x}"),
        epoch: 7,
        hostname: None,
        kernel: None,
    }
}

/// Commits one batch of each sensor; what the log must know from then on.
fn commit(log: &mut Log, sensors: &[u8], size: usize, tails: &mut BTreeMap<u8, u64>) {
    let mut entries = Vec::new();
    let mut changed = Vec::new();
    for sensor in sensors {
        let seq = tails.get(sensor).copied().unwrap_or(0) + 1;
        tails.insert(*sensor, seq);
        let mut entry = Entry::new(&origin(*sensor), 0, &vec![*sensor; size]).unwrap();
        entry.position = log.next_position() + entries.len() as u64;
        entries.push(entry);
        let source = Source {
            sensor_id: format!("{sensor:032x}"),
            epoch: 7,
        };
        changed.push((source, Tail { seq, crc32: 1 }));
    }
    let transaction = Transaction {
        entries: &entries,
        tails: &changed,
        ..Transaction::default()
    };
    log.commit(&transaction).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_power_cut_takes_nothing_that_was_committed(
        groups in prop::collection::vec(prop::collection::vec(0..4u8, 1..6), 1..8),
        size in 1..200_000usize,
        parts in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 1..40),
        cut_at in any::<prop::sample::Index>(),
    ) {
        let disk = Disk::default();
        let mut log = open(disk.clone());
        let mut known = BTreeMap::new();
        let mut entries = 0;
        let cut_at = cut_at.index(groups.len());
        for (number, group) in groups.iter().enumerate() {
            let mut group = group.clone();
            group.sort_unstable();
            group.dedup();
            commit(&mut log, &group, size, &mut known);
            entries += group.len();
            if number == cut_at {
                break;
            }
        }
        // A transaction that is cut in the middle: its pages are written and nothing is synced.
        let database = log.database().unwrap();
        let unfinished = database.begin_write().unwrap();
        {
            let mut batches = unfinished.open_table(BATCHES).unwrap();
            batches.insert(1_000_000, vec![1; size].as_slice()).unwrap();
        }
        let mut after = open(disk.cut(&parts));
        drop(unfinished);
        for (sensor, seq) in known {
            let source = Source { sensor_id: format!("{sensor:032x}"), epoch: 7 };
            prop_assert_eq!(after.tail(&source).unwrap(), Some(Tail { seq, crc32: 1 }));
        }
        let found = after.after(0, 1000).unwrap();
        prop_assert_eq!(found.len(), entries);
        for (position, entry) in (1..).zip(found) {
            let entry = entry.unwrap();
            prop_assert_eq!(entry.position, position);
            prop_assert_eq!(entry.batch.len(), size);
        }
        prop_assert_eq!(after.next_position(), entries as u64 + 1);
    }
}

#[test]
fn positions_go_on_after_everything_was_cut() {
    let disk = Disk::default();
    let mut log = open(disk.clone());
    let id = log.id().to_owned();
    let mut tails = BTreeMap::new();
    commit(&mut log, &[1, 2, 3], 100, &mut tails);
    log.commit(&Transaction {
        cut: 3,
        ..Transaction::default()
    })
    .unwrap();
    drop(log);
    let mut log = open(disk);
    assert_eq!((log.id(), log.next_position()), (id.as_str(), 4));
    assert!(log.after(0, 10).unwrap().is_empty());
    commit(&mut log, &[1], 100, &mut tails);
    assert_eq!(log.after(0, 10).unwrap()[0].as_ref().unwrap().position, 4);
}

#[test]
fn a_damaged_entry_is_named_and_the_others_are_there() {
    let mut log = open(Disk::default());
    commit(&mut log, &[1, 2, 3], 1000, &mut BTreeMap::new());
    let mut damaged = Entry::new(&origin(2), 0, &[2; 1000]).unwrap().bytes;
    // In the batch: after it comes when it was taken.
    let at = damaged.len() - 16;
    damaged[at] ^= 0x55;
    let write = log.database().unwrap().begin_write().unwrap();
    write
        .open_table(BATCHES)
        .unwrap()
        .insert(2, damaged.as_slice())
        .unwrap();
    write.commit().unwrap();
    let found = log.after(0, 10).unwrap();
    assert!(found[0].is_ok() && found[2].is_ok());
    let damage = found.into_iter().nth(1).unwrap().unwrap_err();
    assert_eq!(
        damage.source.as_ref().unwrap().sensor_id,
        origin(2).sensor_id
    );
    assert!(String::from(damage).contains("entry 2 of the log"));
}
