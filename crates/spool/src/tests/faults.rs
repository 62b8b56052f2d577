//! Torn writes, power cuts and clocks that jump.

use super::*;

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A record's frame beside its payload: length and CRC.
const FRAME: usize = 8;

#[test]
fn a_last_write_torn_at_any_byte_costs_that_record_alone() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let spool = open_spool(&whole, MIB);
    for number in 1..=3 {
        spool.append(&open(number, 30, 1));
    }
    read(&spool, 3);
    let epoch = spool.position().unwrap().0;
    spool.append(&open(4, 30, 1));
    drop(spool);
    let last = open(4, 30, 1).encode_to_vec().len() + FRAME;
    let bytes = fs::read(segment::path(&whole, 1)).unwrap();
    let begins = bytes.len() - last;
    let torn = |name: String, bytes: &[u8], expected: &[(u64, u64)]| {
        let place = dir.path().join(&name);
        copy_files(&whole, &place);
        fs::write(segment::path(&place, 1), bytes).unwrap();
        let spool = open_spool(&place, MIB);
        assert_eq!(spool.position().unwrap().0, epoch, "{name}");
        spool.append(&open(9, 10, 1));
        let mut expected = expected.to_vec();
        expected.push((expected.len() as u64 + 1, 9));
        assert_eq!(numbers(&read(&spool, 1)), expected, "{name}");
        assert!(spool.stats().lost.is_empty(), "{name}");
    };
    let before = [(1, 1), (2, 2), (3, 3)];
    torn(
        "as it was".into(),
        &bytes,
        &[(1, 1), (2, 2), (3, 3), (4, 4)],
    );
    for cut in 0..last {
        torn(format!("cut {cut}"), &bytes[..begins + cut], &before);
        // A file system that had the length, and not yet the data.
        let mut zeroed = bytes.clone();
        zeroed[begins + cut..].fill(0);
        torn(format!("zeroed {cut}"), &zeroed, &before);
        let mut garbled = bytes.clone();
        garbled[begins + cut] ^= 0x55;
        torn(format!("garbled {cut}"), &garbled, &before);
    }
}

#[derive(Clone, Copy, Debug)]
enum Unsynced {
    Nothing,
    Zeros,
    HalfThenZeros,
}

/// What a power cut leaves of a directory: what was there at the last sync, and of what was written
/// since as much as the file system pleases.
fn power_cut(synced: &Path, later: &Path, place: &Path, unsynced: Unsynced) {
    copy_files(synced, place);
    for entry in fs::read_dir(synced).unwrap() {
        let name = entry.unwrap().file_name();
        if !name.to_str().unwrap().ends_with(".seg") {
            continue;
        }
        let Ok(written) = fs::read(later.join(&name)) else {
            continue;
        };
        let mut left = fs::read(synced.join(&name)).unwrap();
        let more = &written[left.len().min(written.len())..];
        match unsynced {
            Unsynced::Nothing => {}
            Unsynced::Zeros => left.extend(more.iter().map(|_| 0)),
            Unsynced::HalfThenZeros => {
                let half = more.len() / 2;
                left.extend(&more[..half]);
                left.extend(more[half..].iter().map(|_| 0));
            }
        }
        fs::write(place.join(name), left).unwrap();
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_synced_and_no_number_means_two_records() {
    for unsynced in [Unsynced::Nothing, Unsynced::Zeros, Unsynced::HalfThenZeros] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("spool");
        let spool = open_spool(&place, MIB);
        let mut handed_out = Vec::new();
        let mut moments = Vec::new();
        for number in 1..=400 {
            spool.append(&open(number, 1_000, 1));
            match number % 40 {
                13 => spool.sync(),
                // The numbers are the collector's from here on.
                29 => handed_out = spool.read_from(1, 4_000 * number as usize, 1_000).unwrap(),
                _ => continue,
            }
            let moment = dir.path().join(number.to_string());
            copy_files(&place, &moment);
            moments.push((number, moment, handed_out.clone()));
        }
        drop(spool);
        for (number, moment, handed_out) in moments {
            let after = dir.path().join(format!("{number} after"));
            power_cut(&moment, &place, &after, unsynced);
            let spool = open_spool(&after, MIB);
            let records = read(&spool, 1);
            assert!(
                records.len() as u64 >= number,
                "{unsynced:?} after {number}"
            );
            let expected = (1..).zip(1..).take(records.len()).collect::<Vec<_>>();
            assert_eq!(numbers(&records), expected, "{unsynced:?} after {number}");
            let again = spool.read_from(1, usize::MAX, handed_out.len()).unwrap();
            assert_eq!(again, handed_out, "{unsynced:?} after {number}");
        }
    }
}

#[test]
fn a_clock_that_was_set_back_gives_no_epoch_twice() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_spool(dir.path(), MIB));
    // The spool was begun by a clock a year ahead.
    let ahead = unix_nanos() + 365 * 86_400 * 1_000_000_000;
    let (file, state) = state::StateFile::open(&dir.path().join("state")).unwrap();
    let mut state = state.unwrap();
    (state.epoch, state.generation) = (ahead, state.generation + 1);
    file.write(state, true).unwrap();
    drop(file);
    let spool = open_spool(dir.path(), MIB);
    assert_eq!(spool.position().unwrap().0, ahead);
    let mut last = ahead;
    for _ in 0..20 {
        let next = spool.new_epoch().unwrap();
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    drop(spool);
    assert_eq!(open_spool(dir.path(), MIB).position().unwrap().0, last);
}

#[test]
fn what_another_version_of_the_sensor_left_is_kept_aside_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_spool(dir.path(), MIB);
    for number in 1..=3 {
        spool.append(&open(number, 30, 1));
    }
    read(&spool, 1);
    let epoch = spool.position().unwrap().0;
    drop(spool);
    let file = segment::path(dir.path(), 1);
    let whole = fs::read(&file).unwrap();
    for version in [b'0', b'2'] {
        let mut other = whole.clone();
        other[7] = version;
        fs::write(&file, &other).unwrap();
        let spool = open_spool(dir.path(), MIB);
        spool.append(&open(9, 10, 1));
        assert_eq!(numbers(&read(&spool, 1)), [(1, 9)]);
        assert!(
            spool.position().unwrap().0 > epoch,
            "its numbers are another's"
        );
        drop(spool);
        let aside = segment::aside_path(dir.path(), 1);
        assert_eq!(fs::read(aside).unwrap(), other);
        // As if nothing had been written since.
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                fs::remove_file(path).unwrap();
            }
        }
    }
}
