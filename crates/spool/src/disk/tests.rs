//! Epochs, and what is done again after it failed.

use super::*;

#[test]
fn an_epoch_is_never_used_twice_whatever_the_clock_says() {
    for lane in [Lane::Bulk, Lane::Findings] {
        let mut epoch = 0;
        for now in [
            5_000_000_000,
            4_000_000_000,
            0,
            1,
            9_000_000_000,
            9_000_000_000,
        ] {
            let next = next_epoch(epoch, now, lane);
            assert!(next > epoch && next > now, "{next} after {epoch} at {now}");
            epoch = next;
        }
    }
}

fn disk_with(directory: &Path, records: u64) -> Disk {
    let (mut disk, _) = Disk::open(directory, 1 << 20, Lane::Bulk).unwrap();
    for number in 0..records {
        disk.append(&number.to_le_bytes(), None).unwrap();
    }
    disk
}

#[test]
fn a_pin_that_could_not_be_written_is_written_before_anything_is_handed_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk_with(dir.path(), 3);
    let (_, unsynced) = disk.read_from(1, usize::MAX, 2).unwrap();
    disk.sync_failed(unsynced);
    let (_, unsynced) = disk.read_from(1, usize::MAX, 2).unwrap();
    unsynced.finish().unwrap();
    let (_, written) = StateFile::open(&dir.path().join("state")).unwrap();
    assert_eq!(written.unwrap().pinned_seq, 2);
}

#[test]
fn a_file_that_could_not_be_removed_is_removed_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk_with(dir.path(), 3);
    disk.read_from(1, usize::MAX, 3)
        .unwrap()
        .1
        .finish()
        .unwrap();
    // Sealed, so that it goes when it is acknowledged.
    disk.seal().unwrap();
    let unsynced = disk.ack(3);
    disk.sync_failed(unsynced);
    let first = segment::path(dir.path(), 1);
    assert!(first.exists());
    disk.unsynced().finish().unwrap();
    assert!(!first.exists());
    disk.append(b"next", None).unwrap();
    assert_eq!((disk.records(), disk.acked_seq()), (1, 3));
    drop(disk);
    let (disk, losses) = Disk::open(dir.path(), 1 << 20, Lane::Bulk).unwrap();
    assert_eq!((disk.records(), disk.acked_seq()), (1, 3));
    assert!(losses.is_empty());
}

#[test]
fn two_lanes_never_have_the_same_epoch() {
    for now in 0..1000 {
        let bulk = next_epoch(now, 500, Lane::Bulk);
        let findings = next_epoch(now / 2, 500, Lane::Findings);
        assert_ne!(bulk % 2, findings % 2);
    }
}

#[test]
fn copies_of_a_machine_whose_clock_was_set_back_do_not_choose_alike() {
    let chosen: std::collections::BTreeSet<u64> =
        (0..64).map(|_| next_epoch(77, 0, Lane::Bulk)).collect();
    // 64 of half a million: a few may meet, all of them never.
    assert!(chosen.len() > 32, "{chosen:?}");
}
